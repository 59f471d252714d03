"""Put each command's own ``--help`` into docs/cli.md.

    python tools/docs/cli_help.py            rewrite the page
    python tools/docs/cli_help.py --check    exit 1 if it is out of date

Help stands between ``<!-- help: COMMAND -->`` and ``<!-- /help -->``; the rest is written by hand.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

import click
from _page import keep_fresh

from antiphon.cli.app import app

PAGE = Path(__file__).resolve().parents[2] / "docs" / "cli.md"
_BLOCK = re.compile(r"(<!-- help: ([a-z ]*) -->\n).*?(<!-- /help -->)", re.DOTALL)
_WIDTH = 92


def help_text(names: str) -> str:
    """What ``antiphon NAMES --help`` prints; ``antiphon --help`` for none."""
    command: click.Command = app
    context = click.Context(
        app, info_name="antiphon", terminal_width=_WIDTH, **app.context_settings
    )
    for name in names.split():
        assert isinstance(command, click.Group)
        found = command.get_command(context, name)
        assert found is not None, names
        command = found
        context = click.Context(command, info_name=name, parent=context, terminal_width=_WIDTH)
    return command.get_help(context)


def updated(page: str) -> str:
    """``page`` with every help block as it is now."""
    return _BLOCK.sub(
        lambda m: f"{m[1]}```text\n{help_text(m[2]).rstrip()}\n```\n{m[3]}",
        page,
    )


if __name__ == "__main__":
    sys.exit(keep_fresh(PAGE, updated))
