"""The reference library's parser, exactly (openai-harmony 0.0.8): strict and lenient, whole or
token by token.

The states and what the tokens do in them::

    EXPECT_START  <|start|> → HEADER; anything else is refused
    HEADER        <|message|> → CONTENT; with ``lenient`` a stop token ends a message that has only
                  a header; anything else, stop tokens too, is header
    CONTENT       <|end|>, <|return|>, <|call|> or the end of input ends the message; anything else,
                  other control tokens too, is text

A role given by the caller holds for the first message whose header can be read. After a refused
token or header the parser stands in a defined state and may be fed on.
"""

from __future__ import annotations

import re
from array import array
from codecs import utf_8_decode
from collections.abc import Iterable, Sequence
from enum import Enum
from typing import Final, NamedTuple

from antiphon.codec.events import Header
from antiphon.codec.strict_decode import DecodeError, decode_utf8
from antiphon.codec.strict_header import (
    HEADERS_BY_BYTES,
    HeaderError,
    header_of_bytes,
    header_of_ids,
    read_header_only,
)
from antiphon.errors import ParseError
from antiphon.model.message import Role
from antiphon.vocab import spellings
from antiphon.vocab.control import CALL, END, MESSAGE, ORDINARY_COUNT, RETURN, START
from antiphon.vocab.table import token_bytes

__all__ = ["StrictMessage", "StrictParser", "StrictState", "parse_strict", "parse_unsigned"]

_STOPS: Final = frozenset({END, RETURN, CALL})
_REPLACEMENT: Final = "\N{REPLACEMENT CHARACTER}"
_TRUNCATED_SURROGATE: Final = re.compile(rb"\xed[\xa0-\xbf]\Z")
"""Broken already, although Python's incremental decoder waits for a third byte."""


class StrictState(Enum):
    """Where the parser stands. The values are the reference's names."""

    EXPECT_START = "ExpectStart"
    HEADER = "Header"
    CONTENT = "Content"


_EXPECT_START, _HEADER, _CONTENT = StrictState


class StrictMessage(NamedTuple):
    """One parsed message. ``stop`` is the token that ended it, None at the end of input."""

    header: Header
    text: str
    stop: int | None


class StrictParser:
    """The reference's incremental parser.

    ``role`` is the role of the first message when the tokens begin inside its header, as a
    completion does. ``lenient`` is the reference's ``strict=False``.

    ``delta`` is the text that the last token completed, or None. As in the reference, deltas lag
    behind broken UTF-8 and what is still missing when a message ends is in no delta; the deltas of
    a message are always a prefix of its text.

    A caller in a hurry may look the token up in ``texts`` himself. If he finds a string there,
    appending it to ``parts`` is all that `feed` would do, but for ``delta`` and ``position``;
    otherwise he calls `step`.
    """

    __slots__ = (
        "_header_ids",
        "_joined",
        "_joined_parts",
        "_lost",
        "_pending",
        "delta",
        "header",
        "lenient",
        "messages",
        "next_role",
        "parts",
        "position",
        "state",
        "texts",
    )

    def __init__(self, role: Role | None = None, *, lenient: bool = False) -> None:
        self.lenient = lenient
        self.next_role = role
        self.state = _EXPECT_START if role is None else _HEADER
        self.messages: list[StrictMessage] = []
        """Finished messages."""
        self.header: Header | None = None
        """The open message's header, while the state is CONTENT."""
        self.parts: list[str] = []
        """The open message's text so far, in the pieces that the reference encodes one by one."""
        self.delta: str | None = None
        self.position = 0
        """How many tokens were fed."""
        self._header_ids: list[int] = []
        self._pending = b""
        self._lost = False
        self._joined = ""
        self._joined_parts = 0
        self.texts = spellings.no_texts()

    def __getstate__(self) -> dict[str, object]:
        """Everything but ``texts``, which is shared by all parsers of a process."""
        return {name: getattr(self, name) for name in self.__slots__ if name != "texts"}

    def __setstate__(self, state: dict[str, object]) -> None:
        for name, value in state.items():
            setattr(self, name, value)
        plain = self.state is _CONTENT and not self._pending and not self._lost
        self.texts = spellings.complete_texts() if plain else spellings.no_texts()

    @property
    def header_ids(self) -> list[int]:
        """The tokens of an unfinished header."""
        return self._header_ids

    @property
    def role(self) -> Role | None:
        """The open message's role, or the given one while it waits for its message."""
        return self.next_role if self.header is None else self.header.author.role

    @property
    def content(self) -> str:
        """The open message's text so far; each call costs only what came since the last."""
        text = self._joined
        self._joined = ""
        text += "".join(self.parts[self._joined_parts :])
        self._joined_parts = len(self.parts)
        self._joined = text
        return text

    def feed(self, token: int) -> str | None:
        """Take one token and return `delta`. Raises ParseError where the reference raises."""
        self.position += 1
        if token >= 0:
            try:
                delta = self.texts[token]
            except IndexError:
                delta = None
            if delta is not None:
                self.parts.append(delta)
                self.delta = delta
                return delta
        return self.step(token)

    def feed_many(self, tokens: Iterable[int]) -> None:
        """Take tokens in order. Raises ParseError at the first that the reference refuses."""
        for token in tokens:
            self.feed(token)

    def eof(self) -> None:
        """Take the end of input. Raises ParseError inside a header."""
        self.delta = None
        if self.state is _CONTENT:
            self._finish(None)
        elif self.state is _HEADER:
            raise ParseError(
                "Unexpected EOS while waiting for message header to complete",
                recovery="ends the message there and keeps its text",
            )

    def step(self, token: int) -> str | None:
        """`feed` for a token that ``texts`` has no text for."""
        self.delta = None
        if self.state is not _CONTENT:
            self._step_outside(token)
        elif token in _STOPS:
            self._finish(token)
        elif not self._lost:
            return self._take_text(token)
        return None

    def _take_text(self, token: int) -> str | None:
        spelling = _spellings.get(token)
        if spelling is None:
            spelling = token_bytes(token)
            if spelling is None:
                self._lost = True
                self.texts = spellings.no_texts()
                return None
            _spellings[token] = spelling
        pending = self._pending
        data = pending + spelling
        try:
            delta, used = utf_8_decode(data)
        except UnicodeDecodeError as error:
            return self._take_broken(data, error.start, error.end)
        if used < len(data):
            if data[used] == 0xED and _TRUNCATED_SURROGATE.match(data, used):
                return self._take_broken(data, used, used + 1)
            self._pending = data[used:]
            if not pending:
                self.texts = spellings.no_texts()
        elif pending:
            self._pending = b""
            self.texts = spellings.complete_texts()
        elif token < ORDINARY_COUNT:
            self.texts[token] = delta
        if not delta:
            return None
        self.delta = delta
        self.parts.append(delta)
        return delta

    def _take_broken(self, data: bytes, start: int, end: int) -> str:
        """Text whose bytes from ``start`` to ``end`` are no UTF-8; the rest waits for a token."""
        good = data[:start].decode()
        if good:
            self.parts.append(good)
        self.parts.append(_REPLACEMENT)
        self.delta = good + _REPLACEMENT
        self._pending = data[end:]
        self.texts = spellings.no_texts() if self._pending else spellings.complete_texts()
        return self.delta

    def _step_outside(self, token: int) -> None:
        if self.state is _HEADER:
            if token == MESSAGE:
                self._open()
            elif self.lenient and token in _STOPS:
                self._close_header(token)
            else:
                self._header_ids.append(token)
        elif token == START:
            self.state = _HEADER
        else:
            raise ParseError(
                f"Unexpected token {token} while expecting start token {START}",
                position=self.position - 1,
                recovery="begins a new message there, or adds the text to the one before",
            )

    def _open(self) -> None:
        ids, self._header_ids = self._header_ids, []
        self.state = _EXPECT_START
        try:
            header = header_of_ids(ids, self.next_role)
        except HeaderError as error:
            raise self._refused(error) from None
        self.next_role = None
        self.header = header
        self.state = _CONTENT
        self.texts = spellings.complete_texts()

    def _close_header(self, stop: int) -> None:
        if self.next_role is not None and self._header_ids:
            try:
                header, text = read_header_only(decode_utf8(self._header_ids), self.next_role)
            except (DecodeError, HeaderError) as error:
                raise self._refused(error) from None
            self.messages.append(StrictMessage(header, text, stop))
        self._header_ids = []
        self.next_role = None
        self.state = _EXPECT_START

    def _refused(self, error: ValueError) -> ParseError:
        return ParseError(
            str(error),
            position=self.position - 1,
            recovery="reads what it can of the header and keeps the rest as text",
        )

    def _finish(self, stop: int | None) -> None:
        text = self.content
        if self._lost:
            text += _REPLACEMENT
        if self._pending:
            text += self._pending.decode("utf-8", "replace")
        assert self.header is not None
        self.messages.append(StrictMessage(self.header, text, stop))
        self.header = None
        self.parts = []
        self._pending = b""
        self._lost = False
        self._joined = ""
        self._joined_parts = 0
        self.texts = spellings.no_texts()
        self.state = _EXPECT_START


_spellings: dict[int, bytes] = {}
"""The bytes of tokens that were asked for: those that are no whole characters, mostly."""


def parse_strict(
    ids: Sequence[int], role: Role | None = None, *, lenient: bool = False
) -> list[StrictMessage]:
    """All messages of a completion, as the reference's batch parser gives them.

    Raises ParseError where the reference raises. An integer that is no token id at all is taken
    as an unknown token.
    """
    try:
        array("I", ids)
    except OverflowError:
        return _parse_by_token(ids, role, lenient)
    return parse_unsigned(ids, role, lenient=lenient)


def parse_unsigned(
    ids: Sequence[int], role: Role | None = None, *, lenient: bool = False
) -> list[StrictMessage]:
    """`parse_strict` for ids that are known not to be negative."""
    messages = _parse_joined(ids, role, lenient)
    return _parse_by_token(ids, role, lenient) if messages is None else messages


def _parse_by_token(ids: Sequence[int], role: Role | None, lenient: bool) -> list[StrictMessage]:
    parser = StrictParser(role, lenient=lenient)
    parser.feed_many(ids)
    parser.eof()
    return parser.messages


_STOP_IDS: Final = {spellings.END[1]: END, spellings.RETURN[1]: RETURN, spellings.CALL[1]: CALL}
_HEADER_END_OR_STOP: Final = re.compile(rb"\xff[MERA]")


def _parse_joined(
    ids: Sequence[int], role: Role | None, lenient: bool
) -> list[StrictMessage] | None:
    """The messages, or None where only going token by token gives the exact answer or error."""
    data = spellings.join(ids)
    if data is None:
        return None
    messages: list[StrictMessage] = []
    end = len(data)
    at = 0
    find = data.find
    remembered = HEADERS_BY_BYTES
    while at < end or role is not None:
        if role is None:
            if data[at : at + 2] != spellings.START:
                return None
            at += 2
        if lenient:
            found = _HEADER_END_OR_STOP.search(data, at)
            if found is None:
                return None
            stop = _STOP_IDS.get(data[found.start() + 1])
            if stop is not None:
                if role is not None and found.start() > at:
                    spelled = spellings.named(data[at : found.start()])
                    try:
                        header, text = read_header_only(spelled.decode(), role)
                    except (HeaderError, UnicodeDecodeError):
                        return None
                    messages.append(StrictMessage(header, text, stop))
                role = None
                at = found.end()
                continue
            mark = found.start()
        else:
            mark = find(spellings.MESSAGE, at)
            if mark < 0:
                return None
        key = data[at:mark]
        known = remembered[role].get(key) or header_of_bytes(key, role)
        if known is None:
            return None
        role = None
        start = mark + 2
        mark = find(b"\xff", start)
        plain = True
        while mark >= 0:
            stop = _STOP_IDS.get(data[mark + 1])
            if stop is not None:
                break
            plain = False
            mark = find(b"\xff", mark + 2)
        else:
            stop = None
            mark = end
        spelled = data[start:mark] if plain else spellings.named(data[start:mark])
        messages.append(StrictMessage(known, utf_8_decode(spelled, "replace", True)[0], stop))
        at = mark + 2
    return messages
