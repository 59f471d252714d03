"""``antiphon sessions``: what was saved of runs and chats."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from antiphon.cli.errors import CommandLineError

if TYPE_CHECKING:
    from antiphon.agent.sessions.folder import SessionFolder, Summary

__all__ = ["sessions"]


@click.group()
@click.option(
    "--folder",
    type=click.Path(file_okay=False, path_type=Path),
    metavar="FOLDER",
    help="Where sessions are kept. Default: the setting agent.sessions.",
)
@click.pass_context
def sessions(ctx: click.Context, folder: Path | None) -> None:
    """List, show, export and remove saved sessions.

    Wherever an id is wanted, its beginning or end is enough if no other session has it.

    \b
    Examples:
      antiphon sessions list
      antiphon sessions show 3f9a
      antiphon sessions export 3f9a --format html > session.html
      antiphon sessions rm 3f9a
    """
    ctx.obj = folder


@sessions.command("list")
@click.option("--here", is_flag=True, help="Only those begun in the working directory.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object a line.")
@click.pass_obj
def list_(folder: Path | None, here: bool, as_json: bool) -> None:
    """List sessions, the last one first."""
    from antiphon.cli.terminal import Terminal, printable

    where = str(Path.cwd().resolve())
    found = [one for one in _open(folder).list() if not here or one.folder == where]
    terminal = Terminal()
    for one in found:
        if as_json:
            terminal.write(_json(one) + "\n")
            continue
        changed = one.changed[:16].replace("T", " ")
        name = terminal.style(one.id, "bold")
        terminal.write(f"{name}  {changed}  {printable(one.model)}  {printable(one.title)}\n")
    if not found and terminal.is_tty:
        terminal.write("no sessions are saved\n")


@sessions.command()
@click.argument("id")
@click.pass_obj
def show(folder: Path | None, id: str) -> None:
    """Show a session, as Markdown."""
    _export(folder, id, "markdown", None)


@sessions.command()
@click.argument("id")
@click.option(
    "--format",
    "form",
    type=click.Choice(["json", "text", "markdown", "html"]),
    default="json",
    show_default=True,
    help="Harmony's own JSON; marked text; Markdown; or one HTML page.",
)
@click.option("--output", "-o", type=click.Path(path_type=Path), metavar="FILE", help="A new file.")
@click.pass_obj
def export(folder: Path | None, id: str, form: str, output: Path | None) -> None:
    """Write a session in another form."""
    _export(folder, id, form, output)


@sessions.command()
@click.argument("ids", metavar="ID...", nargs=-1, required=True)
@click.pass_obj
def rm(folder: Path | None, ids: tuple[str, ...]) -> None:
    """Remove sessions."""
    known = _open(folder)
    for id in [known.find(id) for id in ids]:
        click.echo(f"removed {known.remove(id)}")


def _open(folder: Path | None) -> SessionFolder:
    import datetime as dt

    from antiphon.agent.sessions.folder import SessionFolder, sessions_folder
    from antiphon.settings.load import load

    path = folder or sessions_folder(load().agent, os.environ)
    return SessionFolder(path, now=lambda: dt.datetime.now(dt.UTC))


def _export(folder: Path | None, id: str, form: Any, output: Path | None) -> None:
    from antiphon.agent.sessions.export import export as exported

    text = exported(_open(folder).read(id), form)
    if output is None:
        click.echo(text, nl=False)
        return
    try:
        with output.open("x", encoding="utf-8", newline="\n") as file:
            file.write(text)
    except FileExistsError:
        raise CommandLineError(f"{output}: is there already") from None


def _json(summary: Summary) -> str:
    import msgspec

    return msgspec.json.encode(summary).decode()
