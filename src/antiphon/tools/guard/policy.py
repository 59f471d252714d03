"""What may be fetched: schemes, ports, hosts, sizes and times."""

from __future__ import annotations

from ipaddress import IPv4Network, IPv6Network, ip_network
from typing import Annotated, Final

import msgspec
from msgspec import Meta

from antiphon.errors import AntiphonError, MissingExtraError, SettingsError
from antiphon.tools.guard.address import Address, as_address, is_public

try:
    from yarl import URL
except ImportError as missing:
    raise MissingExtraError("aiohttp", "agent") from missing

__all__ = ["Allowed", "GuardError", "GuardPolicy", "checked_url"]

MAX_URL_CHARS: Final = 8192
MAX_HOST_CHARS: Final = 253
_SCHEMES: Final = ("http", "https")
_HEX: Final = frozenset("0123456789abcdef")


class GuardError(AntiphonError):
    """An address that may not be asked, or that gave nothing usable. For the model to read."""

    status_hint = 502


class GuardPolicy(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The limits of one guard."""

    allow: tuple[str, ...] = ()
    """What is allowed though it is not public: ``HOST``, ``HOST:PORT``, ``[IPV6]:PORT`` or a
    network, ``10.1.0.0/16``. Without a port, any port."""
    ports: tuple[Annotated[int, Meta(ge=1, le=65535)], ...] = (80, 443, 8080, 8443)
    """The ports of public hosts that are asked."""
    max_bytes: Annotated[int, Meta(ge=1)] = 5 * 1024 * 1024
    """So much of an answer is read, after decompression."""
    seconds: Annotated[float, Meta(gt=0)] = 20.0
    """Everything must be done by then: names, connections, redirects, the body."""
    redirects: Annotated[int, Meta(ge=0)] = 5
    """How many are followed."""


class Allowed:
    """The allow-list, read. Raises SettingsError for an entry that is none."""

    def __init__(self, entries: tuple[str, ...]) -> None:
        self._networks: list[IPv4Network | IPv6Network] = []
        self._hosts: set[tuple[str, int | None]] = set()
        for entry in entries:
            if "/" in entry:
                try:
                    self._networks.append(ip_network(entry))
                except ValueError as error:
                    raise SettingsError(f"allow: {entry!r} is not a network: {error}") from error
            else:
                self._hosts.add(_host_and_port(entry))

    def host(self, host: str, port: int) -> bool:
        """Whether it stands there itself."""
        return (host, None) in self._hosts or (host, port) in self._hosts

    def address(self, address: Address, port: int) -> bool:
        """Whether it or its network does."""
        if any(address in network for network in self._networks):
            return True
        return self.host(str(address), port)


def _host_and_port(entry: str) -> tuple[str, int | None]:
    bare = as_address(entry)
    if bare is not None:
        return str(bare), None
    try:
        url = URL(f"http://{entry}")
        host, port = url.host, url.explicit_port
        wrong = url.user is not None or url.path != "/" or bool(url.query_string or url.fragment)
    except ValueError:
        wrong, host, port = True, None, None
    if wrong or not host:
        raise SettingsError(f"allow: {entry!r} is not a host, host and port, or network")
    return _canonical(host), port


def _canonical(host: str) -> str:
    address = as_address(host)
    return str(address) if address is not None else host.lower().removesuffix(".")


def checked_url(url: str | URL, policy: GuardPolicy, allowed: Allowed) -> URL:
    """The URL, if asking it can be thought of; names are not looked up yet.

    Raises GuardError.
    """
    if len(str(url)) > MAX_URL_CHARS:
        raise GuardError(f"the URL has more than {MAX_URL_CHARS} characters")
    try:
        parsed = url if isinstance(url, URL) else URL(url.strip())
        host, port = parsed.host, parsed.port
    except ValueError as error:
        raise GuardError(f"not a URL: {error}") from error
    if parsed.scheme not in _SCHEMES:
        raise GuardError(f"only http and https can be opened, not {parsed.scheme[:20] or 'this'!r}")
    if parsed.user is not None or parsed.password is not None:
        raise GuardError("a URL with a user name or password is not opened")
    if not host or port is None:
        raise GuardError("the URL names no host")
    host = _canonical(host)
    address = as_address(host)
    if address is None:
        _check_name(host)
    elif not is_public(address) and not allowed.address(address, port):
        raise _refused(host)
    listed = allowed.host(host, port) or (address is not None and allowed.address(address, port))
    if not listed and port not in policy.ports:
        raise GuardError(f"port {port} is not opened")
    return parsed.with_fragment(None)


def checked_addresses(host: str, port: int, found: list[str], allowed: Allowed) -> list[Address]:
    """Those of a name's addresses that may be asked. Raises GuardError if one may not be.

    A name with a public and a private address is what rebinding looks like: it is refused whole.
    """
    addresses = []
    for text in found:
        address = as_address(text)
        if address is None:
            raise GuardError(f"{host} has no usable address")
        if (
            not is_public(address)
            and not allowed.address(address, port)
            and not allowed.host(_canonical(host), port)
        ):
            raise _refused(host)
        addresses.append(address)
    if not addresses:
        raise GuardError(f"{host} has no address")
    return addresses


def _refused(host: str) -> GuardError:
    return GuardError(f"{host} is not on the public internet, so it is not opened")


def _check_name(host: str) -> None:
    """A name must not be a number: resolvers read 2130706433, 0x7f.1 and 0177.1 as addresses."""
    last = host.rpartition(".")[2]
    hexadecimal = last.startswith("0x") and _HEX.issuperset(last[2:])
    if not last or last.isdigit() or hexadecimal:
        raise GuardError(f"{host[:80]} is neither a name nor an address in its usual spelling")
    if len(host) > MAX_HOST_CHARS or "%" in host or any(c.isspace() for c in host):
        raise GuardError("the URL's host is not a name")
