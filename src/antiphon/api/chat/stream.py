"""Turn events → the server-sent events of a Chat Completions stream.

The first chunk of a choice has the role, the last one the finish reason and nothing else. A call's
chunk has ``id`` and ``name`` once, then fragments of arguments under the same ``index``. Everything
around a piece of text is encoded beforehand: a chunk costs the encoding of its text.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import msgspec

from antiphon.api.chat.answer import SERVICE_TIER, Usage, choice_logprobs, total_usage
from antiphon.api.chat.request import ChatRequest
from antiphon.api.chat.served import annotation
from antiphon.api.chat.visible import ChoiceState, Target
from antiphon.api.errors import ApiError
from antiphon.api.policy import Visibility
from antiphon.api.turn import Annotated, PartDelta, PartEnd, PartStart, TurnEnd, TurnEvent

__all__ = ["DONE", "KEEP_ALIVE", "ChatStream", "error_frames"]

DONE: Final = b"data: [DONE]\n\n"
KEEP_ALIVE: Final = b": keep-alive\n\n"
"""A comment, which every client skips."""

_ENCODE: Final = msgspec.json.Encoder().encode


class ChatStream:
    """One response. Feed it each choice's events; what it returns is to be sent at once."""

    __slots__ = ("_choices", "_head", "_include_usage")

    def __init__(
        self,
        *,
        id: str,
        created: int,
        model: str,
        n: int = 1,
        view: Visibility = Visibility(),  # noqa: B008 - frozen
        include_usage: bool = False,
        logprobs: bool = False,
        deprecated_functions: bool = False,
        system_fingerprint: str | None = None,
    ) -> None:
        head: dict[str, Any] = {
            "id": id,
            "object": "chat.completion.chunk",
            "created": created,
            "model": model,
            "service_tier": SERVICE_TIER,
        }
        if system_fingerprint is not None:
            head["system_fingerprint"] = system_fingerprint
        self._head = b"data: " + _ENCODE(head)[:-1]
        self._include_usage = include_usage
        tail = b',"usage":null}\n\n' if include_usage else b"}\n\n"
        self._choices = [
            _Choice(self._head, tail, i, view, logprobs=logprobs, deprecated=deprecated_functions)
            for i in range(n)
        ]

    @classmethod
    def for_request(
        cls,
        request: ChatRequest,
        *,
        id: str,
        created: int,
        visibility: Visibility = Visibility(),  # noqa: B008 - frozen
        system_fingerprint: str | None = None,
    ) -> ChatStream:
        """The stream that ``request`` asks for. ``id`` begins with ``chatcmpl-``."""
        return cls(
            id=id,
            created=created,
            model=request.model,
            n=request.n,
            view=request.view(visibility),
            include_usage=request.include_usage,
            logprobs=request.turn.logprobs is not None,
            deprecated_functions=request.deprecated_functions,
            system_fingerprint=system_fingerprint,
        )

    def feed(self, index: int, events: Sequence[TurnEvent]) -> bytes:
        """The chunks for these events of choice ``index``; maybe none."""
        if not events:
            return b""
        choice = self._choices[index]
        if len(events) == 1 and choice.flowing is not None:
            event = events[0]
            if event.__class__ is PartDelta:
                return b"".join((choice.flowing, _ENCODE(event.text), choice.after))
        out: list[bytes] = []
        if not choice.opened:
            out.append(choice.open())
        for event in events:
            if isinstance(event, PartDelta):
                choice.delta(event, out)
            elif isinstance(event, PartStart):
                choice.start(event, out)
            elif isinstance(event, PartEnd):
                choice.before = choice.flowing = None
            elif isinstance(event, Annotated):
                notes = [annotation(note) for note in event.annotations]
                out.append(choice.frame(_ENCODE({"annotations": notes})))
            elif isinstance(event, TurnEnd):
                choice.end(event, out)
        return b"".join(out)

    def finish(self) -> bytes:
        """The end of the stream, once every choice has had its TurnEnd."""
        if not self._include_usage:
            return DONE
        usage = _ENCODE(self.usage)
        return b"".join((self._head, b',"choices":[],"usage":', usage, b"}\n\n", DONE))

    @property
    def usage(self) -> Usage:
        """Tokens of the choices that are complete."""
        return total_usage([c.state.usage for c in self._choices if c.state.finish is not None])

    def error(self, error: ApiError) -> bytes:
        """The end of a stream that fails after it began."""
        return error_frames(error)

    def keep_alive(self) -> bytes:
        """Something to send while there is nothing to say."""
        return KEEP_ALIVE


def error_frames(error: ApiError) -> bytes:
    """An error event and the end."""
    return b"".join((b"data: ", error.body(), b"\n\n", DONE))


class _Choice:
    """One choice: its state, and the bytes around its next piece of text."""

    __slots__ = (
        "_deprecated",
        "_fields",
        "_fresh",
        "_logprobs",
        "_prefix",
        "_suffix",
        "after",
        "before",
        "between",
        "flowing",
        "opened",
        "state",
    )

    def __init__(
        self,
        head: bytes,
        tail: bytes,
        index: int,
        view: Visibility,
        *,
        logprobs: bool,
        deprecated: bool,
    ) -> None:
        self.state: Final = ChoiceState(index, view)
        self._prefix = b'%s,"choices":[{"index":%d,"delta":' % (head, index)
        self._suffix = b"}]" + tail
        self._fields = view.reasoning_fields
        self._logprobs = logprobs
        self._deprecated = deprecated
        self._fresh = False
        self.opened = False
        self.before: bytes | None = None
        """What goes before the next text. None: the open part is hidden, or there is none."""
        self.between: bytes | None = None
        """Not None: the text comes twice, with this between."""
        self.flowing: bytes | None = None
        """Not None: text is simply more of it, and this goes before it."""
        self.after = b""

    def frame(self, delta: bytes, finish: bytes = b"null", logprobs: bytes = b"null") -> bytes:
        """One chunk."""
        shown = b',"logprobs":' + logprobs if self._logprobs else b""
        return b"".join((self._prefix, delta, shown, b',"finish_reason":', finish, self._suffix))

    def open(self) -> bytes:
        """The chunk that says who speaks."""
        self.opened = True
        return self.frame(b'{"role":"assistant","content":"","refusal":null}')

    def start(self, part: PartStart, out: list[bytes]) -> None:
        """A part begins."""
        state = self.state
        target = state.start(part)
        self._fresh = True
        self.between = self.flowing = None
        if target is Target.HIDDEN:
            self.before = None
        elif target is Target.CONTENT:
            self._around(b'{"content":', b"}")
        elif target is Target.REASONING:
            if self._fields == "both":
                self._around(b'{"reasoning":', b"}")
                self.between = b',"reasoning_content":'
            else:
                self._around(b'{"%s":' % self._fields.encode(), b"}")
        else:
            self._call(part, out)

    def _call(self, part: PartStart, out: list[bytes]) -> None:
        """The chunk that names the call, and what goes around its fragments."""
        name = part.name or ""
        if self._deprecated:
            opening: dict[str, Any] = {"function_call": {"name": name, "arguments": ""}}
            self._around(b'{"function_call":{"arguments":', b"}}")
        else:
            index = self.state.calls - 1
            kind, field = ("custom", "input") if part.custom else ("function", "arguments")
            call = {
                "index": index,
                "id": part.call_id,
                "type": kind,
                kind: {"name": name, field: ""},
            }
            opening = {"tool_calls": [call]}
            self._around(
                b'{"tool_calls":[{"index":%d,"%s":{"%s":' % (index, kind.encode(), field.encode()),
                b"}}]}",
            )
        out.append(self.frame(_ENCODE(opening)))

    def _around(self, before: bytes, after: bytes) -> None:
        whole = self.frame(before + b"\0" + after)
        self.before, _, self.after = whole.partition(b"\0")

    def delta(self, event: PartDelta, out: list[bytes]) -> None:
        """Text of the open part."""
        before = self.before
        if before is None:
            return
        text = event.text
        if self._fresh:
            self._fresh = False
            text = self.state.said() + text
            if self.between is None and not self._logprobs:
                self.flowing = before
        if event.logprobs and self._logprobs and self.state.target is Target.CONTENT:
            logprobs = _ENCODE(choice_logprobs(event.logprobs))
            out.append(self.frame(b'{"content":' + _ENCODE(text) + b"}", logprobs=logprobs))
            return
        encoded = _ENCODE(text)
        if self.between is None:
            out.append(b"".join((before, encoded, self.after)))
        else:
            out.append(b"".join((before, encoded, self.between, encoded, self.after)))

    def end(self, event: TurnEnd, out: list[bytes]) -> None:
        """The chunk that says why the choice is over."""
        finish = self.state.end(event, deprecated_functions=self._deprecated)
        out.append(self.frame(b"{}", _ENCODE(finish)))
