"""The events of a response that broke off, brought to a proper end.

What is stored of a stream whose server died ends anywhere, inside an item perhaps. The item is
closed as incomplete, with the text that came, and the output is what was said until then.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

import msgspec

__all__ = ["Mended"]

_DECODE: Final = msgspec.json.Decoder().decode
_ENCODE: Final = msgspec.json.Encoder().encode
_FIELDS: Final = {
    "response.custom_tool_call_input": "input",
    "response.function_call_arguments": "arguments",
}
_DELTA: Final = ".delta"


class Mended:
    """Feed it the stored events in order; `end` gives those that are missing before the last."""

    def __init__(self) -> None:
        self.output: list[Any] = []
        """The items that were completed, and after `end` the one that was not."""
        self._number = 0
        self._item: dict[str, Any] | None = None
        self._index = 0
        self._part: dict[str, Any] | None = None
        self._kind = ""
        self._text: list[str] = []
        self._logprobs: list[Any] = []

    def feed(self, events: Iterable[bytes]) -> None:
        """More of them."""
        for raw in events:
            event = _DECODE(raw)
            kind: str = event["type"]
            self._number = event["sequence_number"] + 1
            if kind == "response.output_item.added":
                self._item, self._index = event["item"], event["output_index"]
                self._part, self._kind, self._text, self._logprobs = None, "", [], []
            elif kind == "response.output_item.done":
                self.output.append(event["item"])
                self._item = None
            elif kind == "response.content_part.added":
                self._part = event["part"]
            elif kind.endswith(_DELTA) and self._item is not None:
                self._kind = kind.removesuffix(_DELTA)
                self._text.append(event["delta"])
                self._logprobs += event.get("logprobs") or []

    def end(self) -> tuple[int, list[bytes]]:
        """The number of the first missing event, and the events."""
        first, item = self._number, self._item
        if item is None:
            return first, []
        events: list[bytes] = []
        text = "".join(self._text)
        head: dict[str, Any] = {"item_id": item["id"], "output_index": self._index}
        item = {**item, "status": "incomplete"}
        field = _FIELDS.get(self._kind) or ("input" if "input" in item else "arguments")
        if self._part is not None:
            part = {**self._part, "text": text}
            more: dict[str, Any] = {}
            if "logprobs" in part:
                part["logprobs"] = more["logprobs"] = self._logprobs
            if self._kind or part["type"] == "output_text":
                kind = f"{self._kind or 'response.output_text'}.done"
                self._add(events, kind, {**head, "content_index": 0, "text": text, **more})
            else:
                self._add(
                    events, "response.reasoning_text.done", {**head, "content_index": 0, "text": ""}
                )
            done = {**head, "content_index": 0, "part": part}
            self._add(events, "response.content_part.done", done)
            item["content"] = [part] if text or part["type"] == "output_text" else []
        elif field in item:
            kind = "custom_tool_call_input" if field == "input" else "function_call_arguments"
            named = {} if field == "input" else {"name": item["name"]}
            self._add(events, f"response.{kind}.done", {**head, field: text, **named})
            item[field] = text
        ended = {"output_index": self._index, "item": item}
        self._add(events, "response.output_item.done", ended)
        self.output.append(item)
        self._item = None
        return first, events

    def _add(self, events: list[bytes], type: str, fields: dict[str, Any]) -> None:
        events.append(_ENCODE({"type": type, **fields, "sequence_number": self._number}))
        self._number += 1
