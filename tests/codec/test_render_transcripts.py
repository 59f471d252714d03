"""The reference library's own transcripts, rendered from the conversations they stand for."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest

from antiphon.codec.render import Renderer
from antiphon.model.content import ChannelConfig, DeveloperContent, SystemContent
from antiphon.model.message import Message
from antiphon.model.tools import BROWSER, PYTHON, Tool, functions
from antiphon.vocab.control import CONTROL_IDS

TRANSCRIPTS = Path(__file__).parents[1] / "golden" / "transcripts"
_CONTROL = re.compile("(" + "|".join(re.escape(name) for name in CONTROL_IDS) + ")")
DATE = "2025-06-28"


def tokens_of(renderer: Renderer, name: str) -> list[int]:
    text = (TRANSCRIPTS / f"{name}.txt").read_text("utf-8").rstrip("\n")
    out: list[int] = []
    for piece in _CONTROL.split(text):
        out += [CONTROL_IDS[piece]] if piece in CONTROL_IDS else renderer.encode(piece)
    return out


def reasoning(effort: str, cutoff: str = "2024-06", date: str | None = None) -> Message:
    base = SystemContent.default(effort, date=date)
    return Message.system(
        SystemContent(
            base.model_identity,
            base.reasoning_effort,
            date,
            cutoff,
            ChannelConfig(("analysis", "final")),
        )
    )


def system(effort: str = "medium", date: str | None = DATE, **tools: object) -> Message:
    return Message.system(SystemContent.default(effort, date=date, tools=tools or None))  # type: ignore[arg-type]


CAPITAL = Message.user("What is the capital of the largest country in the world?")
ROBOT = Message.developer("Answer the user's questions like a robot.")
TWO = Message.user("What is 2 + 2?")
FOUR_THOUGHT = Message.analysis('User asks a simple question: "What is 2 + 2?" The answer: 4.')
FOUR = Message.final("2 + 2 equals 4.")
NINE = Message.user("What about 9 / 2?")
FORMAT = {"type": "string", "enum": ["celsius", "fahrenheit"], "default": "celsius"}
KITCHEN_SINK = {
    "description": "params object",
    "type": "object",
    "properties": {
        "string": {
            "type": "string",
            "title": "STRING",
            "description": "A string",
            "examples": ["hello", "world"],
        },
        "string_nullable": {
            "type": "string",
            "nullable": True,
            "description": "A nullable string",
            "default": "the default",
        },
        "string_enum": {"type": "string", "enum": ["a", "b", "c"]},
        "oneof_string_or_number": {
            "oneOf": [
                {"type": "string", "default": "default_string_in_oneof"},
                {"type": "number", "description": "numbers can happen too"},
            ],
            "description": "a oneof",
            "default": 20,
        },
    },
}
WEATHER_TOOLS = functions(
    Tool("get_location", "Gets the location of the user."),
    Tool(
        "get_current_weather",
        "Gets the current weather in the provided location.",
        {
            "type": "object",
            "properties": {
                "location": {
                    "type": "string",
                    "description": "The city and state, e.g. San Francisco, CA",
                },
                "format": FORMAT,
            },
            "required": ["location"],
        },
    ),
    Tool(
        "get_multiple_weathers",
        "Gets the current weather in the provided list of locations.",
        {
            "type": "object",
            "properties": {
                "locations": {
                    "type": "array",
                    "items": {"type": "string"},
                    "description": (
                        'List of city and state, e.g. ["San Francisco, CA", "New York, NY"]'
                    ),
                },
                "format": FORMAT,
            },
            "required": ["locations"],
        },
    ),
    Tool("kitchensink", "A function with various complex schemas.", KITCHEN_SINK),
)
LOOKUP = functions(
    Tool(
        "lookup_weather",
        "Use this tool to lookup the weather in a given location. Call it with the parameter"
        " 'location', can be any textual description of a location.",
        {
            "type": "object",
            "properties": {"location": {"type": "string"}},
            "required": ["location"],
        },
    )
)
SF_THOUGHT = "User asks: “What is the weather in SF?” We need to use lookup_weather tool."

CONVERSATIONS: dict[str, list[Message]] = {
    "test_browser_and_function_tool": [
        system(browser=BROWSER),
        Message.developer(DeveloperContent(None, LOOKUP)),
    ],
    "test_browser_and_python_tool": [system(browser=BROWSER, python=PYTHON)],
    "test_browser_tool_only": [system(browser=BROWSER)],
    "test_no_tools": [system()],
    "test_does_not_drop_if_ongoing_analysis": [
        Message.user("What is the weather in SF?"),
        Message.analysis(SF_THOUGHT),
        Message.call("functions.lookup_weather", '{"location": "San Francisco"}'),
        Message(
            Message.tool("functions.lookup_weather", "").author,
            Message.user('{"temperature": 20, "description": "sunny"}').content,
        ),
    ],
    "test_dropping_cot_by_default": [TWO, FOUR_THOUGHT, FOUR, NINE],
    "test_preserve_cot": [TWO, FOUR_THOUGHT, FOUR, NINE],
    "test_keep_analysis_between_finals": [
        TWO,
        Message.analysis("thinking 2+2"),
        Message.final("4"),
        Message.user("What is 3 + 5?"),
        Message.analysis("thinking 3+5"),
        Message.final("8"),
    ],
    "test_reasoning_system_message": [reasoning("medium"), TWO],
    "test_reasoning_system_message_no_instruction": [
        reasoning("high"),
        Message.user("What is the best place to eat candy in the world?"),
    ],
    "test_reasoning_system_message_with_dates": [
        reasoning("medium", "2021-01", "2021-01-01"),
        Message.user("What is 42 * pi?"),
    ],
    "test_render_functions_with_parameters": [
        system("high"),
        Message.developer(DeveloperContent("Always respond in riddles", WEATHER_TOOLS)),
        Message.user("What is the weather like in SF?"),
    ],
    "test_simple_convo": [system(date=None), TWO],
    **{
        f"test_simple_convo_{effort}_effort{suffix}": [
            system(effort, None),
            *([] if suffix else [ROBOT]),
            CAPITAL,
        ]
        for effort in ("low", "medium", "high")
        for suffix in ("", "_no_instruction")
    },
    "test_tool_response_parsing": [
        Message.tool("browser.search", '{"result": "https://openai.com/"}')
    ],
}
PARSED_ONLY = {
    "test_simple_reasoning_response",
    "test_simple_tool_call",
    "test_streamable_parser",
    "test_tool_response_parsing",
}
WHOLE = {"test_keep_analysis_between_finals"}


@pytest.fixture(scope="module")
def renderer() -> Renderer:
    return Renderer(dialect="reference")


@pytest.mark.parametrize("name", sorted(CONVERSATIONS.keys() - PARSED_ONLY))
def test_transcript_is_rendered_token_for_token(renderer: Renderer, name: str) -> None:
    messages = CONVERSATIONS[name]
    history = "keep" if name == "test_preserve_cot" else None
    render: Callable[..., list[int]] = (
        renderer.conversation if name in WHOLE else renderer.for_completion
    )
    assert render(messages, history=history) == tokens_of(renderer, name)


def test_tool_result_transcript_is_rendered_with_its_stop_token(renderer: Renderer) -> None:
    name = "test_tool_response_parsing"
    text = (TRANSCRIPTS / f"{name}.txt").read_text("utf-8").strip()
    expected = text if text.endswith("<|end|>") else text + "<|end|>"
    tokens: list[int] = []
    for piece in _CONTROL.split(expected):
        tokens += [CONTROL_IDS[piece]] if piece in CONTROL_IDS else renderer.encode(piece)
    assert renderer.conversation(CONVERSATIONS[name]) == tokens


def test_every_transcript_is_rendered_or_only_for_parsing() -> None:
    names = {path.stem for path in TRANSCRIPTS.glob("*.txt")}
    assert names == CONVERSATIONS.keys() | PARSED_ONLY
