"""Every row of the catalogue of malformed output (docs/recovery.md) is a test here."""

from __future__ import annotations

import pytest
from tests.codec.reading import Read, as_reads, encode, feed_one_by_one, read
from tests.codec.recovery_rows import ROWS, STRIPPED_ROWS, Row

from antiphon.codec.adopt import adopt_calls
from antiphon.codec.limits import EARLY_TEXT_CHARS, MAX_HEADER_CHARS
from antiphon.codec.parse import parse
from antiphon.codec.render import Renderer
from antiphon.codec.stream import Parser
from antiphon.model.message import Conversation, Message
from antiphon.model.tools import Tool, functions
from antiphon.vocab.control import END, GENERATION_STOP_IDS


@pytest.mark.parametrize("row", ROWS, ids=[f"{row.number}: {row.says}" for row in ROWS])
def test_row_of_the_catalogue(row: Row) -> None:
    messages, codes = read(row.written, tools=row.tools)
    assert messages == row.expected
    assert set(codes) == row.codes


@pytest.mark.parametrize(
    ("written", "expected"), [r[1:] for r in STRIPPED_ROWS], ids=[r[0] for r in STRIPPED_ROWS]
)
def test_row_of_stripped_text(written: str, expected: list[Read]) -> None:
    whole = parse(written, role="assistant", input="stripped")
    assert as_reads(whole) == expected
    assert as_reads(feed_one_by_one(written, "assistant", None, "stripped")) == expected


def test_row_37_and_48_a_call_without_recipient_is_adopted_if_one_tool_fits() -> None:
    tools = functions(
        Tool("list_files", "", _object(path="string")), Tool("add", "", _object(a="integer"))
    )
    parsed = parse(
        encode('<|channel|>commentary<|message|>{\n "path": "/"}<|end|>'), role="assistant"
    )
    (adopted,) = adopt_calls(parsed.messages, tools)
    assert adopted == Message.call("functions.list_files", '{\n "path": "/"}')
    unfit = Message.preamble('{"path": 1}')
    assert adopt_calls([unfit, Message.final('{"path": "/"}')], tools) == [
        unfit,
        Message.final('{"path": "/"}'),
    ]


def test_row_25_a_call_wrapped_in_name_and_arguments_is_adopted() -> None:
    tools = functions(Tool("f", "", _object(a="integer")))
    (adopted,) = adopt_calls([Message.preamble('{"name":"f","arguments":{"a":1}}')], tools)
    assert adopted == Message.call("functions.f", '{"a":1}')


def test_row_52_markup_in_history_text_is_rendered_as_ordinary_text() -> None:
    text = "<|channel|>final<|message|>x<|end|>"
    ids = Renderer(dialect="emission").conversation([Message.final(text)], history="keep")
    (message,) = parse(ids)
    assert message.text == text


def test_row_53_content_thinking_and_calls_of_one_turn_render_together() -> None:
    turn = [Message.analysis("t"), Message.preamble("p"), Message.call("functions.f", "{}")]
    ids = Renderer(dialect="emission").conversation(turn, history="keep")
    assert parse(ids).messages == turn


def test_row_54_a_tool_result_without_a_call_renders() -> None:
    result = Message.tool("functions.f", "42")
    assert parse(Renderer(dialect="emission").conversation([result])).messages == [result]


def test_row_55_every_started_message_ends() -> None:
    parser = Parser(role="assistant")
    parser.feed(encode("<|channel|>analysis<|message|>Hm"))
    (end,) = parser.eof()
    assert end.stop == "eof"  # type: ignore[union-attr]


def test_row_64_several_channels_in_one_chunk_are_kept_apart() -> None:
    written = "<|channel|>analysis<|message|>a<|end|><|start|>assistant<|channel|>final<|message|>b"
    assert [m.channel for m in parse(encode(written), role="assistant")] == ["analysis", "final"]


def test_row_65_a_marker_split_over_chunks_is_found() -> None:
    parser = Parser(role="assistant")
    events = [*parser.feed("<|chan"), *parser.feed("nel|>final<|mess"), *parser.feed("age|>hi<|en")]
    events += [*parser.feed("d|>"), *parser.eof()]
    assert [type(event).__name__ for event in events] == ["MessageStart", "TextDelta", "MessageEnd"]


def test_row_66_end_does_not_stop_generation() -> None:
    assert END not in GENERATION_STOP_IDS


def test_row_67_a_character_spread_over_tokens_arrives_whole() -> None:
    ids = encode("<|channel|>final<|message|>🫠東<|return|>")
    assert as_reads(feed_one_by_one(ids, "assistant", None))[0].text == "🫠東"


@pytest.mark.parametrize("row", range(68, 74))
def test_rows_68_to_73_arguments_reach_the_caller_as_the_model_wrote_them(row: int) -> None:
    arguments = {
        68: '{"input":"*** Begin Patch\n*** End Patch"}]',
        69: '{"a":1}{"b":2}',
        70: '{"code":"line 1\nline "2""}',
        71: "ls -R\n",
        72: "error parsing tool call",
        73: '{"q":"Lima??"}"',
    }[row]
    written = (
        f"<|channel|>commentary to=functions.f <|constrain|>json<|message|>{arguments}<|call|>"
    )
    messages, _ = read(written, tools=("f",))
    assert [(m.recipient, m.text) for m in messages] == [("functions.f", arguments)]


def test_row_78_text_around_a_stripped_call_in_an_answer_is_kept() -> None:
    written = ' to=functions.saveAnswer  天天中彩票能json\n{"question":1}цҳауеит'
    parsed = parse(written, role="assistant", input="stripped")
    assert "".join(m.text for m in parsed).endswith('{"question":1}цҳауеит')


def test_row_80_a_never_ending_analysis_streams_in_bounded_memory() -> None:
    parser = Parser(role="assistant")
    parser.feed(encode("<|channel|>analysis<|message|>"))
    (token,) = encode(" loop")
    texts = [event.text for _ in range(10_000) for event in parser.feed(token)]  # type: ignore[union-attr]
    assert texts == [" loop"] * 10_000


def test_text_that_cannot_be_a_header_is_released_early() -> None:
    parser = Parser(role="assistant")
    text = "Here is a plain answer from a model that knows nothing of channels."
    events = [event for char in text for event in parser.feed(char)]
    assert len(text) > EARLY_TEXT_CHARS
    assert "".join(getattr(event, "text", "") for event in events) == text


def test_a_header_without_end_becomes_text_at_the_limit() -> None:
    text = "<|channel|>final " + "word " * 2000
    (message,), codes = read(text)
    assert message.channel == "final"
    assert message.text == "word " * 2000
    assert "header-too-long" in codes
    assert len(text) > MAX_HEADER_CHARS


def test_conversation_of_a_parse_renders_again() -> None:
    ids = encode(
        "<|channel|>analysis<|message|>t<|end|><|start|>assistant<|channel|>final<|message|>a"
    )
    conversation = parse(ids, role="assistant").conversation
    assert isinstance(conversation, Conversation)
    assert Renderer(dialect="reference").conversation(conversation, history="keep")


def _object(**types: str) -> dict[str, object]:
    properties = {name: {"type": kind} for name, kind in types.items()}
    return {"type": "object", "properties": properties, "required": list(types)}
