"""One turn of an ordinary model: a chat request out, its deltas back as turn events."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing
from typing import TYPE_CHECKING, Final

import msgspec

from antiphon.api.errors import ApiError, as_api_error
from antiphon.api.turn import TurnEvent, TurnRequest
from antiphon.engines.served import Served
from antiphon.errors import AntiphonError, EngineError
from antiphon.net.sse import ServerSentEventDecoder
from antiphon.settings.model import TurnSettings
from antiphon.turn.observe import TurnObserver
from antiphon.turn.ordinary.checked import CheckedCalls
from antiphon.turn.ordinary.events import ChatFolder
from antiphon.turn.ordinary.request import chat_body
from antiphon.turn.watchdog import Watchdog

if TYPE_CHECKING:
    from antiphon.engines.passthrough import Passed, Passthrough

__all__ = ["OrdinaryRunner"]

PATH: Final = "/v1/chat/completions"
MAX_ERROR_BYTES: Final = 64 * 1024
_THEIRS: Final = frozenset({400, 404, 413, 422, 429})
"""What an engine refuses a request with; anything else is its own failure."""
_NO_EVENTS: Final[tuple[TurnEvent, ...]] = ()


class OrdinaryRunner:
    """Runs turns on one engine's chat route, as `antiphon.turn.engine.TurnRunner` does below it."""

    def __init__(
        self, served: Served, *, settings: TurnSettings, new_id: Callable[[], str]
    ) -> None:
        self._served = served
        self._settings = settings
        self._new_id = new_id

    async def run(
        self, request: TurnRequest, *, observer: TurnObserver | None = None
    ) -> AsyncGenerator[Sequence[TurnEvent], None]:
        """The turn's events as they come. Raises ApiError. Closing it stops the engine's work."""
        through: Passthrough | None = self._served.passthrough
        if through is None:
            raise ApiError(
                f"the engine of the model {self._served.name!r} has no chat route of its own",
                param="model",
                code="unsupported_route",
            )
        watch = Watchdog(idle=self._settings.idle_seconds, total=self._settings.seconds)
        fold = ChatFolder(request, self._new_id)
        checked = CheckedCalls(request)
        try:
            async with through.open(PATH, chat_body(request)) as answer:
                if answer.status != 200:
                    raise await _refusal(answer)
                yield _NO_EVENTS
                decoder = ServerSentEventDecoder()
                async with aclosing(answer.pieces()) as pieces:
                    while True:
                        watch.waits()
                        try:
                            piece = await anext(pieces)
                        except StopAsyncIteration:
                            watch.heard(None)
                            break
                        except asyncio.CancelledError:
                            if not watch.expired():
                                raise
                            assert watch.error is not None
                            raise watch.error from None
                        watch.heard(piece)
                        out: list[TurnEvent] = []
                        done = False
                        for event in decoder.feed(piece):
                            if event.data == "[DONE]":
                                done = True
                                break
                            out += fold.feed(event.data)
                        yield await checked.passed(out)
                        if done:
                            break
            if not fold.finished:
                raise EngineError(f"{through.name} broke off without saying that it ended")
            yield await checked.passed(fold.end())
        except AntiphonError as error:
            raise as_api_error(error) from error
        finally:
            watch.cancel()


async def _refusal(answer: Passed) -> ApiError:
    """The engine's own words, where the request is at fault."""
    body = b""
    async for piece in answer.pieces():
        body += piece
        if len(body) > MAX_ERROR_BYTES:
            break
    message, code = _told(body)
    if answer.status not in _THEIRS:
        raise EngineError(f"the engine answers with status {answer.status}: {message}")
    if answer.status == 429:
        return ApiError(message, status=429, type="rate_limit_error", code="rate_limit_exceeded")
    return ApiError(message, status=answer.status, code=code)


def _told(body: bytes) -> tuple[str, str | None]:
    try:
        found = msgspec.json.decode(body)
    except (ValueError, RecursionError):
        found = None
    error = found.get("error") if isinstance(found, dict) else None
    if isinstance(error, dict) and isinstance(error.get("message"), str):
        code = error.get("code")
        return error["message"], code if isinstance(code, str) else None
    if isinstance(error, str):
        return error, None
    return body[:500].decode("utf-8", "replace") or "the engine says nothing of it", None
