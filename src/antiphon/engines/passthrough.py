"""An engine's own routes, handed through untouched: ordinary models, embeddings and such.

What goes in and what comes out is the same byte for byte, but for the model's name where the engine
knows it by another. The client's credentials stay here; the engine gets ours.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from types import SimpleNamespace
from typing import Any, Final

import msgspec

from antiphon.engines.detect.asking import base_url
from antiphon.errors import EngineError, MissingExtraError

try:
    import aiohttp
except ModuleNotFoundError as missing:
    raise MissingExtraError("aiohttp", "gateway") from missing

__all__ = ["PASSED", "Passed", "Passthrough"]

PASSED: Final = frozenset(
    {
        "/v1/chat/completions",
        "/v1/completions",
        "/v1/embeddings",
        "/v1/rerank",
        "/rerank",
        "/v1/score",
        "/score",
    }
)
"""The only routes that can be reached: an engine's others load models, or tell what others said."""

CONNECT_TIMEOUT: Final = 10.0
"""Seconds to connect."""
READ_TIMEOUT: Final = 600.0
"""Seconds without a byte: an engine may read a long prompt or load a model in silence."""
MAX_PASSED_BYTES: Final = 1024 * 1024 * 1024
"""Largest answer. None is held: it is handed on as it comes."""
KEEP_ALIVE: Final = 4.0
"""Seconds a connection is kept for the next request; uvicorn closes it after 5."""

_TAKEN: Final = frozenset(
    {"accept", "accept-language", "content-type", "traceparent", "tracestate", "x-request-id"}
)
"""The client's headers that the engine gets. All others are between the client and us: keys,
cookies, where the request came from."""
_WITHHELD: Final = frozenset(
    {
        "connection",
        "keep-alive",
        "proxy-authenticate",
        "proxy-authorization",
        "proxy-connection",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
        # Of the body as it came over the wire, which is decompressed and framed anew.
        "content-encoding",
        "content-length",
        # Of the server that it came from.
        "server",
        "date",
        "set-cookie",
        "www-authenticate",
        "alt-svc",
        "strict-transport-security",
    }
)
"""Headers of the engine's answer that the client does not get: those of one hop (RFC 9110, 7.6.1),
and those that only the engine's own server may set."""


class Passed:
    """What the engine answered."""

    def __init__(self, name: str, response: aiohttp.ClientResponse, max_bytes: int) -> None:
        self.status: Final = response.status
        named = {word.strip().lower() for word in response.headers.get("Connection", "").split(",")}
        self.headers: Final[Mapping[str, str]] = {
            lower: value
            for header, value in response.headers.items()
            if (lower := header.lower()) not in _WITHHELD and lower not in named
        }
        """Names in lower case."""
        self._name = name
        self._response = response
        self._max_bytes = max_bytes

    async def pieces(self) -> AsyncGenerator[bytes, None]:
        """The body as it arrives. Raises EngineError if it breaks off or is too large."""
        size = 0
        with _translated(self._name):
            async for piece in self._response.content.iter_any():
                size += len(piece)
                if size > self._max_bytes:
                    raise EngineError(
                        f"{self._name} answers with more than {self._max_bytes} bytes"
                    )
                yield piece


class Passthrough:
    """The routes of the engine at ``url``. Create and use it within one event loop.

    ``model`` is the name the engine knows the model by; None leaves what the client says.
    """

    def __init__(
        self,
        url: str,
        *,
        api_key: str | None = None,
        model: str | None = None,
        connect_timeout: float = CONNECT_TIMEOUT,
        read_timeout: float = READ_TIMEOUT,
        max_bytes: int = MAX_PASSED_BYTES,
    ) -> None:
        self.url = base_url(url)
        self.model = model
        self._headers = {"Authorization": f"Bearer {api_key}"} if api_key else {}
        self._timeout = aiohttp.ClientTimeout(
            total=None, sock_connect=connect_timeout, sock_read=read_timeout
        )
        self._max_bytes = max_bytes
        self._session: aiohttp.ClientSession | None = None

    @property
    def name(self) -> str:
        """For people."""
        return f"the engine at {self.url}"

    async def aclose(self) -> None:
        """Let go of connections. May be called twice."""
        session, self._session = self._session, None
        if session is not None:
            await session.close()

    @asynccontextmanager
    async def open(
        self,
        path: str,
        body: bytes,
        *,
        method: str = "POST",
        headers: Mapping[str, str] | None = None,
    ) -> AsyncGenerator[Passed, None]:
        """Send a request; leaving the context before the answer's end stops the engine's work.

        Raises EngineError: ``status_hint`` 404 for a route that is not passed on, 502 if the engine
        cannot be reached or does not take our key.
        """
        if path not in PASSED:
            error = EngineError(f"{path[:100]} is not passed on to engines")
            error.status_hint = 404
            raise error
        taken = {n: v for n, v in (headers or {}).items() if n.lower() in _TAKEN}
        if not any(name.lower() == "content-type" for name in taken):
            taken["Content-Type"] = "application/json"
        with _translated(self.name):
            response = await self._send(method, path, self._named(body), taken)
        try:
            if response.status in (401, 403):
                raise EngineError(
                    f"{self.name} refused with status {response.status}"
                    " (is the engine's api_key right?)"
                )
            yield Passed(self.name, response, self._max_bytes)
        finally:
            # Closes the connection at once, unless the whole answer has been read.
            response.release() if response.content.at_eof() else response.close()

    async def _send(
        self, method: str, path: str, body: bytes, headers: Mapping[str, str]
    ) -> aiohttp.ClientResponse:
        session = self._open_session()
        reuse = SimpleNamespace(happened=False)
        request: dict[str, Any] = {"data": body, "headers": headers, "allow_redirects": False}
        url = f"{self.url}{path}"
        try:
            return await session.request(method, url, trace_request_ctx=reuse, **request)
        except (aiohttp.ServerDisconnectedError, aiohttp.ClientOSError):
            # A kept connection may have been closed in the meantime, before the request was seen.
            if not reuse.happened:
                raise
        return await session.request(method, url, **request)

    def _open_session(self) -> aiohttp.ClientSession:
        if self._session is None:
            trace = aiohttp.TraceConfig()
            trace.on_connection_reuseconn.append(_note_reuse)
            self._session = aiohttp.ClientSession(
                headers=self._headers,
                timeout=self._timeout,
                cookie_jar=aiohttp.DummyCookieJar(),
                connector=aiohttp.TCPConnector(limit=0, keepalive_timeout=KEEP_ALIVE),
                trace_configs=[trace],
            )
        return self._session

    def _named(self, body: bytes) -> bytes:
        """The body with the engine's name of the model; every other member stays as it is written.
        A body that is no object is the engine's to refuse.
        """
        if self.model is None:
            return body
        try:
            members = msgspec.json.decode(body, type=dict[str, msgspec.Raw])
            given = members.get("model")
            if given is not None and msgspec.json.decode(given) == self.model:
                return body
        except (ValueError, RecursionError):
            return body
        return msgspec.json.encode({**members, "model": self.model})


class _translated:  # noqa: N801 - used as a statement
    """Around calls out: the library's errors become ours."""

    def __init__(self, name: str) -> None:
        self._name = name

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        match error:
            case aiohttp.ConnectionTimeoutError():
                raise EngineError(f"cannot reach {self._name}: no connection in time") from error
            case TimeoutError():
                raise EngineError(f"{self._name} sent nothing for too long") from error
            case aiohttp.ClientConnectorError():
                raise EngineError(f"cannot reach {self._name}: {error}") from error
            case aiohttp.ClientError():
                reason = str(error) or type(error).__name__
                raise EngineError(f"{self._name} broke off: {reason}") from error


async def _note_reuse(_session: object, context: SimpleNamespace, _: object) -> None:
    if context.trace_request_ctx is not None:
        context.trace_request_ctx.happened = True
