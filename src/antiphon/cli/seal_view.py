"""How sealed answers look: on a terminal with the thinking, in a pipe plain, and as JSON."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from http import HTTPStatus
from typing import Any, Final

import msgspec

from antiphon.cli.errors import DataError
from antiphon.cli.terminal import Terminal, printable
from antiphon.seal import OpenError, ResponseHead, ResponseSecret
from antiphon.sealed.chat import ChatReader, Piece, error_message
from antiphon.sealed.exchange import SealedReader

__all__ = ["AnswerView", "open_answer"]

_MAX_CLEAR: Final = 16 * 1024
_LONG: Final = 64 * 1024 * 1024
"""Of an answer that is kept until it is whole."""


class AnswerView:
    """The answer of a chat, as it comes."""

    def __init__(self, terminal: Terminal, *, as_json: bool = False) -> None:
        self._terminal = terminal
        self._json = as_json
        self._last = ""
        self._line_open = False

    def pieces(self, pieces: Iterable[Piece]) -> None:
        terminal = self._terminal
        if self._json:
            return
        for kind, text in pieces:
            if kind == "thinking" and not terminal.is_tty:
                continue
            if self._last and kind != self._last:
                terminal.write("\n\n" if self._line_open else "\n")
            shown = printable(text) if terminal.is_tty else text
            terminal.write(terminal.style(shown, "dim") if kind == "thinking" else shown)
            self._last, self._line_open = kind, not text.endswith("\n")
        terminal.flush()

    def broken(self) -> None:
        """What was shown is not the whole answer."""
        if self._line_open:
            self._terminal.write("\n")
        self._line_open = False
        self._terminal.flush()

    def end(self, reader: ChatReader, fingerprint: str | None = None) -> None:
        if not self._json:
            self.broken()
            return
        found: dict[str, Any] = {
            "answer": "".join(reader.answer),
            "thinking": "".join(reader.thinking),
            "finish_reason": reader.finish_reason,
            "model": reader.model,
            "usage": reader.usage,
            "seal_key": fingerprint,
        }
        self._terminal.write(msgspec.json.encode(found).decode() + "\n")


def open_answer(
    pieces: Iterable[bytes],
    secret: ResponseSecret,
    terminal: Terminal,
    *,
    stream: bool,
    as_text: bool,
    include: bool,
) -> None:
    """Show a sealed answer. Raises SealError if it does not open or is not whole, DataError if it
    is an error.
    """
    reader = SealedReader(secret)
    shown = _Shown(terminal, stream=stream, as_text=as_text, include=include)
    start = bytearray()
    try:
        for piece in pieces:
            if len(start) < _MAX_CLEAR:
                start += piece
            content = reader.feed(piece)
            if reader.head is not None:
                shown.content(reader.head, content)
        content = reader.eof()
    except OpenError as error:
        shown.stop()
        if reader.head is None and start.startswith((b"{", b"<")):
            said = error_message(bytes(start[:_MAX_CLEAR])) or "a page of something in between"
            raise DataError(f"the answer is not sealed: {said}") from error
        raise
    assert reader.head is not None
    shown.content(reader.head, content)
    shown.end(reader.head)


class _Shown:
    """What is written of an answer, and when."""

    def __init__(self, terminal: Terminal, *, stream: bool, as_text: bool, include: bool) -> None:
        self._terminal = terminal
        self._stream = stream
        self._as_text = as_text
        self._include = include
        self._begun = False
        self._held = bytearray()
        self._start = bytearray()
        self._chat: ChatReader | None = None
        self._view = AnswerView(terminal)

    def content(self, head: ResponseHead, data: bytes) -> None:
        if not self._begun:
            self._begin(head)
        if head.status >= 400 and len(self._start) < _MAX_CLEAR:
            self._start += data
        if not self._stream:
            if len(self._held) + len(data) > _LONG:
                raise DataError("the answer is too long to be kept; see --stream")
            self._held += data
        elif self._chat is not None:
            self._view.pieces(self._chat.feed(data))
        else:
            self._raw(data)

    def stop(self) -> None:
        """It is not whole."""
        self._view.broken()

    def end(self, head: ResponseHead) -> None:
        """It is whole."""
        if not self._stream:
            if self._include:
                self._head(head)
            if self._chat is None:
                self._raw(bytes(self._held))
            else:
                self._view.pieces(self._chat.feed(bytes(self._held)))
        said: str | None = None
        if self._chat is not None:
            self._view.pieces(self._chat.eof())
            self._view.broken()
            said = self._chat.error
        elif head.status >= 400:
            said = error_message(bytes(self._start)) or "an error"
        if said is not None:
            raise DataError(f"the gateway says, with status {head.status}: {said}")

    def _begin(self, head: ResponseHead) -> None:
        self._begun = True
        self._chat = ChatReader(head) if self._as_text else None
        if self._stream and self._include:
            self._head(head)

    def _head(self, head: ResponseHead) -> None:
        try:
            phrase = HTTPStatus(head.status).phrase
        except ValueError:
            phrase = ""
        lines = [f"{head.status} {phrase}".rstrip()]
        lines += [
            f"{name.decode('ascii')}: {value.decode('latin-1')}" for name, value in head.fields
        ]
        self._terminal.write("\n".join(map(printable, lines)) + "\n\n")
        self._terminal.flush()

    def _raw(self, data: bytes) -> None:
        if self._terminal.is_tty:
            self._terminal.write(printable(data.decode("utf-8", "replace")))
            self._terminal.flush()
        else:
            sys.stdout.buffer.write(data)
            sys.stdout.buffer.flush()
