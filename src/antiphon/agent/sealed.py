"""Models behind a gateway that is spoken to under seal: what is in between sees nothing."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import msgspec

from antiphon.agent.connect import EndpointModels, Models, listed_models
from antiphon.errors import EngineError
from antiphon.settings.model import Settings

if TYPE_CHECKING:
    from collections.abc import Generator

    from antiphon.sealed.client import AsyncClient

__all__ = ["open_sealed"]

MAX_LIST_BYTES: Final = 4 * 1024 * 1024


@asynccontextmanager
async def open_sealed(
    settings: Settings,
    url: str,
    *,
    new_id: Callable[[], str],
    pins: Sequence[str] = (),
    via: str | None = None,
    known: Path | None = None,
    api_key: str | None = None,
    first_use: Callable[[str, str], None] = lambda gateway, fingerprint: None,
) -> AsyncGenerator[Models, None]:
    """The models of the gateway at ``url``. Its key is pinned, or trusted on first use and
    remembered in ``known``; ``first_use`` is told the gateway's URL and the key's fingerprint then.
    ``via``: the URL of a relay, which needs a pin.

    Raises EngineError for a key that is not the one that is trusted, and for no answer.
    """
    from antiphon.seal import KnownGateways
    from antiphon.sealed.client import AsyncClient
    from antiphon.sealed.target import Target

    with _told(url):
        remembered = KnownGateways(known)
        headers = {"authorization": f"Bearer {api_key}"} if api_key else {}
        client = AsyncClient(
            url, key=tuple(pins) or None, via=via, known=remembered, headers=headers
        )
    async with client:
        with _told(url):
            gateway = Target.parse(url).url
            is_first = not pins and remembered.get(gateway) is None
            fingerprint = await client.fingerprint()
        if is_first:
            first_use(gateway, fingerprint)
        through = _SealedRoutes(client, gateway)
        yield EndpointModels(settings, through, through.name, through.models, new_id)


class _SealedRoutes:
    """What `antiphon.engines.passthrough.Passthrough` is to an engine in the clear."""

    def __init__(self, client: AsyncClient, url: str) -> None:
        self.url = url
        self._client = client

    @property
    def name(self) -> str:
        return f"the gateway at {self.url}, sealed"

    @asynccontextmanager
    async def open(
        self,
        path: str,
        body: bytes,
        *,
        method: str = "POST",
        headers: Mapping[str, str] | None = None,
    ) -> AsyncGenerator[_SealedAnswer, None]:
        given = {"content-type": "application/json", **(headers or {})}
        with _told(self.url):
            request = self._client.build_request(method, path, content=body, headers=given)
            response = await self._client.send(request, stream=True)
        try:
            if response.status_code in (401, 403):
                raise EngineError(
                    f"{self.name} refused with status {response.status_code}"
                    " (is the API key right?)"
                )
            yield _SealedAnswer(self.url, response)
        finally:
            await response.aclose()

    async def models(self) -> Sequence[str]:
        async with self.open("/v1/models", b"", method="GET") as answer:
            body = b""
            async for piece in answer.pieces():
                body += piece
                if len(body) > MAX_LIST_BYTES:
                    break
            if answer.status != 200:
                raise EngineError(f"{self.name} answers with status {answer.status}")
        try:
            return listed_models(msgspec.json.decode(body))
        except (ValueError, RecursionError):
            raise EngineError(f"{self.name} lists its models in no form that is known") from None


class _SealedAnswer:
    def __init__(self, url: str, response: Any) -> None:
        self.status: Final[int] = response.status_code
        self._url = url
        self._response = response

    async def pieces(self) -> AsyncGenerator[bytes, None]:
        with _told(self._url):
            async for piece in self._response.aiter_bytes():
                yield piece


@contextmanager
def _told(url: str) -> Generator[None, None, None]:
    """What goes wrong with the seal or the network, in one line with what to do about it."""
    import httpx2

    from antiphon.seal import SealError

    try:
        yield
    except SealError as error:
        said = str(error).rstrip(".")
        known = not error.advice or error.advice.rstrip(".") in said
        raise EngineError(said if known else f"{said}. {error.advice}") from error
    except httpx2.HTTPError as error:
        reason = str(error) or type(error).__name__
        raise EngineError(f"no answer from {url}: {reason}") from error
    except (OSError, ValueError) as error:
        raise EngineError(f"{url}: {error}") from error
