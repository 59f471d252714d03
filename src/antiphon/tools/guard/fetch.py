"""Fetching through the guard: the address that was checked is the one that is connected to.

For every URL, redirects included: the URL is checked, the name resolved once, each of its addresses
checked, and sockets are made for exactly those; a second look-up with another answer (DNS
rebinding) cannot happen. Names, credentials, cookies and proxies of the process are not used.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, Final

import msgspec

from antiphon.errors import MissingExtraError
from antiphon.tools.guard.address import Address, as_address
from antiphon.tools.guard.policy import (
    Allowed,
    GuardError,
    GuardPolicy,
    checked_addresses,
    checked_url,
)

try:
    import aiohttp
    from aiohttp.abc import AbstractResolver, ResolveResult
    from yarl import URL
except ImportError as missing:
    raise MissingExtraError("aiohttp", "agent") from missing

__all__ = ["Fetched", "Guard", "Resolve"]

Resolve = Callable[[str, int], Awaitable[Sequence[str]]]
"""A name and a port → its addresses. Raises OSError."""

USER_AGENT: Final = "Mozilla/5.0 (compatible; antiphon)"
_HEADERS: Final = {
    "User-Agent": USER_AGENT,
    "Accept": "text/html,application/xhtml+xml,text/plain;q=0.9,*/*;q=0.5",
    # What zlib can do: the others would need packages of their own.
    "Accept-Encoding": "gzip, deflate",
}
_REDIRECTS: Final = (301, 302, 303, 307, 308)


class Fetched(msgspec.Struct, frozen=True):
    """An answer, or as much of it as the limits let through."""

    url: str
    """Where it came from in the end."""
    status: int
    media_type: str
    charset: str | None
    body: bytes
    truncated: bool


async def system_resolve(host: str, port: int) -> Sequence[str]:
    """The system's own resolver."""
    found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return [str(entry[4][0]) for entry in found]


class Guard:
    """Asks the internet and nothing else. Cheap to make; holds nothing between calls.

    Raises SettingsError for an allow-list that is wrong.
    """

    def __init__(
        self,
        policy: GuardPolicy = GuardPolicy(),  # noqa: B008 - frozen
        *,
        resolve: Resolve = system_resolve,
    ) -> None:
        self.policy = policy
        self._allowed = Allowed(policy.allow)
        self._resolve = resolve

    def allowing(self, *places: str) -> Guard:
        """One of its kind that lets these hosts through too: what the operator names himself.

        Raises SettingsError for one that is no host.
        """
        allow = (*self.policy.allow, *places)
        policy = msgspec.structs.replace(self.policy, allow=allow)
        return Guard(policy, resolve=self._resolve)

    def check(self, url: str) -> str:
        """The URL in its usual spelling. Raises GuardError for one that is not opened, as far as
        that can be known without looking its host up.
        """
        return str(checked_url(url, self.policy, self._allowed))

    def listed(self, url: str) -> bool:
        """Whether the allow-list names the URL's host: it is someone's inside."""
        target = checked_url(url, self.policy, self._allowed)
        assert target.host is not None
        assert target.port is not None
        address = as_address(target.host)
        if address is not None:
            return self._allowed.address(address, target.port)
        return self._allowed.host(target.host, target.port)

    async def addresses(self, host: str, port: int) -> list[str]:
        """The addresses of a host that may be connected to, for clients with sockets of their own.

        Connect to one of these, not to the name. Raises GuardError.
        """
        literal = as_address(host)
        try:
            found = [host] if literal is not None else list(await self._resolve(host, port))
        except (OSError, UnicodeError) as error:
            raise GuardError(f"{host} cannot be found: {_reason(error)}") from error
        return [str(a) for a in checked_addresses(host, port, found, self._allowed)]

    async def fetch(
        self,
        url: str,
        *,
        method: str = "GET",
        headers: Mapping[str, str] | None = None,
        body: bytes | None = None,
        redirects: int | None = None,
    ) -> Fetched:
        """Ask for it. ``headers`` go to every host on the way: with a key, pass ``redirects=0``.

        Raises GuardError, which says what was wrong in a sentence.
        """
        left = self.policy.redirects if redirects is None else redirects
        target = checked_url(url, self.policy, self._allowed)
        try:
            async with asyncio.timeout(self.policy.seconds):
                while True:
                    answer = await self._once(target, method, headers, body)
                    if isinstance(answer, Fetched):
                        return answer
                    if left == 0:
                        raise GuardError(f"{target.host} redirects too often")
                    left -= 1
                    if method != "GET":
                        raise GuardError(f"{target.host} redirects what was sent to it")
                    target = checked_url(answer, self.policy, self._allowed)
        except TimeoutError as error:
            raise GuardError(f"{target.host} took longer than {self.policy.seconds:g} s") from error
        except (aiohttp.ClientError, OSError, ValueError) as error:
            raise GuardError(f"{target.host} cannot be read: {_reason(error)}") from error

    async def _once(
        self, target: URL, method: str, headers: Mapping[str, str] | None, body: bytes | None
    ) -> Fetched | URL:
        """One request: its answer, or where it points to."""
        gate = _Gate(self)
        if target.host is not None and (literal := as_address(target.host)) is not None:
            gate.passed.add(literal)
        connector = aiohttp.TCPConnector(
            resolver=gate, use_dns_cache=False, force_close=True, socket_factory=gate.socket
        )
        async with (
            aiohttp.ClientSession(
                connector=connector,
                cookie_jar=aiohttp.DummyCookieJar(),
                headers=_HEADERS,
                timeout=aiohttp.ClientTimeout(total=None),
                trust_env=False,
            ) as session,
            session.request(
                method, target, headers=headers, data=body, allow_redirects=False
            ) as answer,
        ):
            location = answer.headers.get("Location")
            if answer.status in _REDIRECTS and location:
                return target.join(URL(location))
            data, truncated = await _read(answer.content, self.policy.max_bytes)
            kind = answer.headers.get("Content-Type", "")
            return Fetched(
                url=str(target),
                status=answer.status,
                media_type=kind.partition(";")[0].strip().lower(),
                charset=answer.charset,
                body=data,
                truncated=truncated,
            )


class _Gate(AbstractResolver):
    """Resolves for one connection, and makes sockets for what it resolved alone."""

    def __init__(self, guard: Guard) -> None:
        self._guard = guard
        self.passed: set[Address] = set()

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        results: list[ResolveResult] = []
        for text in await self._guard.addresses(host, port):
            address = as_address(text)
            assert address is not None
            self.passed.add(address)
            results.append(
                ResolveResult(
                    hostname=host,
                    host=text,
                    port=port,
                    family=socket.AF_INET if address.version == 4 else socket.AF_INET6,
                    proto=0,
                    flags=socket.AI_NUMERICHOST | socket.AI_NUMERICSERV,
                )
            )
        return results

    async def close(self) -> None:
        pass

    def socket(self, info: tuple[Any, ...]) -> socket.socket:
        """The last word: whatever led here, no socket is made for another address."""
        family, type_, proto, _, where = info
        if as_address(where[0]) not in self.passed:
            raise OSError(f"{where[0]} was not checked")
        made = socket.socket(family, type_, proto)
        made.setblocking(False)
        return made


async def _read(content: aiohttp.StreamReader, limit: int) -> tuple[bytes, bool]:
    data = bytearray()
    while chunk := await content.readany():
        data += chunk
        if len(data) > limit:
            return bytes(data[:limit]), True
    return bytes(data), False


def _reason(error: BaseException) -> str:
    return (str(error) or type(error).__name__)[:300]
