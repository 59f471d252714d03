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

from antiphon.cli.app import COMMANDS, app

PAGE = Path(__file__).resolve().parents[2] / "docs" / "cli.md"
_BLOCK = re.compile(r"(<!-- help: ([a-z]*) -->\n).*?(<!-- /help -->)", re.DOTALL)
_WIDTH = 92


def help_text(name: str) -> str:
    """What ``antiphon NAME --help`` prints; ``antiphon --help`` for an empty name."""
    root = click.Context(app, info_name="antiphon", terminal_width=_WIDTH, **app.context_settings)
    if not name:
        return app.get_help(root)
    command = COMMANDS[name].load()
    return command.get_help(
        click.Context(command, info_name=name, parent=root, terminal_width=_WIDTH)
    )


def updated(page: str) -> str:
    """``page`` with every help block as it is now."""
    return _BLOCK.sub(
        lambda m: f"{m[1]}```text\n{help_text(m[2]).rstrip()}\n```\n{m[3]}",
        page,
    )


if __name__ == "__main__":
    sys.exit(keep_fresh(PAGE, updated))
