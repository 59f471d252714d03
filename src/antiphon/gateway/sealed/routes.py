"""The two routes of sealed transport: key configurations, and sealed requests (RFC 9458, RFC 9540).

A request is opened, claimed against replay, and run through the whole application again: its API
key, limits, errors, log line and metrics are those of the request inside. What cannot be answered
inside a seal is answered in the clear, and there is one answer for all of it but an unknown key.
"""

from __future__ import annotations

import hashlib
from email.utils import formatdate
from typing import Final

import msgspec
from starlette.routing import BaseRoute, Route
from starlette.types import Message, Receive, Scope, Send

from antiphon.api.errors import ApiError
from antiphon.gateway.context import RequestContext, context_of
from antiphon.gateway.errors import ClientGoneError, send_error
from antiphon.gateway.sealed.answering import Answer, ChunkedAnswer, WholeAnswer
from antiphon.gateway.sealed.inner import InnerReceive, inner_scope
from antiphon.gateway.sealed.reading import Opened, open_body
from antiphon.gateway.sealed.scope import is_sealed
from antiphon.gateway.sealed.transport import SealedTransport
from antiphon.seal import Freshness, OpenError, Request, SealError, UnknownKeyError, date_of
from antiphon.seal.media import (
    CHUNKED_REQUEST,
    DATE_PROBLEM,
    KEY_PROBLEM,
    KEYS,
    PROBLEM_JSON,
    REQUEST,
    WELL_KNOWN_GATEWAY,
)
from antiphon.seal.replay import REPLAY_SPACE
from antiphon.store.protocol import StateStore

__all__ = ["KEYS_PATH", "KeysRoute", "SealedRoute", "seal_routes"]

KEYS_PATH: Final = "/ohttp-keys"
MAX_AGE_SECONDS: Final = 3600
"""How long clients and caches may keep the key configurations."""

_ENCODE: Final = msgspec.json.encode
_ACCEPT: Final = {"accept-post": f"{REQUEST}, {CHUNKED_REQUEST}"}
_REFUSAL: Final = _ENCODE(
    {
        "title": "the sealed request cannot be opened",
        "status": 400,
        "detail": OpenError.advice,
    }
)
"""What is said of everything that does not open, and of copies: these bytes, whatever it was."""


def seal_routes(transport: SealedTransport, store: StateStore) -> list[BaseRoute]:
    """Both routes."""
    return [
        Route(WELL_KNOWN_GATEWAY, SealedRoute(transport, store), methods=["GET", "POST"]),
        Route(KEYS_PATH, KeysRoute(transport), methods=["GET"]),
    ]


class KeysRoute:
    """``GET``: the key configurations, the current one first."""

    def __init__(self, transport: SealedTransport) -> None:
        self._transport = transport

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        now = self._transport.now()
        ring = self._transport.ring
        body = ring.published(now)
        if not body:
            raise ApiError(
                "every sealing key has expired: the operator must run 'antiphon keys seal rotate'",
                status=503,
                type="server_error",
                code="no_sealing_key",
            )
        ends = [key.expires - now for key in ring.keys if key.expires and not key.expired(now)]
        age = int(min([MAX_AGE_SECONDS, *ends]))
        tag = b'"%s"' % hashlib.sha256(body).hexdigest()[:32].encode()
        headers = [
            (b"cache-control", b"public, max-age=%d" % age),
            (b"etag", tag),
            (b"x-content-type-options", b"nosniff"),
        ]
        status = 304 if tag in dict(scope["headers"]).get(b"if-none-match", b"") else 200
        if status == 200:
            headers += [
                (b"content-type", KEYS.encode()),
                (b"content-length", b"%d" % len(body)),
            ]
        shown = body if status == 200 and scope["method"] != "HEAD" else b""
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": shown, "more_body": False})


class SealedRoute:
    """``POST``: a sealed request; ``GET``: the same as `KeysRoute`."""

    def __init__(self, transport: SealedTransport, store: StateStore) -> None:
        self._transport = transport
        self._store = store
        self._keys = KeysRoute(transport)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["method"] != "POST":
            await self._keys(scope, receive, send)
            return
        if is_sealed(scope):
            raise ApiError("sealed requests cannot be sealed again", code="sealed_twice")
        context = context_of(scope)
        chunked = _is_chunked(scope)
        try:
            opened = await open_body(receive, self._transport, chunked=chunked)
            await self._claim(opened, context)
        except UnknownKeyError as unknown:
            context.error = "seal_unknown_key"
            await _unknown_key(send, unknown)
            return
        except SealError:
            context.error = context.error or "seal_refused"
            await _problem(send, _REFUSAL)
            return
        answer = self._answer(opened, send, context, chunked=chunked)
        refusal = self._refusal(opened)
        if refusal is not None:
            context.error = refusal.code
            await _answer_error(answer, refusal, self._transport.now())
            return
        assert opened.request is not None
        await self._run(scope, opened.request, receive, answer)

    async def _claim(self, opened: Opened, context: RequestContext) -> None:
        """Raises OpenError for a copy; StoreError if that cannot be told."""
        if not self._transport.remember_one():
            raise ApiError(
                "too many sealed requests at a time to remember them all",
                status=503,
                type="server_error",
                code="overloaded",
                retry_after=1.0,
            )
        ttl = self._transport.window.remember
        if not await self._store.claim(REPLAY_SPACE, opened.replay_nonce, ttl=ttl):
            context.error = "seal_replayed"
            raise OpenError("a copy")

    def _answer(
        self, opened: Opened, send: Send, context: RequestContext, *, chunked: bool
    ) -> Answer:
        transport = self._transport
        if chunked:
            return ChunkedAnswer(opened.response, transport.padding, send, context.direct)
        return WholeAnswer(
            opened.response,
            transport.padding,
            send,
            max_bytes=transport.settings.answer_bytes,
        )

    def _refusal(self, opened: Opened) -> ApiError | None:
        """Why the request is not run, told inside the seal."""
        mistake, request = opened.mistake, opened.request
        if request is None:
            assert mistake is not None
            return ApiError(
                f"the sealed request is not valid: {mistake}. {mistake.advice}",
                status=mistake.status_hint,
                code="invalid_sealed_request",
            )
        window = self._transport.window
        freshness = window.judge(date_of(request.head.fields), self._transport.now())
        return None if window.accepts(freshness) else _DateError(freshness)

    async def _run(self, scope: Scope, request: Request, receive: Receive, answer: Answer) -> None:
        inner = InnerReceive(request.content, scope, receive)
        direct = answer if isinstance(answer, ChunkedAnswer) else None
        within = inner_scope(scope, request, direct)
        del request  # A stream may last for hours.
        await scope["app"](within, inner, answer.send)
        if answer.complete:
            return
        if inner.gone:
            raise ClientGoneError
        if not answer.begun:
            # Too large for one seal, or the application has failed beyond its own means.
            failed = ApiError(
                "the answer could not be sealed: it is too large, or not valid HTTP; larger ones"
                f" need a request of type {CHUNKED_REQUEST}",
                status=500,
                type="server_error",
                code="answer_not_sealed",
            )
            await _answer_error(answer, failed, self._transport.now())


class _DateError(ApiError):
    """The date of a request is missing or outside the window."""

    def __init__(self, freshness: Freshness) -> None:
        why = {
            Freshness.UNDATED: "the sealed request has no date, and this gateway wants one",
            Freshness.STALE: "the sealed request's date is too long ago",
            Freshness.EARLY: "the sealed request's date is in the future",
        }[freshness]
        super().__init__(
            f"{why}: set the clock by this answer's date and seal the request anew",
            code="seal_date",
        )

    def body(self) -> bytes:
        """A problem (RFC 9457) of the registered type, which is an error in OpenAI's shape too."""
        return _ENCODE(
            {
                "type": DATE_PROBLEM,
                "title": "date field in request outside of acceptable range",
                **msgspec.json.decode(super().body()),
            }
        )


def _is_chunked(scope: Scope) -> bool:
    """Which of the two media types it is. Raises ApiError 415 for all others."""
    headers: dict[bytes, bytes] = dict(scope["headers"])
    kind: bytes = headers.get(b"content-type", b"").partition(b";")[0].strip().lower()
    if headers.get(b"content-encoding", b"identity").strip().lower() != b"identity":
        raise ApiError(
            "sealed requests cannot be compressed",
            status=415,
            code="unsupported_content_encoding",
        )
    if kind not in (REQUEST.encode(), CHUNKED_REQUEST.encode()):
        raise ApiError(
            f"sealed requests are of type {REQUEST} or {CHUNKED_REQUEST}",
            status=415,
            code="unsupported_media_type",
            headers=_ACCEPT,
        )
    return kind == CHUNKED_REQUEST.encode()


async def _unknown_key(send: Send, unknown: UnknownKeyError) -> None:
    body = _ENCODE(
        {
            "type": KEY_PROBLEM,
            "title": "key identifier unknown",
            "status": 400,
            "detail": unknown.advice,
        }
    )
    await _problem(send, body)


async def _problem(send: Send, body: bytes) -> None:
    headers = [
        (b"content-type", PROBLEM_JSON.encode()),
        (b"content-length", b"%d" % len(body)),
        (b"cache-control", b"no-store"),
    ]
    await send({"type": "http.response.start", "status": 400, "headers": headers})
    await send({"type": "http.response.body", "body": body, "more_body": False})


async def _answer_error(answer: Answer, error: ApiError, now: float) -> None:
    """``error`` inside the seal, with this gateway's time."""
    kind = PROBLEM_JSON if isinstance(error, _DateError) else "application/json"

    async def dated(message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = [(n, v) for n, v in message["headers"] if n != b"content-type"]
            headers.append((b"content-type", kind.encode()))
            headers.append((b"date", formatdate(now, usegmt=True).encode()))
            message["headers"] = headers
        await answer.send(message)

    await send_error(dated, error)
