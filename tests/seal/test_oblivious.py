"""Sealed requests and responses, whole and chunked: the published examples and every kind of
failure.
"""

from __future__ import annotations

import ast
import inspect
from pathlib import Path
from typing import Any

import pytest
from pyhpke import ContextInterface
from pyhpke import OpenError as LibraryError
from tests.seal.sealing import (
    CIPHERS,
    KEMS,
    NOW,
    chunked_request,
    chunked_response,
    key_for,
    read_all,
    ring_for,
)

from antiphon.seal import (
    ChunkedRequestOpener,
    ChunkedRequestSealer,
    ChunkedResponseOpener,
    ChunkedResponseSealer,
    KeyConfigError,
    Keyring,
    OpenError,
    ResponseSecret,
    SealError,
    SealKey,
    TruncatedError,
    UnknownKeyError,
    encode_content,
    exchange,
    open_request,
    open_response,
    seal_request,
    seal_response,
    whole,
)
from antiphon.seal.frames import CHUNK_BYTES
from antiphon.seal.suites import Suite
from antiphon.seal.varint import varint


@pytest.fixture
def whole_example(golden) -> Any:
    return golden("seal/examples.json")["ohttp"]


@pytest.fixture
def chunked_example(golden) -> Any:
    return golden("seal/examples.json")["chunked"]


def example_key(example: dict) -> SealKey:
    key = SealKey.from_secret(1, bytes.fromhex(example["secret"]), created=0)
    assert key.config.encode().hex() == example["config"]
    return key


# The published examples


def test_the_example_of_rfc_9458_comes_out_byte_for_byte(whole_example) -> None:
    hexes = {name: bytes.fromhex(text) for name, text in whole_example.items()}
    key = example_key(whole_example)

    sealed = seal_request(key.config, hexes["request"], ephemeral=hexes["ephemeral"])
    assert sealed.body == hexes["sealed_request"]
    assert sealed.response.enc == hexes["enc"]
    assert sealed.response.secret == hexes["response_secret"]

    opened = open_request(Keyring([key]), hexes["sealed_request"], NOW)
    assert opened.message == hexes["request"]
    assert opened.response == sealed.response

    answer = seal_response(opened.response, hexes["response"], nonce=hexes["nonce"])
    assert answer == hexes["sealed_response"]
    assert open_response(sealed.response, answer) == hexes["response"]


def cut(data: bytes, sizes: list[int]) -> list[bytes]:
    parts = []
    for size in sizes:
        parts.append(data[:size])
        data = data[size:]
    return [*parts, data]


def test_the_example_of_the_chunked_draft_comes_out_byte_for_byte(chunked_example) -> None:
    example = chunked_example
    key = example_key(example)
    request = cut(bytes.fromhex(example["request"]), example["request_pieces"])
    response = cut(bytes.fromhex(example["response"]), example["response_pieces"])

    client = ChunkedRequestSealer(key.config, ephemeral=bytes.fromhex(example["ephemeral"]))
    sealed = [client.seal(request[0]), client.seal(request[1]), client.finish(request[2])]
    assert [one.hex() for one in sealed] == example["sealed_request"]
    assert client.response.secret.hex() == example["response_secret"]

    gateway = ChunkedRequestOpener(Keyring([key]), NOW)
    assert gateway.feed(b"".join(sealed)) == request[:2]
    assert gateway.eof() == b""

    sealer = ChunkedResponseSealer(gateway.response, nonce=bytes.fromhex(example["nonce"]))
    answer = [sealer.seal(response[0]), sealer.seal(response[1]), sealer.finish()]
    assert [one.hex() for one in answer] == example["sealed_response"]

    opener = ChunkedResponseOpener(client.response)
    assert opener.feed(b"".join(answer)) == response[:2]
    assert opener.eof() == b""


# Every suite, both ways


@pytest.mark.parametrize("cipher", CIPHERS)
@pytest.mark.parametrize("kem", KEMS)
def test_every_suite_carries_requests_and_responses(kem: str, cipher: str) -> None:
    key, ring = key_for(kem, cipher), ring_for(kem, cipher)
    sealed = seal_request(key.config, b"whole request")
    opened = open_request(ring, sealed.body, NOW)
    assert (opened.message, opened.key) == (b"whole request", key)
    answer = seal_response(opened.response, b"whole answer")
    assert open_response(sealed.response, answer) == b"whole answer"

    chunks = [b"one", b"two", b"three"]
    answer_chunks, opener = chunked_response(chunks, key)
    assert opener.feed(b"".join(answer_chunks)) == chunks[:2]
    assert opener.eof() == chunks[2]


def test_nothing_is_sealed_twice_alike() -> None:
    key = key_for()
    bodies = {seal_request(key.config, b"x").body for _ in range(20)}
    assert len({body[7:39] for body in bodies}) == 20
    opened = open_request(ring_for(), bodies.pop(), NOW)
    assert len({seal_response(opened.response, b"y")[:16] for _ in range(20)}) == 20


def test_a_copy_of_a_request_has_the_same_replay_nonce_and_no_other_has() -> None:
    key, ring = key_for(), ring_for()
    body = seal_request(key.config, b"x").body
    nonce = open_request(ring, body, NOW).replay_nonce
    assert open_request(ring, body, NOW + 5).replay_nonce == nonce
    assert open_request(ring, seal_request(key.config, b"x").body, NOW).replay_nonce != nonce
    assert len(nonce) == 64
    stream, _ = chunked_request([b"x"], key)
    first, second = (ChunkedRequestOpener(ring, NOW) for _ in range(2))
    first.feed(stream)
    second.feed(stream)
    assert first.replay_nonce == second.replay_nonce != nonce


def test_the_client_takes_the_gateways_favourite_suite_or_the_one_it_is_told() -> None:
    key = SealKey.generate(3, created=NOW)
    ring = Keyring([key])
    assert [str(suite) for suite in key.config.suites] == [
        "x25519, hkdf-sha256, aes-128-gcm",
        "x25519, hkdf-sha256, chacha20-poly1305",
    ]
    for suite in key.config.suites:
        sealed = seal_request(key.config, b"x", suite=suite)
        assert open_request(ring, sealed.body, NOW).response.suite == suite
    assert seal_request(key.config, b"x").response.suite == key.config.suites[0]
    with pytest.raises(KeyConfigError, match="does not offer"):
        seal_request(key.config, b"x", suite=Suite(0x10, 1, 1))


def test_the_secret_of_a_response_survives_being_written_down() -> None:
    sealed = seal_request(key_for().config, b"x")
    saved = ResponseSecret.decode(sealed.response.encode())
    assert saved == sealed.response
    answer = seal_response(open_request(ring_for(), sealed.body, NOW).response, b"later")
    assert open_response(saved, answer) == b"later"


@pytest.mark.parametrize("data", [b"", b"{}", b"null", b'{"kem": 32}', b"\xff", b"[" * 100_000])
def test_a_state_that_is_none_is_refused(data: bytes) -> None:
    with pytest.raises(SealError, match="saved state"):
        ResponseSecret.decode(data)


def test_secrets_do_not_show() -> None:
    key = key_for()
    sealed = seal_request(key.config, b"x")
    for value, secret in ((key, key.secret), (sealed, sealed.response.secret)):
        assert repr(secret) not in repr(value)
        assert secret.hex() not in repr(value)


# Failures at the gateway


def test_an_unknown_key_is_said_to_be_unknown_whatever_follows() -> None:
    other = key_for(key_id=9)
    for body in (seal_request(other.config, b"x").body, bytes([9]) + bytes(6)):
        with pytest.raises(UnknownKeyError, match="key identifier 9 unknown") as caught:
            open_request(ring_for(), body, NOW)
        assert caught.value.layer == "key"
        opener = ChunkedRequestOpener(ring_for(), NOW)
        with pytest.raises(UnknownKeyError):
            opener.feed(body)
        with pytest.raises(UnknownKeyError):
            opener.eof()


def test_an_expired_key_is_an_unknown_key() -> None:
    key = SealKey.generate(7, created=NOW, expires=NOW + 10)
    body = seal_request(key.config, b"x").body
    ring = Keyring([key])
    assert open_request(ring, body, NOW + 9).message == b"x"
    with pytest.raises(UnknownKeyError):
        open_request(ring, body, NOW + 10)


def broken_bodies() -> dict[str, bytes]:
    """Requests under a known key that must all fail alike."""
    key = key_for()
    good = seal_request(key.config, b"hello").body
    stranger = SealKey.generate(7, created=NOW, ciphers=("aes-128-gcm",))
    return {
        "nothing": b"",
        "half a header": good[:5],
        "another KEM": good[:1] + b"\x00\x10" + good[3:],
        "a KEM that is none": good[:1] + b"\xff\xff" + good[3:],
        "another KDF": good[:3] + b"\x00\x02" + good[5:],
        "a cipher not offered": good[:5] + b"\x00\x03" + good[7:],
        "a cipher that is none": good[:5] + b"\xff\xff" + good[7:],
        "half an encapsulated key": good[:20],
        "a point of small order": good[:7] + bytes(32) + good[39:],
        "another encapsulated key": good[:7] + stranger.config.public_key + good[39:],
        "no ciphertext": good[:39],
        "less than a tag": good[:50],
        "a changed tag": good[:-1] + bytes([good[-1] ^ 1]),
        "too much": good + b"x",
        "for another key with this identifier": seal_request(stranger.config, b"x").body,
        "chunked sent as whole": chunked_request([b"x"], key)[0],
    }


def test_under_a_known_key_every_failure_is_the_same_error() -> None:
    seen = set()
    for name, body in broken_bodies().items():
        with pytest.raises(OpenError) as caught:
            open_request(ring_for(), body, NOW)
        error = caught.value
        assert error.__cause__ is None, name
        assert error.__suppress_context__ or error.__context__ is None, name
        seen.add((type(error), str(error), error.layer, error.advice, error.status_hint))
    assert len(seen) == 1


def test_under_a_known_key_every_failure_of_a_stream_is_the_same_error_too() -> None:
    key = key_for()
    good, _ = chunked_request([b"hello", b"world"], key)
    whole_sent_as_chunked = seal_request(key.config, b"x").body
    bodies = [
        *(body for name, body in broken_bodies().items() if name != "chunked sent as whole"),
        whole_sent_as_chunked,
        good[:39],
        good[:45],
        good[:-1],
        good[: good.index(b"\0", 61)],
        good + b"x",
        good[:39] + varint(16) + bytes(16),
        good[:39] + varint(1 << 40) + bytes(100),
    ]
    seen = set()
    for body in bodies:
        opener = ChunkedRequestOpener(ring_for(), NOW)
        with pytest.raises(OpenError) as caught:
            read_all(opener, body)
        seen.add((type(caught.value), str(caught.value)))
    assert seen == {(OpenError, "the sealed message cannot be opened")}


def test_the_gateways_error_text_is_made_in_one_place() -> None:
    """By structure: nothing else in the modules that open makes an OpenError."""
    sources = Path(inspect.getfile(whole)).parent
    makers = [
        path.name
        for path in sources.glob("*.py")
        for node in ast.walk(ast.parse(path.read_text("utf-8")))
        if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "OpenError"
    ]
    assert makers == ["hpke.py"]


def test_what_the_libraries_raise_never_comes_through(monkeypatch) -> None:
    class Broken(ContextInterface):
        def open(self, data: bytes, associated: bytes = b"") -> bytes:
            raise LibraryError("secret detail")

    accepted = exchange.accept

    def accept(*args, **named):
        real = accepted(*args, **named)
        return exchange.Accepted(key=real.key, context=Broken(), response=real.response)

    monkeypatch.setattr(whole, "accept", accept)
    with pytest.raises(OpenError) as caught:
        open_request(ring_for(), seal_request(key_for().config, b"x").body, NOW)
    assert "detail" not in str(caught.value)


# Failures at the client


def test_an_answer_to_another_request_does_not_open() -> None:
    key, ring = key_for(), ring_for()
    mine, other = (seal_request(key.config, b"x") for _ in range(2))
    answer = seal_response(open_request(ring, other.body, NOW).response, b"y")
    with pytest.raises(OpenError):
        open_response(mine.response, answer)
    for short in (b"", answer[:16], answer[:31]):
        with pytest.raises(OpenError):
            open_response(other.response, short)


def test_an_answer_that_is_cut_at_a_chunk_is_truncated_and_not_short() -> None:
    sealed, _ = chunked_response([b"one", b"two", b"three"], key_for())
    for parts in (0, 1, 2):
        sealed, opener = chunked_response([b"one", b"two", b"three"], key_for())
        opener.feed(b"".join(sealed[:parts]))
        with pytest.raises(TruncatedError):
            opener.eof()
        with pytest.raises(TruncatedError):
            opener.eof()


def test_a_chunk_without_content_is_refused_unless_it_is_the_last() -> None:
    _, opener = chunked_response([b"x"], key_for())
    keys = opener._response.keys(bytes(16))
    empty = keys.seal(b"", b"")
    with pytest.raises(OpenError):
        opener.feed(bytes(16) + varint(len(empty)) + empty)


def test_a_final_chunk_sent_as_another_does_not_open() -> None:
    sealed, opener = chunked_response([b"one", b"two"], key_for())
    last = sealed[1].removeprefix(b"\0")
    assert opener.feed(sealed[0]) == [b"one"]
    with pytest.raises(OpenError):
        opener.feed(varint(len(last)) + last)


# Streams in detail


def test_large_data_goes_out_in_chunks_every_receiver_takes() -> None:
    data = bytes(range(256)) * 400
    for size in (0, 1, CHUNK_BYTES, CHUNK_BYTES + 1, len(data)):
        stream, _ = chunked_request([data[:size]], key_for())
        opener = ChunkedRequestOpener(ring_for(), NOW, max_chunk=CHUNK_BYTES, max_final=CHUNK_BYTES)
        assert b"".join(opener.feed(stream)) + opener.eof() == data[:size]
        sealer = ChunkedRequestSealer(key_for().config)
        stream = sealer.seal(data[:size]) + sealer.finish()
        opener = ChunkedRequestOpener(ring_for(), NOW, max_chunk=CHUNK_BYTES, max_final=CHUNK_BYTES)
        assert b"".join(opener.feed(stream)) + opener.eof() == data[:size]


@pytest.mark.parametrize("size", [0, 1, 63, 64, 65, 500, 16_365, 16_366, 16_367, 16_384, 40_000])
def test_content_sealed_in_one_step_is_sealed_as_in_two(size: int) -> None:
    request, _ = chunked_request([b"q"], key_for())
    gateway = ChunkedRequestOpener(ring_for(), NOW)
    gateway.feed(request)
    gateway.eof()
    nonce = bytes(range(16))
    one, two = (ChunkedResponseSealer(gateway.response, nonce=nonce) for _ in range(2))
    data = bytes(n % 251 for n in range(size))
    for piece in (b"the first", data, data):
        assert one.seal_content(piece) == two.seal(encode_content(piece))
    assert one.finish(b"end") == two.finish(b"end")


def test_chunks_beyond_the_limits_are_refused_before_they_are_kept() -> None:
    start = chunked_request([b"x"], key_for())[0][:39]
    opener = ChunkedRequestOpener(ring_for(), NOW, max_chunk=1000)
    with pytest.raises(OpenError):
        opener.feed(start + varint(1017))
    opener = ChunkedRequestOpener(ring_for(), NOW, max_final=1000)
    assert opener.feed(start + b"\0" + bytes(1016)) == []
    with pytest.raises(OpenError):
        opener.feed(b"x")
    assert len(opener._frames._buffer) == 0


def test_the_zero_of_the_final_chunk_may_be_written_longer() -> None:
    sealed, opener = chunked_response([b"one", b"two"], key_for())
    longer = b"\x40\0" + sealed[1].removeprefix(b"\0")
    assert opener.feed(sealed[0] + longer) == [b"one"]
    assert opener.eof() == b"two"


def test_a_finished_message_takes_no_more() -> None:
    sealer = ChunkedRequestSealer(key_for().config)
    sealer.finish(b"x")
    with pytest.raises(ValueError, match="finished"):
        sealer.seal(b"y")
    with pytest.raises(ValueError, match="finished"):
        sealer.finish()
    sealed, opener = chunked_response([b"x"], key_for())
    opener.feed(sealed[0])
    assert opener.eof() == b"x"
    with pytest.raises(ValueError, match="ended"):
        opener.feed(b"y")


def test_sealing_nothing_sends_nothing() -> None:
    sealer = ChunkedRequestSealer(key_for().config)
    assert sealer.seal(b"") == b""
    assert sealer.seal(b"a").startswith(key_for().config.suites[0].header(7))
