"""What a response adds to its conversation: its texts with their tokens, its pieces as one."""

from __future__ import annotations

from collections.abc import Sequence

from antiphon.api.responses.request import ResponsesRequest
from antiphon.api.turn import PartDelta, TurnEvent
from antiphon.codec.encoded import pack_texts
from antiphon.codec.history import surviving
from antiphon.errors import AntiphonError
from antiphon.model.message import Message
from antiphon.turn.prompt import off_loop, renderer, size

__all__ = ["Merger", "packed_texts"]


async def packed_texts(request: ResponsesRequest, said: Sequence[Message]) -> bytes:
    """`pack_texts` of what the next request will need of the request's own messages and of ``said``
    by the model. Never raises: what is missing is encoded when it is needed.
    """
    own = request.turn.conversation.messages[request.own :]
    messages = surviving((*own, *said), "guide")

    def pack() -> bytes:
        return pack_texts(filter(None, map(renderer().text_tokens, messages)))

    try:
        return await off_loop(size(messages), pack)
    except AntiphonError:
        return b""


class Merger:
    """Many small pieces of one part → one."""

    def __init__(self) -> None:
        self._texts: list[str] = []

    def feed(self, events: Sequence[TurnEvent]) -> list[TurnEvent]:
        """The events but for pieces of text, which wait for what is behind the last of them."""
        out: list[TurnEvent] = []
        for event in events:
            if isinstance(event, PartDelta) and not event.logprobs:
                self._texts.append(event.text)
            else:
                out += self.rest()
                out.append(event)
        return out

    def rest(self) -> list[TurnEvent]:
        """What waits."""
        texts, self._texts = self._texts, []
        return [PartDelta("".join(texts))] if texts else []
