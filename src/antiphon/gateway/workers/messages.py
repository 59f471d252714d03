"""What the supervisor and a worker say to each other: one JSON object a line, over a socket pair.

The pair is the lifeline too: its end means that the other side has ended.
"""

from __future__ import annotations

import asyncio
from typing import Final

import msgspec

from antiphon.engines.launch.host import Order, decode_order, encode_order

__all__ = [
    "MAX_LINE",
    "Announce",
    "Asked",
    "Begin",
    "Down",
    "Failed",
    "Gone",
    "Got",
    "Hold",
    "Message",
    "Ready",
    "Refused",
    "Release",
    "Said",
    "Unload",
    "Unloaded",
    "Up",
    "as_raw",
    "from_raw",
    "read",
    "write",
]

MAX_LINE: Final = 1024 * 1024
"""Bytes of the longest message."""


class Begin(msgspec.Struct, frozen=True, tag=True):
    """To a worker, first: what it is."""

    number: int
    of: int
    folder: str
    listener: int
    """The descriptor of the socket to accept from."""
    config: str | None
    flags: dict[str, str]
    keys: str
    """What the first lines say of the keys."""


class Ready(msgspec.Struct, frozen=True, tag=True):
    """From a worker: it serves."""


class Announce(msgspec.Struct, frozen=True, tag=True):
    """To one worker: all serve, so say where and what."""


class Failed(msgspec.Struct, frozen=True, tag=True):
    """From a worker that cannot serve: what to say, and the exit code."""

    message: str
    code: int


class Said(msgspec.Struct, frozen=True, tag=True):
    """From a worker, before it serves: what is being waited for."""

    text: str


class Hold(msgspec.Struct, frozen=True, tag=True):
    """From a worker: have a model's server started."""

    number: int
    order: msgspec.Raw


class Got(msgspec.Struct, frozen=True, tag=True):
    """To it: the server runs."""

    number: int
    url: str
    pid: int | None


class Refused(msgspec.Struct, frozen=True, tag=True):
    """To it: there is none."""

    number: int
    message: str


class Release(msgspec.Struct, frozen=True, tag=True):
    """From a worker: it is not used here any more."""

    number: int


class Gone(msgspec.Struct, frozen=True, tag=True):
    """To who holds it: it has died."""

    number: int
    cause: str


class Asked(msgspec.Struct, frozen=True, tag=True):
    """To who holds it: let it go."""

    number: int
    now: bool


class Unload(msgspec.Struct, frozen=True, tag=True):
    """From a worker: have everyone let it go."""

    number: int
    order: msgspec.Raw


class Unloaded(msgspec.Struct, frozen=True, tag=True):
    """To it: it has ended."""

    number: int


class Up(msgspec.Struct, frozen=True, tag=True):
    """To all: a model is loaded."""

    order: msgspec.Raw
    url: str
    pid: int | None


class Down(msgspec.Struct, frozen=True, tag=True):
    """To all: it is not any more."""

    order: msgspec.Raw


Message = (
    Begin
    | Ready
    | Announce
    | Failed
    | Said
    | Hold
    | Got
    | Refused
    | Release
    | Gone
    | Asked
    | Unload
    | Unloaded
    | Up
    | Down
)

_ENCODE: Final = msgspec.json.Encoder().encode
_DECODE: Final = msgspec.json.Decoder(Message).decode


async def read(reader: asyncio.StreamReader) -> Message | None:
    """The next message; None: the other side has ended."""
    try:
        line = await reader.readline()
    except OSError:
        return None
    return _DECODE(line) if line.endswith(b"\n") else None


def write(writer: asyncio.StreamWriter, message: Message) -> None:
    """Say something. To someone who has ended, nothing is said."""
    if not writer.is_closing():
        writer.write(_ENCODE(message) + b"\n")


def as_raw(order: Order) -> msgspec.Raw:
    """An order within a message."""
    return msgspec.Raw(encode_order(order))


def from_raw(order: msgspec.Raw) -> Order:
    """An order from a message."""
    return decode_order(order)
