"""What the routes work with: one value, made once, handed to each of them."""

from __future__ import annotations

import asyncio
import datetime as dt
import secrets
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Final, Protocol

from msgspec.structs import replace

from antiphon.engines.served import EngineHealth, ModelCard, Served
from antiphon.gateway.dates import ConversationDates
from antiphon.gateway.hooks import Policy
from antiphon.gateway.lifecycle import Lifecycle
from antiphon.gateway.responses.caretaker import Caretaker, owner_name
from antiphon.gateway.responses.chain import ChainMemory, Chains
from antiphon.gateway.responses.live import Running
from antiphon.gateway.servertools.server import ServerTools
from antiphon.gateway.workers.place import Place
from antiphon.settings.effective import for_model
from antiphon.settings.model import Settings
from antiphon.store.forgiving import ForgivingStore
from antiphon.store.open import Stores
from antiphon.store.protocol import StateStore
from antiphon.store.records import RecordStore
from antiphon.store.sealing import Sealer
from antiphon.turn.engine import TurnRunner
from antiphon.turn.ordinary import OrdinaryRunner
from antiphon.turn.prompt import renderer

if TYPE_CHECKING:
    from antiphon.gateway.sealed.transport import SealedTransport

__all__ = ["Clock", "Models", "Services", "random_id", "system_clock"]

MAX_RUNNERS = 256
"""Models that a runner is kept for; an engine that answers to any name has no end of them."""


class Clock(Protocol):
    """Time, in the two ways a server needs it."""

    def monotonic(self) -> float:
        """Seconds that only grow."""
        ...

    def now(self) -> dt.datetime:
        """The date and time, in UTC."""
        ...


class Models(Protocol):
    """What the routes ask of a catalog."""

    def find(self, name: str | None) -> Served: ...
    def list(self) -> Sequence[ModelCard]: ...
    def health(self) -> Sequence[EngineHealth]: ...
    async def reload(self, settings: Settings) -> None: ...
    async def aclose(self) -> None: ...


class _SystemClock:
    def monotonic(self) -> float:
        return time.monotonic()

    def now(self) -> dt.datetime:
        return dt.datetime.now(dt.UTC)


system_clock = _SystemClock()


def random_id() -> str:
    """24 characters nobody can guess."""
    return secrets.token_hex(12)


class Services:
    """Everything a route may use. ``settings`` changes at a reload: take it once per request."""

    def __init__(
        self,
        settings: Settings,
        *,
        catalog: Models | None,
        stores: Stores,
        policy: Policy,
        clock: Clock,
        new_id: Callable[[], str],
        sealed: SealedTransport | None = None,
        place: Place | None = None,
    ) -> None:
        self.settings = settings
        self.sealed: Final = sealed
        """None: sealed transport is off."""
        self.place: Final = place
        """Which of several workers this is, if there are several."""
        self._catalog = catalog
        self._opened: Models | None = None
        self.store: Final[StateStore] = stores.state
        self.records: Final[RecordStore] = stores.records
        self.sealer: Final[Sealer] = stores.sealer
        self.policy = policy
        self.clock = clock
        self.new_id = new_id
        self.lifecycle = Lifecycle()
        self.dates = ConversationDates(
            ForgivingStore(self.store),
            lambda: self.clock.now().date().isoformat(),
            self.clock.monotonic,
        )
        self._runners: dict[int, tuple[Served, TurnRunner]] = {}
        self.owner: Final = owner_name()
        """Of the responses that are made here."""
        self.running: Final = Running()
        self.chains: Final = Chains(self.records, ChainMemory())
        self.tools: Final = ServerTools(
            self.store,
            self.sealer,
            lambda: self.policy,
            clock=clock.monotonic,
            now=lambda: int(clock.now().timestamp()),
            new_id=new_id,
        )
        """What the server itself runs for models."""
        self._caretaker = Caretaker(self.records, self.store, self.running, self.owner)

    @property
    def catalog(self) -> Models:
        """The models. RuntimeError before `open`, if none was given."""
        if self._catalog is None:
            raise RuntimeError("the application has not been started")
        return self._catalog

    async def open(self) -> None:
        """Open the catalog, unless there is one, and load the tokenizer, so that the first request
        does not wait for it. Raises StoreError if the store cannot be used.
        """
        await self._caretaker.start()
        await self.open_tools()
        if self._catalog is None:
            from antiphon.engines.catalog import Catalog

            self._catalog = self._opened = await Catalog.open(self.settings)
        await asyncio.to_thread(renderer)

    async def aclose(self) -> None:
        """Close what `open` opened, when what runs in the background has ended."""
        await self.running.finish()
        await self.dates.aclose()
        await self._caretaker.aclose()
        await self.tools.aclose()
        if self._opened is not None:
            await self._opened.aclose()
            self._catalog = self._opened = None

    async def open_tools(self) -> None:
        """Make what the server itself runs for models, unless that was done.

        Raises SettingsError if a tool that the settings offer cannot run here, MissingExtraError.
        """
        if self.settings.server_tools.offered and not self.tools.offered:
            await self.tools.use(await self.tools.prepare(self.settings))
            self.policy.tools_opened(self.tools.offered)

    def runner(self, served: Served) -> TurnRunner:
        """The one that runs turns on this model's engine."""
        known = self._runners.get(id(served.engine))
        if known is not None and known[0].settings == served.settings:
            return known[1]
        runner = TurnRunner(
            served.engine,
            settings=for_model(self.settings, served.settings),
            store=ForgivingStore(self.store),
            new_id=self._call_id,
            model=served.settings
            if served.settings.context_length is not None
            else replace(served.settings, context_length=served.context_length),
            checked=True,  # Routes do that before they answer anything.
        )
        if len(self._runners) >= MAX_RUNNERS:
            self._runners.pop(next(iter(self._runners)))
        self._runners[id(served.engine)] = (served, runner)
        return runner

    def ordinary(self, served: Served) -> OrdinaryRunner:
        """The one that runs turns through the chat route of this model's engine."""
        return OrdinaryRunner(served, settings=self.settings.turn, new_id=self._call_id)

    def _call_id(self) -> str:
        """OpenAI's form: there are clients that tell calls by it."""
        return f"call_{self.new_id()}"

    async def reload(self) -> bool:
        """Read settings and keys again, and serve by them from the next request on. False, and
        everything as before, if one is wrong; the log says what.
        """
        return await self.policy.reload(self._apply)

    async def _apply(self, settings: Settings) -> None:
        if self.sealed is not None:
            from antiphon.gateway.sealed.transport import padding_of

            padding_of(settings)  # Refused before anything has changed.
        tools = None
        if settings.server_tools.offered or self.tools.offered:
            tools = await self.tools.prepare(settings)
        try:
            await self.catalog.reload(settings)
        except BaseException:
            if tools is not None:
                await tools.aclose()
            raise
        if tools is not None:
            await self.tools.use(tools)
            self.policy.tools_opened(self.tools.offered)
        if self.sealed is not None:
            self.sealed.configure(settings)
            self.sealed.look()
        self.settings = settings
        self._runners.clear()
