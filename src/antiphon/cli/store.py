"""``antiphon store``: look at what a gateway keeps, forget what is old, encrypt it anew."""

from __future__ import annotations

import asyncio
import datetime as dt
import os
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Final, TypeVar

import click

from antiphon.cli.errors import CommandLineError
from antiphon.cli.options import config_option
from antiphon.cli.terminal import Terminal

if TYPE_CHECKING:
    from antiphon.settings.model import Settings
    from antiphon.store.maintenance import Maintenance, StoreInfo
    from antiphon.store.open import Stores

__all__ = ["store"]

_DAY: Final = 86_400
_UNITS: Final = ("bytes", "KiB", "MiB", "GiB", "TiB")

Result = TypeVar("Result")


@click.group()
def store() -> None:
    """Look at what a gateway keeps, forget what is old, encrypt it anew.

    Which store is meant is said by the settings: store.url. A server may run meanwhile.

    \b
    Examples:
      antiphon store info
      antiphon store prune --older-than 7
      antiphon store rekey --drop-old
    """


_config = config_option("Settings whose store is meant; default: as 'antiphon serve' finds them.")


@store.command()
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@_config
def info(as_json: bool, config: Path | None) -> None:
    """Show how much of what is kept, and how it is encrypted."""
    import msgspec

    async def look(stores: Stores) -> StoreInfo:
        return await _maintenance(stores).info()

    found = _with_store(_settings(config), look)
    terminal = Terminal()
    if as_json:
        terminal.write(msgspec.json.encode(found).decode() + "\n")
        return
    lines = {
        "where": found.where,
        "size": _size(found.bytes),
        "responses": str(found.records.get("response", 0))
        + (f", {found.unfinished} unfinished" if found.unfinished else ""),
        "chat completions": str(found.records.get("chat.completion", 0)),
        "conversations": str(found.records.get("conversation", 0)),
        "oldest": "–" if found.oldest is None else _date(found.oldest),
        "encryption": _encryption(found.rows_by_key),
    }
    width = max(map(len, lines))
    for name, value in lines.items():
        terminal.write(f"{terminal.style(name.ljust(width), 'bold')}  {value}\n")


@store.command()
@click.option(
    "--older-than",
    "days",
    type=click.FloatRange(0),
    metavar="DAYS",
    help="Default: the setting store.ttl.",
)
@_config
def prune(days: float | None, config: Path | None) -> None:
    """Forget what is old.

    A server does so by itself every hour.
    """
    import time

    settings = _settings(config)
    chosen = settings.store.ttl if days is None else days
    if days is None and not chosen:
        raise CommandLineError("store.ttl is 0, for ever; say --older-than DAYS")

    async def forget(stores: Stores) -> int:
        return await stores.records.expire(int(time.time() - chosen * _DAY))

    count = _with_store(settings, forget)
    click.echo(f"{count} {'record is' if count == 1 else 'records are'} forgotten.", err=True)


@store.command()
@click.option("--drop-old", is_flag=True, help="Take keys that no row needs out of the key file.")
@click.option("--decrypt", is_flag=True, help="Leave everything plain instead.")
@_config
def rekey(drop_old: bool, decrypt: bool, config: Path | None) -> None:
    """Encrypt everything with a new key.

    The key file is store.key_file. What was plain until now is encrypted with the key that is
    there. With --decrypt, everything is made plain: stop the servers first, and take
    store.key_file out of the settings afterwards.
    """
    from antiphon.store.keyring import CHECK_SECONDS
    from antiphon.store.open import row_cipher

    settings = _settings(config)
    if settings.store.key_file is None:
        raise CommandLineError("store.key_file is not set: there is no key to encrypt with")
    if decrypt and drop_old:
        raise CommandLineError("--decrypt needs the old keys: leave --drop-old away")

    async def encrypt(stores: Stores) -> tuple[int, int]:
        maintenance = _maintenance(stores)
        ring = row_cipher(settings).ring
        assert ring is not None
        if decrypt:
            return await maintenance.rekey(""), 0
        newest = ring.newest().id
        sealed = (await maintenance.info()).rows_by_key
        if any(sealed.get(key.id) for key in ring.all()):
            newest = ring.add().id
        count = await maintenance.rekey(newest)
        if not drop_old:
            return count, 0
        # Servers that run take the new key over within that time; then come the rows that they
        # wrote with the old one.
        await asyncio.sleep(2 * CHECK_SECONDS)
        count += await maintenance.rekey(newest)
        old = [key.id for key in ring.all() if key.id != newest]
        ring.drop(old)
        return count, len(old)

    count, dropped = _with_store(settings, encrypt)
    rows = f"{count} {'row is' if count == 1 else 'rows are'}"
    done = "plain now" if decrypt else "encrypted anew"
    gone = f" {dropped} old {'key is' if dropped == 1 else 'keys are'} dropped." if drop_old else ""
    click.echo(f"{rows} {done}.{gone}", err=True)


def _settings(config: Path | None) -> Settings:
    from antiphon.settings.load import load

    return load(config)


def _with_store(settings: Settings, work: Callable[[Stores], Awaitable[Result]]) -> Result:
    """Open the store that the settings name, which must be there already."""
    from antiphon.store.open import open_stores, sqlite_path

    url = settings.store.url
    if url == "memory":
        raise CommandLineError("store.url is memory: only the server itself can look into it")
    if not url.startswith(("postgresql://", "postgres://")):
        path = sqlite_path(url, os.environ)
        if not path.exists():
            raise CommandLineError(f"there is no store yet: {path}")

    async def run() -> Result:
        stores = open_stores(settings, os.environ)
        try:
            await stores.start()
            return await work(stores)
        finally:
            await stores.aclose()

    return asyncio.run(run())


def _maintenance(stores: Stores) -> Maintenance:
    assert stores.maintenance is not None, "only the store in memory has none"
    return stores.maintenance


def _encryption(rows_by_key: Mapping[str, int]) -> str:
    plain = rows_by_key.get("", 0)
    keys = {key: count for key, count in rows_by_key.items() if key}
    if not keys:
        return "none"
    parts = [f"{count} rows with key {key}" for key, count in sorted(keys.items())]
    if plain:
        parts.append(f"{plain} rows plain")
    return ", ".join(parts)


def _size(count: float) -> str:
    unit = 0
    while count >= 1024 and unit < len(_UNITS) - 1:
        count /= 1024
        unit += 1
    return f"{count:.0f} {_UNITS[unit]}" if unit == 0 else f"{count:.1f} {_UNITS[unit]}"


def _date(seconds: int) -> str:
    try:
        return dt.datetime.fromtimestamp(seconds, dt.UTC).strftime("%Y-%m-%d %H:%M UTC")
    except (OverflowError, OSError, ValueError):
        return str(seconds)
