"""What an attacker on the way can do to sealed messages: nothing that goes unnoticed."""

from __future__ import annotations

from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.seal.sealing import (
    CIPHERS,
    KEMS,
    NOW,
    chunked_request,
    chunked_response,
    cut_lists,
    key_for,
    mutated,
    outcome,
    pieces,
    read_all,
    ring_for,
)

from antiphon.seal import (
    ChunkedRequestOpener,
    OpenError,
    SealError,
    TruncatedError,
    UnknownKeyError,
    open_request,
    open_response,
    seal_request,
    seal_response,
)

PLAIN = st.binary(max_size=300)
CHUNKS = st.lists(st.binary(min_size=1, max_size=120), min_size=1, max_size=6)
SUITES = st.tuples(st.sampled_from(KEMS), st.sampled_from(CIPHERS))
ENVELOPES, ENVELOPES_SLOW = 3_000, 100_000


def flipped(data: bytes, bit: int) -> bytes:
    changed = bytearray(data)
    changed[bit // 8 % len(data)] ^= 1 << bit % 8
    return bytes(changed)


@given(SUITES, PLAIN, PLAIN, st.integers(0, 100_000))
def test_a_flipped_bit_anywhere_in_a_whole_message_is_refused(suite, ask, answer, bit) -> None:
    sealed = seal_request(key_for(*suite).config, ask)
    with pytest.raises((OpenError, UnknownKeyError)):
        open_request(ring_for(*suite), flipped(sealed.body, bit), NOW)
    response = seal_response(open_request(ring_for(*suite), sealed.body, NOW).response, answer)
    assert open_response(sealed.response, response) == answer
    with pytest.raises(OpenError):
        open_response(sealed.response, flipped(response, bit))


def test_every_single_bit_of_a_request_and_of_an_answer_counts() -> None:
    sealed = seal_request(key_for().config, b"short")
    for bit in range(8 * len(sealed.body)):
        with pytest.raises(SealError):
            open_request(ring_for(), flipped(sealed.body, bit), NOW)
    chunks, _ = chunked_response([b"a", b"bc", b""], key_for())
    size = len(b"".join(chunks))
    for bit in range(8 * size):
        chunks, opener = chunked_response([b"a", b"bc", b""], key_for())
        with pytest.raises(OpenError):
            read_all(opener, flipped(b"".join(chunks), bit))


@given(CHUNKS, st.integers(0, 100_000), cut_lists())
def test_a_flipped_bit_in_a_stream_stops_it_after_true_chunks_only(chunks, bit, cuts) -> None:
    stream, _ = chunked_request(chunks, key_for())
    opener = ChunkedRequestOpener(ring_for(), NOW)
    out, end = outcome(opener.feed, opener.eof, pieces(flipped(stream, bit), cuts))
    assert end[0] in {OpenError, UnknownKeyError}
    assert out == chunks[: len(out)]


@given(CHUNKS, st.integers(0, 10_000), cut_lists())
def test_a_stream_cut_anywhere_is_never_complete(chunks, length, cuts) -> None:
    sealed, opener = chunked_response(chunks, key_for())
    stream = b"".join(sealed)
    length %= len(stream)
    out, end = outcome(opener.feed, opener.eof, pieces(stream[:length], cuts))
    assert out == chunks[: len(out)]
    in_the_last = length >= len(stream) - len(sealed[-1]) + 1 + 16
    assert end[0] is TruncatedError or (in_the_last and end[0] is OpenError)

    request, _ = chunked_request(chunks, key_for())
    gateway = ChunkedRequestOpener(ring_for(), NOW)
    out, end = outcome(gateway.feed, gateway.eof, [request[: length % len(request)]])
    assert end[0] is OpenError


@given(
    st.lists(st.binary(min_size=1, max_size=60), min_size=3, max_size=6, unique=True),
    st.sampled_from(["swap", "repeat", "drop", "replay the first at the end"]),
    st.data(),
)
def test_chunks_that_are_moved_repeated_or_dropped_do_not_open(chunks, how, data) -> None:
    sealed, opener = chunked_response(chunks, key_for())
    head, body = sealed[0][:16], [sealed[0][16:], *sealed[1:-1]]
    at = data.draw(st.integers(0, len(body) - 1))
    match how:
        case "swap":
            other = (at + 1) % len(body)
            body[at], body[other] = body[other], body[at]
        case "repeat":
            body.insert(at, body[at])
        case "drop":
            del body[at]
        case _:
            body.append(body[0])
    out, end = outcome(opener.feed, opener.eof, [head, *body, sealed[-1]])
    assert end[0] is OpenError
    assert out == chunks[: len(out)]


@given(CHUNKS, CHUNKS)
def test_chunks_of_another_answer_do_not_open(mine, other) -> None:
    sealed, opener = chunked_response(mine, key_for())
    foreign, _ = chunked_response(other, key_for())
    stolen = foreign[0][16:] if len(other) > 1 else b"\0" + foreign[0][17:]
    nonce = sealed[0][:16]
    out, end = outcome(opener.feed, opener.eof, [nonce, stolen])
    assert out == []
    assert issubclass(end[0], OpenError)


@given(SUITES, CHUNKS, cut_lists())
def test_streams_open_alike_in_any_pieces(suite, chunks, cuts) -> None:
    key = key_for(*suite)
    stream, _ = chunked_request(chunks, key)
    for split in ([stream], pieces(stream, cuts), [bytes([b]) for b in stream]):
        opener = ChunkedRequestOpener(ring_for(*suite), NOW)
        assert outcome(opener.feed, opener.eof, split) == (chunks[:-1], chunks[-1])
    answer, reader = chunked_response(chunks, key)
    split = pieces(b"".join(answer), cuts)
    assert outcome(reader.feed, reader.eof, split) == (chunks[:-1], chunks[-1])


@given(st.randoms(use_true_random=False), CHUNKS, cut_lists())
def test_damaged_streams_end_alike_in_any_pieces(random: Random, chunks, cuts) -> None:
    stream = mutated(chunked_request(chunks, key_for())[0], random)
    results = []
    for split in ([stream], pieces(stream, cuts), [bytes([b]) for b in stream]):
        opener = ChunkedRequestOpener(ring_for(), NOW, max_chunk=200, max_final=200)
        results.append(outcome(opener.feed, opener.eof, split))
    assert results[0] == results[1] == results[2]


# Envelopes that went through the wringer


def wring(seed: int, count: int) -> dict[str, int]:
    """Open ``count`` damaged envelopes of all kinds; how many ended how."""
    random = Random(seed)
    suites = [(kem, cipher) for kem in ("x25519", "p256") for cipher in CIPHERS]
    suites.append((KEMS[2], CIPHERS[1]))
    ends: dict[str, int] = {}
    for number in range(count):
        suite = suites[number // 50 % len(suites)] if number % 50 == 0 else ("x25519", CIPHERS[0])
        if number % 200 == 0 or number % 50 in {0, 1}:
            key, ring = key_for(*suite), ring_for(*suite)
            chunks = [random.randbytes(random.randint(1, 90)) for _ in range(4)]
            whole = seal_request(key.config, b"".join(chunks))
            stream, _ = chunked_request(chunks, key)
        kind = random.random()
        try:
            if kind < 0.45:
                body = mutated(whole.body, random)
                message = open_request(ring, body, NOW).message
                assert body == whole.body
                assert message == b"".join(chunks)
            elif kind < 0.9:
                body = mutated(stream, random)
                opener = ChunkedRequestOpener(ring, NOW)
                out = []
                for piece in pieces(body, [random.randrange(9999)]):
                    out += opener.feed(piece)
                assert [*out, opener.eof()] == chunks
            else:
                open_request(ring, bytes([7, 0, 32, 0, 1, 0, 1]) + random.randbytes(80), NOW)
                raise AssertionError("noise was opened")
            end = "unharmed"
        except SealError as error:
            end = type(error).__name__
        ends[end] = ends.get(end, 0) + 1
    return ends


def test_damaged_envelopes_are_refused_cleanly() -> None:
    ends = wring(9458, ENVELOPES)
    assert set(ends) <= {"OpenError", "UnknownKeyError", "unharmed"}
    assert ends["OpenError"] > 0.8 * ENVELOPES
    assert ends["UnknownKeyError"] > 0
    assert ends.get("unharmed", 0) < 0.05 * ENVELOPES


@pytest.mark.slow
def test_a_hundred_thousand_damaged_envelopes_are_refused_cleanly() -> None:
    ends = wring(9292, ENVELOPES_SLOW)
    assert set(ends) <= {"OpenError", "UnknownKeyError", "unharmed"}
    assert sum(ends.values()) == ENVELOPES_SLOW
