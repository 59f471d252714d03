"""What ``antiphon run`` and ``antiphon chat`` are told alike: model, tools, session."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple

import click

from antiphon.cli.errors import CommandLineError
from antiphon.cli.options import Decorated, assigned, engine_option
from antiphon.cli.seal_client import pin_options, via_option

if TYPE_CHECKING:
    from antiphon.settings.model import Settings

__all__ = [
    "MAX_INPUT_BYTES",
    "Given",
    "SealGiven",
    "agent_options",
    "decoded",
    "given_of",
    "instructions_of",
    "session_options",
    "show_tools",
    "tool_names",
]

MAX_INPUT_BYTES: Final = 32 * 1024 * 1024
"""Most that is read from standard input or a file."""


class SealGiven(NamedTuple):
    """A gateway that is spoken to under seal."""

    url: str
    pins: tuple[str, ...]
    via: str | None
    known: Path | None


class Given(NamedTuple):
    """What the command line says, read."""

    text: str | None
    settings: Settings
    model: str | None
    api: str | None
    seal: SealGiven | None
    effort: str | None
    instructions: str | None
    tools: tuple[str, ...] | None
    workspace: Path | None
    yes: bool
    as_json: bool
    quiet: bool
    save: bool
    latest: bool
    resume: str | None
    files: Path | None


def agent_options() -> Callable[[Decorated], Decorated]:
    """Which model, how it is asked, and with which tools: ``--engine`` to ``--mcp``."""
    options = (
        engine_option(),
        click.option(
            "--model",
            metavar="NAME|GGUF",
            help="One of the engine's models; or a GGUF file, to start llama.cpp with.",
        ),
        click.option(
            "--api",
            metavar="URL",
            help="Any endpoint with OpenAI's chat completions, instead of an engine."
            " ANTIPHON_API_KEY is its key.",
        ),
        click.option(
            "--seal",
            metavar="URL",
            help="A gateway that is spoken to sealed, instead of an engine. ANTIPHON_API_KEY is its"
            " key.",
        ),
        pin_options,
        via_option(),
        click.option(
            "--effort",
            type=click.Choice(["low", "medium", "high"]),
            help="How much the model thinks before it answers. Default: medium.",
        ),
        click.option("--system", metavar="TEXT|@FILE", help="Instructions for the model."),
        click.option(
            "--tools",
            metavar="NAMES",
            help="Which tools it may call, with commas; all; none. --tools help lists them.",
        ),
        click.option(
            "--workspace",
            type=click.Path(exists=True, file_okay=False, path_type=Path),
            metavar="FOLDER",
            help="Where its tools work, and a word that they may. Tools that are named without it"
            " work in the working directory.",
        ),
        click.option(
            "--mcp",
            type=click.Path(exists=True, dir_okay=False, path_type=Path),
            metavar="FILE",
            help="Tools of the MCP servers that this mcp.json names. Default: the setting"
            " mcp.config.",
        ),
    )

    return _together(options)


def session_options() -> Callable[[Decorated], Decorated]:
    """``--continue`` and ``--resume``; ``--files``."""
    options = (
        click.option(
            "--continue", "latest", is_flag=True, help="Go on with the folder's last session."
        ),
        click.option("--resume", metavar="ID", help="Go on with this session."),
        click.option(
            "--files",
            type=click.Path(file_okay=False, path_type=Path),
            metavar="FOLDER",
            help="Keep files that tools make, such as plots, here.",
        ),
    )

    return _together(options)


def given_of(
    *,
    engine: str | None,
    model: str | None,
    api: str | None,
    seal: str | None,
    pins: tuple[str, ...],
    via: str | None,
    known: Path | None,
    effort: str | None,
    system: str | None,
    tools: str | None,
    workspace: Path | None,
    mcp: Path | None,
    yes: bool,
    save: bool,
    latest: bool,
    resume: str | None,
    files: Path | None,
    config: Path | None,
    assignments: tuple[str, ...],
    flags: Mapping[str, str] = {},
) -> Given:
    """These options, read; ``flags`` are settings that the command has options of its own for.

    Raises CommandLineError, SettingsError.
    """
    if api and engine:
        raise CommandLineError("give --api or --engine, not both")
    if seal and (engine or api):
        raise CommandLineError("--seal names the gateway: give it without --engine and --api")
    if (pins or via or known) and not seal:
        raise CommandLineError("--seal-key, --via and --known belong to --seal")
    if latest and resume:
        raise CommandLineError("give --continue or --resume, not both")
    wanted = {**assigned(assignments), **flags}
    if engine is not None:
        wanted["engine"] = engine
    if model is not None and not (api or seal) and _is_checkpoint(model):
        wanted["model"], model = model, None
    if mcp is not None:
        wanted["mcp.config"] = str(mcp)
    from antiphon.settings.load import load

    return Given(
        text=None,
        settings=load(config, None, wanted),
        model=model,
        api=api,
        seal=SealGiven(seal, pins, via, known) if seal else None,
        effort=effort,
        instructions=instructions_of(system),
        tools=None if tools is None else tool_names(tools),
        workspace=None if workspace is None else workspace.resolve(),
        yes=yes,
        as_json=False,
        quiet=False,
        save=save,
        latest=latest,
        resume=resume,
        files=files,
    )


def show_tools(given: Given) -> None:
    """What ``--tools help`` prints."""
    from antiphon.cli.toolhelp import tool_help

    for line in tool_help(given.settings, given.workspace):
        click.echo(line)


def _is_checkpoint(model: str) -> bool:
    return model.lower().endswith(".gguf") or (":" in model and "/" in model)


def tool_names(tools: str) -> tuple[str, ...]:
    """Names with commas."""
    return tuple([name for part in tools.split(",") if (name := part.strip())])


def instructions_of(system: str | None) -> str | None:
    """A text, or the file that ``@`` stands before. Raises CommandLineError."""
    if system is None or not system.startswith("@"):
        return system
    path = Path(system[1:])
    try:
        with path.open("rb") as file:
            return decoded(file.read(MAX_INPUT_BYTES + 1), str(path))
    except OSError as error:
        raise CommandLineError(f"--system {system}: {error.strerror or error}") from error


def decoded(data: bytes, name: str) -> str:
    """Text that a person gave, without its last line feed. Raises CommandLineError."""
    if len(data) > MAX_INPUT_BYTES:
        raise CommandLineError(f"{name}: larger than {MAX_INPUT_BYTES} bytes")
    try:
        return data.decode("utf-8-sig").removesuffix("\n")
    except UnicodeDecodeError as error:
        raise CommandLineError(f"{name}: not UTF-8 at byte {error.start}") from error


def _together(
    options: Sequence[Callable[[Decorated], Decorated]],
) -> Callable[[Decorated], Decorated]:
    """One decorator for all of them, in this order in ``--help``."""

    def all_of(command: Decorated) -> Decorated:
        for option in reversed(options):
            command = option(command)
        return command

    return all_of
