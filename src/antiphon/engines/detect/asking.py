"""Asking a server that nothing is known about: bounded in time and bytes, and it never raises."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping
from types import TracebackType
from typing import Any, Final
from urllib.parse import urlsplit, urlunsplit

import msgspec

from antiphon.errors import EngineError, MissingExtraError
from antiphon.net.sse import ServerSentEventDecoder

try:
    import aiohttp
except ModuleNotFoundError as missing:
    raise MissingExtraError("aiohttp", "gateway") from missing

__all__ = ["MAX_ANSWER_BYTES", "Answer", "Asker", "base_url", "dig", "number", "text"]

ASK_SECONDS: Final = 5.0
"""Longest wait for an answer that costs the server nothing."""
CONNECT_SECONDS: Final = 3.0
MAX_ANSWER_BYTES: Final = 4 * 1024 * 1024
"""More than any list of models or chat template."""
MAX_EVENTS: Final = 1000
"""Events of a stream that are looked at. A trial has a dozen."""
MAX_TEXT: Final = 512
"""Characters of a name, a version or an error message that are kept."""

_PUBLIC_SUFFIXES: Final = ("/v1/chat/completions", "/v1/completions", "/v1/models", "/v1")


class Answer(msgspec.Struct, frozen=True):
    """An answer, or why there is none: then ``status`` is 0 and ``error`` says it."""

    status: int = 0
    headers: Mapping[str, str] = {}
    """Names in lower case."""
    data: Any = None
    """The JSON of a 200; None for anything else."""
    error: str = ""

    @property
    def ok(self) -> bool:
        return self.status == 200 and not self.error

    @property
    def refused_key(self) -> bool:
        return self.status in (401, 403)


class Asker:
    """Requests to one server under one deadline. Use it with ``async with``."""

    def __init__(
        self,
        url: str,
        *,
        api_key: str | None = None,
        seconds: float,
        connect_seconds: float = CONNECT_SECONDS,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.url = base_url(url)
        self._clock = clock
        self._deadline = clock() + seconds
        self._connect = connect_seconds
        self._headers = {"Accept": "application/json", "Accept-Encoding": "identity"}
        if api_key:
            self._headers["Authorization"] = f"Bearer {api_key}"
        self._session: aiohttp.ClientSession | None = None
        self.key_refused = False
        """Whether any request was refused for its key."""

    async def __aenter__(self) -> Asker:
        self._session = aiohttp.ClientSession(
            headers=self._headers,
            cookie_jar=aiohttp.DummyCookieJar(),
            connector=aiohttp.TCPConnector(limit=4, force_close=True),
            auto_decompress=False,
        )
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        assert self._session is not None
        await self._session.close()

    async def get(self, path: str, *, seconds: float = ASK_SECONDS) -> Answer:
        return await self._ask("GET", path, None, seconds)

    async def post(self, path: str, body: Any, *, seconds: float = ASK_SECONDS) -> Answer:
        return await self._ask("POST", path, msgspec.json.encode(body), seconds)

    async def events(self, path: str, body: Any, *, seconds: float = ASK_SECONDS) -> Answer:
        """A stream, read to its end: ``data`` is the list of its events. An answer that is none is
        a list of one. An error among the events makes the whole answer one.
        """
        encoded = msgspec.json.encode(body)
        return await self._ask("POST", path, encoded, seconds, read=_events_answer)

    @property
    def seconds_left(self) -> float:
        return max(0.0, self._deadline - self._clock())

    async def _ask(
        self,
        method: str,
        path: str,
        body: bytes | None,
        seconds: float,
        *,
        read: Callable[[int, dict[str, str], bytes | None], Answer] | None = None,
    ) -> Answer:
        assert self._session is not None
        seconds = min(seconds, self.seconds_left)
        if seconds <= 0:
            return Answer(error="no time was left")
        timeout = aiohttp.ClientTimeout(total=seconds, sock_connect=min(self._connect, seconds))
        headers = None if body is None else {"Content-Type": "application/json"}
        try:
            async with self._session.request(
                method,
                f"{self.url}{path}",
                data=body,
                headers=headers,
                timeout=timeout,
                allow_redirects=False,
            ) as response:
                content = await _read(response)
                found = {name.lower(): value for name, value in response.headers.items()}
                answer = (read or _answer)(response.status, found, content)
        except TimeoutError:
            return Answer(error=f"no answer within {seconds:g} s")
        except (aiohttp.ClientError, OSError, ValueError) as error:
            return Answer(error=_reason(error))
        self.key_refused |= answer.refused_key
        return answer


def _reason(error: Exception) -> str:
    """In the words of the operating system, where it has any."""
    if isinstance(error, OSError) and error.errno is not None and error.errno > 0:
        return os.strerror(error.errno)
    return text(str(error)) or type(error).__name__


async def _read(response: aiohttp.ClientResponse) -> bytes | None:
    """The body, or None if it is too large."""
    parts: list[bytes] = []
    size = 0
    async for part in response.content.iter_any():
        size += len(part)
        if size > MAX_ANSWER_BYTES:
            response.close()
            return None
        parts.append(part)
    return b"".join(parts)


def _answer(status: int, headers: dict[str, str], content: bytes | None) -> Answer:
    if content is None:
        return Answer(status, headers, error=f"the answer is larger than {MAX_ANSWER_BYTES} bytes")
    try:
        data = msgspec.json.decode(content)
    except (ValueError, RecursionError):
        shown = text(content[:MAX_TEXT].decode("utf-8", "replace").strip())
        error = f"status {status}" + (f": {shown}" if shown and status != 200 else "")
        return Answer(status, headers, None, "the answer is not JSON" if status == 200 else error)
    if status == 200:
        return Answer(status, headers, data)
    shown = _said(data)
    return Answer(status, headers, None, f"status {status}" + (f": {shown}" if shown else ""))


def _events_answer(status: int, headers: dict[str, str], content: bytes | None) -> Answer:
    if status != 200 or content is None:
        return _answer(status, headers, content)
    try:
        if headers.get("content-type", "").startswith("text/event-stream"):
            frames = [frame.data for frame in ServerSentEventDecoder().feed(content)]
            events = [msgspec.json.decode(data) for data in frames if data != "[DONE]"]
        else:
            events = [msgspec.json.decode(line) for line in content.splitlines() if line.strip()]
    except (ValueError, RecursionError, EngineError):
        return Answer(status, headers, None, "the answer is not a stream of JSON")
    for event in events[:MAX_EVENTS]:
        if dig(event, "error"):
            return Answer(status, headers, None, f"it says: {_said(event) or 'error'}")
    return Answer(status, headers, events[:MAX_EVENTS])


def _said(data: Any) -> str:
    """The message of an error, in any of the shapes in use."""
    said = dig(data, "error", "message") or dig(data, "error") or dig(data, "message")
    return text(said or dig(data, "detail")) or ""


def base_url(url: str) -> str:
    """The root of an engine's routes, from whatever a user calls its URL.

    Raises EngineError (``status_hint`` 400) for what is no HTTP URL, or holds a password.
    """
    given = url.strip()
    if "://" not in given:
        given = f"http://{given}"
    try:
        parts = urlsplit(given)
        port = parts.port
    except ValueError as error:
        raise _bad_url(url, str(error)) from error
    if parts.scheme not in ("http", "https") or not parts.hostname or port == 0:
        raise _bad_url(url, "it has to be like http://127.0.0.1:8080")
    if parts.username is not None or parts.password is not None:
        raise _bad_url(parts.hostname, "give the key as an API key, not in the URL")
    path = parts.path.rstrip("/")
    for suffix in _PUBLIC_SUFFIXES:
        if path.endswith(suffix):
            path = path.removesuffix(suffix)
            break
    return urlunsplit((parts.scheme, parts.netloc, path.rstrip("/"), "", ""))


def _bad_url(url: str, why: str) -> EngineError:
    error = EngineError(f"{url[:200]!r} is not the URL of an engine: {why}")
    error.status_hint = 400
    return error


def dig(data: Any, *path: str | int) -> Any:
    """What is at ``path`` in JSON of unknown shape; None if there is nothing."""
    for step in path:
        if isinstance(step, int):
            if not isinstance(data, list) or not -len(data) <= step < len(data):
                return None
            data = data[step]
        elif isinstance(data, dict):
            data = data.get(step)
        else:
            return None
    return data


def text(value: Any) -> str | None:
    """A non-empty string, cut to `MAX_TEXT`; None for anything else."""
    return value[:MAX_TEXT] if isinstance(value, str) and value else None


def number(value: Any) -> int | None:
    """A positive whole number that can be a length; None for anything else."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return int(value) if 0 < value < 2**40 else None
