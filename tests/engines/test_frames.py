"""Framing: the fast way of splitting gives what the standard's way gives, however bytes arrive."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from antiphon.engines.frames import LineFrames, SseFrames
from antiphon.errors import EngineError
from antiphon.net.sse import ServerSentEventDecoder

PIECES = [
    b"data: ",
    b"data:",
    b"data",
    b"data: x\n\n",
    b"event: e\n",
    b": comment\n\n",
    b"id: 1\n",
    b"\n",
    b"\n\n",
    b"\r\n",
    b"\r",
    b"\xef\xbb\xbf",
    b"\xff",
    b" ",
    b'{"a":"\xe2\x80\xa8\xc2\x85"}',
    b"abc",
]


def cut(data: bytes, places: list[int]) -> list[bytes]:
    ends = sorted({place % (len(data) + 1) for place in places} | {0, len(data)})
    return [data[a:b] for a, b in pairwise(ends)]


@given(
    st.lists(st.sampled_from(PIECES), max_size=30).map(b"".join),
    st.lists(st.integers(0, 10_000), max_size=20),
)
@example(b"data: x\n\n\xef\xbb\xbfdata: x\n\n\r\n", [9])
def test_events_are_those_of_the_standard(data: bytes, places: list[int]) -> None:
    frames, standard = SseFrames(), ServerSentEventDecoder()
    found = [frame for piece in cut(data, places) for frame in frames.feed(piece)]
    expected = [event.data for event in standard.feed(data)]
    assert [frame.decode("utf-8", "replace") for frame in found] == expected


@given(
    st.lists(st.sampled_from([b"{}", b"\n", b"\r\n", b" ", b'"a"']), max_size=30).map(b"".join),
    st.lists(st.integers(0, 10_000), max_size=20),
)
def test_lines_are_the_same_however_they_arrive(data: bytes, places: list[int]) -> None:
    frames = LineFrames()
    found = [frame for piece in cut(data, places) for frame in frames.feed(piece)]
    whole = [line for line in data.split(b"\n")[:-1] if line.strip()]
    assert found == whole


@pytest.mark.parametrize(
    "frames", [SseFrames(max_event_bytes=100), LineFrames(max_event_bytes=100)]
)
def test_what_has_no_end_is_refused_at_the_limit(frames: SseFrames | LineFrames) -> None:
    assert frames.feed(b"x" * 100) == []
    with pytest.raises(EngineError, match="than 100 bytes"):
        frames.feed(b"x")


def test_an_event_of_many_lines_is_joined_once() -> None:
    """A megabyte, some bytes a read: joined at every line, that would be forty gigabytes."""
    frames = SseFrames()
    for _ in range(100_000):
        frames.feed(b"data: x\n"[:6])
        frames.feed(b"x\n")
    assert frames.feed(b"\n") == [b"\n".join([b"x"] * 100_000)]
