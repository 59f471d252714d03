"""How the tests of the chat drive it: a pilot at the keyboard, the scripted engine behind."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest
from tests.agent.agenting import Clock, agent_of, model_of
from tests.turn.turning import LimitedEngine

pytest.importorskip("textual")

from textual import events
from textual.keys import _character_to_key
from textual.pilot import Pilot

from antiphon.agent.agent import Agent
from antiphon.agent.model import AgentModel
from antiphon.cli.agent_options import Given, given_of
from antiphon.cli.chat.app import ChatApp
from antiphon.cli.chat.history import History
from antiphon.cli.chat.talk import Talk
from antiphon.engines.protocol import CompletionRequest

SCREENS = Path(__file__).with_name("screens")
WAIT = 60.0
"""Seconds after which something will not come any more."""

HOPS = 4
"""Queues that a key goes through: the app's, the prompt's, and back up to the app."""


class Held(LimitedEngine):
    """Says ``before`` tokens of what it has to say, then waits until it is let go."""

    before = 8

    def __init__(self, *args: Any, **given: Any) -> None:
        super().__init__(*args, **given)
        self.go_on = asyncio.Event()
        self.waits = asyncio.Event()

    async def complete(self, request: CompletionRequest):
        count = 0
        async for chunks in super().complete(request):
            yield chunks
            count += 1
            if count == self.before:
                self.waits.set()
                await self.go_on.wait()


class OtherModels:
    """Models to choose from."""

    def __init__(self, *models: AgentModel) -> None:
        self._models = {model.name: model for model in models}

    async def names(self) -> Sequence[str]:
        return list(self._models)

    async def pick(self, name: str | None) -> AgentModel:
        from antiphon.api.errors import ApiError

        if name not in self._models:
            raise ApiError(f"there is no model {name!r}", status=404)
        return self._models[name]


class Told:
    """Notes that nobody reads."""

    def progress(self, text: str) -> None:
        pass

    def note(self, text: str) -> None:
        pass


class Chat:
    """A chat on a screen of its own."""

    def __init__(self, app: ChatApp, pilot: Pilot[None]) -> None:
        self.app = app
        self.pilot = pilot

    @property
    def rows(self) -> list[str]:
        strips = self.app.screen._compositor.render_strips()
        return [strip.text.rstrip() for strip in strips]

    @property
    def screen(self) -> str:
        return "\n".join(self.rows)

    @property
    def plain(self) -> str:
        """The screen in one line."""
        return " ".join(self.screen.split())

    @property
    def everything(self) -> str:
        """The whole transcript, what is not on the screen included."""
        self.app.transcript.bring_up()
        out = []
        for block in self.app.transcript.blocks:
            out += [block.strip(row).text for row in range(len(block))]
        return "\n".join(out)

    @property
    def folded(self) -> str:
        """The whole transcript as if it were never folded, and without its line feeds."""
        return self.everything.replace("\n", "")

    async def until(self, condition: str | Callable[[], object]) -> None:
        """Wait for a text on the screen, or for something to be true."""
        end = time.monotonic() + WAIT
        while True:
            await self.pilot.pause(0)
            found = condition in self.plain if isinstance(condition, str) else condition()
            if found:
                return
            assert time.monotonic() < end, f"{condition} never came\n{self.screen}"
            await asyncio.sleep(0.002)

    async def press(self, *keys: str) -> None:
        """Press keys, one when the other has been dealt with. Textual's own way waits for each
        until the process has been idle for a while.
        """
        for key in keys:
            name = _character_to_key(key) if len(key) == 1 else key
            character = " " if key == "space" else key if len(key) == 1 else None
            driver = self.app._driver
            assert driver is not None
            driver.send_message(events.Key(name, character))
            for _ in range(HOPS):
                if self.app.is_running:
                    await self.pilot.pause(0)

    async def type(self, text: str) -> None:
        """Key by key."""
        await self.press(*["ctrl+j" if c == "\n" else c for c in text])

    async def send(self, text: str) -> None:
        """Write it and send it."""
        self.app.prompt.put(text)
        await self.press("enter")

    async def ask(self, text: str) -> None:
        """Send it, and wait for the end of the turn."""
        before = self.app.turns
        await self.send(text)
        await self.until(lambda: self.app.turns > before)


def given(**options: Any) -> Given:
    """A command line, read."""
    models = "engine model api seal via known effort system"
    words: dict[str, Any] = dict.fromkeys(
        f"{models} tools workspace mcp resume files config".split()
    )
    words |= {"pins": (), "yes": False, "save": False, "latest": False, "assignments": ()}
    return given_of(**(words | options))


def chatted(
    scenario: Callable[[Chat], Awaitable[None]],
    *scripts: str,
    size: tuple[int, int] = (80, 24),
    agent: Agent | None = None,
    models: Sequence[AgentModel] = (),
    history: History | None = None,
    notes: tuple[str, ...] = (),
    clock: Callable[[], float] | None = None,
    options: dict[str, Any] | None = None,
    **how: Any,
) -> ChatApp:
    """Play a scenario; the model says the scripts. Returns the app, which has ended."""

    async def play() -> ChatApp:
        talker = agent or agent_of(*scripts, **how)
        own = talker.dialogue.model
        async with AsyncExitStack() as stack:
            talk = Talk(
                talker, OtherModels(own, *models), given(**(options or {})), stack, Told(), None
            )
            app = ChatApp(talk, history or History(None), notes=notes, clock=clock or Clock())
            async with app.run_test(size=size) as pilot:
                chat = Chat(app, pilot)
                await chat.until(lambda: app.prompt.has_focus)
                await scenario(chat)
            assert app.fault is None
            return app

    return asyncio.run(play())


def other_model(name: str, *scripts: str) -> AgentModel:
    import msgspec
    from tests.turn.turning import scripted

    return msgspec.structs.replace(model_of(scripted(*scripts)), name=name)


def matches(chat: Chat, name: str) -> None:
    """The screen is as it was when somebody last looked: WRITE_SCREENS=1 writes it."""
    path = SCREENS / f"{name}.txt"
    if os.environ.get("WRITE_SCREENS"):
        path.write_text(chat.screen + "\n", encoding="utf-8")
    assert chat.screen + "\n" == path.read_text(encoding="utf-8")
