"""Text in, machine symbols out: stripped text, which an engine has robbed of its control tokens.

`<|channel|>analysis<|message|>Hm.<|end|><|start|>assistant<|channel|>final<|message|>Hi` arrives
as `analysisHm.assistantfinalHi`. Boundaries are guessed: the word `assistant` glued to a channel
or followed by ` to=`. An answer that quotes such a thing is split where it should not be; nothing
in the text could tell. Prefer ids, or marked text, wherever an engine gives them.
"""

from __future__ import annotations

import re
from typing import Final, NamedTuple

from antiphon.codec.state import Machine
from antiphon.codec.tooltable import ToolTable
from antiphon.vocab import control

__all__ = ["StrippedText", "looks_stripped"]

MAX_NAME_CHARS: Final = 512
"""A recipient longer than this is text."""

_CHANNELS: Final = ("analysis", "commentary", "final")
_BOUNDARY: Final = re.compile(
    r"assistant(?=analysis|commentary|final| to=)"
    r"|(?:functions\.[\w.\-]{1,128}|browser\.(?:search|open|find)|python)"
    r"(?= to=assistant(?:commentary|analysis))"
)
_BOUNDARY_WORD: Final = "assistant"
_TOOL_WORD: Final = re.compile(
    r"(?:functions\.[\w.\-]{0,128}|browser\.(?:search|open|find)|python)"
    r"(?: (?:t(?:o(?:=\w{0,24})?)?)?)?\Z"
)
_HELD_TAIL: Final = 200
_LONGEST_BOUNDARY: Final = len("assistantcommentary")
_BEGINNINGS: Final = frozenset(
    boundary[:i]
    for boundary in (
        *(_BOUNDARY_WORD + following for following in (*_CHANNELS, " to=")),
        *("functions.", "browser.search", "browser.open", "browser.find", "python"),
    )
    for i in range(1, len(boundary))
)
"""Every text that may grow into a boundary; `_TOOL_WORD` takes over where a tool's name is out."""
_HEAD_WINDOW: Final = 2048
"""More than any header this module recognises."""
_MAX_LEAD: Final = 64
"""White space before a header that is looked past."""

_CHANNEL: Final = re.compile("|".join(_CHANNELS))
_RECIPIENT: Final = re.compile(r" to=(assistant(?=commentary|analysis)|[^\s{\[<\"']*)")
_GLUED_CHANNEL: Final = re.compile(r"(.+?)(commentary|analysis)\Z")
_TYPE: Final = re.compile(r"\s*(json|code)(?=[\s{\[\"'])")
_LONGEST_TYPE: Final = 7
_GLUED_TYPE: Final = re.compile(r"(.+?)(json|code)\Z")
_LOOKS: Final = re.compile(
    r"\s*(?:assistant)?(?:(?:analysis|final)(?=[^\sa-z])|commentary(?= to=|[^\sa-z])"
    r"|(?:analysis|commentary|final) json[{\[])"
)


def looks_stripped(text: str) -> bool:
    """Whether text without control tokens looks as if they had been stripped from it."""
    return bool(_LOOKS.match(text) or _BOUNDARY.search(text))


class _Head(NamedTuple):
    """A header recognised in stripped text: pieces in input order, then where content begins."""

    pieces: tuple[tuple[int, str], ...]
    length: int


class StrippedText:
    """Finds message boundaries in a stream of stripped text; holds back what may be one."""

    __slots__ = ("_header", "_machine", "_tools", "held", "position")

    def __init__(self, machine: Machine, tools: ToolTable | None) -> None:
        self._machine = machine
        self._tools = tools
        self._header = True
        self.held = ""
        self.position = 0

    def feed(self, chunk: str) -> None:
        self._advance(self.held + chunk, final=False)

    def eof(self) -> None:
        self._advance(self.held, final=True)
        self._machine.eof(self.position)

    def _advance(self, text: str, *, final: bool) -> None:
        at = 0
        while at < len(text):
            if self._header:
                head = self._read_head(text[at : at + _HEAD_WINDOW], final=final)
                if head is None:
                    break
                at = self._begin(head, text, at)
                self._header = False
                continue
            found = _BOUNDARY.search(text, at)
            safe = len(text) if final else max(at, self._safe(text))
            if found and (final or (found.end() < len(text) and found.start() <= safe)):
                self._pass_on(text[at : found.start()])
                self._machine.break_off(self.position)
                self._symbol(control.START)
                self._pass_on(found.group())
                at = found.end()
                self._header = True
                continue
            end = safe
            self._pass_on(text[at:end])
            at = end
            break
        self.held = text[at:]

    def _safe(self, text: str) -> int:
        """How much of the text cannot be the beginning of a boundary."""
        base = max(0, len(text) - _HELD_TAIL)
        if found := _TOOL_WORD.search(text, base):
            return found.start()
        for at in range(max(0, len(text) - _LONGEST_BOUNDARY), len(text)):
            if text[at:] in _BEGINNINGS:
                return at
        return len(text)

    def _read_head(self, text: str, *, final: bool) -> _Head | None:
        """The header at the start of ``text``; None if more text is needed to tell."""
        if not final and len(text) < 4 and " to=".startswith(text):
            return None
        pieces: list[tuple[int, str]] = []
        lead = 0 if text.startswith(" to=") else len(text) - len(text.lstrip())
        at = lead if lead <= _MAX_LEAD else 0
        if lead == len(text) <= _MAX_LEAD and not final:
            return None
        if text.startswith(_BOUNDARY_WORD, at):
            at += len(_BOUNDARY_WORD)
        elif not final and _BOUNDARY_WORD.startswith(text[at:]):
            return None
        if at:
            pieces.append((0, text[:at]))
        before = _RECIPIENT.match(text, at)
        if before:
            if before.end() - at >= MAX_NAME_CHARS:
                return _Head((), 0)
            if not final and before.end() == len(text) and before.end() - at < MAX_NAME_CHARS:
                return None
            glued = _GLUED_CHANNEL.match(before[1])
            if glued:
                name_end = before.start(1) + glued.end(1)
                pieces.append((0, text[at:name_end]))
                pieces += ((control.CHANNEL, ""), (0, glued[2]))
                return self._read_type(text, before.end(), pieces, final=final)
            if before[1] != _BOUNDARY_WORD:
                return self._read_recipient(text, before, pieces, final=final)
            pieces.append((0, text[at : before.end()]))
            at = before.end()
        if not final and " to=".startswith(text[at:]):
            return None
        channel = _CHANNEL.match(text, at)
        if channel is None:
            rest = text[at:]
            if not final and any(word.startswith(rest) for word in _CHANNELS):
                return None
            return _Head((), 0)
        pieces += ((control.CHANNEL, ""), (0, channel.group()))
        at = channel.end()
        if not final and " to=".startswith(text[at:]):
            return None
        if after := _RECIPIENT.match(text, at):
            if after.end() - at >= MAX_NAME_CHARS:
                return _Head((), 0)
            if not final and after.end() == len(text) and after.end() - at < MAX_NAME_CHARS:
                return None
            return self._read_recipient(text, after, pieces, final=final)
        return self._read_type(text, at, pieces, final=final, spaced=True)

    def _read_recipient(
        self,
        text: str,
        found: re.Match[str],
        pieces: list[tuple[int, str]],
        *,
        final: bool,
    ) -> _Head | None:
        name, end = found[1], found.end()
        known = self._tools is not None and name in self._tools.names
        if not known and (glued := _GLUED_TYPE.match(name)) and text[end : end + 1] in ("{", "["):
            pieces.append((0, text[found.start() : found.start(1) + glued.end(1)]))
            pieces += ((control.CONSTRAIN, ""), (0, glued[2]))
            return _Head(tuple(pieces), end)
        pieces.append((0, text[found.start() : end]))
        return self._read_type(text, end, pieces, final=final)

    def _read_type(
        self,
        text: str,
        at: int,
        pieces: list[tuple[int, str]],
        *,
        final: bool,
        spaced: bool = False,
    ) -> _Head | None:
        rest = text[at : at + _LONGEST_TYPE]
        if found := _TYPE.match(text, at):
            if not spaced or (found.end() < len(text) and text[found.end()] in "{["):
                pieces.append((0, text[at : found.start(1)]))
                if found[1] == "json":
                    pieces.append((control.CONSTRAIN, ""))
                pieces.append((0, found[1]))
                return _Head(tuple(pieces), found.end())
        elif not final and len(rest) < _LONGEST_TYPE and _could_be_type(rest):
            return None
        return _Head(tuple(pieces), at)

    def _begin(self, head: _Head, text: str, at: int) -> int:
        """Pass the header on; return where content begins."""
        for token, piece in head.pieces:
            if token:
                self._symbol(token)
            elif piece:
                self._pass_on(piece)
                at += len(piece)
        self._symbol(control.MESSAGE)
        return at

    def _symbol(self, token: int) -> None:
        self._machine.control(token, self.position, self.position)

    def _pass_on(self, text: str) -> None:
        if text:
            start, self.position = self.position, self.position + len(text)
            self._machine.text(text, start, self.position)


def _could_be_type(text: str) -> bool:
    bare = text.lstrip()
    return "json".startswith(bare) or "code".startswith(bare) or bare in ("json", "code")
