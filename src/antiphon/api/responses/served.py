"""Tools that the server itself runs, as a request and its response show them: the pure half.

`ServedTools` is what one request's tools of this kind put into its prompt and its answer. A kind of
tool (web search, code interpreter, MCP) makes its part of it, and a `ServedItem` for each of its
calls. `antiphon.gateway.servertools` decides who may use them and makes the calls.

    PartStart(served=…) PartDelta* PartEnd      the model writes the call
    CallRan                                     the server made it

An item is shown when its call begins (``early``) or when it is whole, and ends with `CallRan`.
Events of this form may also come before the model has said anything: lists of tools, calls that
were approved. Items after which nothing runs (a request for approval) have ``waits = False``.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar, Final

import msgspec

from antiphon.api.citations import CitedFile, Citing, Sources
from antiphon.api.responses.output_item import ItemStatus, OpenItem
from antiphon.api.responses.seen import Seen, with_seen
from antiphon.api.toolset import Offered
from antiphon.api.turn import CallRan
from antiphon.model.tools import ToolNamespace

__all__ = ["NO_SERVED_TOOLS", "ItemMaker", "ServedFunction", "ServedItem", "ServedTools", "merged"]

_ENCODE: Final = msgspec.json.Encoder().encode


class ServedItem(OpenItem):
    """The item of one call. A subclass says what it looks like, by ``state`` and by what is known.

    ``texts`` gets what the model writes: JSON arguments, or code. `written` is called once, when
    that is whole and ``arguments`` are known; `ran` once, when the call was made.
    """

    prefix: ClassVar[str]
    """Of the item's id, without the underscore."""
    early: ClassVar[bool] = False
    """Whether it is shown while the model still writes the call."""
    waits: ClassVar[bool] = True
    """Whether a `CallRan` will come."""

    __slots__ = ("arguments", "outcome", "sealed", "seen", "state")

    def __init__(self, id: str, index: int) -> None:
        super().__init__(id, index)
        self.state = "in_progress"
        """The status, while it is open."""
        self.arguments: Mapping[str, Any] = {}
        """What the model wrote, read; empty where it is no JSON object."""
        self.outcome: CallRan | None = None
        self.seen: Seen | None = None
        """The call and its result as the model saw them, to be kept with the item."""
        self.sealed: str | None = None
        """The same, sealed for clients that keep everything themselves."""

    @abstractmethod
    def fields(self, status: str) -> dict[str, Any]:
        """The members of the item beside ``id``, ``type`` and ``status``."""

    @property
    @abstractmethod
    def type(self) -> str:
        """The type of the item."""

    def written(self) -> list[bytes]:
        """The events once the call is whole, before it is made; after `opening`."""
        return []

    def ran(self, outcome: CallRan) -> list[bytes]:
        """The events once it was made."""
        self.outcome = outcome
        call = outcome.message
        if call is not None and call.recipient is not None:
            self.seen = Seen(
                call.recipient,
                call.text,
                outcome.text,
                call.channel or "commentary",
                call.content_type,
            )
        return []

    def opening(self) -> list[bytes]:
        return []

    def closing(self) -> list[bytes]:
        return []

    def ended(self, status: ItemStatus) -> str:
        """The item's own word for how it ended."""
        made = self.outcome is not None and not self.outcome.failed
        return "failed" if status == "completed" and self.waits and not made else status

    def body(self, status: ItemStatus) -> bytes:
        return _ENCODE(self._members(status))

    def kept(self, status: ItemStatus, body: bytes) -> bytes:
        return body if self.seen is None else with_seen(body, self.seen)

    def _members(self, status: ItemStatus) -> dict[str, Any]:
        said = self.state if status == "in_progress" else self.ended(status)
        item = {"id": self.id, "type": self.type, "status": said, **self.fields(said)}
        if self.sealed is not None:
            item["encrypted_content"] = self.sealed
        return item


ItemMaker = Callable[[str, int], ServedItem]
"""Makes the item of a call: its id without the prefix, and its place in the output."""


class ServedFunction(msgspec.Struct, frozen=True, kw_only=True):
    """A function that stands beside the client's own, under a name that no other has."""

    offered: Offered
    maker: ItemMaker


class ServedTools(msgspec.Struct, frozen=True, kw_only=True, eq=False):
    """What the server's own tools put into one request."""

    spaces: Mapping[str, ToolNamespace] = {}
    """gpt-oss's built-ins, for the system message."""
    makers: Mapping[str, ItemMaker] = {}
    """By recipient, for calls of those; and under keys that no recipient can have (with a colon)
    for items that no call of the model leads to."""
    functions: Sequence[ServedFunction] = ()
    """For the developer message."""
    instructions: Sequence[str] = ()
    """Lines for the developer message."""
    taken: frozenset[int] = frozenset()
    """Which entries of the request's ``tools`` these are; the others are the client's."""
    choices: Mapping[str, tuple[str, ...]] = {}
    """What ``tool_choice`` may name: a type, or ``mcp/SERVER_LABEL``; and the recipients of
    built-ins or names of functions that it means."""
    ignored: Sequence[str] = ()
    """Paths of what had no effect."""
    sources: Sources | None = None
    """What citations in the answer cite."""
    files: Callable[[], Sequence[CitedFile]] | None = None
    """The files that code has made so far, which the answer is to name."""

    @property
    def citing(self) -> Citing | None:
        """What answers may cite; None: nothing."""
        if self.sources is None and self.files is None:
            return None
        return Citing(self.sources or _nothing, self.files or tuple)


def _nothing(cursor: int, line: int) -> None:
    """Nothing was opened."""


NO_SERVED_TOOLS: Final = ServedTools()


def merged(parts: Sequence[ServedTools]) -> ServedTools:
    """Several kinds' together."""
    if len(parts) < 2:
        return parts[0] if parts else NO_SERVED_TOOLS
    return ServedTools(
        spaces={k: v for part in parts for k, v in part.spaces.items()},
        makers={k: v for part in parts for k, v in part.makers.items()},
        functions=[each for part in parts for each in part.functions],
        instructions=[each for part in parts for each in part.instructions],
        taken=frozenset().union(*[part.taken for part in parts]),
        choices={k: v for part in parts for k, v in part.choices.items()},
        ignored=[each for part in parts for each in part.ignored],
        sources=next((part.sources for part in parts if part.sources is not None), None),
        files=next((part.files for part in parts if part.files is not None), None),
    )
