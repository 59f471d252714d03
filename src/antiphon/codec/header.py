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
from antiphon.codec.recover import ROLES, TYPES, is_channel, read_channel, read_role
from antiphon.codec.tooltable import ToolTable
from antiphon.model.message import Author, Role

__all__ = ["HeaderContext", "Note", "Range", "Reading", "read_header", "starts_like_header"]

Range = tuple[int, int]
"""Half-open range of characters in the header text."""

_BLANK: Final = r"\s\u200b-\u200f\u2060\ufeff"
_LEXEME: Final = re.compile(
    rf"(<\|channel\|>)|(<\|constrain\|>)|(?:(?!<\|(?:channel|constrain)\|>)[^{_BLANK}])+"
)
_NAME_END: Final = re.compile(r"[{\[(\"'<]")
_GLUED_BODY: Final = re.compile(r"(json|code|text)?(?=[{\[])")
_TYPE_WORD: Final = re.compile(r"[\w.+/-]+\Z")
_TRAINED_TOOL: Final = re.compile(
    r"(?:functions\.[\w.\-]+|browser\.(?:search|open|find)|python)(?:[{\[]|\Z)"
)
_NOBODY: Final = frozenset({"user", "all", ""})
_CANDIDATES: Final = 8
"""The last so many words of each kind are tried as recipients."""
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
    rule: str
    at: Range
    detail: str


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
    if not (found := _LEXEME.search(text)):
        return True
    word = found.group()
    return bool(
        word.startswith("to=")
        or read_role(word)
        or read_channel(word)
        or word in TYPES
        or _TRAINED_TOOL.match(word)
        or (tools and tools.match(word))
    )


def read_header(text: str, context: HeaderContext) -> Reading:
    """Read the header ``text``, in which control tokens are spelled out."""
    return _Reader(text, context).read()


class _Reader:
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

    def read(self) -> Reading:
        for found in _LEXEME.finditer(self.text):
            if found.lastindex is None:
                self._word(found.group(), found.start(), found.end())
                continue
            self._end_segment(found.start())
            self.segment = found.end()
            self.marked = True
            self.slot = "channel" if found.lastindex == 1 else "type"
        self._end_segment(len(self.text))
        return self._conclude()

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
                self._note("misspelt-role", "R4", start, end)
            if reading.rest is not None:
                self._glued_to_role(word[reading.rest :], start + reading.rest, end)
        elif word.startswith("to="):
            self._note("missing-role", "R4", start, end)
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
            elif glued := _GLUED_BODY.match(word):
                self.free.append((start + glued.end(), end))
            elif self.context.closed:
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
            self._note("misspelt-channel", "R8", start, stop)

    def _set_channel(self, channel: str, start: int, end: int) -> None:
        if self.channel is not None:
            self._note("repeated-channel", "R2", *self.fields["channel"])
        self.channel = channel
        self.fields["channel"] = (start, end)

    def _type_word(self, word: str, start: int, end: int) -> None:
        if is_channel(word):
            self._note("channel-as-type", "R2", start, end)
            if self.channel is None:
                self._set_channel(word, start, end)
            return
        if glued := _GLUED_BODY.match(word):
            self.free.append((start + glued.end(), end))
            word, end = word[: glued.end()], start + glued.end()
        if self.type_range is not None:
            self._note("repeated-type", "R2", *self.type_range)
        if word:
            self.content_type = "<|constrain|>" + word
            self.type_range = (start, end)

    def _plain_word(self, word: str, start: int, end: int) -> None:
        if word.startswith("to="):
            self.slot = "recipient"
            if len(word) > 3:
                self._recipient_word(word[3:], start + 3, end)
        elif self.words == 1 and word == self.role or self.role == Role.ASSISTANT == word:
            if self.words > 1 or not self.context.first:
                self._note("repeated-role", "R4", start, end)
        elif is_channel(word) and self.channel is None:
            self._note("unmarked-channel", "R2", start, end)
            self._set_channel(word, start, end)
        elif word in TYPES:
            if self.type_range is None:
                self.content_type, self.type_range = word, (start, end)
            elif self.content_type != "<|constrain|>" + word:
                self._note("repeated-type", "R2", start, end)
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
            if not word.startswith("<|", cut.start()):
                self._free_or_body(word[cut.start() :], start + cut.start(), end)
            word, end = word[: cut.start()], start + cut.start()
        self.addressed.append((word, (start, end)))

    def _is_tool(self, word: str) -> bool:
        if self.role == Role.TOOL and self.name is None:
            return bool(_TRAINED_TOOL.match(word))
        if self.role not in (None, Role.ASSISTANT):
            return False
        if tools := self.context.tools:
            return tools.match(word) is not None or bool(_TRAINED_TOOL.match(word))
        return bool(_TRAINED_TOOL.match(word))

    def _hint(self, word: str, start: int, end: int) -> None:
        if cut := _NAME_END.search(word):
            self.free.append((start + cut.start(), end))
            word, end = word[: cut.start()], start + cut.start()
        self.hinted.append((word, (start, end)))

    def _note(self, code: str, rule: str, start: int, end: int, detail: str | None = None) -> None:
        self.notes.append(
            Note(code, rule, (start, end), self.text[start:end] if detail is None else detail)
        )

    # What the words add up to.

    def _conclude(self) -> Reading:
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
            self._note("missing-message-token", "R5", *body[0], detail="")
        header = Header(
            Author(self.role or Role.ASSISTANT, self.name), channel, recipient, self.content_type
        )
        named = channel is not None or recipient is not None
        return Reading(header, self.fields, stray, body, named, tuple(self.notes))

    def _all_text(self) -> Reading:
        """No control token, no recipient, no end of header: it is text, channel words and all."""
        start = self.fields["role"][1] if "role" in self.fields else 0
        found = _LEXEME.search(self.text, start)
        body = ((found.start(), len(self.text)),) if found else ()
        channel = None
        notes = [note for note in self.notes if note.code in ("misspelt-role", "unknown-role")]
        if body:
            if not self.context.first:
                channel = "analysis"
            notes.append(Note("text-without-header", "R1", body[0], ""))
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
        elif not self.context.closed and self.free and not _TRAINED_TOOL.match(name):
            self._not_a_tool("unknown-role")
            self.free = [(start, self.free[0][1]), *self.free[1:]]
        elif "." not in name:
            self._note("unknown-role", "R1", start, end)

    def _name_tool(self) -> None:
        """The role is the word `tool`: its name follows, or there is none."""
        if self.name is None:
            self.name, at = self.hinted.pop(0) if self.hinted else ("tool", self.fields["role"])
            self._note("unknown-role", "R1", *at)
            self.fields["name"] = at

    def _not_a_tool(self, code: str) -> None:
        self._note(code, "R1", *self.fields["name"])
        del self.fields["name"], self.fields["role"]
        self.role, self.name = Role.ASSISTANT, None

    def _settle_recipient(self) -> str | None:
        if self.role not in (None, Role.ASSISTANT):
            if not self.addressed:
                return None
            recipient, at = self.addressed[-1]
            self.fields["recipient"] = at
            return recipient
        if len(self.addressed) > 1:
            self._note("repeated-recipient", "R2", *self.addressed[0][1])
        candidates = [*self.hinted[-_CANDIDATES:], *self.addressed[-_CANDIDATES:]]
        for word, at in reversed(candidates):
            if name := self._known_recipient(word, at):
                self.fields["recipient"] = at
                if (word, at) in self.hinted:
                    self._note("unmarked-recipient", "R3", *at)
                return name
        for word, at in reversed(self.addressed):
            if word == "assistant":
                self._note("addressed-to-itself", "R2", *at)
                if self.channel == "commentary":
                    self.channel = "analysis"
            elif word in _NOBODY:
                self._note("addressed-to-user", "R2", *at)
            else:
                self._note("unknown-recipient", "R3", *at)
        self.free += [at for _, at in self.hinted]
        self.free.sort()
        return None

    def _known_recipient(self, word: str, at: Range) -> str | None:
        tools = self.context.tools
        if tools is None:
            return None if word in _NOBODY or word == "assistant" else word
        if name := tools.match(word):
            if name != word:
                self._note("misspelt-recipient", "R3", *at)
            return name
        following = [r for r in self.free if r[0] >= at[1]]
        for i, (_, end) in enumerate(following[:4]):
            if name := tools.match(self.text[at[0] : end]):
                self._note("misspelt-recipient", "R3", at[0], end)
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
                self.free = sorted([at, *self.free])
                self.content_type = None
                return
            self._note("unknown-content-type", "R2", *at)
        self.fields["content_type"] = at

    def _settle_channel(self, recipient: str | None) -> str | None:
        channel = self.channel
        if self.unknown_channel is not None:
            start, end = self.unknown_channel
            self._note("unknown-channel", "R8", start, end)
            if channel is None:
                self.fields["channel"] = (start, end)
                return self.text[start:end]
            self.free = sorted([(start, end), *self.free])
        if channel is None and self.marked and not recipient and self.text.endswith("<|channel|>"):
            self._note("empty-channel", "R8", len(self.text), len(self.text))
        if not self.context.closed and self.free and recipient is None:
            if channel == "commentary" or (channel is None and not self.context.first):
                return "analysis"
        return channel

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
        self._note("text-in-header", "R5", merged[0][0], merged[-1][1])
        return text if any(c.isalnum() for c in text) else ""
