"""From an input to parser chunks: find out what it holds, then feed it piece by piece."""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import chain
from typing import Final, Literal, NamedTuple

from antiphon.cli.errors import DataError
from antiphon.cli.ids import read_ids
from antiphon.cli.source import TextInput
from antiphon.codec.stripped import looks_stripped
from antiphon.codec.text import find_control
from antiphon.vocab.control import CONTROL_NAMES, START, is_control

__all__ = ["INPUTS", "Chunk", "Feed", "InputKind", "open_feed"]

InputKind = Literal["ids", "marked", "stripped"]
INPUTS: Final = ("auto", "ids", "marked", "stripped")
Chunk = list[int] | str

MAX_LOOK: Final = 1 << 14
"""Characters looked at before ``auto`` decides. A shorter input is looked at whole."""

_ARRAY_OF_IDS: Final = re.compile(r"\s*\[\s*-?\d+\s*[,\]]", re.ASCII)
_NUMBERS: Final = re.compile(r"[\s\d,\[-]*", re.ASCII)
_NUMBER: Final = re.compile(r"(?<![\d-])\d{6}(?=[\s,])", re.ASCII)


class Feed(NamedTuple):
    """What to feed a parser: chunks of one kind, the whole input in order."""

    kind: InputKind
    begins_with_start: bool
    """Whether the input begins with ``<|start|>``, as a transcript does and a completion not."""
    chunks: Iterator[Chunk]


def open_feed(source: TextInput, wanted: str) -> Feed:
    """Read enough of ``source`` to know its kind (unless ``wanted`` says it), and go on from there.

    Raises DataError if the input is empty, is not UTF-8, or is not ids where ids are wanted.
    """
    pieces = source.text()
    seen = ""
    kind: InputKind | None = wanted if wanted in ("ids", "marked", "stripped") else None  # type: ignore[assignment]
    whole = True
    for piece in pieces:
        seen += piece
        kind = kind or _certain(seen)
        if kind is not None and (len(seen) >= len(_START) or seen[:1] != "<"):
            whole = False
            break
        if len(seen) > MAX_LOOK:
            whole = False
            break
    if whole and not seen.strip():
        raise DataError(f"{source.name}: the input holds nothing but white space")
    kind = kind or _guess(seen)
    text = chain((seen,), pieces)
    if kind != "ids":
        return Feed(kind, seen.startswith(_START), _without_last_newline(text))
    ids = read_ids(text, source.name)
    first: list[int] = []
    for first in ids:
        if first:
            break
    return Feed(kind, first[:1] == [START], chain((first,), ids))


def _without_last_newline(chunks: Iterator[str]) -> Iterator[str]:
    """Leave out the newline that ends a text file, if a control token is before it.

    An editor put it there, not the model. Anywhere else it is text.
    """
    before, held = "", ""
    for chunk in chunks:
        text = held + chunk
        body = text.removesuffix("\n").removesuffix("\r")
        held = text[len(body) :]
        if body:
            before = body[-2:] if len(body) > 1 else before[-1:] + body
            yield body
    if held and before != "|>":
        yield held


_START: Final = CONTROL_NAMES[START]


def _certain(seen: str) -> InputKind | None:
    """The kind, if what was seen leaves no doubt."""
    if _ARRAY_OF_IDS.match(seen):
        return "ids"
    if _NUMBERS.fullmatch(seen):
        return "ids" if any(is_control(int(n)) for n in _NUMBER.findall(seen)) else None
    return "marked" if find_control(seen) else None


def _guess(seen: str) -> InputKind:
    """The kind of an input in which nothing certain was found."""
    numbers = _NUMBERS.fullmatch(seen)
    if numbers and any(is_control(int(n)) for n in _NUMBER.findall(seen + " ")):
        return "ids"
    return "stripped" if looks_stripped(seen) else "marked"
