"""One exchange through a relay: a short list of headers, and bytes both ways as they come.

What a header could tell of the client does not go on, and what the gateway could tell a client
apart by does not come back: both lists name what passes, and nothing else does.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from typing import Final
from urllib.parse import urlsplit

import aiohttp
import msgspec
from starlette.types import Message, Receive, Scope, Send

from antiphon.api.errors import ApiError
from antiphon.errors import SettingsError
from antiphon.gateway.errors import ClientGoneError
from antiphon.relay.limits import RelayLimits
from antiphon.seal.media import (
    CHUNKED_REQUEST,
    CHUNKED_RESPONSE,
    INCREMENTAL,
    KEYS,
    PROBLEM_JSON,
    REQUEST,
    RESPONSE,
    WELL_KNOWN_GATEWAY,
)

__all__ = ["Forwarder", "Target"]

ANSWER_TYPES: Final = frozenset(
    {RESPONSE, CHUNKED_RESPONSE, KEYS, PROBLEM_JSON, "application/json"}
)
"""What a gateway of sealed requests answers with; errors in the clear are the last two."""
_BACK: Final = (
    "accept-post",
    "cache-control",
    "content-length",
    "content-type",
    "incremental",
    "retry-after",
)
_MADE_BY_AIOHTTP: Final = ("Accept", "Accept-Encoding", "Content-Type", "User-Agent")


class Target(msgspec.Struct, frozen=True):
    """The one gateway resource that a relay forwards to."""

    url: str

    @classmethod
    def parse(cls, text: str) -> Target:
        """From a gateway's URL; without a path: the well-known one. Raises SettingsError."""
        try:
            parts = urlsplit(text.strip())
            parts.port  # noqa: B018 - raises for a port that is none
        except ValueError as error:
            raise SettingsError(f"--to {text}: {error}") from None
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise SettingsError(f"--to {text}: expected the gateway's URL, http(s)://HOST[:PORT]")
        if parts.query or parts.fragment or "@" in parts.netloc:
            raise SettingsError(f"--to {text}: a URL without user, query and fragment")
        path = parts.path if parts.path.strip("/") else WELL_KNOWN_GATEWAY
        return cls(f"{parts.scheme}://{parts.netloc}{path}")


class Forwarder:
    """Exchanges with one gateway. Belongs to one event loop; `open` before, `aclose` after."""

    def __init__(self, target: Target, limits: RelayLimits) -> None:
        self._target = target
        self._limits = limits
        self._session: aiohttp.ClientSession | None = None

    async def open(self) -> None:
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0),
            cookie_jar=aiohttp.DummyCookieJar(),
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=self._limits.connect_seconds),
            auto_decompress=False,
            skip_auto_headers=_MADE_BY_AIOHTTP,
            trust_env=False,
        )

    async def aclose(self) -> None:
        if self._session is not None:
            await self._session.close()

    async def exchange(self, scope: Scope, upload: Upload, send: Send) -> None:
        """Forward the request and its answer. Raises ApiError, perhaps in the middle of it, and
        ClientGoneError.
        """
        try:
            async with asyncio.timeout(self._limits.seconds):
                await self._exchange(scope, upload, send)
        except TimeoutError:
            raise ApiError(
                f"the exchange took longer than {self._limits.seconds:g} seconds",
                status=504,
                type="server_error",
                code="timeout",
            ) from None
        except (aiohttp.ClientError, OSError):
            if upload.gone.is_set():
                raise ClientGoneError from None
            raise upload.refusal or ApiError(
                "the gateway behind this relay cannot be reached, or broke off",
                status=502,
                type="server_error",
                code="gateway_unreachable",
            ) from None

    async def _exchange(self, scope: Scope, upload: Upload, send: Send) -> None:
        assert self._session is not None
        keys = scope["method"] != "POST"
        async with self._session.request(
            "GET" if keys else "POST",
            self._target.url,
            headers={"Accept": KEYS} if keys else upload.headers(),
            data=None if keys else upload.pieces(),
            allow_redirects=False,
        ) as answer:
            kind = answer.headers.get("content-type", "").partition(";")[0].strip().lower()
            if kind not in ANSWER_TYPES or 300 <= answer.status < 400:
                raise ApiError(
                    f"what is behind this relay answered with status {answer.status} and is no"
                    " gateway of sealed requests",
                    status=502,
                    type="server_error",
                    code="not_a_gateway",
                )
            headers = [
                (name.encode("ascii"), answer.headers[name].encode("latin-1", "replace"))
                for name in _BACK
                if name in answer.headers
            ]
            await send({"type": "http.response.start", "status": answer.status, "headers": headers})
            if scope["method"] != "HEAD":
                async for piece in answer.content.iter_any():
                    await send({"type": "http.response.body", "body": piece, "more_body": True})
        await send({"type": "http.response.body", "body": b"", "more_body": False})


class Upload:
    """A request's body on its way, and what of its headers goes with it.

    Raises ApiError 415 for what is not sealed, 413 for a length over the limit.
    """

    def __init__(self, scope: Scope, receive: Receive, limits: RelayLimits) -> None:
        self._receive = receive
        self._limits = limits
        self._whole = asyncio.Event()
        self.gone = asyncio.Event()
        """Set when the client left before its request was whole."""
        self.refusal: ApiError | None = None
        """Why the body was not forwarded to its end."""
        headers: dict[bytes, bytes] = dict(scope["headers"])
        kind = headers.get(b"content-type", b"").partition(b";")[0].strip().lower()
        self._kind = kind.decode("latin-1")
        length = headers.get(b"content-length", b"")
        self._length = int(length) if length.isdigit() and len(length) < 20 else None
        if scope["method"] == "POST":
            self._check(headers)
        else:
            self._whole.set()

    def _check(self, headers: dict[bytes, bytes]) -> None:
        if self._kind not in (REQUEST, CHUNKED_REQUEST) or b"content-encoding" in headers:
            raise ApiError(
                f"this relay forwards sealed requests only: {REQUEST}, {CHUNKED_REQUEST}",
                status=415,
                code="unsupported_media_type",
                headers={"accept-post": f"{REQUEST}, {CHUNKED_REQUEST}"},
            )
        if self._length is not None and self._length > self._limits.body_bytes:
            raise self._too_large()

    def headers(self) -> dict[str, str]:
        """All that goes on: the same for every client."""
        headers = {"Content-Type": self._kind}
        if self._kind == CHUNKED_REQUEST:
            headers[INCREMENTAL[0]] = INCREMENTAL[1]
        if self._length is not None:
            headers["Content-Length"] = str(self._length)
        return headers

    async def pieces(self) -> AsyncGenerator[bytes, None]:
        """The body as it comes."""
        loop = asyncio.get_running_loop()
        ends = loop.time() + self._limits.body_seconds
        size, more = 0, True
        while more:
            message = await self._next(ends - loop.time())
            data = message.get("body", b"")
            more = message.get("more_body", False)
            size += len(data)
            if size > self._limits.body_bytes:
                self.refusal = self._too_large()
                raise self.refusal
            if data:
                yield data
        self._whole.set()

    async def left(self) -> None:
        """Wait until the client leaves, once its request is whole, or before."""
        whole = asyncio.ensure_future(self._whole.wait())
        gone = asyncio.ensure_future(self.gone.wait())
        try:
            await asyncio.wait((whole, gone), return_when=asyncio.FIRST_COMPLETED)
        finally:
            whole.cancel()
            gone.cancel()
        while not self.gone.is_set():
            if (await self._receive())["type"] == "http.disconnect":
                return

    async def _next(self, seconds: float) -> Message:
        try:
            async with asyncio.timeout(max(0.0, seconds)):
                message = await self._receive()
        except TimeoutError:
            self.refusal = ApiError(
                f"the request did not arrive within {self._limits.body_seconds:g} seconds",
                status=408,
                code="request_timeout",
                headers={"connection": "close"},
            )
            raise self.refusal from None
        if message["type"] == "http.disconnect":
            self.gone.set()
            raise ConnectionResetError("the client left")
        return message

    def _too_large(self) -> ApiError:
        return ApiError(
            f"the request is larger than {self._limits.body_bytes} bytes",
            status=413,
            code="request_too_large",
            headers={"connection": "close"},
        )
