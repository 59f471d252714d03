"""Tools that the server itself runs, as Chat Completions shows them: not at all, but for citations.

Chat has no items: a call of the server's is hidden, and so is its result. The answer's citations
become links with annotations, as OpenAI's search models give them; files are not told of.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import msgspec

from antiphon.api.chat.visible import SEPARATOR
from antiphon.api.citations import CitationText, Citing, UrlCitation
from antiphon.api.policy import Visibility
from antiphon.api.turn import (
    Annotated,
    CallRan,
    Logprob,
    PartDelta,
    PartEnd,
    PartKind,
    PartStart,
    TurnEvent,
)

__all__ = ["ServedEvents", "annotation", "search_fields", "tool_fields"]


class _Tools(msgspec.Struct):
    tools: msgspec.Raw = msgspec.Raw(b"null")
    web_search_options: Any = None


_TOOLS: Final = msgspec.json.Decoder(_Tools)


def tool_fields(body: bytes) -> tuple[bytes, Any]:
    """The JSON of ``tools``, and ``web_search_options``. What is wrong is said elsewhere."""
    try:
        read = _TOOLS.decode(body)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return b"null", None
    return bytes(read.tools), read.web_search_options


def search_fields(options: Mapping[str, Any]) -> dict[str, Any]:
    """``web_search_options`` as the fields of a tool: a location stands in ``approximate``."""
    fields = dict(options)
    location = fields.get("user_location")
    if isinstance(location, Mapping) and isinstance(location.get("approximate"), Mapping):
        fields["user_location"] = {"type": location.get("type"), **location["approximate"]}
    return fields


def annotation(note: UrlCitation) -> dict[str, Any]:
    """An annotation in the shape of Chat."""
    return {
        "type": "url_citation",
        "url_citation": {
            "start_index": note.start_index,
            "end_index": note.end_index,
            "url": note.url,
            "title": note.title,
        },
    }


class ServedEvents:
    """The events of a turn as a chat's answer is made of them."""

    def __init__(self, citing: Citing | None, view: Visibility) -> None:
        self._citing = citing
        self._preambles = view.preambles == "content"
        self._marks: CitationText | None = None
        self._notes: list[UrlCitation] = []
        self._waiting: list[Logprob] = []
        self._hidden = False
        self._content = False
        """Whether the open part is content."""
        self._chars = 0
        """Of the content so far."""
        self._base = 0
        self._fresh = False

    def feed(self, events: Sequence[TurnEvent]) -> list[TurnEvent]:
        """The events that are shown."""
        out: list[TurnEvent] = []
        for event in events:
            if isinstance(event, PartStart):
                self._start(event)
            if isinstance(event, CallRan) or self._hidden:
                self._hidden = self._hidden and not isinstance(event, PartEnd)
                continue
            if isinstance(event, PartDelta):
                self._delta(event, out)
                continue
            if isinstance(event, PartEnd):
                self._end(out)
            out.append(event)
        return out

    def _start(self, part: PartStart) -> None:
        self._hidden = part.served is not None
        answer = part.kind is PartKind.ANSWER
        self._content = answer or (part.kind is PartKind.PREAMBLE and self._preambles)
        self._fresh = True
        if answer and self._citing is not None:
            self._marks = CitationText(self._citing.sources)

    def _delta(self, event: PartDelta, out: list[TurnEvent]) -> None:
        if self._marks is None:
            self._count(event.text)
            out.append(event)
            return
        self._waiting += event.logprobs
        cited = self._marks.feed(event.text)
        self._notes += cited.annotations
        self._say(cited.text, out)

    def _say(self, text: str, out: list[TurnEvent]) -> None:
        if text:
            self._count(text)
            out.append(PartDelta(text, tuple(self._waiting)))
            self._waiting.clear()

    def _count(self, text: str) -> None:
        if not self._content:
            return
        if self._fresh:
            self._fresh = False
            self._base = self._chars = self._chars + (len(SEPARATOR) if self._chars else 0)
        self._chars += len(text)

    def _end(self, out: list[TurnEvent]) -> None:
        marks, self._marks = self._marks, None
        if marks is None:
            return
        rest = marks.end()
        self._notes += rest.annotations
        self._say(rest.text, out)
        if self._notes:
            base = self._base
            moved = [
                msgspec.structs.replace(
                    note, start_index=note.start_index + base, end_index=note.end_index + base
                )
                for note in self._notes
            ]
            self._notes.clear()
            out.append(Annotated(tuple(moved)))
