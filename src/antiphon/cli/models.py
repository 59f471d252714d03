"""``antiphon models``: the models known by name, and those of a running gateway."""

from __future__ import annotations

import http.client
import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

import click

from antiphon.cli.errors import CommandLineError, DataError
from antiphon.cli.options import config_option
from antiphon.cli.terminal import Terminal, printable

__all__ = ["models"]

KEY_VARIABLE: Final = "ANTIPHON_API_KEY"
SECONDS: Final = 900.0
"""How long an answer may take: a large model loads for minutes."""
MAX_ANSWER: Final = 16 * 1024 * 1024

_CONFIG = config_option()
_JSON = click.option("--json", "as_json", is_flag=True, help="Print JSON.")
_URL = click.option(
    "--url", metavar="URL", help="The gateway; default: where the settings say that it listens."
)
_KEY = click.option(
    "--api-key-env",
    metavar="NAME",
    default=KEY_VARIABLE,
    show_default=True,
    help="The environment variable that holds an operator's API key.",
)


@click.group()
def models() -> None:
    """List, load and unload models.

    \b
    Examples:
      antiphon models list
      antiphon models ps
      antiphon models load gpt-oss-20b
      antiphon models unload gpt-oss-20b --url http://127.0.0.1:9000
    """


@models.command(name="list")
@_CONFIG
@_JSON
def list_models(config: Path | None, as_json: bool) -> None:
    """List the models known by name, and whether they are on this computer."""
    from antiphon.engines.registry.caches import locate
    from antiphon.engines.registry.entries import Registry
    from antiphon.errors import EngineError
    from antiphon.settings.load import load

    registry = Registry.read(load(config), os.environ)
    found: list[dict[str, Any]] = []
    for name, entry in registry.entries.items():
        path, problem = None, None
        if "://" not in entry.engine:
            try:
                path = str(locate(entry.checkpoint, os.environ))
            except EngineError as error:
                problem = str(error)
        found.append(
            {
                "name": name,
                "checkpoint": entry.checkpoint,
                "engine": entry.engine,
                "aliases": entry.aliases,
                "labels": entry.labels,
                "yours": name in registry.own,
                "path": path,
                "problem": problem,
            }
        )
    if as_json:
        click.echo(json.dumps(found))
        return
    _table(
        ("MODEL", "CHECKPOINT", "WHERE"),
        [(m["name"], m["checkpoint"], _where(m)) for m in found],
    )


def _where(model: dict[str, Any]) -> str:
    if model["path"] is not None:
        return str(model["path"])
    if model["problem"] is None:
        return str(model["engine"])
    _, _, command = model["problem"].rpartition("get it with: ")
    return f"not here: {command}"


@models.command()
@_URL
@_KEY
@_CONFIG
@_JSON
def ps(url: str | None, api_key_env: str, config: Path | None, as_json: bool) -> None:
    """Show the models that a running gateway has, and how they are."""
    answer = _ask(url, config, api_key_env, "GET", "", None)
    if as_json:
        click.echo(json.dumps(answer))
        return
    rows = [
        (unit["name"], unit["state"], str(unit["pid"] or ""), str(unit["busy"]), _note(unit))
        for unit in answer["units"]
    ]
    started = {unit["name"] for unit in answer["units"]}
    for engine in answer["engines"]:
        rows += [
            (model, engine["state"], "", "", _detail(engine))
            for model in engine["models"]
            if model not in started
        ]
        if not engine["models"] and engine["state"] == "down":
            rows.append(("", "down", "", "", f"{engine['name']}: {engine['detail']}"))
    _table(("MODEL", "STATE", "PID", "BUSY", "NOTE"), rows)


def _note(unit: dict[str, Any]) -> str:
    notes = []
    if unit["waiting"]:
        notes.append(f"{unit['waiting']} waiting")
    if unit["group"]:
        notes.append(f"group {unit['group']}")
    if unit["ttl"] and unit["idle_seconds"] is not None:
        notes.append(f"unloads in {max(0.0, unit['ttl'] - unit['idle_seconds']):.0f} s")
    if unit["restarts"]:
        notes.append(f"restarted {unit['restarts']} times")
    if unit["detail"]:
        notes.append(unit["detail"])
    return ", ".join(notes)


def _detail(engine: dict[str, Any]) -> str:
    return f"{engine['name']}: {engine['detail']}" if engine["detail"] else str(engine["name"])


@models.command()
@click.argument("model")
@_URL
@_KEY
@_CONFIG
def load(model: str, url: str | None, api_key_env: str, config: Path | None) -> None:
    """Have a running gateway load a model now."""
    unit = _ask(url, config, api_key_env, "POST", "/load", {"model": model})
    click.echo(f"{printable(unit['name'])} is {unit['state']}")


@models.command()
@click.argument("model")
@_URL
@_KEY
@_CONFIG
def unload(model: str, url: str | None, api_key_env: str, config: Path | None) -> None:
    """Have a running gateway unload a model. Requests that run break off."""
    unit = _ask(url, config, api_key_env, "POST", "/unload", {"model": model})
    click.echo(f"{printable(unit['name'])} is {unit['state']}")


def _ask(
    url: str | None,
    config: Path | None,
    key_variable: str,
    method: str,
    path: str,
    body: dict[str, str] | None,
) -> Any:
    """What a gateway's operator route answers. Raises DataError with what it says is wrong."""
    base = url or _own_url(config)
    parts = urlsplit(base if "://" in base else f"http://{base}")
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise CommandLineError(f"--url {base}: expected a URL like http://127.0.0.1:8000")
    headers = {"Content-Type": "application/json"} if body is not None else {}
    if key := os.environ.get(key_variable):
        headers["Authorization"] = f"Bearer {key}"
    secure = parts.scheme == "https"
    connect = http.client.HTTPSConnection if secure else http.client.HTTPConnection
    try:
        connection = connect(parts.hostname, parts.port, timeout=SECONDS)
    except ValueError as error:
        raise CommandLineError(f"--url {base}: {error}") from None
    prefix = parts.path.rstrip("/").removesuffix("/v1")
    try:
        connection.request(
            method,
            f"{prefix}/antiphon/models{path}",
            body=None if body is None else json.dumps(body),
            headers=headers,
        )
        response = connection.getresponse()
        data = response.read(MAX_ANSWER)
    except (OSError, http.client.HTTPException) as error:
        reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
        raise DataError(
            f"cannot reach a gateway at {base}: {reason}; 'antiphon serve' starts one,"
            " --url names another"
        ) from None
    finally:
        connection.close()
    try:
        answer = json.loads(data)
    except ValueError:
        raise DataError(f"{base} is no antiphon gateway: status {response.status}") from None
    if response.status != http.HTTPStatus.OK:
        said = _message(answer) or f"{base} answers with status {response.status}"
        if response.status in (http.HTTPStatus.UNAUTHORIZED, http.HTTPStatus.FORBIDDEN):
            said = f"{said.rstrip('.')}; an operator's key is read from ANTIPHON_API_KEY"
        raise DataError(said)
    return answer


def _message(answer: Any) -> str | None:
    """What an error in OpenAI's shape says."""
    error = answer.get("error") if isinstance(answer, dict) else None
    message = error.get("message") if isinstance(error, dict) else None
    return message if isinstance(message, str) else None


def _own_url(config: Path | None) -> str:
    from antiphon.settings.load import load

    server = load(config).server
    host = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}.get(server.host, server.host)  # noqa: S104
    if ":" in host and not host.startswith("["):
        host = f"[{host}]"
    return f"http://{host}:{server.port}"


def _table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Columns as wide as they need to be; the last one is not padded."""
    terminal = Terminal()
    shown = [[printable(cell) for cell in row] for row in rows]
    widths = [max([len(head), *(len(row[i]) for row in shown)]) for i, head in enumerate(heads)]
    for number, row in enumerate((heads, *shown)):
        cells = [cell.ljust(width) for cell, width in zip(row, widths, strict=True)]
        line = "  ".join(cells).rstrip()
        terminal.write((terminal.style(line, "bold") if number == 0 else line) + "\n")
