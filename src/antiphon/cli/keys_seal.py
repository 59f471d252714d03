"""``antiphon keys seal``: show, rotate and revoke the keys that clients seal their requests for."""

from __future__ import annotations

import datetime as dt
import os
import re
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from antiphon.cli.errors import CommandLineError
from antiphon.cli.options import key_file_options
from antiphon.cli.terminal import Terminal

if TYPE_CHECKING:
    from antiphon.gateway.sealed.keyfile import SealKeyFile
    from antiphon.seal import SealKey
    from antiphon.settings.model import SealSettings

__all__ = ["seal"]

_UNITS: Final = {"s": 1, "m": 60, "h": 3600, "d": 86_400}
_LONGEST: Final = 3650 * 86_400


@click.group()
def seal() -> None:
    """Show, rotate and revoke the keys of sealed transport.

    A server that runs takes changes over within a second; requests that are under way keep the key
    they began with.

    \b
    Examples:
      antiphon keys seal show
      antiphon keys seal show --config-hex
      antiphon keys seal rotate --grace 14d
      antiphon keys seal revoke 1
    """


_file_options = key_file_options("seal.keys_file", "sealing keys")


@seal.command()
@click.option("--config-hex", is_flag=True, help="Also what clients can pin in place of it.")
@click.option("--json", "as_json", is_flag=True, help="Print a JSON array.")
@_file_options
def show(config_hex: bool, as_json: bool, config: Path | None, file: Path | None) -> None:
    """Show the fingerprints that clients pin, the current key first."""
    import msgspec

    target, _ = _target(config, file)
    keys = target.load()
    terminal = Terminal()
    if as_json:
        rows = [_public(key) for key in keys]
        terminal.write(msgspec.json.encode(rows).decode() + "\n")
        return
    if not keys:
        click.echo(
            f"There are no keys in {target.path}; 'antiphon serve --seal' makes one.", err=True
        )
        return
    now = time.time()
    for number, key in enumerate(keys):
        facts = _public(key)
        state = "current" if number == 0 else "still good"
        if key.expires is not None:
            state = f"until {facts['expires']}"
        if key.expired(now):
            state = terminal.style("expired", "red")
        fingerprint = terminal.style(facts["fingerprint"], "bold")
        terminal.write(f"{facts['key_id']:>3}  {fingerprint}  {facts['kem']}  {state}\n")
        if config_hex:
            terminal.write(f"     {facts['config']}\n")


@seal.command()
@click.option(
    "--grace",
    default="7d",
    show_default=True,
    metavar="TIME",
    help="How long the old keys are still good: 30m, 12h, 7d.",
)
@_file_options
def rotate(grace: str, config: Path | None, file: Path | None) -> None:
    """Make new keys; the old ones are good for a while yet.

    Clients that pin must be told the new fingerprint in that time; the others fetch it.
    """
    seconds = _seconds(grace)
    target, settings = _target(config, file)
    keys = target.rotate(settings, time.time(), grace=seconds)
    new = [key for key in keys if key.expires is None]
    terminal = Terminal()
    for key in new:
        terminal.write(f"{key.config.fingerprint}\n")
    old = len(keys) - len(new)
    if old:
        many = "old key is" if old == 1 else "old keys are"
        click.echo(f"{old} {many} good until {_day(int(time.time()) + seconds)}.", err=True)


@seal.command()
@click.argument("which", metavar="ID|FINGERPRINT")
@_file_options
def revoke(which: str, config: Path | None, file: Path | None) -> None:
    """Forget a key now: requests sealed for it are refused, and its clients fetch the keys again.

    A new key takes its place if it was the last of its kind. Recorded requests can be opened no
    more, by nobody who has not got the key already.
    """
    target, settings = _target(config, file)
    before = {key.config.fingerprint for key in target.load()}
    gone, keys = target.revoke(which, settings, time.time())
    click.echo(f"Key {gone.config.key_id} is revoked: {gone.config.fingerprint}", err=True)
    terminal = Terminal()
    for key in keys:
        if key.config.fingerprint not in before:
            terminal.write(f"{key.config.fingerprint}\n")


def _target(config: Path | None, file: Path | None) -> tuple[SealKeyFile, SealSettings]:
    from antiphon.gateway.sealed.keyfile import SealKeyFile, seal_key_path
    from antiphon.settings.load import load

    settings = load(config).seal
    return SealKeyFile(file or seal_key_path(settings.keys_file, os.environ)), settings


def _seconds(text: str) -> int:
    found = re.fullmatch(r"([0-9]{1,9})([smhd])", text.strip())
    seconds = int(found[1]) * _UNITS[found[2]] if found else -1
    if not 0 <= seconds <= _LONGEST:
        raise CommandLineError(f"--grace {text}: expected a time such as 30m, 12h or 7d")
    return seconds


def _public(key: SealKey) -> dict[str, Any]:
    """A key without its secret."""
    from antiphon.gateway.sealed.keyfile import kem_name

    return {
        "key_id": key.config.key_id,
        "fingerprint": key.config.fingerprint,
        "kem": kem_name(key),
        "config": key.config.encode().hex(),
        "created": _day(key.created),
        "expires": None if key.expires is None else _day(key.expires),
    }


def _day(seconds: int) -> str:
    return dt.datetime.fromtimestamp(seconds, dt.UTC).isoformat(timespec="seconds")
