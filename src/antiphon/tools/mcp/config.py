"""``mcp.json``, the file that names MCP servers, as other clients write it too.

    {"mcpServers": {
        "files": {"command": "npx", "args": ["-y", "…"], "env": {"TOKEN": "${TOKEN}"}},
        "wiki": {"url": "https://…/mcp", "headers": {"Authorization": "Bearer ${WIKI_KEY}"}}}}

``${NAME}`` and ``${NAME:-otherwise}`` stand for variables of the environment; they are put in when
a server is started, so that one that lacks a variable keeps no other from running.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

import msgspec

from antiphon.errors import SettingsError

__all__ = ["MAX_CONFIG_BYTES", "McpConfig", "ServerConfig", "parse_config", "read_config"]

MAX_CONFIG_BYTES: Final = 1 << 20
MAX_SERVERS: Final = 100

_STDIO: Final = ("stdio",)
_HTTP: Final = ("http", "streamable-http", "streamableHttp", "streamable_http")
_KNOWN: Final = frozenset(
    "type transport command args env cwd url headers trust tools disabled".split()
)
_VARIABLE: Final = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)(?::-([^}]*))?\}")


class ServerConfig(msgspec.Struct, frozen=True, kw_only=True):
    """One server: ``command`` for a process, or else ``url``."""

    name: str
    command: str | None = None
    args: tuple[str, ...] = ()
    env: Mapping[str, str] = {}
    cwd: str | None = None
    url: str | None = None
    headers: Mapping[str, str] = {}
    foreign: bool = False
    """Named by a client and not by the operator: only where the guard lets anybody go."""
    trust: bool = False
    """Whether it is believed when it says that a tool changes nothing."""
    tools: tuple[str, ...] | None = None
    """The tools to offer, by the server's own names; None: all."""
    remarks: tuple[str, ...] = ()
    """What stands in the file and has no effect here."""

    def expanded(self, environ: Mapping[str, str]) -> ServerConfig:
        """With variables put in. Raises SettingsError for one that is not set."""

        def fill(text: str, field: str) -> str:
            return _expand(text, environ, f"{self.name}.{field}")

        url = None if self.url is None else fill(self.url, "url")
        if url is not None:
            _check_url(url, self.name)
        return msgspec.structs.replace(
            self,
            command=None if self.command is None else fill(self.command, "command"),
            args=tuple([fill(arg, "args") for arg in self.args]),
            env={key: fill(value, f"env.{key}") for key, value in self.env.items()},
            cwd=None if self.cwd is None else fill(self.cwd, "cwd"),
            url=url,
            headers={key: fill(value, f"headers.{key}") for key, value in self.headers.items()},
        )


class McpConfig(msgspec.Struct, frozen=True):
    """A file's servers, those that it disables left out."""

    servers: tuple[ServerConfig, ...] = ()

    def find(self, name: str) -> ServerConfig | None:
        return next((server for server in self.servers if server.name == name), None)


def read_config(path: Path) -> McpConfig:
    """The servers of a file. Raises SettingsError that names the file and the field."""
    try:
        with path.open("rb") as file:
            data = file.read(MAX_CONFIG_BYTES + 1)
    except OSError as error:
        raise SettingsError(f"{path}: {error.strerror or error}") from error
    if len(data) > MAX_CONFIG_BYTES:
        raise SettingsError(f"{path}: more than {MAX_CONFIG_BYTES:,} bytes")
    return parse_config(data, str(path))


def parse_config(data: bytes | str, where: str) -> McpConfig:
    """The servers of a text. Raises SettingsError that begins with ``where``."""
    try:
        content: Any = msgspec.json.decode(data)
    except (msgspec.DecodeError, UnicodeError, RecursionError) as error:
        raise SettingsError(f"{where}: not valid JSON: {error}") from error
    servers = content.get("mcpServers") if isinstance(content, dict) else None
    if not isinstance(servers, dict):
        raise SettingsError(f"{where}: expected an object with mcpServers, an object of servers")
    if len(servers) > MAX_SERVERS:
        raise SettingsError(f"{where}: mcpServers: more than {MAX_SERVERS} servers")
    found = [_server(name, entry, f"{where}: {name[:60]}") for name, entry in servers.items()]
    return McpConfig(tuple([server for server in found if server is not None]))


def _server(name: str, entry: Any, where: str) -> ServerConfig | None:
    if not name.strip() or not name.isprintable():
        raise SettingsError(f"{where}: expected a name, of characters that can be read")
    if not isinstance(entry, dict):
        raise SettingsError(f"{where}: expected a server, an object")
    if _flag(entry, "disabled", where):
        return None
    command = _text(entry, "command", where)
    url = _text(entry, "url", where)
    kind = _text(entry, "type", where) or _text(entry, "transport", where)
    if kind == "sse":
        raise SettingsError(
            f"{where}.type: the old transport sse is not spoken here; most servers that offer it"
            ' offer "type": "http" at another path'
        )
    if kind is not None and kind not in (*_STDIO, *_HTTP):
        raise SettingsError(f"{where}.type: expected stdio or http, got {kind[:60]!r}")
    if (command is None) == (url is None):
        raise SettingsError(f"{where}: expected command, for a process, or url")
    if kind is not None and (kind in _STDIO) != (command is not None):
        needed = "command" if kind in _STDIO else "url"
        raise SettingsError(f"{where}: type {kind} needs {needed}")
    beside = ("url", "headers") if command is not None else ("command", "args", "env", "cwd")
    remarks = [f"{key[:60]} has no effect" for key in entry if key not in _KNOWN or key in beside]
    tools = None if entry.get("tools") is None else _texts(entry, "tools", where)
    return ServerConfig(
        name=name,
        command=command,
        args=_texts(entry, "args", where),
        env=_table(entry, "env", where),
        cwd=_text(entry, "cwd", where),
        url=url,
        headers=_table(entry, "headers", where),
        trust=_flag(entry, "trust", where),
        tools=tools,
        remarks=tuple(remarks),
    )


def _text(entry: dict[str, Any], key: str, where: str) -> str | None:
    value = entry.get(key)
    if value is not None and (not isinstance(value, str) or not value or "\0" in value):
        raise SettingsError(f"{where}.{key}: expected a text")
    return value


def _flag(entry: dict[str, Any], key: str, where: str) -> bool:
    value = entry.get(key)
    if value is not None and not isinstance(value, bool):
        raise SettingsError(f"{where}.{key}: expected true or false")
    return bool(value)


def _texts(entry: dict[str, Any], key: str, where: str) -> tuple[str, ...]:
    value = entry.get(key)
    if value is None:
        return ()
    if not isinstance(value, list) or not all(isinstance(v, str) and "\0" not in v for v in value):
        raise SettingsError(f"{where}.{key}: expected a list of texts")
    return tuple(value)


def _table(entry: dict[str, Any], key: str, where: str) -> Mapping[str, str]:
    value = entry.get(key)
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise SettingsError(f"{where}.{key}: expected an object of texts")
    for name, text in value.items():
        if not name or not isinstance(text, str) or any(c in name + text for c in "\0\r\n"):
            raise SettingsError(f"{where}.{key}.{name[:60]}: expected a text of one line")
    return value


def _expand(text: str, environ: Mapping[str, str], where: str) -> str:
    def value(match: re.Match[str]) -> str:
        name, otherwise = match.group(1), match.group(2)
        found = environ.get(name)
        if not found and otherwise is not None:
            return otherwise
        if found is None:
            raise SettingsError(f"{where}: the variable {name} is not set")
        return found

    return _VARIABLE.sub(value, text)


def _check_url(url: str, name: str) -> None:
    try:
        parts = urlsplit(url)
        fine = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        fine = False
    if not fine:
        raise SettingsError(f"{name}.url: expected http:// or https://")
