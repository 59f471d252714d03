"""Seeded token streams: what models write, what they write wrongly, and noise."""

from __future__ import annotations

from functools import cache
from random import Random
from typing import Final

from antiphon.vocab.control import CALL, CHANNEL, CONSTRAIN, END, MESSAGE, RETURN, START
from antiphon.vocab.table import ordinary_bytes
from antiphon.vocab.tokenizer import default_tokenizer

__all__ = ["stream"]

_NAMED: Final = (START, END, MESSAGE, CHANNEL, RETURN, CALL, CONSTRAIN)
_OTHER_CONTROL: Final = (199_998, 199_999, 200_000, 200_017, 200_018, 201_087, 201_088)
_UNKNOWN: Final = (201_089, 201_090, 402_177, 402_178, 2**32 - 1)
_RAW_FF: Final = 187
_WORDS: Final = (
    "assistant user system developer tool functions.f browser.search to= to=functions.f json code"
    " analysis commentary final hello to=assistant <|channel|> <|constrain|> <|message|> < ' \" \\"
).split()
_ODD: Final = (
    " to=functions.g",
    " ",
    "\n",
    "  ",
    "\t",
    " json",
    " assistant",
    "\u2003",
    "\xa0",
    "\x0b",
    "\x1c",
    "\x85",
    "\u200b",
    "\0",
    "é",
    "e\u0301",
    "x\u0301 y",
    "\u0d3e z",
    "日本",
    "😀",
)
_PIECES: Final = (*_WORDS, *_ODD)
_ROLES: Final = ("assistant", "assistant", "user", "functions.f", "tool", "system", "")
_CHANNELS: Final = ("analysis", "commentary", "final", "x y", "", " a")
_GIVEN: Final = (
    None, None, "assistant", "assistant", "assistant", "user", "tool", "system", "developer",
)  # fmt: skip


@cache
def _encoded(text: str) -> tuple[int, ...]:
    return tuple(default_tokenizer().encode(text))


@cache
def _parts_of_characters() -> list[int]:
    return [
        token
        for token, spelling in enumerate(ordinary_bytes())
        if spelling.decode("utf-8", "ignore").encode() != spelling
    ]


def stream(rng: Random) -> tuple[list[int], str | None]:
    """Token ids, and the role that the parser is to be given."""
    role = rng.choice(_GIVEN)
    kind = rng.random()
    if kind >= 0.75:
        return _noise(rng), role
    ids: list[int] = []
    for i in range(rng.choice((1, 1, 2, 2, 3, 4))):
        ids += _message(rng, inside=i == 0 and role is not None)
    if kind > 0.5:
        _mutate(rng, ids)
    return ids, role


def _noise(rng: Random) -> list[int]:
    ids: list[int] = []
    for _ in range(rng.randrange(14)):
        ids += (rng.choice(_NAMED),) if rng.random() < 0.5 else _text(rng)
    return ids


def _message(rng: Random, *, inside: bool) -> list[int]:
    ids = [] if inside and rng.random() < 0.9 else [START]
    header = _header(rng)
    assistant = list(_encoded("assistant"))
    if inside and rng.random() < 0.8 and header[:1] == assistant:
        header = header[1:]
    ids += header
    if rng.random() < 0.93:
        ids.append(MESSAGE)
    for _ in range(rng.choice((0, 1, 1, 2, 3, 5))):
        ids += _text(rng)
    if rng.random() < 0.95:
        ids.append(rng.choice((END, END, RETURN, CALL)))
    return ids


def _header(rng: Random) -> list[int]:
    ids = [*_encoded(rng.choice(_ROLES))]
    for _ in range(rng.choice((0, 0, 1, 1, 1, 2, 3))):
        kind = rng.random()
        if kind < 0.4:
            ids += (CHANNEL, *_encoded(rng.choice(_CHANNELS)))
        elif kind < 0.6:
            ids += _encoded(rng.choice((" to=functions.f", " to=assistant", " to=", " foo")))
        elif kind < 0.8:
            ids += rng.choice(((), _encoded(" ")))
            ids += (CONSTRAIN, *_encoded(rng.choice(("json", " json", ""))))
        elif kind < 0.97:
            ids += _encoded(rng.choice(_PIECES))
        else:
            ids += _text(rng)
    return ids


def _text(rng: Random) -> tuple[int, ...]:
    kind = rng.random()
    if kind < 0.3:
        return _encoded(rng.choice(_PIECES))
    if kind < 0.5:
        return tuple(rng.randrange(199_998) for _ in range(rng.randrange(4)))
    if kind < 0.6:
        return tuple(rng.choice(_parts_of_characters()) for _ in range(rng.randrange(1, 4)))
    if kind < 0.7:
        return (_RAW_FF,)
    if kind < 0.73:
        return (rng.choice(_UNKNOWN),)
    if kind < 0.78:
        return (rng.choice(_OTHER_CONTROL),)
    if kind < 0.8:
        return (rng.choice(_NAMED),)
    return _encoded(rng.choice(("Hello world", " 2+2=4 日本語 😀", "x\n\n")))


def _mutate(rng: Random, ids: list[int]) -> None:
    for _ in range(rng.randrange(1, 3)):
        if not ids:
            return
        at = rng.randrange(len(ids))
        kind = rng.random()
        if kind < 0.4:
            del ids[at]
        elif kind < 0.7:
            ids.insert(at, rng.choice((*_NAMED, *_OTHER_CONTROL, *_UNKNOWN, _RAW_FF)))
        elif kind < 0.85:
            ids[at] = rng.choice(_NAMED)
        else:
            other = rng.randrange(len(ids))
            ids[at], ids[other] = ids[other], ids[at]
