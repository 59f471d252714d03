"""Turn events → the events of a Responses stream, and the response object at any time.

    created, in_progress, then for each item
        output_item.added, (content_part.added), deltas, done, (content_part.done), output_item.done
    then one of completed, incomplete, failed

What a method returns are events as JSON, to be sent in order, as SSE frames or as messages of a
WebSocket; each begins with its type (`event_type`). The response that is not streamed is `response`
after the last of them: the two cannot differ.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Final, Literal

import msgspec

from antiphon.api.citations import Citing
from antiphon.api.errors import ApiError
from antiphon.api.policy import Visibility
from antiphon.api.responses.cited import CitingMessage
from antiphon.api.responses.output_item import (
    CallOutput,
    ItemStatus,
    MessageOutput,
    OpenItem,
    ReasoningDialect,
    ReasoningOutput,
)
from antiphon.api.responses.request import ResponsesRequest
from antiphon.api.responses.sealed import pack_reasoning
from antiphon.api.responses.seen import pack_seen
from antiphon.api.responses.served import ItemMaker, ServedItem
from antiphon.api.responses.summary import extract
from antiphon.api.responses.usage import error_body, usage_body
from antiphon.api.turn import (
    CallRan,
    PartDelta,
    PartEnd,
    PartKind,
    PartStart,
    TurnEnd,
    TurnEvent,
    TurnUsage,
)
from antiphon.model.message import Message

__all__ = ["ResponseStatus", "ResponseStream", "event_type", "sse_frame"]

ResponseStatus = Literal["queued", "in_progress", "completed", "incomplete", "failed", "cancelled"]

_ENCODE: Final = msgspec.json.Encoder().encode
_TYPE: Final = len(b'{"type":"')


class ResponseStream:
    """One response. ``new_id`` makes what follows an item's prefix (``msg_`` and the like)."""

    __slots__ = (
        "_citing",
        "_completed_at",
        "_created",
        "_dialect",
        "_done",
        "_echo",
        "_end",
        "_error",
        "_hides",
        "_id",
        "_kept",
        "_logprobs",
        "_namespaced",
        "_new_id",
        "_open",
        "_seal",
        "_served",
        "_starting",
        "_summarise",
        "_terminal",
        "_usage",
        "_view",
        "sequence",
        "status",
    )

    def __init__(
        self,
        *,
        id: str,
        created: int,
        echo: bytes,
        new_id: Callable[[], str],
        view: Visibility = Visibility(),  # noqa: B008 - frozen
        dialect: ReasoningDialect = "reasoning_text",
        seal: Callable[[bytes], str] | None = None,
        summarise: Callable[[str], str] | None = None,
        logprobs: bool = False,
        namespaced: Mapping[str, tuple[str, str]] | None = None,
        served: Mapping[str, ItemMaker] | None = None,
        citing: Citing | None = None,
    ) -> None:
        self._id = id
        self._created = created
        self._echo = echo
        self._new_id = new_id
        self._view = view
        self._dialect = dialect
        self._seal = seal
        self._summarise = summarise
        self._logprobs = logprobs
        self._namespaced = namespaced or {}
        self._served = served or {}
        self._citing = citing
        self.sequence = 0
        """The number of the next event."""
        self.status: ResponseStatus = "in_progress"
        self._done: list[bytes] = []
        self._kept: list[bytes] = []
        self._hides = False
        self._open: OpenItem | None = None
        self._starting: PartStart | None = None
        self._end: TurnEnd | None = None
        self._usage = TurnUsage()
        self._error = b"null"
        self._completed_at: int | None = None
        self._terminal: int | None = None

    @classmethod
    def for_request(
        cls,
        request: ResponsesRequest,
        *,
        id: str,
        created: int,
        new_id: Callable[[], str],
        visibility: Visibility = Visibility(),  # noqa: B008 - frozen
        dialect: ReasoningDialect = "reasoning_text",
        seal: Callable[[bytes], str] | None = None,
        summaries: bool = False,
    ) -> ResponseStream:
        """The stream that ``request`` asks for. ``id`` begins with ``resp_``.

        ``seal`` makes ``encrypted_content``, and ``summaries`` allows summaries, where they are
        asked for.
        """
        wanted = request.summary if summaries else None
        return cls(
            id=id,
            created=created,
            echo=request.echo,
            new_id=new_id,
            view=request.view(visibility),
            dialect=dialect,
            seal=seal if request.encrypted else None,
            summarise=None if wanted is None else partial(extract, wanted=wanted),
            logprobs=request.turn.logprobs is not None,
            namespaced=request.namespaced,
            served=request.served,
            citing=request.citing,
        )

    # The life of a response.

    def enqueue(self) -> list[bytes]:
        """The first events of a response that has to wait: ``created`` and ``queued``."""
        self.status = "queued"
        return [self._life("created"), self._life("queued")]

    def begin(self) -> list[bytes]:
        """The events before the first item: ``created``, unless it was sent, ``in_progress``."""
        events = []
        self.status = "in_progress"
        if self.sequence == 0:
            events.append(self._life("created"))
        events.append(self._life("in_progress"))
        return events

    def feed(self, events: Sequence[TurnEvent]) -> list[bytes]:
        """The events that these make; maybe none."""
        out: list[bytes] = []
        for event in events:
            if event.__class__ is PartDelta:
                self._delta(event, out)
            elif isinstance(event, PartStart):
                self._start(event, out)
            elif isinstance(event, PartEnd):
                # Cut off, the item is complete or not as the turn's end says, which is next.
                if event.complete:
                    self._part_ended(event, out)
            elif isinstance(event, CallRan):
                self._ran(event, out)
            elif isinstance(event, TurnEnd):
                self._end = event
                self._usage = event.usage
                self._close(out, "incomplete" if event.finish_reason == "length" else "completed")
        return out

    def finish(self, *, now: int) -> list[bytes]:
        """The last event, after the turn's end: ``completed``, or ``incomplete``.

        Raises ValueError if the turn did not end.
        """
        if self._end is None:
            raise ValueError("the turn has not ended")
        if self._end.finish_reason == "length":
            return [self._last("incomplete", "incomplete")]
        self._completed_at = now
        return [self._last("completed", "completed")]

    def fail(self, error: ApiError) -> list[bytes]:
        """The last events of a response that cannot be finished.

        After `finish`, what that returned must not have been sent: this replaces it.
        """
        out: list[bytes] = []
        self._close(out, "incomplete")
        self._error = error_body(error)
        self._completed_at = None
        out.append(self._last("failed", "failed"))
        return out

    def cancel(self) -> list[bytes]:
        """The last events of a response that its client gave up.

        OpenAI has no type for it: it is ``incomplete``, the response's status is ``cancelled``.
        """
        out: list[bytes] = []
        self._close(out, "incomplete")
        self._completed_at = None
        out.append(self._last("incomplete", "cancelled"))
        return out

    @property
    def finished(self) -> bool:
        """Whether the last event was made."""
        return self._terminal is not None

    @property
    def response(self) -> bytes:
        """The response object as it is now, as JSON."""
        incomplete = b"null"
        if self.status == "incomplete":
            incomplete = b'{"reason":"max_output_tokens"}'
        return b"".join(
            (
                b'{"id":',
                _ENCODE(self._id),
                b',"object":"response","created_at":%d,"status":"' % self._created,
                self.status.encode(),
                b'","completed_at":',
                b"null" if self._completed_at is None else b"%d" % self._completed_at,
                b',"error":',
                self._error,
                b',"incomplete_details":',
                incomplete,
                b",",
                self._echo,
                b',"output":[',
                b",".join(self.output),
                b'],"usage":',
                usage_body(self._usage),
                b"}",
            )
        )

    @property
    def output(self) -> list[bytes]:
        """The JSON of each item so far, an open one included."""
        if self._open is None or not self._open.told:
            return self._done
        return [*self._done, self._open.body("in_progress")]

    @property
    def kept(self) -> list[bytes]:
        """The items as the next request needs them: reasoning included that is not shown."""
        return self._kept

    @property
    def hides(self) -> bool:
        """Whether an item is kept with more than clients see of it."""
        return self._hides

    @property
    def messages(self) -> Sequence[Message]:
        """What the model said, once the turn has ended."""
        return () if self._end is None else self._end.messages

    @property
    def usage(self) -> TurnUsage:
        """Known once the turn has ended."""
        return self._usage

    # Inside.

    def _delta(self, event: PartDelta, out: list[bytes]) -> None:
        item = self._open
        if item is None:
            if self._starting is None:
                return
            item = self._begin(self._starting, out)
        text = event.text
        if isinstance(item, CitingMessage):
            for each in item.cited(text, event.logprobs):
                self._event(each, out)
            return
        item.texts.append(text)
        if not item.before:
            return
        after = item.after
        if event.logprobs:
            after = item.logprobs(event.logprobs) or after
        sequence = self.sequence
        self.sequence = sequence + 1
        out.append(b"%b%b%b%d}" % (item.before, _ENCODE(text), after, sequence))

    # Calls that the server makes.

    def _part_ended(self, event: PartEnd, out: list[bytes]) -> None:
        """A part is whole. The item of a call that the server makes stays open."""
        item = self._open
        if not isinstance(item, ServedItem):
            self._close(out, "completed")
            return
        item.texts[:] = [event.text]
        if event.arguments is not None:
            item.arguments = event.arguments.value or {}
        if not item.early:
            self._show(item, out)
        for each in item.written():
            self._event(each, out)
        if not item.waits:
            self._close(out, "completed")

    def _ran(self, event: CallRan, out: list[bytes]) -> None:
        item = self._open
        if isinstance(item, ServedItem):
            for each in item.ran(event):
                self._event(each, out)
            self._close(out, "completed")

    def _start(self, part: PartStart, out: list[bytes]) -> None:
        self._close(out, "completed")
        kind = part.kind
        if kind is PartKind.PREAMBLE and self._view.preambles == "hidden":
            return
        if kind is PartKind.CALL or kind is PartKind.ANSWER:
            self._begin(part, out)
        else:
            self._starting = part  # a thought or a preamble without text is none

    def _begin(self, part: PartStart, out: list[bytes]) -> OpenItem:
        self._starting = None
        item = self._open = self._item(part)
        if not isinstance(item, ServedItem) or item.early:
            self._show(item, out)
        return item

    def _show(self, item: OpenItem, out: list[bytes]) -> None:
        item.told = True
        self._event(
            b'{"type":"response.output_item.added","output_index":%d,"item":%b'
            % (item.index, item.body("in_progress")),
            out,
        )
        for event in item.opening():
            self._event(event, out)

    def _item(self, part: PartStart) -> OpenItem:
        index, new_id = len(self._done), self._new_id
        kind = part.kind
        if part.served is not None and (maker := self._served.get(part.served)) is not None:
            return maker(new_id(), index)
        if kind is PartKind.CALL:
            name = part.name or ""
            namespace, name = self._namespaced.get(name, (None, name))
            return CallOutput(
                f"{'ctc' if part.custom else 'fc'}_{new_id()}",
                index,
                call_id=part.call_id or f"call_{new_id()}",
                name=name,
                namespace=namespace,
                custom=part.custom,
            )
        if kind is PartKind.ANSWER:
            id_ = f"msg_{new_id()}"
            if self._citing is not None:
                return CitingMessage(
                    id_, index, "final_answer", logprobs=self._logprobs, citing=self._citing
                )
            return MessageOutput(id_, index, "final_answer", logprobs=self._logprobs)
        if kind is PartKind.PREAMBLE and self._view.preambles == "content":
            return MessageOutput(f"msg_{new_id()}", index, "commentary", logprobs=self._logprobs)
        return ReasoningOutput(f"rs_{new_id()}", index, self._dialect, shown=self._view.reasoning)

    def _close(self, out: list[bytes], status: ItemStatus) -> None:
        """The end of the open item, if there is one."""
        item, self._open, self._starting = self._open, None, None
        if item is None:
            return
        if isinstance(item, ServedItem):
            if not item.told:
                return  # Cut off before it could be told what it is.
            if self._seal is not None and item.seen is not None:
                item.sealed = self._seal(pack_seen(item.seen))
        elif isinstance(item, CitingMessage):
            for event in item.rest():
                self._event(event, out)
        if isinstance(item, ReasoningOutput):
            text = item.text
            if self._seal is not None:
                item.sealed = self._seal(pack_reasoning(text))
            if self._summarise is not None:
                item.summary = self._summarise(text) or None
        for event in item.closing():
            self._event(event, out)
        body = item.body(status)
        self._done.append(body)
        kept = item.kept(status, body)
        self._kept.append(kept)
        self._hides = self._hides or kept is not body
        self._event(
            b'{"type":"response.output_item.done","output_index":%d,"item":%b' % (item.index, body),
            out,
        )

    def _event(self, event: bytes, out: list[bytes]) -> None:
        out.append(b'%b,"sequence_number":%d}' % (event, self.sequence))
        self.sequence += 1

    def _last(self, name: str, status: ResponseStatus) -> bytes:
        if self._terminal is not None:
            self.sequence = self._terminal
        self._terminal = self.sequence
        self.status = status
        return self._life(name)

    def _life(self, name: str) -> bytes:
        out: list[bytes] = []
        self._event(b'{"type":"response.%b","response":%b' % (name.encode(), self.response), out)
        return out[0]


def event_type(event: bytes) -> bytes:
    """The type of an event that a `ResponseStream` made."""
    return event[_TYPE : event.index(b'"', _TYPE)]


def sse_frame(event: bytes) -> bytes:
    """The event as a server-sent one."""
    return b"event: %b\ndata: %b\n\n" % (event_type(event), event)
