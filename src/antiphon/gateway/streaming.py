"""One streamed request from head to end, whatever becomes of it."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any

from starlette.types import Receive, Scope, Send

from antiphon.gateway.context import RequestContext, context_of
from antiphon.gateway.errors import ClientGoneError, to_api_error
from antiphon.gateway.http import ABORT
from antiphon.gateway.services import Services
from antiphon.gateway.sse import EventStream

__all__ = ["serve_events"]


async def serve_events(
    services: Services,
    scope: Scope,
    receive: Receive,
    send: Send,
    work: Callable[[EventStream], Coroutine[Any, Any, None]],
) -> None:
    """Answer with the events that ``work`` writes.

    What it raises before the first byte is raised here, for an HTTP status; after it, the stream
    ends with an error event and ``[DONE]``. It is cancelled when the client goes or stops reading.
    """
    extensions = scope.get("extensions") or {}
    context = context_of(scope)
    stream = EventStream(
        send,
        direct=context.direct,
        keepalive_seconds=services.settings.server.keepalive_seconds,
        on_stall=extensions.get(ABORT, {}).get("abort", _nothing),
    )
    try:
        await services.lifecycle.run(receive, work(stream), context.presence)
    except ClientGoneError:
        raise
    except Exception as error:
        if not stream.begun:
            raise
        await _fail(stream, error, context)
    finally:
        await stream.close()


async def _fail(stream: EventStream, error: Exception, context: RequestContext) -> None:
    # A function of its own, so that no name where the error is caught keeps it alive.
    answer = to_api_error(error, context)
    context.error = answer.code
    await stream.fail(answer)


def _nothing() -> None:
    """A server that is not ours may have no way to cut a connection."""
