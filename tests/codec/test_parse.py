"""Whole inputs: messages, stops, spans; the fast path and the stream parser agree."""

from __future__ import annotations

import tracemalloc
from typing import Any

import pytest
from tests.codec.reading import encode

from antiphon.codec.events import Span, Stop
from antiphon.codec.parse import fold, parse
from antiphon.codec.stream import Parser
from antiphon.errors import ParseError
from antiphon.model.message import Message, Role
from antiphon.vocab.control import END, MESSAGE, START
from antiphon.vocab.table import token_bytes

COMPLETION = (
    "<|channel|>analysis<|message|>We need it.<|end|>"
    "<|start|>assistant<|channel|>commentary to=functions.f <|constrain|>json<|message|>"
    '{"city":"Zürich 🫠"}<|call|>'
)


def test_a_completion_becomes_messages_with_their_stops() -> None:
    parsed = parse(encode(COMPLETION), role=Role.ASSISTANT)
    assert list(parsed) == [
        Message.analysis("We need it."),
        Message.call("functions.f", '{"city":"Zürich 🫠"}'),
    ]
    assert parsed.stops == [Stop.END, Stop.CALL]
    assert parsed[1] is parsed.messages[1]
    assert parsed[:1] == parsed.messages[:1]
    assert len(parsed) == 2
    assert parsed.diagnostics == []


def test_spans_of_ids_cut_out_exactly_the_fields_and_texts() -> None:
    ids = encode(COMPLETION)
    for parsed in (parse(ids, role="assistant"), _streamed(ids)):
        first, second = parsed.spans
        assert _spell(ids, first.text) == "We need it."
        assert _spell(ids, second.text) == '{"city":"Zürich 🫠"}'
        assert _spell(ids, first.fields["channel"]) == "analysis"
        assert _spell(ids, second.fields["role"]) == "assistant"
        assert _spell(ids, second.fields["recipient"]).removeprefix(" to=") == "functions.f"
        assert _spell(ids, second.fields["content_type"]) == "json"
        assert _spell(ids, second.header).endswith("<|message|>")
        assert first.text.stop == second.header.start - 1


def test_spans_of_marked_text_count_characters() -> None:
    parsed = parse(COMPLETION, role="assistant")
    second = parsed.spans[1]
    assert {name: COMPLETION[s.start : s.stop] for name, s in second.fields.items()} == {
        "role": "assistant",
        "channel": "commentary",
        "recipient": "functions.f",
        "content_type": "json",
    }
    assert COMPLETION[second.text.start : second.text.stop] == '{"city":"Zürich 🫠"}'


def test_diagnostics_point_at_what_they_mean() -> None:
    written = "<|channel|>fina<|message|>hi<|end|><|call|>"
    spans = {d.code: written[d.span.start : d.span.stop] for d in parse(written).diagnostics}
    assert spans == {"misspelt-channel": "fina", "stray-control-token": "<|call|>"}


@pytest.mark.parametrize(
    ("text", "channels"),
    [
        ("<|channel|>final<|message|>x", ["final"]),
        ("analysisHm.assistantfinalHi", ["analysis", "final"]),
        ("final thoughts on analysis", [None]),
        ("The assistant can help.", [None]),
    ],
)
def test_auto_tells_marked_stripped_and_plain_text_apart(
    text: str, channels: list[str | None]
) -> None:
    assert [message.channel for message in parse(text, role="assistant")] == channels


@pytest.mark.parametrize("ids", [[-1], [201_089], [10**30], [187], [200_007, -5, 199_999]])
def test_ids_outside_the_vocabulary_never_raise(ids: list[int]) -> None:
    parse(ids)
    parse([200_005, 17196, 200_008, *ids, 200_002], role="assistant")


def test_an_unknown_id_costs_one_replacement_character_and_nothing_else() -> None:
    parsed = parse(
        [*encode("<|channel|>final<|message|>a"), 999_999, *encode("b")], role="assistant"
    )
    assert parsed[0].text == "a\ufffdb"
    assert [(d.code, d.detail) for d in parsed.diagnostics] == [("unknown-token", "999999")]


def test_what_is_no_id_is_a_type_error() -> None:
    bad: Any = ["x"]
    with pytest.raises(TypeError):
        parse(bad)


def test_ids_and_text_do_not_mix() -> None:
    parser = Parser()
    parser.feed([200_006])
    with pytest.raises(TypeError):
        parser.feed("text")
    parser = Parser()
    parser.feed("text")
    with pytest.raises(TypeError):
        parser.feed(17)
    with pytest.raises(ValueError, match="marked"):
        Parser(input="guess")  # type: ignore[arg-type]


def test_hybrid_input_takes_control_ids_and_plain_text() -> None:
    parser = Parser(role="assistant", input="hybrid")
    chunks: list[int | str] = [200_005, "final", 200_008, "a <|end|> ", "🫠", 200_002]
    events = [event for chunk in chunks for event in parser.feed(chunk)]
    assert fold([*events, *parser.eof()]).messages == [Message.final("a <|end|> 🫠")]


def test_strict_raises_where_the_reference_does() -> None:
    for source in (encode("<|channel|>final"), "<|channel|>final"):
        with pytest.raises(ParseError, match="Unexpected EOS"):
            parse(source, role="assistant", strict=True)
    parsed = parse(encode(COMPLETION), role="assistant", strict=True)
    assert parsed.messages == parse(encode(COMPLETION), role="assistant").messages
    assert parsed.stops == [Stop.END, Stop.CALL]
    assert parsed.spans[0].text == Span(3, 7)


def test_strict_streaming_reports_what_came_before_the_error() -> None:
    parser = Parser(role="assistant", strict=True)
    ids = encode("<|channel|>final<|message|>a<|return|>b")
    assert [type(e).__name__ for e in parser.feed(ids)] == [
        "MessageStart",
        "TextDelta",
        "MessageEnd",
    ]
    with pytest.raises(ParseError, match="Unexpected token") as caught:
        parser.eof()
    assert caught.value.position == len(ids) - 1
    assert caught.value.recovery


def test_parsing_loads_no_encoder() -> None:
    import subprocess
    import sys

    code = (
        "import sys; from antiphon.codec.parse import parse;"
        "assert parse([200005, 17196, 200008, 3686, 200002], role='assistant')[0].text == 'hi';"
        "assert 'splintr' not in sys.modules and 'tiktoken' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def _streamed(ids: list[int]) -> Any:
    parser = Parser(role="assistant")
    return fold([*(e for token in ids for e in parser.feed(token)), *parser.eof()])


def _spell(ids: list[int], span: Span) -> str:
    return b"".join(token_bytes(t) or b"" for t in ids[span.start : span.stop]).decode()


def test_long_headers_are_not_remembered() -> None:
    def completion(word: int) -> list[int]:
        return [START, *[word] * 20_000, MESSAGE, word, END]

    parse(completion(1_000))
    tracemalloc.start()
    try:
        for word in range(1_001, 1_021):
            assert "header-too-long" in {d.code for d in parse(completion(word)).diagnostics}
        kept, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert kept < 500_000
