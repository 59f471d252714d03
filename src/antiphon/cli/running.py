"""What ``antiphon run`` does once its command line is read: model, tools, session, one run."""

from __future__ import annotations

import asyncio
import datetime as dt
import os
import secrets
import sys
import time
from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from pathlib import Path
from typing import Final

from antiphon.agent.agent import Agent
from antiphon.agent.approval import Policy
from antiphon.agent.citing import sources_of
from antiphon.agent.connect import open_api, open_engine
from antiphon.agent.dialogue import Dialogue
from antiphon.agent.events import AgentEvent, RunEnded, ToolEnded
from antiphon.agent.model import AgentModel
from antiphon.agent.sessions.files import keep_file
from antiphon.agent.sessions.folder import Saved, SessionFolder, sessions_folder
from antiphon.agent.sessions.log import SessionLog
from antiphon.agent.tiny import NOTE, TinyWeather
from antiphon.agent.toolbox import make_tools, usual_tools
from antiphon.cli.asking import asker
from antiphon.cli.errors import CommandLineError
from antiphon.cli.run import EXIT_CODES, REFUSED, Given
from antiphon.cli.run_view import JsonView, RunView, TextView
from antiphon.cli.serve_view import MAKESHIFT
from antiphon.errors import MissingExtraError, SettingsError
from antiphon.tools.protocol import Tool

__all__ = ["work"]

_NEEDED: Final = ("aiohttp", "jsonschema_rs")


def work(given: Given) -> int:
    """Do it. Returns the exit code; raises what the command line reports."""
    for module in _NEEDED:
        try:
            __import__(module)
        except ModuleNotFoundError as missing:
            raise MissingExtraError(missing.name or module, "agent") from missing
    view: RunView
    if given.as_json:
        view = JsonView(sys.stdout, sys.stderr)
    else:
        view = TextView(sys.stdout, sys.stderr, quiet=given.quiet)
    end = asyncio.run(_work(given, view))
    code = EXIT_CODES[end.reason]
    return REFUSED if code == 0 and end.refused else code


async def _work(given: Given, view: RunView) -> RunEnded:
    settings = given.settings
    async with AsyncExitStack() as stack:
        folder = given.workspace or Path.cwd().resolve()
        saved, log = _session(given, folder, stack)
        if given.text is None and saved is not None and not saved.entries:
            raise CommandLineError(f"the session {saved.id} is empty; what is the question?")
        model = await stack.enter_async_context(_model(given, view))
        tools = await _tools(given, folder, model, view, saved)
        for tool in tools:
            stack.push_async_callback(tool.aclose)
        if settings.mcp.config is not None and "none" not in (given.tools or ()) and not model.tiny:
            tools = [*tools, *await _mcp_tools(given, tools, stack, view)]
        date = None
        if settings.prompt.date:
            today = dt.datetime.now(dt.UTC).date().isoformat()
            date = (saved.setup.date if saved is not None else None) or today
        dialogue = Dialogue(
            model,
            tools,
            effort=given.effort
            or (saved.setup.effort if saved else _effort(settings.prompt.effort)),
            instructions=_instructions(given, saved),
            identity=settings.prompt.identity,
            date=date,
            entries=() if saved is None else saved.entries,
            journal=log,
        )
        await dialogue.prepare()
        policy = Policy.of(settings.agent)
        if given.yes:
            policy.never_ask()
        agent = Agent(
            dialogue,
            settings=settings.agent,
            clock=time.monotonic,
            new_id=_call_id,
            policy=policy,
            ask=None if given.as_json else asker(view),
        )
        view.sources = sources_of(tools)
        emit = view.event
        if given.files is not None:
            emit = FileKeeper(given.files, view).event
        return await agent.run(given.text, emit)


class FileKeeper:
    """Writes the files that tools make into a folder, before the view is told of them."""

    def __init__(self, folder: Path, view: RunView) -> None:
        self._folder = folder
        self._view = view

    def event(self, event: AgentEvent) -> None:
        if isinstance(event, ToolEnded):
            for file in event.files:
                try:
                    self._folder.mkdir(parents=True, exist_ok=True)
                    kept = keep_file(self._folder, file)
                except OSError as error:
                    self._view.note(f"cannot keep {file.name}: {error.strerror or error}")
                else:
                    self._view.note(f"kept {kept}")
        self._view.event(event)


def _call_id() -> str:
    return f"call_{secrets.token_hex(12)}"


def _effort(effort: str) -> str:
    """gpt-oss knows three."""
    return effort if effort in ("low", "medium", "high") else "low"


def _instructions(given: Given, saved: Saved | None) -> str | None:
    if given.instructions is not None:
        return given.instructions or None
    return saved.setup.instructions if saved is not None else given.settings.agent.instructions


def _session(
    given: Given, place: Path, stack: AsyncExitStack
) -> tuple[Saved | None, SessionLog | None]:
    """The session to go on with, and where to write. Raises StoreError, CommandLineError."""
    if not (given.save or given.latest or given.resume):
        return None, None
    agent = given.settings.agent
    folder = SessionFolder(
        sessions_folder(agent, os.environ), now=lambda: dt.datetime.now(dt.UTC), sync=agent.sync
    )
    saved: Saved | None = None
    if given.latest or given.resume:
        id = given.resume or folder.latest(str(place))
        if id is None:
            raise CommandLineError(
                f"no session was begun in {place}; 'antiphon sessions list' shows all"
            )
        saved, log = folder.resume(id)
    else:
        log = folder.begin(str(place))
    stack.callback(log.close)
    return saved, log


def _model(given: Given, view: RunView) -> AbstractAsyncContextManager[AgentModel]:
    settings = given.settings
    name = given.model
    if given.api is not None:
        key = os.environ.get("ANTIPHON_API_KEY")
        return open_api(settings, given.api, name, new_id=_call_id, api_key=key)
    return open_engine(settings, name, new_id=_call_id, progress=view.progress)


async def _mcp_tools(
    given: Given, others: Sequence[Tool], stack: AsyncExitStack, view: RunView
) -> Sequence[Tool]:
    """The tools of MCP servers. Raises SettingsError; a server that fails is told of."""
    from antiphon.tools.guard.chosen import guard
    from antiphon.tools.mcp.servers import McpServers, find_config

    settings = given.settings.mcp
    servers = await stack.enter_async_context(
        McpServers(find_config(settings), settings, guard=guard(given.settings.guard))
    )
    tools = await servers.tools(taken=[tool.name for tool in others])
    for name, why in servers.problems.items():
        view.note(f"the MCP server {name} cannot be used: {why}")
    for remark in servers.remarks:
        view.note(f"the MCP server {remark}")
    return tools


async def _tools(
    given: Given, place: Path, model: AgentModel, view: RunView, saved: Saved | None
) -> Sequence[Tool]:
    """The tools that are wanted, if the model can call them. Raises CommandLineError."""
    wanted = given.tools
    if not model.tiny:
        if wanted is None:
            named = given.workspace is not None
            wanted = usual_tools(workspace=named, settings=given.settings)
        shown = () if saved is None else saved.shown
        try:
            made = await make_tools(wanted, place, given.settings, shown=shown)
        except SettingsError as error:
            raise CommandLineError(str(error)) from error
        for name, reason in made.missing.items():
            if given.tools is not None and name in given.tools:
                raise CommandLineError(f"--tools: {name} cannot be offered here: {reason}")
            view.note(f"without the tool {name}: {reason}")
        return made.tools
    weather = TinyWeather()
    if wanted is not None and set(wanted) - {weather.name, "all", "none"}:
        raise CommandLineError(f"--tools: {model.name} can call {weather.name} only")
    settings = given.settings
    if not (settings.engine or settings.model or settings.engines):
        view.note(MAKESHIFT)
    view.note(f"{model.name}: {NOTE}")
    return () if wanted is not None and "none" in wanted else (weather,)
