"""A Python function as a tool."""

from __future__ import annotations

import asyncio
import threading
from dataclasses import dataclass
from enum import Enum
from typing import Any, Literal, TypedDict

import msgspec
import pytest

from antiphon.tools.function import MAX_RESULT_CHARS, FunctionTool, function_tool
from antiphon.tools.protocol import Emit, Tool, ToolOutput


class Colour(Enum):
    RED = "red"
    BLUE = "blue"


@dataclass
class Point:
    x: float
    y: float = 0.0


class Place(TypedDict):
    name: str


class Box(msgspec.Struct):
    side: int


def everything(
    text: str,
    count: int,
    share: float,
    yes: bool,
    words: list[str],
    table: dict[str, int],
    mode: Literal["a", "b"],
    colour: Colour,
    point: Point,
    place: Place,
    box: Box,
    maybe: str | None = None,
    many: list[int] = [1, 2],  # noqa: B006
) -> str:
    """Take one of each.

    It does nothing else.

    Args:
        text: Some text,
            on two lines.
        count (int): How many.
        mode: Which: a or b.

    Returns:
        The types.
    """
    given = (text, count, share, yes, words, table, mode, colour, point, place, box, maybe, many)
    return " ".join(type(value).__name__ for value in given)


GIVEN: dict[str, Any] = {
    "text": "t",
    "count": 1,
    "share": 0.5,
    "yes": True,
    "words": ["w"],
    "table": {"k": 1},
    "mode": "a",
    "colour": "red",
    "point": {"x": 1},
    "place": {"name": "Oslo"},
    "box": {"side": 2},
}


def call(tool: Tool, arguments: Any, emit: Emit = lambda text: None) -> ToolOutput:
    return asyncio.run(tool.call(arguments, emit=emit))


def test_the_schema_comes_from_hints_defaults_and_the_docstring():
    schema = function_tool(everything).parameters
    properties = schema["properties"]
    assert schema["type"] == "object"
    assert schema["required"] == list(GIVEN)
    assert schema["additionalProperties"] is False
    assert properties["text"] == {"type": "string", "description": "Some text, on two lines."}
    assert properties["count"]["description"] == "How many."
    assert properties["mode"]["enum"] == ["a", "b"]
    assert properties["many"]["default"] == [1, 2]
    assert properties["colour"] == {"$ref": "#/$defs/Colour"}
    assert schema["$defs"]["Point"]["required"] == ["x"]
    assert schema["$defs"]["Place"]["properties"] == {"name": {"type": "string"}}


def test_the_description_is_the_docstring_before_its_sections():
    assert function_tool(everything).description == "Take one of each.\n\nIt does nothing else."


def test_arguments_arrive_as_the_types_that_the_function_asks_for():
    said = call(function_tool(everything), GIVEN).text
    assert said == "str int float bool list dict str Colour Point dict Box NoneType list"


@pytest.mark.parametrize(
    "docstring",
    [
        "Do.\n\nArgs:\n    x: The x.\n",
        "Do.\n\nParameters\n----------\nx : int\n    The x.\n\nReturns\n-------\nint\n",
        "Do.\n\n:param x: The x.\n:returns: nothing\n",
        "Do.\n\n:param int x: The\n    x.\n",
    ],
)
def test_googles_numpys_and_sphinxs_docstrings_are_read(docstring):
    def do(x: int) -> int:
        return x

    do.__doc__ = docstring
    tool = function_tool(do)
    assert tool.description == "Do."
    assert tool.parameters["properties"]["x"]["description"] == "The x."


def add(a: int, b: int = 2) -> int:
    """Add."""
    return a + b


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({}, "missing required field `a`"),
        ({"a": "one"}, "$.a"),
        ({"a": 1, "c": 3}, "unknown field `c`"),
        ("add one and two", "must be a JSON object"),
        ("[1, 2]", "must be a JSON object"),
        ("[" * 5000, "must be a JSON object"),
    ],
)
def test_wrong_arguments_come_back_as_text_that_names_them_and_what_is_taken(arguments, said):
    output = call(function_tool(add), arguments)
    assert output.failed
    assert said in output.text
    assert "a (integer, required), b (integer)" in output.text


def test_numbers_written_as_strings_and_objects_written_as_text_are_taken():
    assert call(function_tool(add), {"a": "3"}).text == "5"
    assert call(function_tool(add), '{"a": 3, "b": 4}').text == "7"


def test_text_for_a_tool_that_takes_one_string_is_that_string():
    def echo(command: str) -> str:
        return command

    assert call(function_tool(echo), "ls -l").text == "ls -l"
    assert call(function_tool(echo), "42").text == "42"


def test_an_exception_is_text_for_the_model_and_says_no_more_than_its_message():
    def broken() -> None:
        raise LookupError("no such city")

    output = call(function_tool(broken), {})
    assert output.failed
    assert output.text == "The tool failed: LookupError: no such city"


def test_a_function_runs_beside_the_loop_and_a_coroutine_on_it():
    def where() -> str:
        return str(threading.current_thread() is threading.main_thread())

    async def here() -> str:
        await asyncio.sleep(0)
        return where()

    assert call(function_tool(where), {}).text == "False"
    assert call(function_tool(here), {}).text == "True"


def test_a_coroutine_is_cancelled_with_its_call():
    ended: list[str] = []

    async def forever() -> None:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            ended.append("cancelled")
            raise

    async def main() -> None:
        task = asyncio.create_task(function_tool(forever).call({}, emit=lambda text: None))
        while not task.done() and task.get_stack() and not ended:
            await asyncio.sleep(0)
            task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(main())


def test_a_function_that_asks_for_emit_can_say_how_it_goes():
    def slow(steps: int, emit: Emit) -> str:
        for step in range(steps):
            emit(f"{step};")
        return "there"

    said: list[str] = []
    tool = function_tool(slow)
    assert list(tool.parameters["properties"]) == ["steps"]
    assert call(tool, {"steps": 3}, said.append).text == "there"
    assert said == ["0;", "1;", "2;"]


@pytest.mark.parametrize(
    ("result", "text"),
    [
        ("as it is", "as it is"),
        (None, "Done."),
        ({"a": [1, Colour.RED]}, '{"a":[1,"red"]}'),
        (Point(1, 2), '{"x":1.0,"y":2.0}'),
        (ToolOutput("own", failed=True), "own"),
    ],
)
def test_results_become_text(result, text):
    def give() -> Any:
        return result

    output = call(function_tool(give), {})
    assert output.text.replace('"x":1,"y":2', '"x":1.0,"y":2.0') == text


def test_a_long_result_loses_its_middle():
    def long() -> str:
        return "a" * MAX_RESULT_CHARS + "b" * MAX_RESULT_CHARS

    text = call(function_tool(long), {}).text
    assert len(text) < MAX_RESULT_CHARS + 100
    assert text.startswith("aaa")
    assert text.endswith("bbb")
    assert "characters left out" in text


def test_what_a_person_approves_is_shown_on_one_line_without_control_characters():
    need = FunctionTool(add, approval="ask").need({"a": "\x1b[2J\n\u202eevil"})
    assert need.approval == "ask"
    assert "\x1b" not in need.summary
    assert "\u202e" not in need.summary
    assert "\n" not in need.summary


def test_signatures_without_a_schema_are_refused_when_the_tool_is_made():
    def stars(*numbers: int) -> int:
        return sum(numbers)

    def odd(thread: threading.Thread) -> None: ...

    with pytest.raises(TypeError, match="numbers"):
        function_tool(stars)
    with pytest.raises(TypeError, match="odd"):
        function_tool(odd)
    with pytest.raises(ValueError, match="not a name"):
        function_tool(lambda: None)
