"""Ready HTTP clients whose every request is sealed.

    OpenAI(base_url=URL + "/v1", http_client=antiphon.seal.http_client(URL, key=FINGERPRINT))

    with antiphon.seal.Client(URL, key=FINGERPRINT) as client:
        client.post("/v1/chat/completions", json=…)

A `Client` is an httpx2 client: headers, streaming, time limits and errors of the gateway are as
ever. What goes wrong with the seal is an `antiphon.seal.SealError`. Requests to any other server
than the one it is for are refused.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

from antiphon.errors import MissingExtraError
from antiphon.seal.keyconfig import KeyConfig
from antiphon.sealed.exchange import SealedExchange, fields_of
from antiphon.sealed.known import KnownGateways
from antiphon.sealed.pins import Pins
from antiphon.sealed.session import Session
from antiphon.sealed.steps import fetch_keys
from antiphon.sealed.target import Target
from antiphon.sealed.transport import Wire, async_transport, run, run_async, sync_transport

try:
    import httpx2
except ModuleNotFoundError as error:  # pragma: no cover - the extra brings it
    raise MissingExtraError("httpx2", "seal") from error

__all__ = ["AsyncClient", "Client", "async_http_client", "http_client", "offered_keys"]

Headers = Iterable[tuple[str, str]]
"""Names and values."""


def _timeout(library: Any) -> Any:
    """As openai-python has it: a model may think for minutes before its first token."""
    return library.Timeout(600.0, connect=5.0)


TIMEOUT: Final[httpx2.Timeout] = _timeout(httpx2)


class Client(httpx2.Client):
    """Sealed requests to one gateway. Paths may be relative to its URL."""

    def __init__(
        self,
        url: str,
        *,
        key: Pins | None = None,
        via: str | None = None,
        known: KnownGateways | None = None,
        padding: str = "none",
        chunked: bool = True,
        http: httpx2.Client | None = None,
        **options: Any,
    ) -> None:
        """``key``: the pin, or several of which any will do. Without one the key is trusted on
        first use and remembered in ``known``. ``via``: the URL of a relay. ``padding`` hides the
        request's length: ``multiple:N`` or ``buckets:N,…``. ``chunked=False`` for gateways that
        know whole messages only: answers do not stream then. ``http`` is used for what is outside;
        ``options`` are those of `httpx2.Client`.

        Raises SealError: KeyConfigError for a key that is none, PinError for a relay without one.
        """
        self._session = Session(
            url, key=key, via=via, known=known, padding=padding, chunked=chunked
        )
        self._sealed = sync_transport(httpx2, self._session, http)
        options.setdefault("timeout", TIMEOUT)
        super().__init__(base_url=self._session.target.url, transport=self._sealed, **options)

    def fingerprint(self) -> str:
        """Of the key in use; fetches it if there was no request yet. Raises SealError."""
        config = run(self._session.key(), self._sealed.wire())
        return config.fingerprint

    def seal(
        self, method: str, path: str, *, content: bytes = b"", headers: Headers = ()
    ) -> SealedExchange:
        """A request that is sealed but not sent, for those who send it by other means: its ``body``
        and outer ``headers``, what opens the answer (``secret``), and a ``reader`` for it. Fetches
        the key if there was no request yet. Raises SealError.
        """
        config = run(self._session.key(), self._sealed.wire())
        fields = fields_of((k.encode("ascii"), v.encode("latin-1")) for k, v in headers)
        head = self._session.own_head(method, path, fields)
        return self._session.exchange(config, head, content)


class AsyncClient(httpx2.AsyncClient):
    """The same for asyncio."""

    def __init__(
        self,
        url: str,
        *,
        key: Pins | None = None,
        via: str | None = None,
        known: KnownGateways | None = None,
        padding: str = "none",
        chunked: bool = True,
        http: httpx2.AsyncClient | None = None,
        **options: Any,
    ) -> None:
        """As `Client`."""
        self._session = Session(
            url, key=key, via=via, known=known, padding=padding, chunked=chunked
        )
        self._sealed = async_transport(httpx2, self._session, http)
        options.setdefault("timeout", TIMEOUT)
        super().__init__(base_url=self._session.target.url, transport=self._sealed, **options)

    async def fingerprint(self) -> str:
        """Of the key in use; fetches it if there was no request yet. Raises SealError."""
        config = await run_async(self._session.key(), self._sealed.wire())
        return config.fingerprint


def http_client(
    url: str,
    *,
    key: Pins | None = None,
    via: str | None = None,
    known: KnownGateways | None = None,
    padding: str = "none",
    library: Any = httpx2,
) -> Any:
    """For ``OpenAI(http_client=…)``. ``library``: ``httpx`` for releases of openai-python, or other
    libraries, that want a client of httpx rather than httpx2. Raises SealError.
    """
    if library is httpx2:
        return Client(url, key=key, via=via, known=known, padding=padding)
    session = Session(url, key=key, via=via, known=known, padding=padding)
    return library.Client(
        base_url=session.target.url,
        transport=sync_transport(library, session),
        timeout=_timeout(library),
    )


def async_http_client(
    url: str,
    *,
    key: Pins | None = None,
    via: str | None = None,
    known: KnownGateways | None = None,
    padding: str = "none",
    library: Any = httpx2,
) -> Any:
    """For ``AsyncOpenAI(http_client=…)``. Raises SealError."""
    if library is httpx2:
        return AsyncClient(url, key=key, via=via, known=known, padding=padding)
    session = Session(url, key=key, via=via, known=known, padding=padding)
    return library.AsyncClient(
        base_url=session.target.url,
        transport=async_transport(library, session),
        timeout=_timeout(library),
    )


def offered_keys(url: str) -> tuple[KeyConfig, ...]:
    """The configurations that a gateway offers, as whoever answers for it has them: not to be
    trusted for that alone. Raises SealError.
    """
    target = Target.parse(url)
    with httpx2.Client() as http:
        return run(fetch_keys(target.resource), Wire(http))
