"""What ``antiphon run`` does once its command line is read: model, tools, session, one run."""

from __future__ import annotations

import asyncio
import datetime as dt
import os
import secrets
import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from pathlib import Path
from typing import Final, NamedTuple

from antiphon.agent.agent import Agent
from antiphon.agent.approval import Policy
from antiphon.agent.citing import sources_of
from antiphon.agent.connect import Models, open_endpoint, open_engines
from antiphon.agent.dialogue import Dialogue
from antiphon.agent.events import AgentEvent, RunEnded, ToolEnded
from antiphon.agent.model import AgentModel
from antiphon.agent.sessions.files import keep_file
from antiphon.agent.sessions.folder import Saved, SessionFolder, sessions_folder
from antiphon.agent.sessions.log import SessionLog
from antiphon.agent.tiny import NOTE, TinyWeather
from antiphon.agent.toolbox import Made, make_tools, usual_tools
from antiphon.cli.agent_options import Given, SealGiven
from antiphon.cli.asking import asker
from antiphon.cli.errors import CommandLineError
from antiphon.cli.run import EXIT_CODES, REFUSED
from antiphon.cli.run_view import JsonView, Notes, RunView, TextView
from antiphon.cli.seal_client import first_contact
from antiphon.cli.serve_view import MAKESHIFT
from antiphon.errors import MissingExtraError, SettingsError
from antiphon.settings.model import AgentSettings, Settings
from antiphon.tools.protocol import Tool

__all__ = [
    "NEEDED",
    "Assembled",
    "FileKeeper",
    "api_key",
    "assemble",
    "call_id",
    "every_tool",
    "folder_of",
    "need",
    "open_session",
    "work",
]

NEEDED: Final = ("aiohttp", "jsonschema_rs")
"""What every agent imports."""
KEY_VARIABLE: Final = "ANTIPHON_API_KEY"


def work(given: Given) -> int:
    """Do it. Returns the exit code; raises what the command line reports."""
    need(NEEDED, "agent")
    view: RunView
    if given.as_json:
        view = JsonView(sys.stdout, sys.stderr)
    else:
        view = TextView(sys.stdout, sys.stderr, quiet=given.quiet)
    end = asyncio.run(_work(given, view))
    code = EXIT_CODES[end.reason]
    return REFUSED if code == 0 and end.refused else code


def need(modules: Iterable[str], extra: str) -> None:
    """Raises MissingExtraError if one of these is not installed."""
    for module in modules:
        try:
            __import__(module)
        except ModuleNotFoundError as missing:
            raise MissingExtraError(missing.name or module, extra) from missing


async def _work(given: Given, view: RunView) -> RunEnded:
    async with AsyncExitStack() as stack:
        agent, saved, _ = await assemble(given, view, stack)
        if given.text is None and saved is not None and not saved.entries:
            raise CommandLineError(f"the session {saved.id} is empty; what is the question?")
        agent.ask = None if given.as_json else asker(view)
        view.sources = sources_of(agent.dialogue.tools)
        emit = view.event
        if given.files is not None:
            emit = FileKeeper(given.files, view).event
        return await agent.run(given.text, emit)


class Assembled(NamedTuple):
    """An agent that is ready, and what it came from."""

    agent: Agent
    saved: Saved | None
    """The session that goes on."""
    models: Models


async def assemble(
    given: Given,
    view: Notes,
    stack: AsyncExitStack,
    models: AbstractAsyncContextManager[Models] | None = None,
) -> Assembled:
    """Model, tools and session together, for as long as ``stack`` is open. ``models``: instead of
    those that are given. Raises what the command line reports.
    """
    settings = given.settings
    models = models or _models(given, view)
    folder = given.workspace or Path.cwd().resolve()
    saved, log = open_session(given, folder, stack)
    # Sandboxes take as long to be tried as a model to be found: side by side.
    making = asyncio.ensure_future(_make(given, folder, saved))
    try:
        found = await stack.enter_async_context(models)
        model = await found.pick(given.model)
    except BaseException:
        await _unmake(making)
        raise
    tools = await every_tool(given, folder, model, view, stack, saved, making=making)
    date = None
    if settings.prompt.date:
        today = dt.datetime.now(dt.UTC).date().isoformat()
        date = (saved.setup.date if saved is not None else None) or today
    dialogue = Dialogue(
        model,
        tools,
        effort=given.effort or (saved.setup.effort if saved else _effort(settings.prompt.effort)),
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
        new_id=call_id,
        policy=policy,
    )
    return Assembled(agent, saved, found)


async def every_tool(
    given: Given,
    folder: Path,
    model: AgentModel,
    view: Notes,
    stack: AsyncExitStack,
    saved: Saved | None = None,
    before: Sequence[Tool] = (),
    making: asyncio.Future[Made] | None = None,
) -> Sequence[Tool]:
    """The tools that are wanted, those of MCP servers too, until ``stack`` is closed. Servers
    whose tools are among those of ``before`` are not started again; ``making`` are the others,
    if somebody began to make them. Raises CommandLineError, SettingsError.
    """
    making = making or asyncio.ensure_future(_make(given, folder, saved))
    tools: Sequence[Tool]
    missing: Mapping[str, str] = {}
    if model.tiny:
        await _unmake(making)
        tools = _tiny_tools(given, model, view)
    else:
        tools, missing = await making
    for tool in tools:
        stack.push_async_callback(tool.aclose)
    for name, reason in missing.items():
        if given.tools is not None and name in given.tools:
            raise CommandLineError(f"--tools: {name} cannot be offered here: {reason}")
        view.note(f"without the tool {name}: {reason}")
    if (
        given.settings.mcp.config is not None
        and "none" not in (given.tools or ())
        and not model.tiny
    ):
        tools = [*tools, *await _mcp_tools(given, tools, before, stack, view)]
    return tools


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


def call_id() -> str:
    return f"call_{secrets.token_hex(12)}"


def api_key() -> str | None:
    """The endpoint's key. Raises CommandLineError for what can be none."""
    key = os.environ.get(KEY_VARIABLE)
    if key and not (key.isascii() and key.isprintable()):
        raise CommandLineError(f"{KEY_VARIABLE} holds characters no key can have")
    return key


def _effort(effort: str) -> str:
    """gpt-oss knows three."""
    return effort if effort in ("low", "medium", "high") else "low"


def _instructions(given: Given, saved: Saved | None) -> str | None:
    if given.instructions is not None:
        return given.instructions or None
    return saved.setup.instructions if saved is not None else given.settings.agent.instructions


def folder_of(settings: AgentSettings) -> SessionFolder:
    """The folder of saved sessions."""
    path = sessions_folder(settings, os.environ)
    return SessionFolder(path, now=lambda: dt.datetime.now(dt.UTC), sync=settings.sync)


def open_session(
    given: Given, place: Path, stack: AsyncExitStack
) -> tuple[Saved | None, SessionLog | None]:
    """The session to go on with, and where to write. Raises StoreError, CommandLineError."""
    if not (given.save or given.latest or given.resume):
        return None, None
    folder = folder_of(given.settings.agent)
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


def _models(given: Given, view: Notes) -> AbstractAsyncContextManager[Models]:
    settings = given.settings
    if given.seal is not None:
        return _sealed(settings, given.seal, view)
    if given.api is not None:
        return open_endpoint(settings, given.api, new_id=call_id, api_key=api_key())
    return open_engines(settings, new_id=call_id, progress=view.progress)


def _sealed(
    settings: Settings, seal: SealGiven, view: Notes
) -> AbstractAsyncContextManager[Models]:
    """Raises MissingExtraError."""
    need(("httpx2", "pyhpke"), "seal")
    from antiphon.agent.sealed import open_sealed

    def first_use(gateway: str, fingerprint: str) -> None:
        view.note(first_contact(gateway, fingerprint))

    return open_sealed(
        settings,
        seal.url,
        new_id=call_id,
        pins=seal.pins,
        via=seal.via,
        known=seal.known,
        api_key=api_key(),
        first_use=first_use,
    )


async def _mcp_tools(
    given: Given,
    others: Sequence[Tool],
    before: Sequence[Tool],
    stack: AsyncExitStack,
    view: Notes,
) -> Sequence[Tool]:
    """The tools of MCP servers. Raises SettingsError; a server that fails is told of."""
    from antiphon.tools.guard.chosen import guard
    from antiphon.tools.mcp.servers import McpServers, find_config
    from antiphon.tools.mcp.tool import McpTool

    kept = [tool for tool in before if isinstance(tool, McpTool)]
    if kept and not {tool.name for tool in kept} & {tool.name for tool in others}:
        return kept
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


async def _make(given: Given, place: Path, saved: Saved | None) -> Made:
    """The tools that are wanted. Raises CommandLineError."""
    wanted = given.tools
    if wanted is None:
        wanted = usual_tools(workspace=given.workspace is not None, settings=given.settings)
    shown = () if saved is None else saved.shown
    try:
        return await make_tools(wanted, place, given.settings, shown=shown)
    except SettingsError as error:
        raise CommandLineError(str(error)) from error


async def _unmake(making: asyncio.Future[Made]) -> None:
    """They are not needed."""
    making.cancel()
    await asyncio.wait({making})
    if not making.cancelled() and making.exception() is None:
        for tool in making.result().tools:
            await tool.aclose()


def _tiny_tools(given: Given, model: AgentModel, view: Notes) -> Sequence[Tool]:
    """What the tiny model can call. Raises CommandLineError."""
    wanted = given.tools
    weather = TinyWeather()
    if wanted is not None and set(wanted) - {weather.name, "all", "none"}:
        raise CommandLineError(f"--tools: {model.name} can call {weather.name} only")
    settings = given.settings
    if not (settings.engine or settings.model or settings.engines):
        view.note(MAKESHIFT)
    view.note(f"{model.name}: {NOTE}")
    return () if wanted is not None and "none" in wanted else (weather,)
