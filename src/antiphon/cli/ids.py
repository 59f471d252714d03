"""Token ids written as text: a JSON array, or integers separated by white space or commas."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import Final

from antiphon.cli.errors import DataError
from antiphon.vocab.control import LAST_CONTROL_ID

__all__ = ["read_ids"]

_NOT_IDS: Final = re.compile(r"[^\d\s,-]", re.ASCII)
_SEPARATED: Final = re.compile(r"[\s,]", re.ASCII)
_MAX_DIGITS: Final = 20


def read_ids(chunks: Iterable[str], name: str, *, checked: bool = False) -> Iterator[list[int]]:
    """The ids in ``chunks``, one list a chunk. Raises DataError naming the character offset.

    ``checked`` also refuses ids that are no token; a parser has its own way with those.
    """
    reader = _Reader(name, checked=checked)
    for chunk in chunks:
        yield reader.feed(chunk)
    yield reader.close()


class _Reader:
    def __init__(self, name: str, *, checked: bool) -> None:
        self._name = name
        self._checked = checked
        self._tail = ""
        self._offset = 0
        self._count = 0
        self._bracket = ""

    def feed(self, chunk: str) -> list[int]:
        text = self._tail + chunk
        end = len(text)
        while end and not _SEPARATED.match(text[end - 1]):
            end -= 1
        if len(text) - end > _MAX_DIGITS and "]" not in text[end:]:
            raise self._problem(end, text)
        self._tail = text[end:]
        return self._take(text[:end])

    def close(self) -> list[int]:
        text, self._tail = self._tail, ""
        ids = self._take(text)
        if self._bracket == "[":
            raise DataError(
                f"{self._name}: character {self._offset}: the JSON array of token ids has no end"
            )
        if not self._count:
            raise DataError(f"{self._name}: no token ids found")
        return ids

    def _take(self, text: str) -> list[int]:
        body = self._without_brackets(text)
        if wrong := _NOT_IDS.search(body):
            raise self._problem(wrong.start(), text)
        try:
            ids = [int(word) for word in body.replace(",", " ").split()]
        except ValueError:
            wrong = re.search(r"-(?!\d)|(?<=\d)-|\d{21,}", body)
            raise self._problem(wrong.start() if wrong else 0, text) from None
        if self._checked:
            self._check(ids)
        self._offset += len(text)
        self._count += len(ids)
        return ids

    def _without_brackets(self, text: str) -> str:
        """``text`` with the brackets of the one array blanked out, so that offsets stay."""
        if not self._bracket and not self._count:
            at = len(text) - len(text.lstrip())
            if text[at : at + 1] == "[":
                self._bracket = "["
                text = f"{text[:at]} {text[at + 1 :]}"
        if self._bracket == "[" and (at := text.find("]")) >= 0:
            self._bracket = "[]"
            if wrong := _NOT_IDS.search(text, 0, at):
                raise self._problem(wrong.start(), text)
            if rest := text[at + 1 :].lstrip():
                raise self._problem(len(text) - len(rest), text)
            text = text[:at]
        elif self._bracket == "[]" and (rest := text.lstrip()):
            raise self._problem(len(text) - len(rest), text)
        return text

    def _check(self, ids: list[int]) -> None:
        for i, token in enumerate(ids):
            if not 0 <= token <= LAST_CONTROL_ID:
                raise DataError(
                    f"{self._name}: id {token} (number {self._count + i}, counted from 0) is not a"
                    f" token; ids go from 0 to {LAST_CONTROL_ID}"
                )

    def _problem(self, at: int, text: str) -> DataError:
        found = text[at : at + 20]
        return DataError(
            f"{self._name}: character {self._offset + at}: expected a token id, found {found!r}"
        )
