"""Collecting what stands in a message header, word by word.

One pass: slots say what the next word is expected to be, and every word ends up as a field's
candidate or as free text. `antiphon.codec.header` decides between the candidates.
"""

from __future__ import annotations

import re
from typing import Final, NamedTuple

from antiphon.codec.recover import ROLES, TYPES, is_channel, read_channel, read_role
from antiphon.codec.tooltable import ToolTable
from antiphon.model.message import Role

__all__ = ["LEXEME", "TRAINED_TOOL", "HeaderContext", "HeaderWords", "Note", "Range"]

Range = tuple[int, int]
"""Half-open range of characters in the header text."""

_BLANK: Final = r"\s\u200b-\u200f\u2060\ufeff"
LEXEME: Final = re.compile(
    rf"(<\|channel\|>)|(<\|constrain\|>)|(?:(?!<\|(?:channel|constrain)\|>)[^{_BLANK}])+"
)
_NAME_END: Final = re.compile(r"[{\[(\"'<]")
_GLUED_BODY: Final = re.compile(r"(json|code|text)?(?=[{\[])")
TRAINED_TOOL: Final = re.compile(
    r"(?:functions\.[\w.\-]+|browser\.(?:search|open|find)|python)(?:[{\[]|\Z)"
)
_TYPO: Final = 3
"""Letters glued to a channel word that still count as a slip, not as text."""


class HeaderContext(NamedTuple):
    """What is known before the header is read.

    ``role``: the role the prompt or the parser implies, None if the header has to name it.
    ``closed``: whether `<|message|>` ended the header. ``first``: whether it is the first message.
    """

    role: Role | None
    closed: bool
    first: bool
    tools: ToolTable | None


class Note(NamedTuple):
    """A diagnostic in header coordinates."""

    code: str
    at: Range
    detail: str


class HeaderWords:
    """One pass over the header's words. Slots say what the next word is expected to be."""

    def __init__(self, text: str, context: HeaderContext) -> None:
        self.text = text
        self.context = context
        self.role = context.role
        self.name: str | None = None
        self.slot = "role" if context.role is None else "words"
        self.fields: dict[str, Range] = {}
        self.channel: str | None = None
        self.unknown_channel: Range | None = None
        self.addressed: list[tuple[str, Range]] = []
        self.hinted: list[tuple[str, Range]] = []
        self.content_type: str | None = None
        self.type_range: Range | None = None
        self.free: list[Range] = []
        self.notes: list[Note] = []
        self.marked = False
        self.words = 0
        self.segment = 0

    def _collect(self) -> None:
        for found in LEXEME.finditer(self.text):
            if found.lastindex is None:
                self._word(found.group(), found.start(), found.end())
                continue
            self._end_segment(found.start())
            self.segment = found.end()
            self.marked = True
            self.slot = "channel" if found.lastindex == 1 else "type"
        self._end_segment(len(self.text))

    def _running_on(self) -> bool:
        """Without `<|message|>`, everything behind the first free word of a segment is text."""
        return not self.context.closed and bool(self.free) and self.free[-1][0] >= self.segment

    def _end_segment(self, end: int) -> None:
        """Free text runs on to the next control token (R5)."""
        if self._running_on():
            self.free[-1] = (self.free[-1][0], end)

    def _word(self, word: str, start: int, end: int) -> None:
        if self._running_on():
            return
        self.words += 1
        slot, self.slot = self.slot, "words"
        if slot == "role":
            self._role_word(word, start, end)
        elif slot == "channel" and not word.startswith("to="):
            self._channel_word(word, start, end)
        elif slot == "type" and not word.startswith("to="):
            self._type_word(word, start, end)
        elif slot == "recipient":
            self._recipient_word(word, start, end)
        else:
            self._plain_word(word, start, end)

    def _role_word(self, word: str, start: int, end: int) -> None:
        reading = read_role(word)
        if reading is not None:
            self.role, self.name = reading.role, reading.name
            self.fields["role"] = (start, end if reading.rest is None else start + reading.rest)
            if not reading.exact:
                self._note("misspelt-role", start, end)
            if reading.rest is not None:
                self._glued_to_role(word[reading.rest :], start + reading.rest, end)
        elif word.startswith("to="):
            self._note("missing-role", start, end)
            self._plain_word(word, start, end)
        else:
            self.role, self.name = Role.TOOL, word
            self.fields["role"] = self.fields["name"] = (start, end)

    def _glued_to_role(self, rest: str, start: int, end: int) -> None:
        if rest.casefold() in ROLES:
            return
        if rest.startswith("to="):
            self._plain_word(rest, start, end)
        elif read_channel(rest):
            self._channel_word(rest, start, end)
        else:
            self.free.append((start, end))

    def _channel_word(self, word: str, start: int, end: int) -> None:
        reading = read_channel(word)
        if reading is None:
            if self._is_tool(word):
                self._hint(word, start, end)
            elif _GLUED_BODY.match(word):
                self._free_or_body(word, start, end)
            elif self.context.closed:
                if self.unknown_channel is not None:
                    self.free = sorted([self.unknown_channel, *self.free])
                self.unknown_channel = (start, end)
            else:
                self.free.append((start, end))
            return
        stop = end
        if reading.rest is not None:
            rest = word[reading.rest :]
            if rest.startswith("to="):
                stop = start + reading.rest
                self._plain_word(rest, stop, end)
            elif not self.context.closed or len(rest) > _TYPO:
                stop = start + reading.rest
                self._free_or_body(rest, stop, end)
        self._set_channel(reading.channel, start, stop)
        if word[: stop - start] != reading.channel:
            self._note("misspelt-channel", start, stop)

    def _set_channel(self, channel: str, start: int, end: int) -> None:
        if self.channel is not None:
            self._note("repeated-channel", *self.fields["channel"])
        self.channel = channel
        self.fields["channel"] = (start, end)

    def _type_word(self, word: str, start: int, end: int) -> None:
        if is_channel(word):
            self._note("channel-as-type", start, end)
            if self.channel is None:
                self._set_channel(word, start, end)
            return
        if glued := _GLUED_BODY.match(word):
            self.free.append((start + glued.end(), end))
            word, end = word[: glued.end()], start + glued.end()
        if self.type_range is not None:
            self._note("repeated-type", *self.type_range)
        if word:
            self.content_type = "<|constrain|>" + word
            self.type_range = (start, end)

    def _plain_word(self, word: str, start: int, end: int) -> None:
        if word.startswith("to="):
            self.slot = "recipient"
            if len(word) > 3:
                self._recipient_word(word[3:], start + 3, end)
        elif (self.words == 1 and word == self.role) or self.role == Role.ASSISTANT == word:
            if self.words > 1 or not self.context.first:
                self._note("repeated-role", start, end)
        elif is_channel(word) and self.channel is None:
            self._note("unmarked-channel", start, end)
            self._set_channel(word, start, end)
        elif word in TYPES:
            if self.type_range is None:
                self.content_type, self.type_range = word, (start, end)
            elif self.content_type != "<|constrain|>" + word:
                self._note("repeated-type", start, end)
        elif self._is_tool(word):
            self._hint(word, start, end)
        else:
            self._free_or_body(word, start, end)

    def _free_or_body(self, word: str, start: int, end: int) -> None:
        glued = _GLUED_BODY.match(word)
        if glued and glued[1] and self.type_range is None:
            self.content_type, self.type_range = glued[1], (start, start + glued.end())
            start += glued.end()
        self.free.append((start, end))

    def _recipient_word(self, word: str, start: int, end: int) -> None:
        self.slot = "words"
        if cut := _NAME_END.search(word):
            self._free_or_body(word[cut.start() :], start + cut.start(), end)
            word, end = word[: cut.start()], start + cut.start()
        self.addressed.append((word, (start, end)))

    def _is_tool(self, word: str) -> bool:
        if self.role == Role.TOOL and self.name is None:
            return bool(TRAINED_TOOL.match(word))
        if self.role not in (None, Role.ASSISTANT):
            return False
        if tools := self.context.tools:
            return tools.match(word) is not None or bool(TRAINED_TOOL.match(word))
        return bool(TRAINED_TOOL.match(word))

    def _hint(self, word: str, start: int, end: int) -> None:
        if cut := _NAME_END.search(word):
            self.free.append((start + cut.start(), end))
            word, end = word[: cut.start()], start + cut.start()
        self.hinted.append((word, (start, end)))

    def _note(self, code: str, start: int, end: int, detail: str | None = None) -> None:
        self.notes.append(
            Note(code, (start, end), self.text[start:end] if detail is None else detail)
        )
