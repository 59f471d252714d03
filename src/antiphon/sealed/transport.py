"""The steps of a sealed request, taken with httpx2 or httpx: as transports for their clients.

Outside, an ordinary client of the same library sends sealed bodies and reads sealed answers, with
its own connections, proxies and certificates. Time limits are those of the inner request. Content
is handed on as soon as its chunk has opened; closing an answer early closes the connection.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from http.cookiejar import DefaultCookiePolicy
from typing import Any, TypeVar

from antiphon.seal.message import RequestHead
from antiphon.sealed.exchange import fields_of
from antiphon.sealed.session import Session
from antiphon.sealed.steps import Close, Opened, Read, Reply, Send, Step, Steps

__all__ = ["AsyncWire", "Wire", "async_transport", "run", "run_async", "sync_transport"]

_T = TypeVar("_T")


def sync_transport(library: Any, session: Session, http: Any = None) -> Any:
    """A transport for ``library.Client``. ``http``: the client that is used outside."""
    kind = type("SealedTransport", (_Transport, library.BaseTransport), {})
    return kind(library, session, http)


def async_transport(library: Any, session: Session, http: Any = None) -> Any:
    """A transport for ``library.AsyncClient``."""
    kind = type("AsyncSealedTransport", (_AsyncTransport, library.AsyncBaseTransport), {})
    return kind(library, session, http)


def run(steps: Steps[_T], wire: Wire) -> _T:
    """Take the steps. What goes wrong closes the connection."""
    try:
        result: Any = None
        while True:
            try:
                step = steps.send(result)
            except StopIteration as done:
                value: _T = done.value
                return value
            result = wire.take(step)
    except BaseException:
        wire.close()
        raise
    finally:
        steps.close()


async def run_async(steps: Steps[_T], wire: AsyncWire) -> _T:
    """Take the steps. What goes wrong closes the connection."""
    try:
        result: Any = None
        while True:
            try:
                step = steps.send(result)
            except StopIteration as done:
                value: _T = done.value
                return value
            result = await wire.take(step)
    except BaseException:
        await wire.close()
        raise
    finally:
        steps.close()


class Wire:
    """One exchange at a time with what is outside."""

    def __init__(self, http: Any, timeout: Any = None) -> None:
        self._http = http
        self._timeout = timeout
        self._response: Any = None
        self._body: Iterator[bytes] = iter(())

    def take(self, step: Step) -> Reply | bytes | None:
        match step:
            case Send():
                self.close()
                request = _request(self._http, step, self._timeout)
                self._response = self._http.send(request, stream=True, follow_redirects=False)
                self._body = self._response.iter_raw()
                return _reply(self._response)
            case Read():
                return next(self._body, b"")
            case Close():
                self.close()
        return None

    def close(self) -> None:
        response, self._response = self._response, None
        if response is not None:
            response.close()


class AsyncWire:
    """The same with asyncio."""

    def __init__(self, http: Any, timeout: Any = None) -> None:
        self._http = http
        self._timeout = timeout
        self._response: Any = None
        self._body: AsyncIterator[bytes] | None = None

    async def take(self, step: Step) -> Reply | bytes | None:
        match step:
            case Send():
                await self.close()
                request = _request(self._http, step, self._timeout)
                self._response = await self._http.send(request, stream=True, follow_redirects=False)
                self._body = self._response.aiter_raw()
                return _reply(self._response)
            case Read():
                return b"" if self._body is None else await anext(self._body, b"")
            case Close():
                await self.close()
        return None

    async def close(self) -> None:
        response, self._response = self._response, None
        if response is not None:
            await response.aclose()


class _Transport:
    def __init__(self, library: Any, session: Session, http: Any) -> None:
        self._library = library
        self._session = session
        self._http = http or _without_cookies(library.Client(follow_redirects=False))
        self._own = http is None
        self._stream = type("SealedStream", (_Stream, library.SyncByteStream), {})

    def handle_request(self, request: Any) -> Any:
        content = request.read()
        wire = self.wire(request.extensions.get("timeout"))
        head = _head(self._session, request)
        opened = run(self._session.request(head, content), wire)
        return _response(self._library, opened, self._stream(wire, opened))

    def wire(self, timeout: Any = None) -> Wire:
        return Wire(self._http, timeout)

    def close(self) -> None:
        if self._own:
            self._http.close()


class _AsyncTransport:
    def __init__(self, library: Any, session: Session, http: Any) -> None:
        self._library = library
        self._session = session
        self._http = http or _without_cookies(library.AsyncClient(follow_redirects=False))
        self._own = http is None
        self._stream = type("AsyncSealedStream", (_AsyncStream, library.AsyncByteStream), {})

    async def handle_async_request(self, request: Any) -> Any:
        content = await request.aread()
        wire = self.wire(request.extensions.get("timeout"))
        head = _head(self._session, request)
        opened = await run_async(self._session.request(head, content), wire)
        return _response(self._library, opened, self._stream(wire, opened))

    def wire(self, timeout: Any = None) -> AsyncWire:
        return AsyncWire(self._http, timeout)

    async def aclose(self) -> None:
        if self._own:
            await self._http.aclose()


class _Stream:
    """The content of an answer, as it opens."""

    def __init__(self, wire: Wire, opened: Opened) -> None:
        self._wire = wire
        self._reader, self._content, self._ended = opened

    def __iter__(self) -> Iterator[bytes]:
        # Whoever reads on, reads on where the one before left off: openai-python does so.
        try:
            while True:
                content, self._content = self._content, b""
                if content:
                    yield content
                if self._ended:
                    break
                data = self._wire.take(Read())
                assert isinstance(data, bytes)
                self._content = self._reader.feed(data) if data else self._reader.eof()
                self._ended = not data
        finally:
            self._wire.close()

    def close(self) -> None:
        self._wire.close()


class _AsyncStream:
    """The same with asyncio."""

    def __init__(self, wire: AsyncWire, opened: Opened) -> None:
        self._wire = wire
        self._reader, self._content, self._ended = opened

    async def __aiter__(self) -> AsyncIterator[bytes]:
        # Whoever reads on, reads on where the one before left off: openai-python does so.
        try:
            while True:
                content, self._content = self._content, b""
                if content:
                    yield content
                if self._ended:
                    break
                data = await self._wire.take(Read())
                assert isinstance(data, bytes)
                self._content = self._reader.feed(data) if data else self._reader.eof()
                self._ended = not data
        finally:
            await self._wire.close()

    async def aclose(self) -> None:
        await self._wire.close()


def _head(session: Session, request: Any) -> RequestHead:
    url = request.url
    authority = url.netloc.decode("ascii").lower()
    return session.head(
        request.method,
        url.scheme,
        authority,
        url.raw_path.decode("ascii"),
        fields_of(request.headers.raw),
    )


def _request(http: Any, step: Send, timeout: Any) -> Any:
    extensions = {} if timeout is None else {"timeout": timeout}
    return http.build_request(
        step.method,
        step.url,
        headers=step.headers,
        content=step.body or None,
        extensions=extensions,
    )


def _reply(response: Any) -> Reply:
    return Reply(response.status_code, {k.lower(): v for k, v in response.headers.items()})


def _response(library: Any, opened: Opened, stream: Any) -> Any:
    head = opened.reader.head
    assert head is not None
    return library.Response(head.status, headers=list(head.fields), stream=stream)


def _without_cookies(http: Any) -> Any:
    """What is outside the seal must not tell two requests to be of one client."""
    http.cookies.jar.set_policy(DefaultCookiePolicy(allowed_domains=[]))
    return http
