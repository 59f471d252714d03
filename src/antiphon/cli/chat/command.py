"""``antiphon chat``: what its command line says."""

from __future__ import annotations

import os
import sys
from typing import Any

import click

from antiphon.cli.agent_options import agent_options, given_of, session_options, show_tools
from antiphon.cli.errors import CommandLineError
from antiphon.cli.options import config_option, set_option

__all__ = ["chat"]


@click.command(epilog="Keys and commands: /help in the chat, and docs/chat.md.")
@agent_options()
@click.option("--yes", is_flag=True, help="Make calls that you would be asked about.")
@session_options()
@click.option(
    "--save/--no-save", default=True, help="Whether the session, and what you type, is kept."
)
@click.option("--mouse/--no-mouse", default=True, help="Without, the terminal selects text itself.")
@config_option()
@set_option("agent.never=shell")
def chat(
    mouse: bool,
    **shared: Any,
) -> None:
    """Talk with a model in the terminal, and let it use its tools.

    What it thinks, the calls it makes and its answers are told apart. Without options an engine
    that runs on a usual port is used (llama.cpp, Ollama, LM Studio, vLLM, Lemonade), else the tiny
    test model.

    \b
    Examples:
      antiphon chat
      antiphon chat --workspace . --effort high
      antiphon chat --model gpt-oss-20b.gguf
      antiphon chat --api http://127.0.0.1:8000 --model gpt-oss-20b
      antiphon chat --seal https://gpt.example
      antiphon chat --continue
    """
    given = given_of(**shared)
    if shared["tools"] == "help":
        show_tools(given)
        return
    _check_terminal()
    from antiphon.cli.chat.opening import converse

    converse(given, mouse=mouse)


def _check_terminal() -> None:
    """Raises CommandLineError where there is nothing to draw on."""
    instead = 'for scripts there is: antiphon run "…"'
    streams = (sys.stdin, sys.stdout, sys.__stderr__)
    if not all(stream is not None and stream.isatty() for stream in streams):
        raise CommandLineError(f"a chat needs a terminal; {instead}")
    if os.environ.get("TERM", "" if os.name == "posix" else "windows") in ("", "dumb", "unknown"):
        raise CommandLineError(f"this terminal cannot be drawn on (TERM is dumb); {instead}")
