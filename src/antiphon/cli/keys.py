"""``antiphon keys``: make, list and revoke the API keys of a gateway; ``seal`` for its others."""

from __future__ import annotations

import datetime as dt
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from antiphon.cli.errors import CommandLineError
from antiphon.cli.keys_seal import seal
from antiphon.cli.options import key_file_options
from antiphon.cli.terminal import Terminal, printable

if TYPE_CHECKING:
    from antiphon.gateway.keyfile import KeyFile
    from antiphon.gateway.keys import ApiKey

__all__ = ["keys"]


@click.group()
def keys() -> None:
    """Make, list and revoke API keys; manage those of seals.

    Only hashes are kept: a key is shown once, when it is made. A server that runs takes changes
    over within a second.

    \b
    Examples:
      antiphon keys add laptop
      antiphon keys add --operator ops
      antiphon keys add --requests-per-minute 60 --models gpt-oss-20b --expires 2027-06-30 guest
      antiphon keys list
      antiphon keys revoke guest
      antiphon keys seal rotate
    """


keys.add_command(seal)


_file_options = key_file_options("keys.file", "keys")


@keys.command()
@click.argument("name", required=False)
@click.option("--operator", is_flag=True, help="May read metrics and choose a request's mode.")
@click.option("--requests-per-minute", type=click.IntRange(0), help="0: no limit.")
@click.option("--tokens-per-minute", type=click.IntRange(0), help="0: no limit.")
@click.option("--concurrent", type=click.IntRange(0), help="Turns at a time; 0: no limit.")
@click.option(
    "--effort",
    type=click.Choice(["none", "minimal", "low", "medium", "high"]),
    help="Where a request names none.",
)
@click.option(
    "--mode",
    type=click.Choice(["auto", "harmony", "standard"]),
    help="How this key's requests are served.",
)
@click.option(
    "--harmony-percent",
    type=click.FloatRange(0, 100),
    help="The share of this key's conversations in mode harmony.",
)
@click.option(
    "--show-reasoning/--hide-reasoning", default=None, help="Whether answers show reasoning."
)
@click.option(
    "--preambles",
    type=click.Choice(["content", "reasoning", "hidden"]),
    help="Where text beside tool calls goes.",
)
@click.option("--models", metavar="A,B", help="The only models that it may use.")
@click.option(
    "--expires", type=click.DateTime(["%Y-%m-%d"]), metavar="DATE", help="The last day it is good."
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@_file_options
def add(
    name: str | None,
    models: str | None,
    expires: dt.datetime | None,
    as_json: bool,
    config: Path | None,
    file: Path | None,
    **limits: Any,
) -> None:
    """Make a key and show it, this once.

    What no option says is as the server's settings say.
    """
    import msgspec

    from antiphon.gateway.keys import new_key, new_secret

    chosen = {field: value for field, value in limits.items() if value is not None}
    if models is not None:
        chosen["models"] = tuple(part.strip() for part in models.split(",") if part.strip())
        if not chosen["models"]:
            raise CommandLineError("--models: expected the names of models, with commas")
    if expires is not None:
        chosen["expires"] = expires.date()
    today = dt.datetime.now(dt.UTC).date()
    if expires is not None and expires.date() < today:
        raise CommandLineError(f"--expires {expires.date()}: that day is over")
    secret = new_secret()
    try:
        key = msgspec.structs.replace(new_key(secret, today, name=name), **chosen)
    except ValueError as error:
        raise CommandLineError(str(error)) from error
    target = _key_file(config, file)
    target.add(key)
    terminal = Terminal()
    if as_json:
        shown = {"key": secret, **_public(key)}
        terminal.write(msgspec.json.encode(shown).decode() + "\n")
        return
    terminal.write(f"{secret}\n")
    click.echo(
        f"{key.id} ({printable(key.name)}) is in {target.path}. The key is shown only now.",
        err=True,
    )


@keys.command("list")
@click.option("--json", "as_json", is_flag=True, help="Print a JSON array.")
@_file_options
def list_(as_json: bool, config: Path | None, file: Path | None) -> None:
    """List all keys and what they may do."""
    import msgspec

    target = _key_file(config, file)
    ring = target.load()
    terminal = Terminal()
    if as_json:
        rows = [_public(key) for key in ring.keys]
        terminal.write(msgspec.json.encode(rows).decode() + "\n")
        return
    if not ring:
        click.echo(f"There are no keys in {target.path}.", err=True)
        return
    if target.open_to_others():
        click.echo(f"{target.path} can be read by others: chmod 600 it.", err=True)
    now = dt.datetime.now(dt.UTC)
    width = max(len(printable(key.name)) for key in ring.keys)
    for key in ring.keys:
        facts = [f"{field} {value}" for field, value in _settings(key).items()]
        if key.expired(now):
            facts.insert(0, terminal.style("expired", "red"))
        line = f"{key.id}  {terminal.style(printable(key.name).ljust(width), 'bold')}"
        terminal.write(f"{line}  {key.created}  {', '.join(facts)}".rstrip() + "\n")


@keys.command()
@click.argument("name", metavar="NAME|ID")
@_file_options
def revoke(name: str, config: Path | None, file: Path | None) -> None:
    """Forget a key: what is sent with it from now on is refused."""
    target = _key_file(config, file)
    key = target.revoke(name)
    click.echo(f"{key.id} ({printable(key.name)}) is revoked.", err=True)
    if not target.load():
        click.echo(
            "It was the last key. A server that runs refuses everyone now; one that is started"
            " anew serves this machine only.",
            err=True,
        )


def _key_file(config: Path | None, file: Path | None) -> KeyFile:
    import os

    from antiphon.gateway.keyfile import KeyFile, key_file_path
    from antiphon.settings.load import load

    if file is not None:
        return KeyFile(file)
    return KeyFile(key_file_path(load(config).keys.file, os.environ))


def _settings(key: ApiKey) -> dict[str, str]:
    """What was set for a key, as words."""
    import msgspec

    shown: dict[str, str] = {}
    for field, value in msgspec.to_builtins(key).items():
        if field in ("id", "name", "sha256", "created"):
            continue
        text = "+".join(value) if isinstance(value, list | tuple) else str(value).lower()
        shown[field.replace("_", " ")] = printable(text)
    return shown


def _public(key: ApiKey) -> dict[str, Any]:
    """A key as JSON, without its hash."""
    import msgspec

    return {name: value for name, value in msgspec.to_builtins(key).items() if name != "sha256"}
