"""Reading a message header, whatever is in it (recovery rules R2, R3, R5 and R8).

A header is the text between `<|start|>` and `<|message|>`. Well formed it is

    role[:name] [to=recipient] [<|channel|>channel [to=recipient]] [[<|constrain|>]type]

What gpt-oss writes instead is listed in docs/recovery.md. The reading never fails: fields that can
be told are taken, the last known channel and the last recipient that names a tool win, and words
that are none of them come back as free text.
"""

from __future__ import annotations

import re
from typing import Final, NamedTuple

from antiphon.codec.events import Header
from antiphon.codec.header_words import (
    LEXEME,
    TRAINED_TOOL,
    HeaderContext,
    HeaderWords,
    Note,
    Range,
)
from antiphon.codec.recover import TYPES, read_channel, read_role
from antiphon.codec.tooltable import ToolTable
from antiphon.model.message import Author, Role

__all__ = ["HeaderContext", "Note", "Range", "Reading", "read_header", "starts_like_header"]

_NOBODY: Final = frozenset({"user", "all", ""})
_TYPE_WORD: Final = re.compile(r"[\w.+/-]+\Z")
_CANDIDATES: Final = 8
"""The last so many words of each kind are tried as recipients."""


class Reading(NamedTuple):
    """What a header says.

    ``fields``: where its values stand. ``stray``: words that belong nowhere, in a header that
    `<|message|>` ended. ``body``: the ranges of the message's own text, where `<|message|>` is
    missing. ``names_message``: whether the header says enough to be a message without any text.
    """

    header: Header
    fields: dict[str, Range]
    stray: str
    body: tuple[Range, ...]
    names_message: bool
    notes: tuple[Note, ...]


def starts_like_header(text: str, tools: ToolTable | None) -> bool:
    """Whether text without any control token may still turn out to be a header."""
    if not (found := LEXEME.search(text)):
        return True
    word = found.group()
    return bool(
        word.startswith("to=")
        or read_role(word)
        or read_channel(word)
        or word in TYPES
        or TRAINED_TOOL.match(word)
        or (tools and tools.match(word))
    )


def read_header(text: str, context: HeaderContext) -> Reading:
    """Read the header ``text``, in which control tokens are spelled out."""
    return _Reader(text, context).read()


class _Reader(HeaderWords):
    """What the words of a header add up to."""

    def read(self) -> Reading:
        self._collect()
        self._settle_role()
        if not (self.context.closed or self.marked or self.addressed or self.hinted):
            return self._all_text()
        recipient = self._settle_recipient()
        self._settle_type()
        channel = self._settle_channel(recipient)
        stray, body = "", tuple(self.free)
        if self.context.closed:
            stray, body = self._stray_text(), ()
        elif body:
            self._note("missing-message-token", *body[0], detail="")
        header = Header(
            Author(self.role or Role.ASSISTANT, self.name), channel, recipient, self.content_type
        )
        named = channel is not None or recipient is not None
        return Reading(header, self.fields, stray, body, named, tuple(self.notes))

    def _all_text(self) -> Reading:
        """No control token, no recipient, no end of header: it is text, channel words and all."""
        start = self.fields["role"][1] if "role" in self.fields else 0
        found = LEXEME.search(self.text, start)
        body = ((found.start(), len(self.text)),) if found else ()
        channel = None
        notes = [note for note in self.notes if note.code in ("misspelt-role", "unknown-role")]
        if body:
            if not self.context.first:
                channel = "analysis"
            notes.append(Note("text-without-header", body[0], ""))
        header = Header(Author(self.role or Role.ASSISTANT, self.name), channel)
        fields = {k: v for k, v in self.fields.items() if k in ("role", "name")}
        return Reading(header, fields, "", body, False, tuple(notes))

    def _settle_role(self) -> None:
        if self.role != Role.TOOL or self.context.role is not None:
            return
        if "name" not in self.fields:
            self._name_tool()
            return
        start, end = self.fields["name"]
        name = self.text[start:end]
        if any(word == "assistant" for word, _ in self.addressed):
            return
        reading = read_channel(name)
        if reading and reading.rest is None and not self.channel:
            self._not_a_tool("channel-as-role")
            self._set_channel(reading.channel, start, end)
        elif not self.context.closed and self.free and not TRAINED_TOOL.match(name):
            self._not_a_tool("unknown-role")
            self.free = [(start, self.free[0][1]), *self.free[1:]]
        elif "." not in name:
            self._note("unknown-role", start, end)

    def _name_tool(self) -> None:
        """The role is the word `tool`: its name follows, or there is none."""
        if self.name is None:
            self.name, at = self.hinted.pop(0) if self.hinted else ("tool", self.fields["role"])
            self._note("unknown-role", *at)
            self.fields["name"] = at

    def _not_a_tool(self, code: str) -> None:
        self._note(code, *self.fields["name"])
        del self.fields["name"], self.fields["role"]
        self.role, self.name = Role.ASSISTANT, None

    def _settle_recipient(self) -> str | None:
        if self.role not in (None, Role.ASSISTANT):
            self.free = sorted([*self.free, *[at for _, at in self.hinted]])
            if not self.addressed:
                return None
            if len(self.addressed) > 1:
                for _, at in self.addressed[:-1]:
                    self._note("repeated-recipient", *at)
            recipient, at = self.addressed[-1]
            self.fields["recipient"] = at
            return recipient
        repeated = self.addressed[:1] if len(self.addressed) > 1 else []
        for _, at in repeated:
            self._note("repeated-recipient", *at)
        candidates = [*self.hinted[-_CANDIDATES:], *self.addressed[-_CANDIDATES:]]
        for word, at in reversed(candidates):
            if name := self._known_recipient(word, at):
                self.fields["recipient"] = at
                if (word, at) in self.hinted:
                    self._note("unmarked-recipient", *at)
                others = [other for other in self.hinted if other != (word, at)]
                others += [o for o in self.addressed if o not in (*repeated, (word, at))]
                for other, where in others:
                    if other not in ("assistant", ""):
                        self._note("repeated-recipient", *where)
                return name
        for word, at in reversed(self.addressed):
            if word == "assistant":
                self._note("addressed-to-itself", *at)
                if self.channel == "commentary":
                    self.channel = "analysis"
            elif word in _NOBODY:
                self._note("addressed-to-user", *at)
            else:
                self._note("unknown-recipient", *at)
        self.free += [at for _, at in self.hinted]
        self.free.sort()
        return None

    def _known_recipient(self, word: str, at: Range) -> str | None:
        tools = self.context.tools
        if tools is None:
            return None if word in _NOBODY or word == "assistant" else word
        if name := tools.match(word):
            if name != word:
                self._note("misspelt-recipient", *at)
            return name
        following = [r for r in self.free if r[0] >= at[1]]
        for i, (_, end) in enumerate(following[:4]):
            if name := tools.match(self.text[at[0] : end]):
                self._note("misspelt-recipient", at[0], end)
                self.free = [r for r in self.free if r not in following[: i + 1]]
                return name
        return None

    def _settle_type(self) -> None:
        if (at := self.type_range) is None:
            if (
                self.context.closed
                and len(self.free) == 1
                and _TYPE_WORD.match(word := self.text[slice(*self.free[0])])
            ):
                self.content_type, at = word, self.free.pop()
                self.fields["content_type"] = at
            elif self.text.endswith("<|constrain|>") and self.context.closed:
                self.content_type = "<|constrain|>"
            return
        bare = self.text[slice(*at)]
        if bare not in TYPES:
            if any(r[0] > at[1] for r in self.free):
                if not any(a <= at[0] and at[1] <= b for a, b in self.free):
                    self.free = sorted([at, *self.free])
                self.content_type = None
                return
            self._note("unknown-content-type", *at)
        self.fields["content_type"] = at

    def _settle_channel(self, recipient: str | None) -> str | None:
        channel = self.channel
        if self.unknown_channel is not None:
            start, end = self.unknown_channel
            self._note("unknown-channel", start, end)
            if channel is None:
                self.fields["channel"] = (start, end)
                return self.text[start:end]
            self.free = sorted([(start, end), *self.free])
        if channel is None and self.marked and not recipient and self.text.endswith("<|channel|>"):
            self._note("empty-channel", len(self.text), len(self.text))
        unaddressed_text = not self.context.closed and self.free and recipient is None
        unsure = channel == "commentary" or (channel is None and not self.context.first)
        return "analysis" if unaddressed_text and unsure else channel

    def _stray_text(self) -> str:
        """The free words of a closed header, with the white space between neighbours."""
        if not self.free:
            return ""
        merged: list[list[int]] = []
        for start, end in self.free:
            if merged and not self.text[merged[-1][1] : start].strip():
                merged[-1][1] = end
            else:
                merged.append([start, end])
        text = " ".join([self.text[a:b] for a, b in merged])
        self._note("text-in-header", merged[0][0], merged[-1][1])
        return text if any(c.isalnum() for c in text) else ""
