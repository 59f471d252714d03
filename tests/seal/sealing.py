"""Keys and small helpers of the seal tests."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import cache
from itertools import pairwise
from random import Random
from typing import Any

from hypothesis import strategies as st

from antiphon.seal import (
    ChunkedRequestOpener,
    ChunkedRequestSealer,
    ChunkedResponseOpener,
    ChunkedResponseSealer,
    Content,
    Keyring,
    SealError,
    SealKey,
)

NOW = 1_800_000_000
KEMS = ("x25519", "p256", "mlkem768-x25519")
CIPHERS = ("aes-128-gcm", "chacha20-poly1305")


@cache
def _key(kem: str, cipher: str, key_id: int) -> SealKey:
    return SealKey.generate(key_id, created=NOW, kem=kem, ciphers=(cipher,))


@cache
def _ring(kem: str, cipher: str) -> Keyring:
    return Keyring([_key(kem, cipher, 7)])


def key_for(kem: str = "x25519", cipher: str = "aes-128-gcm", key_id: int = 7) -> SealKey:
    """The same key for the same arguments, all through the run."""
    return _key(kem, cipher, key_id)


def ring_for(kem: str = "x25519", cipher: str = "aes-128-gcm") -> Keyring:
    return _ring(kem, cipher)


def pieces(data: bytes, cuts: Iterable[int]) -> list[bytes]:
    """``data`` in pieces, cut at these positions."""
    at = [0, *sorted(cut % (len(data) + 1) for cut in cuts), len(data)]
    return [data[a:b] for a, b in pairwise(at)]


def cut_lists() -> st.SearchStrategy[list[int]]:
    return st.lists(st.integers(0, 10_000), max_size=12)


def outcome(feed: Callable[[bytes], list[Any]], eof: Callable[[], Any], data: Sequence[bytes]):
    """Everything that came out of feeding ``data``, pieces of content joined, and how it ended."""
    out: list[Any] = []
    end: Any
    try:
        for piece in data:
            for one in feed(piece):
                if isinstance(one, Content) and out and isinstance(out[-1], Content):
                    out[-1] = Content(out[-1].data + one.data)
                else:
                    out.append(one)
        end = eof()
    except SealError as error:
        end = (type(error), str(error))
    return out, end


def read_all(opener: Any, data: bytes) -> list[Any]:
    """All that a reader makes of ``data``; raises what it raises."""
    return [*opener.feed(data), opener.eof()]


def chunked_request(chunks: Sequence[bytes], key: SealKey) -> tuple[bytes, ChunkedRequestSealer]:
    sealer = ChunkedRequestSealer(key.config)
    return b"".join(map(sealer.seal, chunks[:-1])) + sealer.finish(chunks[-1]), sealer


def chunked_response(
    chunks: Sequence[bytes], key: SealKey
) -> tuple[list[bytes], ChunkedResponseOpener]:
    """The sealed chunks of a response, and an opener for it."""
    request, client = chunked_request([b"q"], key)
    gateway = ChunkedRequestOpener(Keyring([key]), NOW)
    gateway.feed(request)
    gateway.eof()
    sealer = ChunkedResponseSealer(gateway.response)
    sealed = [*map(sealer.seal, chunks[:-1]), sealer.finish(chunks[-1])]
    return sealed, ChunkedResponseOpener(client.response)


def mutated(data: bytes, random: Random) -> bytes:
    """``data`` after one to three mistakes."""
    for _ in range(random.randint(1, 3)):
        at = random.randrange(len(data) + 1)
        end = min(len(data), at + random.randint(1, 40))
        match random.randrange(7):
            case 0:
                data = data[:at]
            case 1:
                data = data[:at] + data[end:]
            case 2:
                data = data[:at] + random.randbytes(random.randint(1, 9)) + data[at:]
            case 3:
                data = data[:end] + data[at:]
            case 4:
                data = data[:at] + bytes(end - at) + data[end:]
            case _:
                flipped = bytearray(data)
                if flipped:
                    flipped[random.randrange(len(flipped))] ^= 1 << random.randrange(8)
                data = bytes(flipped)
    return data
