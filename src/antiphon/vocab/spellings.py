"""Fast tables over token ids: the bytes of a whole completion at once, the text of one token.

`join`: every ordinary token gives its bytes. A control token gives a *marker*: the byte 0xFF, which
occurs in no valid UTF-8, and a letter that says which one it is, so that the control tokens of a
joined completion are found by ``bytes.find`` and ``re`` at memory speed::

    <|start|> FF 'S'   <|channel|> FF 'C'   <|message|> FF 'M'   <|constrain|> FF 'J'
    <|end|>   FF 'E'   <|return|>  FF 'R'   <|call|>    FF 'A'   <|endoftext|> FF 'T'
    every other control token: FF 'O' and its name

One ordinary token, id 187, is the raw byte 0xFF; a completion that holds it, or an id that is not
in the vocabulary, has no joined form, and its reader falls back to token by token.

`complete_texts`: what a streaming parser indexes with each token it is fed.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import cache
from operator import index, itemgetter
from typing import Final

from antiphon.vocab import control
from antiphon.vocab.control import (
    CONTROL_NAMES,
    FIRST_CONTROL_ID,
    LAST_CONTROL_ID,
    ORDINARY_COUNT,
)
from antiphon.vocab.table import ordinary_bytes, vocabulary

__all__ = [
    "CALL",
    "CHANNEL",
    "CONSTRAIN",
    "END",
    "ENDOFTEXT",
    "MARK",
    "MESSAGE",
    "OTHER",
    "RAW_FF",
    "RETURN",
    "START",
    "complete_texts",
    "join",
    "named",
    "no_texts",
]

MARK: Final = b"\xff"
"""The first byte of every marker, and found nowhere else in what `join` returns."""

START: Final = b"\xffS"
CHANNEL: Final = b"\xffC"
MESSAGE: Final = b"\xffM"
CONSTRAIN: Final = b"\xffJ"
END: Final = b"\xffE"
RETURN: Final = b"\xffR"
CALL: Final = b"\xffA"
ENDOFTEXT: Final = b"\xffT"
OTHER: Final = b"\xffO"
"""Any control token without a letter of its own. Its name follows."""

RAW_FF: Final = 187
"""The ordinary token that is the single byte 0xFF."""

_LETTERED: Final = {
    control.START: START,
    control.CHANNEL: CHANNEL,
    control.MESSAGE: MESSAGE,
    control.CONSTRAIN: CONSTRAIN,
    control.END: END,
    control.RETURN: RETURN,
    control.CALL: CALL,
    control.ENDOFTEXT: ENDOFTEXT,
}
_NAMES: Final = {marker: CONTROL_NAMES[i].encode() for i, marker in _LETTERED.items()} | {
    OTHER: b""
}
_MARKER: Final = re.compile(rb"\xff.", re.DOTALL)

_AT_ONCE: Final = 16_384
"""Ids looked up in one go; tuples of half a million make the processor's caches useless."""

_SHORT_LIVED: Final = 4_000
"""Tokens a process may ask for before the whole table is worth its 15 ms and 20 MB."""


def _marker(token: int) -> bytes:
    return _LETTERED.get(token) or OTHER + CONTROL_NAMES[token].encode()


class _LazyTable(dict[int, bytes | None]):
    """The table of a process that has only just started: an entry is made when asked for."""

    def __missing__(self, token: int) -> bytes | None:
        spelling: bytes | None = None
        if 0 <= token < ORDINARY_COUNT:
            if token != RAW_FF:
                spelling = vocabulary().ordinary(token)
        elif FIRST_CONTROL_ID <= token <= LAST_CONTROL_ID:
            spelling = _marker(token)
        self[token] = spelling
        return spelling


def _whole_table() -> list[bytes | None]:
    """Index = id. None makes ``bytes.join`` fail, which costs valid input nothing.

    The second half is what negative ids index.
    """
    table: list[bytes | None] = list(ordinary_bytes())
    table[RAW_FF] = None
    table += [_marker(i) for i in range(FIRST_CONTROL_ID, LAST_CONTROL_ID + 1)]
    table += [None] * len(table)
    return table


_table: _LazyTable | list[bytes | None] = _LazyTable()
_asked = 0


def join(ids: Sequence[int]) -> bytes | None:
    """The bytes of all tokens, control tokens as markers.

    None if an id is not in the vocabulary or is `RAW_FF`. Ids must be integers; those below
    -201,089 are the caller's to refuse (a cheap way is ``array("I", ids)``).
    """
    global _table, _asked
    if type(_table) is _LazyTable:
        _asked += len(ids)
        if _asked > _SHORT_LIVED:
            _table = _whole_table()
    try:
        if 1 < len(ids) <= _AT_ONCE:
            return b"".join(itemgetter(*ids)(_table))
        return b"".join([_joined(ids[i : i + _AT_ONCE]) for i in range(0, len(ids), _AT_ONCE)])
    except (IndexError, TypeError):
        for token in ids:
            index(token)
        return None


def _joined(ids: Sequence[int]) -> bytes:
    """Raises IndexError or TypeError for what has no joined form."""
    if len(ids) > 1:
        return b"".join(itemgetter(*ids)(_table))
    return b"".join([_table[token] for token in ids])  # type: ignore[misc]


def named(data: bytes) -> bytes:
    """``data`` with every marker replaced by the name of its control token."""
    return _MARKER.sub(lambda found: _NAMES[found.group()], data) if MARK in data else data


@cache
def complete_texts() -> list[str | None]:
    """One shared list, index = id: the text of tokens that are whole characters, else None.

    Every entry starts as None. Whoever decodes such an ordinary token stores its text; control
    tokens are never stored.
    """
    return [None] * (LAST_CONTROL_ID + 1)


@cache
def no_texts() -> list[str | None]:
    """A list of `complete_texts`'s length that stays all None, to put in its place for a while."""
    return [None] * (LAST_CONTROL_ID + 1)
