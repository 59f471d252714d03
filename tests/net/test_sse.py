"""Server-sent event framing: any chunking gives the same events; lines end where they may."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from antiphon.errors import EngineError
from antiphon.net.sse import ServerSentEvent, ServerSentEventDecoder

STREAM = (
    b"\xef\xbb\xbf: a comment\n"
    b"data: one\n\n"
    b"data: two\r\ndata:  lines\r\n\r\n"
    b"event: ping\rid: 7\rdata\r\r"
    b"retry: 10\nunknown: x\n\n"
    b'data: {"text": "a\xe2\x80\xa8b\xc2\x85c\x0bd\x1ce"}\n\n'
    b"id: no\0pe\ndata:no space\n\n"
    b"data: cut off\n"
)
EVENTS = [
    ServerSentEvent("one"),
    ServerSentEvent("two\n lines"),
    ServerSentEvent("", "ping", "7"),
    ServerSentEvent('{"text": "a\u2028b\x85c\x0bd\x1ce"}', "message", "7"),
    ServerSentEvent("no space", "message", "7"),
]


def decode(chunks: list[bytes]) -> list[ServerSentEvent]:
    decoder = ServerSentEventDecoder()
    return [event for chunk in chunks for event in decoder.feed(chunk)]


def test_a_stream_gives_its_complete_events() -> None:
    assert decode([STREAM]) == EVENTS


def test_byte_by_byte_gives_the_same_events() -> None:
    assert decode([STREAM[i : i + 1] for i in range(len(STREAM))]) == EVENTS


@given(st.lists(st.integers(0, len(STREAM)), max_size=12))
def test_any_chunking_gives_the_same_events(cuts: list[int]) -> None:
    edges = [0, *sorted(cuts), len(STREAM)]
    assert decode([STREAM[a:b] for a, b in pairwise(edges)]) == EVENTS


@given(
    st.lists(st.sampled_from([b"\r", b"\n", b"\r\n", b"data", b":", b" ", b"id", b"\xff", b"x"])),
    st.integers(1, 5),
)
def test_chunking_never_matters_on_arbitrary_bytes(parts: list[bytes], step: int) -> None:
    stream = b"".join(parts)
    pieces = [stream[i : i + step] for i in range(0, len(stream), step)]
    assert decode(pieces) == decode([stream])


def test_an_event_is_given_at_the_carriage_return_that_ends_it() -> None:
    decoder = ServerSentEventDecoder()
    assert decoder.feed(b"data: x\r\r") == [ServerSentEvent("x")]
    assert decoder.feed(b"\ndata: y\r\n\r\n") == [ServerSentEvent("y")]


def test_invalid_utf8_becomes_a_replacement_character() -> None:
    assert decode([b"data: \xff\n\n"]) == [ServerSentEvent("\ufffd")]


@pytest.mark.parametrize("chunk", [b"data: " + b"x" * 20, b"data: x\n" * 3, b"event: y\n" * 3])
def test_an_event_over_the_limit_is_refused(chunk: bytes) -> None:
    decoder = ServerSentEventDecoder(max_event_bytes=20)
    with pytest.raises(EngineError, match="larger than 20 bytes"):
        decoder.feed(chunk)


def test_the_limit_counts_one_event_not_the_stream_and_not_comments() -> None:
    decoder = ServerSentEventDecoder(max_event_bytes=20)
    for _ in range(100):
        assert decoder.feed(b": keep-alive\n\n: keep-alive\n") == []
        assert decoder.feed(b"data: x\n\n") == [ServerSentEvent("x")]
