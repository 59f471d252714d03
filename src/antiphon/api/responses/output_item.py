"""One item of a response's output while it is written: its events, and its JSON at any time.

Everything around a piece of text is encoded beforehand: a delta costs the encoding of its text.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, Final, Literal

import msgspec

from antiphon.api.responses.usage import logprob_list
from antiphon.api.turn import Logprob

__all__ = [
    "CallOutput",
    "ItemStatus",
    "MessageOutput",
    "OpenItem",
    "ReasoningDialect",
    "ReasoningOutput",
]

ItemStatus = Literal["in_progress", "completed", "incomplete"]
ReasoningDialect = Literal["reasoning_text", "reasoning"]
"""How events of reasoning are named: OpenAI's way, or that of Open Responses."""

_ENCODE: Final = msgspec.json.Encoder().encode


class OpenItem(ABC):
    """An item. A subclass says what it looks like and which events it has between the two ends.

    Events are JSON without ``sequence_number`` and the closing brace, which the stream adds.
    """

    __slots__ = ("_encoded", "_encoded_text", "after", "before", "id", "index", "texts", "told")

    def __init__(self, id: str, index: int) -> None:
        self.id: Final = id
        self.index: Final = index
        self.texts: Final[list[str]] = []
        self.before = b""
        """What goes before the text of a delta; nothing if there are none."""
        self.after = b',"sequence_number":'
        """What goes between it and the sequence number."""
        self.told = False
        """Whether the stream has it."""
        self._encoded_text = ""
        self._encoded = msgspec.Raw(b'""')

    @property
    def text(self) -> str:
        """What was written so far."""
        texts = self.texts
        if len(texts) > 1:
            texts[:] = ["".join(texts)]
        return texts[0] if texts else ""

    @property
    def json(self) -> msgspec.Raw:
        """The text as JSON, which several events in a row repeat: it is encoded once."""
        text = self.text
        if text is not self._encoded_text:
            self._encoded_text, self._encoded = text, msgspec.Raw(_ENCODE(text))
        return self._encoded

    @abstractmethod
    def body(self, status: ItemStatus) -> bytes:
        """The item as it is now, as JSON."""

    def kept(self, status: ItemStatus, body: bytes) -> bytes:
        """The item as it is to be kept, with what the client does not see. ``body`` is what it
        does see.
        """
        return body

    @abstractmethod
    def opening(self) -> list[bytes]:
        """The events before its first text, but for ``output_item.added``."""

    @abstractmethod
    def closing(self) -> list[bytes]:
        """The events after its last text, but for ``output_item.done``."""

    def logprobs(self, values: Sequence[Logprob]) -> bytes | None:
        """What goes after a text that has them; None where the item shows none."""
        return None

    def event(self, type: str, *, content: bool = True, **fields: Any) -> bytes:
        """One event about this item."""
        head: dict[str, Any] = {"type": type, "item_id": self.id, "output_index": self.index}
        if content:
            head["content_index"] = 0
        return _ENCODE({**head, **fields})[:-1]

    def _deltas(self, type: str, *, content: bool = True) -> None:
        self.before = self.event(type, content=content) + b',"delta":'


class MessageOutput(OpenItem):
    """Text for the user."""

    __slots__ = ("_logprobs", "_phase", "_with_logprobs", "annotations")

    def __init__(
        self,
        id: str,
        index: int,
        phase: Literal["commentary", "final_answer"],
        *,
        logprobs: bool,
    ) -> None:
        super().__init__(id, index)
        self._phase = phase
        self._with_logprobs = logprobs
        self._logprobs: list[dict[str, Any]] = []
        self.annotations: Final[list[Any]] = []
        self._deltas("response.output_text.delta")
        self.after = b',"logprobs":[],"sequence_number":'

    def logprobs(self, values: Sequence[Logprob]) -> bytes | None:
        if not self._with_logprobs:
            return None
        shown = logprob_list(values)
        self._logprobs += shown
        return b',"logprobs":' + _ENCODE(shown) + b',"sequence_number":'

    def _part(self) -> dict[str, Any]:
        return {
            "type": "output_text",
            "text": self.json,
            "annotations": self.annotations,
            "logprobs": self._logprobs,
        }

    def body(self, status: ItemStatus) -> bytes:
        return _ENCODE(
            {
                "id": self.id,
                "type": "message",
                "role": "assistant",
                "status": status,
                "phase": self._phase,
                "content": [] if status == "in_progress" and not self.texts else [self._part()],
            }
        )

    def opening(self) -> list[bytes]:
        return [self.event("response.content_part.added", part=self._part())]

    def closing(self) -> list[bytes]:
        part = self._part()
        text, logprobs = part["text"], part["logprobs"]
        return [
            self.event("response.output_text.done", text=text, logprobs=logprobs),
            self.event("response.content_part.done", part=part),
        ]


class ReasoningOutput(OpenItem):
    """What the model thinks, shown or not."""

    __slots__ = ("_dialect", "sealed", "shown", "summary")

    def __init__(self, id: str, index: int, dialect: ReasoningDialect, *, shown: bool) -> None:
        super().__init__(id, index)
        self._dialect = dialect
        self.shown: Final = shown
        self.sealed: str | None = None
        """``encrypted_content``, once it is known."""
        self.summary: str | None = None
        if shown:
            self._deltas(f"response.{dialect}.delta")

    def _part(self) -> dict[str, Any]:
        return {"type": "reasoning_text", "text": self.json}

    def body(self, status: ItemStatus) -> bytes:
        return self._body(status, shown=self.shown)

    def kept(self, status: ItemStatus, body: bytes) -> bytes:
        return body if self.shown else self._body(status, shown=True)

    def _body(self, status: ItemStatus, *, shown: bool) -> bytes:
        summary = []
        if self.summary is not None:
            summary.append({"type": "summary_text", "text": self.summary})
        item: dict[str, Any] = {
            "id": self.id,
            "type": "reasoning",
            "status": status,
            "summary": summary,
            "content": [self._part()] if shown and self.texts else [],
        }
        if self.sealed is not None:
            item["encrypted_content"] = self.sealed
        return _ENCODE(item)

    def opening(self) -> list[bytes]:
        if not self.shown:
            return []
        return [self.event("response.content_part.added", part=self._part())]

    def closing(self) -> list[bytes]:
        events: list[bytes] = []
        if self.shown:
            part = self._part()
            events.append(self.event(f"response.{self._dialect}.done", text=part["text"]))
            events.append(self.event("response.content_part.done", part=part))
        if self.summary is not None:
            events += self._summary_events(self.summary)
        return events

    def _summary_events(self, text: str) -> list[bytes]:
        def event(name: str, **fields: Any) -> bytes:
            return self.event(
                f"response.reasoning_summary_{name}", content=False, summary_index=0, **fields
            )

        return [
            event("part.added", part={"type": "summary_text", "text": ""}),
            event("text.delta", delta=text),
            event("text.done", text=text),
            event("part.done", part={"type": "summary_text", "text": text}),
        ]


class CallOutput(OpenItem):
    """A call of a function, or of a custom tool."""

    __slots__ = ("_call_id", "_custom", "_name", "_namespace")

    def __init__(
        self, id: str, index: int, *, call_id: str, name: str, namespace: str | None, custom: bool
    ) -> None:
        super().__init__(id, index)
        self._call_id = call_id
        self._name = name
        self._namespace = namespace
        self._custom = custom
        self._deltas(f"{self._events}.delta", content=False)

    @property
    def _events(self) -> str:
        kind = "custom_tool_call_input" if self._custom else "function_call_arguments"
        return f"response.{kind}"

    def body(self, status: ItemStatus) -> bytes:
        item: dict[str, Any] = {
            "id": self.id,
            "type": "custom_tool_call" if self._custom else "function_call",
            "status": status,
            "call_id": self._call_id,
            "name": self._name,
            "input" if self._custom else "arguments": self.json,
        }
        if self._namespace is not None:
            item["namespace"] = self._namespace
        return _ENCODE(item)

    def opening(self) -> list[bytes]:
        return []

    def closing(self) -> list[bytes]:
        fields: dict[str, Any] = {"input" if self._custom else "arguments": self.json}
        if not self._custom:
            fields["name"] = self._name
        return [self.event(f"{self._events}.done", content=False, **fields)]
