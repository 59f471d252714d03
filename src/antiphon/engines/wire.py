"""HTTP/1.1 towards one engine: a POST, its answer read as it comes, the connection perhaps kept.

An engine sends an event for each token, so what a read costs is what a token costs. The bytes go
from the socket through httptools into a list, and one future wakes the reader: nothing else runs
for a token. Redirects, proxies, cookies and compression are not for engines.
"""

from __future__ import annotations

import asyncio
import errno
import ssl
from base64 import b64encode
from collections.abc import Callable, Mapping
from typing import Final, cast
from urllib.parse import quote, unquote, urlsplit

from antiphon.errors import MissingExtraError

try:
    import httptools
except ModuleNotFoundError as missing:
    raise MissingExtraError("httptools", "gateway") from missing

__all__ = ["Answer", "BrokenAnswerError", "ConnectTimeoutError", "Wire"]

MAX_HEAD_BYTES: Final = 64 * 1024
"""Status line and headers of an answer."""
HIGH_WATER: Final = 256 * 1024
"""Bytes that may wait for their reader before the connection is read no further."""
KEEP_ALIVE: Final = 4.0
"""Seconds a connection is kept for the next request; uvicorn closes it after 5."""
MAX_KEPT: Final = 128
"""Connections kept at a time."""

_PATH_SAFE: Final = "/%~!$&'()*+,;=:@-._?"
_NO_BODY: Final = frozenset({204, 304})


class ConnectTimeoutError(TimeoutError):
    """No connection within the time for it."""


class BrokenAnswerError(Exception):
    """The answer ended before its end, or is not HTTP."""


class Answer(asyncio.Protocol):
    """A status, headers by their names in lower case, and the body as it comes.

    It is its connection's protocol until it is released.
    """

    def __init__(
        self, loop: asyncio.AbstractEventLoop, read_timeout: float, connection: _Connection
    ) -> None:
        self.status = 0
        self.headers: dict[str, str] = {}
        self.complete = False
        """The whole body has arrived, though it may not all have been read."""
        self.reusable = False
        self.push: Callable[[bytes], bool] | None = None
        """Called with what comes while `read` waits, which goes on waiting if that returns True,
        else returns nothing."""
        self._pushed = False
        self._connection = connection
        self._loop = loop
        self._timeout = read_timeout
        self._pieces: list[bytes] = []
        self._size = 0
        self._head_size = 0
        self._error: BaseException | None = None
        self._waiter: asyncio.Future[None] | None = None
        self._paused: asyncio.Transport | None = None
        self._last = loop.time()
        self._timer: asyncio.TimerHandle | None = loop.call_later(read_timeout, self._look)
        self.on_body = self._pieces.append
        self._parser = httptools.HttpResponseParser(self)

    async def head(self) -> None:
        """Wait for the status and the headers. Raises as `read` does."""
        while not self.status:
            if self._error is not None:
                raise self._error
            self._waiter = waiter = self._loop.create_future()
            await waiter
            self._waiter = None

    async def read(self) -> bytes:
        """What has come since the last read, or comes next; empty at the end, and for `push`.

        Raises TimeoutError after ``read_timeout`` without a byte, OSError if the connection is
        lost, BrokenAnswerError if the body is not whole or not HTTP.
        """
        pieces = self._pieces
        while not pieces:
            if self._error is not None:
                raise self._error
            if self.complete:
                return b""
            self._waiter = waiter = self._loop.create_future()
            await waiter
            self._waiter = None
            if self._pushed:
                self._pushed = False
                return b""
        data = self._taken()
        if self._paused is not None:
            self._paused.resume_reading()
            self._paused = None
        return data

    async def read_some(self, size: int) -> bytes:
        """The body's beginning: all of it, or not much more than ``size`` bytes."""
        pieces: list[bytes] = []
        while size > 0 and (data := await self.read()):
            pieces.append(data)
            size -= len(data)
        return b"".join(pieces)

    def _taken(self) -> bytes:
        pieces = self._pieces
        data = pieces[0] if len(pieces) == 1 else b"".join(pieces)
        pieces.clear()
        self._size = 0
        return data

    def _wake(self) -> None:
        waiter = self._waiter
        if waiter is not None and not waiter.done():
            waiter.set_result(None)

    # From the transport.

    def data_received(self, data: bytes) -> None:
        self._last = self._loop.time()
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError as error:
            self.lost(BrokenAnswerError(f"its answer is not HTTP: {error}"))
        push, waiter, pieces = self.push, self._waiter, self._pieces
        if (
            push is not None
            and waiter is not None
            and pieces
            and not self.complete
            and not waiter.done()
        ):
            # What waits is read at once, so there is one piece, but for a chunk cut in two.
            data = pieces.pop() if len(pieces) == 1 else self._taken()
            try:
                if push(data):
                    return
                self._pushed = True
            except Exception as error:  # noqa: BLE001 - raised by `read`
                self._error = error
        elif not self.status:
            self._head_size += len(data)
            if self._head_size > MAX_HEAD_BYTES:
                self.lost(BrokenAnswerError(f"its headers exceed {MAX_HEAD_BYTES} bytes"))
        else:
            self._size += len(data)
            if self._size > HIGH_WATER and self._paused is None:
                self._paused = self._connection.transport
                self._paused.pause_reading()
        self._wake()

    def connection_lost(self, error: Exception | None) -> None:
        self._connection.connection_lost(error)
        self.lost(error)

    def lost(self, error: BaseException | None) -> None:
        """The connection is of no more use; ``error`` is None if it was closed in order."""
        self.quiet()
        if self.complete or self._error is not None:
            return
        if error is None and self.status and not self._framed():
            self.complete = True  # A body without a length ends with its connection.
        elif error is None and not self.status:
            self._error = ConnectionResetError(errno.ECONNRESET, "it closed the connection")
        else:
            self._error = error or BrokenAnswerError("the connection was closed inside its answer")
        self._wake()

    def quiet(self) -> None:
        """No byte is waited for any more."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def let_go(self) -> None:
        """It is read no further. It and its parser know each other: without this, they would stay
        until cycles are looked for.
        """
        self.push = None
        del self._parser

    def _framed(self) -> bool:
        return "transfer-encoding" in self.headers or "content-length" in self.headers

    def _look(self) -> None:
        # One timer, set anew only when it fires: a token costs it nothing.
        idle = self._loop.time() - self._last
        if idle < self._timeout or self._paused is not None:
            delay = self._timeout if self._paused is not None else self._timeout - idle
            self._timer = self._loop.call_later(delay, self._look)
            return
        self._timer = None
        self._error = TimeoutError()
        self._wake()

    # From the parser.

    def on_header(self, name: bytes, value: bytes) -> None:
        self.headers[name.decode("latin-1").lower()] = value.decode("latin-1")

    def on_headers_complete(self) -> None:
        status = self._parser.get_status_code()
        if status >= 200:
            self.status = status
            self.reusable = self._parser.should_keep_alive()
        else:
            self.headers.clear()

    def on_message_complete(self) -> None:
        if self.status:
            self.complete = True
            self.quiet()


class _Connection(asyncio.Protocol):
    """One connection: its own protocol while nothing is asked on it."""

    transport: asyncio.Transport

    def __init__(self) -> None:
        self.expires: asyncio.TimerHandle | None = None
        self.closed = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)  # uvloop's is none by its type

    def data_received(self, _: bytes) -> None:
        self.abort()  # Nobody asked.

    def connection_lost(self, _: Exception | None) -> None:
        self.closed = True
        if self.expires is not None:
            self.expires.cancel()

    def abort(self) -> None:
        """Close at once, so that the engine hears of it."""
        self.closed = True
        self.transport.abort()


class Wire:
    """Requests to the engine at ``url``. Create and use it within one event loop.

    Raises ValueError for a URL or a header that no request could carry.
    """

    def __init__(
        self,
        url: str,
        *,
        headers: Mapping[str, str],
        connect_timeout: float,
        read_timeout: float,
        keep_alive: bool,
    ) -> None:
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError(f"{url} is not the URL of a server: http://HOST:PORT is expected")
        self._host = parts.hostname
        self._port = parts.port or (443 if parts.scheme == "https" else 80)
        self._tls = parts.scheme == "https"
        self._context: ssl.SSLContext | None = None
        self._path = quote(parts.path.rstrip("/"), safe=_PATH_SAFE)
        self._connect_timeout = connect_timeout
        self._read_timeout = read_timeout
        self._keep_alive = keep_alive
        self._kept: list[_Connection] = []
        self._busy: dict[Answer, _Connection] = {}
        sent = {
            "Host": parts.netloc.rpartition("@")[2].encode("idna").decode(),
            "Accept": "*/*",
            "Accept-Encoding": "identity",
            "User-Agent": "antiphon",
            "Connection": "keep-alive" if keep_alive else "close",
            **headers,
        }
        if parts.username is not None:
            user = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
            sent.setdefault("Authorization", f"Basic {b64encode(user.encode()).decode()}")
        for name, value in sent.items():
            if not (name + value).isprintable() or not (name + value).isascii():
                raise ValueError(f"the header {name} for {url} has a character no header may have")
        self._head = "".join([f"{name}: {value}\r\n" for name, value in sent.items()])

    async def aclose(self) -> None:
        """Close what is open."""
        for connection in [*self._kept, *self._busy.values()]:
            connection.abort()
        self._kept.clear()
        await asyncio.sleep(0)  # The sockets are closed by the loop.

    async def post(self, path: str, body: bytes) -> Answer:
        """Ask; returns once the answer's headers are there. `release` must follow.

        A kept connection may have been closed in the meantime: that says nothing about the
        engine, and it is asked once more. Raises OSError, TimeoutError, BrokenAnswerError.
        """
        kept = self._take()
        if kept is not None:
            try:
                return await self._ask(kept, path, body)
            except OSError:
                if not kept.closed:
                    raise
        return await self._ask(await self._connect(), path, body)

    def release(self, answer: Answer) -> None:
        """The caller reads no further. Keeps the connection if the whole answer has come."""
        connection = self._busy.pop(answer, None)
        answer.quiet()
        if connection is None:
            return
        answer.let_go()
        connection.transport.set_protocol(connection)
        reusable = answer.complete and answer.reusable and self._keep_alive
        if connection.closed or not reusable or len(self._kept) >= MAX_KEPT:
            connection.abort()
            return
        self._kept.append(connection)
        loop = asyncio.get_running_loop()
        connection.expires = loop.call_later(KEEP_ALIVE, self._drop, connection)

    def _take(self) -> _Connection | None:
        while self._kept:
            connection = self._kept.pop()
            if connection.expires is not None:
                connection.expires.cancel()
            if not connection.closed:
                return connection
        return None

    def _drop(self, connection: _Connection) -> None:
        if connection in self._kept:
            self._kept.remove(connection)
        connection.abort()

    async def _ask(self, connection: _Connection, path: str, body: bytes) -> Answer:
        answer = Answer(asyncio.get_running_loop(), self._read_timeout, connection)
        self._busy[answer] = connection
        connection.transport.set_protocol(answer)
        head = f"POST {self._path}{path} HTTP/1.1\r\n{self._head}Content-Length: {len(body)}"
        try:
            connection.transport.write(f"{head}\r\n\r\n".encode("latin-1") + body)
            await answer.head()
        except BaseException:
            self.release(answer)
            raise
        return answer

    async def _connect(self) -> _Connection:
        if self._tls and self._context is None:
            self._context = await asyncio.to_thread(ssl.create_default_context)
        try:
            async with asyncio.timeout(self._connect_timeout):
                _, connection = await asyncio.get_running_loop().create_connection(
                    _Connection, self._host, self._port, ssl=self._context
                )
        except TimeoutError as error:
            raise ConnectTimeoutError from error
        return connection
