"""``antiphon chat`` with the tools that people have: browser, MCP servers, and choosing them."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest
from tests.agent.agenting import FINAL, RAIN, model_of
from tests.cli.chatting import Chat, Told, given
from tests.cli.own_home import own_home
from tests.turn.turning import scripted

from antiphon.agent.connect import Models
from antiphon.agent.model import AgentModel
from antiphon.agent.toolbox import Made
from antiphon.cli.chat.app import ChatApp
from antiphon.cli.chat.history import History
from antiphon.cli.chat.talk import Talk
from antiphon.cli.running import assemble

ROUGH = Path(__file__).parents[1] / "tools" / "rough_mcp_server.py"
WEATHER = "get_current_weather"
URL = "https://corpus.invalid/cats.md"


@pytest.fixture(autouse=True)
def _own_folders(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    own_home(monkeypatch, tmp_path)
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")


class One:
    """The only model, found."""

    def __init__(self, model: AgentModel) -> None:
        self._model = model

    async def names(self) -> list[str]:
        return [self._model.name]

    async def pick(self, name: str | None) -> AgentModel:
        return self._model

    async def __aenter__(self) -> Models:
        return self

    async def __aexit__(self, *_: object) -> None:
        pass


def conversed(scenario: Callable[[Chat], Awaitable[None]], *scripts: str, **options: Any) -> None:
    """A chat whose tools are those of a command line; the model says the scripts."""
    from contextlib import AsyncExitStack

    async def play() -> None:
        model = model_of(scripted(*scripts))
        read = given(**options)
        async with AsyncExitStack() as stack:
            agent, saved, found = await assemble(read, Told(), stack, One(model))
            talk = Talk(agent, found, read, stack, Told(), saved)
            app = ChatApp(talk, History(None), clock=lambda: 0.0)
            async with app.run_test(size=(100, 40)) as pilot:
                chat = Chat(app, pilot)
                await chat.until(lambda: app.prompt.has_focus)
                await scenario(chat)
            assert app.fault is None

    asyncio.run(play())


def browse(name: str, **arguments: object) -> str:
    header = f"<|channel|>analysis to=browser.{name} code<|message|>"
    return f"{header}{json.dumps(arguments)}<|call|>"


def called(tool: str, **arguments: object) -> str:
    header = f"<|channel|>commentary to=functions.{tool} <|constrain|>json<|message|>"
    return f"{header}{json.dumps(arguments)}<|call|>"


CATS = (
    browse("search", query="purr"),
    browse("open", id=0),
    f"{FINAL}They are content【1†L4】, it says【1†L2】.【7†L1】<|return|>",
)


def cats() -> Path:
    here = Path.cwd()
    (here / "cats.md").write_text("# Keeping cats\n\nCats purr when they are content.\n")
    return here


def test_citations_are_footnotes_of_the_answer() -> None:
    async def scenario(chat: Chat) -> None:
        await chat.ask("Purr?")
        await chat.until("They are content [1], it says [1].【7†L1】")
        await chat.until(f"[1] Keeping cats {URL}")
        assert "【1†" not in chat.everything

    conversed(scenario, *CATS, tools="browser", workspace=cats())


def test_other_tools_leave_the_browser_its_pages_and_cursors() -> None:
    async def scenario(chat: Chat) -> None:
        await chat.ask("Purr?")
        await chat.until("[1] Keeping cats")
        await chat.send("/tools read")
        await chat.until(lambda: [tool.name for tool in chat.app.talk.tools()] == ["read"])
        await chat.send("/tools browser,read")
        await chat.until(lambda: len(chat.app.talk.tools()) == 4)
        await chat.ask("Sure?")
        await chat.until("Still [1].")
        assert chat.everything.count(f"[1] Keeping cats {URL}") == 2
        # The page is found again, and what is shown now has a number of its own.
        assert "no longer kept" not in chat.everything
        assert "[2]" in chat.everything

    more = (browse("find", pattern="purr", cursor=1), f"{FINAL}Still【1†L4】.<|return|>")
    conversed(scenario, *CATS, *more, tools="browser", workspace=cats())


@pytest.mark.slow
def test_tools_of_an_mcp_server_are_called_and_it_outlives_another_choice(tmp_path: Path) -> None:
    pytest.importorskip("mcp")
    notes = tmp_path / "notes"
    file = tmp_path / "mcp.json"
    server = {"command": sys.executable, "args": [str(ROUGH), str(notes)], "trust": True}
    file.write_text(json.dumps({"mcpServers": {"rough": server}}), encoding="utf-8")

    async def scenario(chat: Chat) -> None:
        before = {tool.name: tool for tool in chat.app.talk.agent.dialogue.tools}
        assert "rough_echo" in before
        await chat.ask("Say heron")
        await chat.until("● rough_echo")
        assert "│ heron" in chat.screen
        said = notes.read_text()
        await chat.send("/tools list")
        await chat.until(lambda: any(t.name == "list" for t in chat.app.talk.tools()))
        after = {tool.name: tool for tool in chat.app.talk.agent.dialogue.tools}
        assert "read" not in after
        assert after["rough_echo"] is before["rough_echo"]
        assert notes.read_text() == said  # nobody began another
        await chat.ask("Say it again")
        await chat.until("│ stork")
        await chat.send("/tools none")
        await chat.until("no tools")

    scripts = (called("rough_echo", text="heron"), RAIN, called("rough_echo", text="stork"), RAIN)
    conversed(scenario, *scripts, tools="read", mcp=file)
    assert notes.read_text().splitlines()[-1] == "end"


def test_tools_that_were_begun_are_let_go_where_no_model_is_found() -> None:
    closed: list[str] = []

    class NoModel(One):
        async def pick(self, name: str | None) -> AgentModel:
            # The tools are there by now.
            await asyncio.sleep(0.01)
            raise RuntimeError("no model")

    async def play() -> None:
        from contextlib import AsyncExitStack

        from antiphon.cli import running

        async def made(*_: object, **__: object) -> Made:
            return Made((Noted(closed),), {})  # type: ignore[arg-type]

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(running, "make_tools", made)
            async with AsyncExitStack() as stack:
                with pytest.raises(RuntimeError, match="no model"):
                    await assemble(given(), Told(), stack, NoModel(model_of(scripted())))

    asyncio.run(play())
    assert closed == ["weather"]


class Noted:
    """A tool that notes when it is let go."""

    name = "weather"

    def __init__(self, closed: list[str]) -> None:
        self._closed = closed

    async def aclose(self) -> None:
        self._closed.append(self.name)


def test_the_tiny_model_needs_none_of_the_tools() -> None:
    async def scenario(chat: Chat) -> None:
        assert [tool.name for tool in chat.app.talk.tools()] == ["read"]
        tiny = msgspec.structs.replace(chat.app.talk.model, tiny=True)
        chat.app.talk._models = One(tiny)
        await chat.send("/model tiny")
        await chat.until(lambda: [t.name for t in chat.app.talk.tools()] == [WEATHER])

    conversed(scenario, tools="read")
