"""The events of a response that broke off, brought to a proper end.

What is stored of a stream whose server died ends anywhere, inside an item perhaps. The item is
closed as incomplete, with the text that came, and the output is what was said until then.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

import msgspec

from antiphon.api.responses.seen import SERVED_ITEMS

__all__ = ["Mended"]

_DECODE: Final = msgspec.json.Decoder().decode
_ENCODE: Final = msgspec.json.Encoder().encode
_SUMMARY: Final = "response.reasoning_summary"
_ANNOTATION: Final = "response.output_text.annotation.added"
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
        self._said = self._closed = False
        self._text: list[str] = []
        self._logprobs: list[Any] = []
        self._annotations: list[Any] = []

    def feed(self, events: Iterable[bytes]) -> None:
        """More of them."""
        for raw in events:
            event = _DECODE(raw)
            kind: str = event["type"]
            self._number = event["sequence_number"] + 1
            if kind == "response.output_item.added":
                self._item, self._index = event["item"], event["output_index"]
                self._part, self._kind, self._text, self._logprobs = None, "", [], []
                self._said = self._closed = False
                self._annotations = []
            elif kind == "response.output_item.done":
                self.output.append(event["item"])
                self._item = None
            elif kind == "response.content_part.added":
                self._part = event["part"]
            elif kind == "response.content_part.done":
                self._closed = True
            elif kind.startswith(_SUMMARY):
                pass
            elif kind == _ANNOTATION:
                self._annotations.append(event["annotation"])
            elif kind.endswith(_DELTA):
                self._kind = kind.removesuffix(_DELTA)
                self._text.append(event["delta"])
                self._logprobs += event.get("logprobs") or []
            elif kind.endswith(".done"):
                self._said = True

    def end(self, response: bytes) -> tuple[int, list[bytes]]:
        """The number of the first missing event, and the events. ``response`` is the object as it
        was stored last; not even its first events may have been.
        """
        first, item = self._number, self._item
        events: list[bytes] = []
        if not first:
            body = _DECODE(response)
            self._add(events, "response.created", {"response": body})
            self._add(events, f"response.{body['status']}", {"response": body})
        if item is None:
            return first, events
        head = {"item_id": item["id"], "output_index": self._index}
        item = {**item, "status": "incomplete"}
        if item["type"] in SERVED_ITEMS:
            self._end_served(item, head, events)
        elif "call_id" in item:
            self._end_call(item, head, events)
        else:
            self._end_part(item, head, events)
        ended = {"output_index": self._index, "item": item}
        self._add(events, "response.output_item.done", ended)
        self.output.append(item)
        self._item = None
        return first, events

    def _end_call(self, item: dict[str, Any], head: dict[str, Any], events: list[bytes]) -> None:
        text = "".join(self._text)
        field = "input" if "input" in item else "arguments"
        item[field] = text
        if self._said:
            return
        if field == "input":
            self._add(events, "response.custom_tool_call_input.done", {**head, "input": text})
        else:
            fields = {**head, "arguments": text, "name": item["name"]}
            self._add(events, "response.function_call_arguments.done", fields)

    def _end_served(self, item: dict[str, Any], head: dict[str, Any], events: list[bytes]) -> None:
        """A call of a tool of the server's."""
        text = "".join(self._text)
        if item["type"] == "code_interpreter_call":
            item["code"] = text
            if not self._said:
                done = "response.code_interpreter_call_code.done"
                self._add(events, done, {**head, "code": text})
        elif item["type"] == "mcp_call":
            item["arguments"] = text or item.get("arguments", "")
        else:
            item["status"] = "failed"  # OpenAI has no other word for it.

    def _end_part(self, item: dict[str, Any], head: dict[str, Any], events: list[bytes]) -> None:
        text = "".join(self._text)
        head = {**head, "content_index": 0}
        message = item["type"] == "message"
        if self._part is None:
            if not message:
                return  # A thought that is not shown has none.
            self._part = {"type": "output_text", "text": "", "annotations": [], "logprobs": []}
            self._add(events, "response.content_part.added", {**head, "part": self._part})
        part = {**self._part, "text": text}
        more: dict[str, Any] = {}
        if message:
            part["logprobs"] = more["logprobs"] = self._logprobs
            part["annotations"] = self._annotations
        if not self._said:
            kind = self._kind or ("response.output_text" if message else "response.reasoning_text")
            self._add(events, f"{kind}.done", {**head, "text": text, **more})
        if not self._closed:
            self._add(events, "response.content_part.done", {**head, "part": part})
        item["content"] = [part] if message or text else []

    def _add(self, events: list[bytes], type: str, fields: dict[str, Any]) -> None:
        events.append(_ENCODE({"type": type, **fields, "sequence_number": self._number}))
        self._number += 1
