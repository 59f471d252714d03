"""``antiphon run``: one question to the agent, for scripts and for people in a hurry."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple

import click

from antiphon.cli.errors import CommandLineError
from antiphon.cli.options import assigned, config_option, engine_option, set_option

if TYPE_CHECKING:
    from antiphon.agent.events import EndReason
    from antiphon.settings.model import Settings

__all__ = ["EXIT_CODES", "Given", "run"]

OK, ERROR, USAGE, LIMIT, REFUSED, STUCK, INTERRUPTED = 0, 1, 2, 3, 4, 5, 130
EXIT_CODES: Final[dict[EndReason, int]] = {
    "answer": OK,
    "turns": LIMIT,
    "tokens": LIMIT,
    "time": LIMIT,
    "length": LIMIT,
    "repeated": STUCK,
    "silent": STUCK,
    "error": ERROR,
    "cancelled": INTERRUPTED,
}
"""Why the work ended → exit code. An answer is 4 if a call that the model wanted was refused."""
MAX_INPUT_BYTES: Final = 32 * 1024 * 1024
"""Most that is read from standard input or a file."""


class Given(NamedTuple):
    """What the command line says, read."""

    text: str | None
    settings: Settings
    model: str | None
    api: str | None
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


@click.command(
    epilog="Exit codes: 0 an answer; 1 the engine or something else failed; 2 the command line is"
    " wrong; 3 a limit was reached; 4 an answer, but a call was refused; 5 the model got stuck;"
    " 130 interrupted. More in docs/agent.md."
)
@click.argument("question", nargs=-1, metavar="[QUESTION|-]...")
@engine_option()
@click.option(
    "--model",
    metavar="NAME|GGUF",
    help="One of the engine's models; or a GGUF file, to start llama.cpp with.",
)
@click.option(
    "--api",
    metavar="URL",
    help="Any endpoint with OpenAI's chat completions, instead of an engine. ANTIPHON_API_KEY is"
    " its key.",
)
@click.option(
    "--effort",
    type=click.Choice(["low", "medium", "high"]),
    help="How much the model thinks before it answers. Default: medium.",
)
@click.option("--system", metavar="TEXT|@FILE", help="Instructions for the model.")
@click.option(
    "--tools",
    metavar="NAMES",
    help="Which tools it may call, with commas; all; none. --tools help lists them.",
)
@click.option(
    "--workspace",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    metavar="FOLDER",
    help="Where its tools work, and a word that they may. Tools that are named without it work in"
    " the working directory.",
)
@click.option(
    "--mcp",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    metavar="FILE",
    help="Tools of the MCP servers that this mcp.json names. Default: the setting mcp.config.",
)
@click.option("--yes", is_flag=True, help="Make calls that a person would be asked about.")
@click.option("--max-turns", type=click.IntRange(min=1), metavar="N", help="Default: 50.")
@click.option(
    "--timeout",
    type=click.FloatRange(min=0, min_open=True),
    metavar="SECONDS",
    help="Longest work on the question.",
)
@click.option("--save", is_flag=True, help="Keep the session.")
@click.option("--continue", "latest", is_flag=True, help="Go on with the folder's last session.")
@click.option("--resume", metavar="ID", help="Go on with this session.")
@click.option(
    "--files",
    type=click.Path(file_okay=False, path_type=Path),
    metavar="FOLDER",
    help="Keep files that tools make, such as plots, here.",
)
@click.option("--json", "as_json", is_flag=True, help="Print every event as a line of JSON.")
@click.option("--quiet", "-q", is_flag=True, help="Only the answer, and what went wrong.")
@config_option()
@set_option("agent.tokens=5000")
@click.pass_context
def run(
    ctx: click.Context,
    question: tuple[str, ...],
    engine: str | None,
    model: str | None,
    api: str | None,
    effort: str | None,
    system: str | None,
    tools: str | None,
    workspace: Path | None,
    mcp: Path | None,
    yes: bool,
    max_turns: int | None,
    timeout: float | None,
    save: bool,
    latest: bool,
    resume: str | None,
    files: Path | None,
    as_json: bool,
    quiet: bool,
    config: Path | None,
    assignments: tuple[str, ...],
) -> None:
    """Ask once, let the model use its tools, print the answer.

    The answer goes to standard output, thinking and tools to standard error. "-" stands for what
    comes on standard input; without a question, that is the question.

    \b
    Examples:
      antiphon run "What is 2 + 2?"
      antiphon run --engine tiny "What is the weather like in Paris?"
      git diff | antiphon run --tools none "Review this:" -
      antiphon run --workspace . --yes --max-turns 20 "Make the tests pass"
      antiphon run --api http://127.0.0.1:8000 --model gpt-oss-20b --json "Hello" | jq
      antiphon run --continue "And in London?"
    """
    if tools == "help":
        from antiphon.agent.toolbox import SHIPPED

        for name, tool in SHIPPED.items():
            click.echo(f"{name:12}  {tool.summary}")
        return
    if api and engine:
        raise CommandLineError("give --api or --engine, not both")
    if latest and resume:
        raise CommandLineError("give --continue or --resume, not both")
    flags = assigned(assignments)
    if engine is not None:
        flags["engine"] = engine
    if model is not None and not api and _is_checkpoint(model):
        flags["model"], model = model, None
    if max_turns is not None:
        flags["agent.turns"] = str(max_turns)
    if timeout is not None:
        flags["agent.seconds"] = str(timeout)
    if mcp is not None:
        flags["mcp.config"] = str(mcp)
    from antiphon.settings.load import load

    settings = load(config, None, flags)
    given = Given(
        text=_question(question, needed=not (latest or resume)),
        settings=settings,
        model=model,
        api=api,
        effort=effort,
        instructions=_instructions(system),
        tools=None if tools is None else _names(tools),
        workspace=None if workspace is None else workspace.resolve(),
        yes=yes,
        as_json=as_json,
        quiet=quiet,
        save=save,
        latest=latest,
        resume=resume,
        files=files,
    )
    from antiphon.cli.running import work

    ctx.exit(work(given))


def _is_checkpoint(model: str) -> bool:
    return model.lower().endswith(".gguf") or (":" in model and "/" in model)


def _names(tools: str) -> tuple[str, ...]:
    return tuple([name for part in tools.split(",") if (name := part.strip())])


def _question(words: tuple[str, ...], *, needed: bool) -> str | None:
    """The question; what stands for standard input is on lines of its own."""
    if not words:
        if sys.stdin is None or sys.stdin.isatty():
            if needed:
                raise CommandLineError("what is the question? (see: antiphon run --help)")
            return None
        words = ("-",)
    parts: list[str] = []
    plain: list[str] = []
    read = False
    for word in words:
        if word == "-" and not read:
            parts += [" ".join(plain)] if plain else []
            plain, read = [], True
            parts.append(_standard_input())
        else:
            plain.append(word)
    parts += [" ".join(plain)] if plain else []
    text = "\n\n".join([part for part in parts if part.strip()])
    if not text:
        if needed:
            raise CommandLineError("the question is empty")
        return None
    return text


def _standard_input() -> str:
    data = sys.stdin.buffer.read(MAX_INPUT_BYTES + 1)
    return _text(data, "standard input")


def _instructions(system: str | None) -> str | None:
    if system is None or not system.startswith("@"):
        return system
    path = Path(system[1:])
    try:
        with path.open("rb") as file:
            return _text(file.read(MAX_INPUT_BYTES + 1), str(path))
    except OSError as error:
        raise CommandLineError(f"--system {system}: {error.strerror or error}") from error


def _text(data: bytes, name: str) -> str:
    if len(data) > MAX_INPUT_BYTES:
        raise CommandLineError(f"{name}: larger than {MAX_INPUT_BYTES} bytes")
    try:
        return data.decode("utf-8-sig").removesuffix("\n")
    except UnicodeDecodeError as error:
        raise CommandLineError(f"{name}: not UTF-8 at byte {error.start}") from error
