"""Answers as they come off the wire, whole, in pieces, and damaged in every way."""

from __future__ import annotations

from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.seal.sealing import NOW, cut_lists, key_for, mutated, pieces

from antiphon.seal import (
    ChunkedRequestOpener,
    ChunkedResponseSealer,
    Keyring,
    RequestHead,
    ResponseHead,
    SealError,
    TruncatedError,
    encode_content,
    encode_end,
    encode_head,
)
from antiphon.seal.message import Field
from antiphon.sealed.chat import ChatReader
from antiphon.sealed.exchange import SealedExchange, SealedReader, outer_error

HEAD = RequestHead(method="POST", authority="gpt.example", path="/v1/chat/completions")
TYPE: Field = (b"content-type", b"text/event-stream")
CHUNKS = [b'data: {"choices":[]}\n\n', b"data: [DONE]\n\n"]


def exchanged() -> tuple[SealedReader, bytes]:
    """A request, and the gateway's answer to it."""
    key = key_for()
    exchange = SealedExchange(key.config, HEAD, b"{}")
    gateway = ChunkedRequestOpener(Keyring([key]), NOW)
    gateway.feed(exchange.body)
    gateway.eof()
    sealer = ChunkedResponseSealer(gateway.response)
    head = encode_head(ResponseHead(status=200, fields=(TYPE,)))
    plain = [head, *map(encode_content, CHUNKS)]
    sealed = b"".join(map(sealer.seal, plain)) + sealer.finish(encode_end())
    return exchange.reader(), sealed


def read(reader: SealedReader, data: list[bytes], into: bytearray) -> None:
    """Read an answer to its end; what came before it raises is ``into``."""
    for piece in data:
        into += reader.feed(piece)
    into += reader.eof()


@given(cuts=cut_lists())
def test_the_pieces_an_answer_comes_in_make_no_difference(cuts: list[int]) -> None:
    reader, sealed = exchanged()
    content = bytearray()
    read(reader, pieces(sealed, cuts), content)
    assert content == b"".join(CHUNKS)
    assert reader.complete
    assert reader.head == ResponseHead(status=200, fields=(TYPE,))


@given(at=st.integers(0, 10_000))
def test_an_answer_that_ends_early_is_never_complete(at: int) -> None:
    reader, sealed = exchanged()
    with pytest.raises(SealError):
        read(reader, [sealed[: at % len(sealed)]], bytearray())
    assert not reader.complete


def test_a_damaged_answer_is_refused_and_what_came_before_is_the_gateways() -> None:
    random = Random(5)
    whole = b"".join(CHUNKS)
    for _ in range(1500):
        reader, sealed = exchanged()
        damaged = mutated(sealed, random)
        if damaged == sealed:
            continue
        content = bytearray()
        cut = random.randrange(len(damaged) + 1)
        with pytest.raises(SealError):
            read(reader, pieces(damaged, [cut]), content)
        assert whole.startswith(content)
        assert not reader.complete


@given(status=st.integers(100, 599), body=st.binary(max_size=200), kind=st.text(max_size=40))
def test_whatever_answers_in_the_clear_is_an_error_of_one_line(
    status: int, body: bytes, kind: str
) -> None:
    error = outer_error(status, {"content-type": kind, "retry-after": kind}, body)
    assert error.status == status
    assert str(error)


@pytest.mark.parametrize(
    "body",
    [
        b"[" * 100_000,
        b'{"type":7,"title":[],"detail":{}}',
        b'{"error":{"message":["x"]}}',
        b'{"error":"x"}',
        b"[]",
        b"null",
        b"\xff\xfe",
    ],
)
def test_what_an_answer_in_the_clear_says_is_not_trusted_to_be_anything(body: bytes) -> None:
    assert outer_error(502, {}, body).problem is None


def chat(kind: bytes = b"text/event-stream", status: int = 200) -> ChatReader:
    return ChatReader(ResponseHead(status=status, fields=((b"content-type", kind),)))


@pytest.mark.parametrize("data", [b"", b'data: {"choices":[]}\n\n', b"data: [DONE]"])
def test_a_chat_without_its_end_is_cut_off(data: bytes) -> None:
    reader = chat()
    reader.feed(data)
    with pytest.raises(TruncatedError):
        reader.eof()


@pytest.mark.parametrize(
    "data",
    [
        b"data: nonsense\n\n",
        b"data: [1]\n\n",
        b"data: " + b"[" * 100_000 + b"\n\n",
    ],
)
def test_a_chat_that_is_none_is_an_error(data: bytes) -> None:
    with pytest.raises(SealError):
        chat().feed(data)


@pytest.mark.parametrize(
    "data",
    [
        b'{"choices":7}',
        b'{"choices":[7,{"delta":7},{"index":1,"delta":{"content":"no"}}]}',
        b'{"choices":[{"delta":{"content":7,"reasoning":[]}}]}',
        b'{"model":7}',
    ],
)
def test_a_chat_with_strange_parts_says_nothing_wrong(data: bytes) -> None:
    reader = chat()
    assert reader.feed(b"data: " + data + b"\n\ndata: [DONE]\n\n") == []
    assert reader.eof() == []


def test_an_error_in_the_stream_is_told() -> None:
    reader = chat()
    reader.feed(b'data: {"error":{"message":"the engine is gone"}}\n\n')
    reader.eof()
    assert reader.error == "the engine is gone"
