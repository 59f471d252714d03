"""The command group. Commands are imported when they run, so that ``--help`` costs only click."""

from __future__ import annotations

from importlib import import_module
from typing import Final, NamedTuple

import click

from antiphon import __version__

__all__ = ["COMMANDS", "LazyCommand", "app"]

running: str | None = None
"""The subcommand that was chosen, for error messages."""


class LazyCommand(NamedTuple):
    """Where a command is (``module:attribute``) and its line in the list of commands."""

    target: str
    summary: str

    def load(self) -> click.Command:
        module, _, attribute = self.target.partition(":")
        command = getattr(import_module(module), attribute)
        assert isinstance(command, click.Command)
        return command


COMMANDS: Final = {
    "render": LazyCommand("antiphon.cli.render:render", "Turn a conversation into tokens or text."),
    "parse": LazyCommand("antiphon.cli.parse:parse", "Turn tokens or text into messages."),
    "inspect": LazyCommand("antiphon.cli.inspect:inspect", "Show a transcript, annotated."),
    "tokens": LazyCommand("antiphon.cli.tokens:tokens", "Count and show the tokens of a text."),
    "serve": LazyCommand(
        "antiphon.cli.serve:serve",
        "Serve Chat Completions and Responses over any engine.",
    ),
    "probe": LazyCommand(
        "antiphon.cli.probe:probe", "Find out what an engine is and how it can be used."
    ),
    "keys": LazyCommand(
        "antiphon.cli.keys:keys", "Make, list and revoke API keys; manage those of seals."
    ),
    "relay": LazyCommand(
        "antiphon.cli.relay:relay", "Forward sealed requests to one gateway, and nothing else."
    ),
    "seal": LazyCommand("antiphon.cli.seal:seal", "Talk to a gateway sealed, and know its key."),
    "store": LazyCommand(
        "antiphon.cli.store:store",
        "Look at what a gateway keeps, forget what is old, encrypt it anew.",
    ),
    "models": LazyCommand("antiphon.cli.models:models", "List, load and unload models."),
    "chat": LazyCommand(
        "antiphon.cli.chat.command:chat",
        "Talk with a model in the terminal, and let it use its tools.",
    ),
    "run": LazyCommand(
        "antiphon.cli.run:run", "Ask once, let the model use its tools, print the answer."
    ),
    "sessions": LazyCommand(
        "antiphon.cli.sessions:sessions", "List, show, export and remove saved sessions."
    ),
    "mcp": LazyCommand(
        "antiphon.cli.mcp:mcp", "Offer render, parse and inspect to other agents, over MCP."
    ),
    "demo": LazyCommand("antiphon.cli.demo:demo", "Talk to the built-in tiny model, live."),
}


# mypy: disable-error-code="explicit-override"
# typing.override is new in Python 3.12.


class _LazyGroup(click.Group):
    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        global running
        entry = COMMANDS.get(cmd_name)
        if entry is None:
            return None
        if not ctx.resilient_parsing:
            running = cmd_name
        return entry.load()

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        name = args[0]
        if name not in COMMANDS and not name.startswith("-") and not ctx.resilient_parsing:
            raise click.exceptions.NoSuchCommand(name, possibilities=list(COMMANDS), ctx=ctx)
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, entry.summary) for name, entry in COMMANDS.items()])


@click.group(
    cls=_LazyGroup,
    invoke_without_command=True,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog="Run 'antiphon COMMAND --help' for the options and examples of a command.",
)
@click.version_option(__version__, message="%(prog)s %(version)s")
@click.pass_context
def app(ctx: click.Context) -> None:
    """Run OpenAI's gpt-oss behind any client, and work with its Harmony format.

    "antiphon serve" is a gateway in front of the engine you have; the other commands render, parse
    and show conversations, and look after engines, models and keys.

    \b
    Examples:
      antiphon serve
      antiphon probe http://127.0.0.1:8080
      antiphon render conversation.json
      antiphon parse --json completion.txt
      antiphon inspect --html transcript.txt > transcript.html
    """
    if ctx.invoked_subcommand is None:
        click.echo(ctx.get_help())
