"""Errors as clients see them: OpenAI's shape for everything, a traceback for nobody."""

from __future__ import annotations

import asyncio
import logging
import math
from collections.abc import Callable, Mapping
from typing import Final

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from antiphon import __version__
from antiphon.api.errors import ApiError, as_api_error
from antiphon.errors import AntiphonError
from antiphon.gateway.context import CONTEXT, DIRECT, RequestContext, client_request_id

__all__ = [
    "ClientGoneError",
    "ErrorBoundary",
    "http_error",
    "send_error",
    "send_json",
    "to_api_error",
]

CLIENT_GONE: Final = 499
"""The status in logs and metrics of a request whose client did not wait for the answer."""
SWITCHING: Final = 101

_log = logging.getLogger(__name__)
_VERSION: Final = __version__.encode()


class ClientGoneError(Exception):
    """The client closed its connection: there is nobody to answer."""


class ErrorBoundary:
    """The outermost layer: makes the request's context, sends its headers, answers every error."""

    def __init__(
        self,
        app: ASGIApp,
        *,
        clock: Callable[[], float],
        new_id: Callable[[], str],
        finished: Callable[[Scope, RequestContext], None],
    ) -> None:
        self._app = app
        self._finished = finished
        self._clock = clock
        self._new_id = new_id

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] not in ("http", "websocket"):
            await self._app(scope, receive, send)
            return
        request_id = client_request_id(scope) or f"req_{self._new_id()}"
        context = scope[CONTEXT] = RequestContext(request_id, self._clock())
        # Taken out, so that nobody who serves a request inside this one writes to its connection.
        context.direct = scope.get("extensions", {}).pop(DIRECT, None)

        async def sender(message: Message) -> None:
            kind = message["type"]
            if kind in ("http.response.start", "websocket.http.response.start"):
                context.status = message["status"]
                message["headers"] = [*message.get("headers", ()), *_headers(context)]
            elif kind == "websocket.accept":
                context.status = SWITCHING
                message["headers"] = [*message.get("headers", ()), *_headers(context)]
            await send(message)

        try:
            await self._app(scope, receive, sender)
        except ClientGoneError:
            context.status = CLIENT_GONE
        except Exception as error:  # noqa: BLE001 - the one place that may see anything
            await _tell(error, context, scope, sender)
        finally:
            self._finished(scope, context)
            context.direct = None  # It knows the connection, which knows the scope, and so on.


async def _tell(error: Exception, context: RequestContext, scope: Scope, send: Send) -> None:
    # A function of its own: where an error is caught, a name for it would keep the error alive,
    # which knows that place, and with it the whole request.
    answer = to_api_error(error, context)
    context.error = context.error or answer.code
    if not context.status:
        prefix = "websocket." if scope["type"] == "websocket" else ""
        await send_error(send, answer, prefix=prefix)


def to_api_error(error: Exception, context: RequestContext) -> ApiError:
    """What the client is told of ``error``. A bug is logged with its traceback, and told without.

    An engine's failure is told in our words; the log has the engine's.
    """
    if isinstance(error, AntiphonError):
        return as_api_error(error)
    if isinstance(error, HTTPException):
        return _from_http(error)
    _log.error("request %s failed", context.request_id, exc_info=error)
    if isinstance(error, asyncio.TimeoutError):
        return ApiError("something took too long", status=504, type="server_error", code="timeout")
    return ApiError(
        f"the server made an error, which is in its log under request id {context.request_id}",
        status=500,
        type="server_error",
        code="internal_error",
    )


async def http_error(request: Request, error: Exception) -> Response:
    """Starlette's own errors (no such route, wrong method) in OpenAI's shape."""
    assert isinstance(error, HTTPException)
    answer = _from_http(error, request)
    return Response(
        answer.body(), answer.status, dict(answer.headers), media_type="application/json"
    )


def _meant(request: Request | None) -> str:
    """A hint for clients whose base URL has ``/v1`` not at all, or twice."""
    if request is None:
        return ""
    path = request.url.path
    meant = path.removeprefix("/v1") if path.startswith("/v1/v1/") else f"/v1{path}"
    if any(getattr(route, "path", None) == meant for route in request.app.routes):
        return f"; it is at {meant}: a client's base URL has to end with /v1"
    return ""


def _from_http(error: HTTPException, request: Request | None = None) -> ApiError:
    status = error.status_code
    headers = dict(error.headers or {})
    where = f"{request.method} {request.url.path}" if request is not None else "this request"
    if status == 404:
        return ApiError(
            f"there is no {where[:200]} here{_meant(request)}",
            status=404,
            type="not_found_error",
            code="unknown_url",
        )
    if status == 405:
        message = f"{where[:200]} is not possible; this route takes {headers.get('Allow', '')}"
        return ApiError(message, status=405, code="method_not_allowed", headers=headers)
    kind = "server_error" if status >= 500 else "invalid_request_error"
    return ApiError(error.detail, status=status, type=kind, headers=headers)  # type: ignore[arg-type]


async def send_error(send: Send, error: ApiError, *, prefix: str = "") -> None:
    """``error`` as the whole response. ``prefix``: ``websocket.`` to an upgrade."""
    headers = {name.lower(): value for name, value in error.headers.items()}
    if error.retry_after is not None:
        headers.setdefault("retry-after", str(max(1, math.ceil(error.retry_after))))
    await send_json(send, error.body(), status=error.status, headers=headers, prefix=prefix)


async def send_json(
    send: Send,
    body: bytes,
    *,
    status: int = 200,
    headers: Mapping[str, str] | None = None,
    prefix: str = "",
) -> None:
    """A JSON response in two messages."""
    await send(
        {
            "type": f"{prefix}http.response.start",
            "status": status,
            "headers": [
                (b"content-type", b"application/json"),
                (b"content-length", b"%d" % len(body)),
                *((n.encode("latin-1"), v.encode("latin-1")) for n, v in (headers or {}).items()),
            ],
        }
    )
    await send({"type": f"{prefix}http.response.body", "body": body, "more_body": False})


def _headers(context: RequestContext) -> list[tuple[bytes, bytes]]:
    request_id = context.request_id.encode("ascii")
    headers = [
        (b"antiphon", _VERSION),
        (b"antiphon-request-id", request_id),
        (b"x-request-id", request_id),
    ]
    if context.mode is not None:
        headers.append((b"antiphon-mode", context.mode.encode("ascii")))
    if context.ignored:
        headers.append((b"antiphon-ignored", _header_list(context.ignored)))
    headers.extend(context.headers.items())
    return headers


def _header_list(names: tuple[str, ...]) -> bytes:
    """Names that a client chose, as a header's value: printable ASCII, and not without end."""
    shown = [
        "".join([c if " " < c < "\x7f" and c != "," else "?" for c in name[:64]])
        for name in names[:32]
    ]
    return ", ".join(shown).encode("ascii")
