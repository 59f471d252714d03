"""``antiphon run``: one question to the agent, for scripts and for people in a hurry."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any, Final

import click

from antiphon.cli.agent_options import (
    MAX_INPUT_BYTES,
    agent_options,
    decoded,
    given_of,
    session_options,
    show_tools,
)
from antiphon.cli.errors import CommandLineError
from antiphon.cli.options import config_option, set_option

if TYPE_CHECKING:
    from antiphon.agent.events import EndReason

__all__ = ["EXIT_CODES", "run"]

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


@click.command(
    epilog="Exit codes: 0 an answer; 1 the engine or something else failed; 2 the command line is"
    " wrong; 3 a limit was reached; 4 an answer, but a call was refused; 5 the model got stuck;"
    " 130 interrupted. More in docs/agent.md."
)
@click.argument("question", nargs=-1, metavar="[QUESTION|-]...")
@agent_options()
@click.option("--yes", is_flag=True, help="Make calls that a person would be asked about.")
@click.option("--max-turns", type=click.IntRange(min=1), metavar="N", help="Default: 50.")
@click.option(
    "--timeout",
    type=click.FloatRange(min=0, min_open=True),
    metavar="SECONDS",
    help="Longest work on the question.",
)
@click.option("--save", is_flag=True, help="Keep the session.")
@session_options()
@click.option("--json", "as_json", is_flag=True, help="Print every event as a line of JSON.")
@click.option("--quiet", "-q", is_flag=True, help="Only the answer, and what went wrong.")
@config_option()
@set_option("agent.tokens=5000")
@click.pass_context
def run(
    ctx: click.Context,
    /,
    question: tuple[str, ...],
    max_turns: int | None,
    timeout: float | None,
    as_json: bool,
    quiet: bool,
    **shared: Any,
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
    flags = {}
    if max_turns is not None:
        flags["agent.turns"] = str(max_turns)
    if timeout is not None:
        flags["agent.seconds"] = str(timeout)
    given = given_of(**shared, flags=flags)
    if shared["tools"] == "help":
        show_tools(given)
        return
    given = given._replace(
        text=_question(question, needed=not (given.latest or given.resume)),
        as_json=as_json,
        quiet=quiet,
    )
    from antiphon.cli.running import work

    ctx.exit(work(given))


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
    return decoded(data, "standard input")
