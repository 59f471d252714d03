"""``--tools``: the tools that were on offer, from a file or as a list of names."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Final

import msgspec

from antiphon.cli.errors import CommandLineError, DataError
from antiphon.cli.source import read_text
from antiphon.model.tools import BROWSER, FUNCTIONS

__all__ = ["qualified", "read_tools"]

_BROWSER: Final = tuple(f"browser.{tool.name}" for tool in BROWSER.tools)
_BUILT_IN: Final = {"python": ("python",), "browser": _BROWSER}


def read_tools(value: str | None) -> tuple[str, ...] | None:
    """Qualified tool names out of ``value``; None if the option was not given.

    A value that names a file, holds a path separator or ends in ``.json`` is a file: a list of
    tools as in Chat Completions or Responses, an object with such a list under ``tools``, or
    namespaces by name as in developer content. Anything else is names between commas. A name
    without a dot means ``functions.NAME``, but for ``python`` and ``browser``.
    """
    if value is None:
        return None
    if not (value.endswith(".json") or os.sep in value or Path(value).is_file()):
        return tuple(q for name in value.split(",") if name.strip() for q in _qualify(name.strip()))
    text, name = read_text(value)
    try:
        content: Any = msgspec.json.decode(text)
    except (msgspec.DecodeError, RecursionError) as error:
        raise DataError(f"--tools {name}: not valid JSON: {error}") from error
    return _from_json(content, f"--tools {name}")


def qualified(names: Iterable[str]) -> tuple[str, ...]:
    """Names as `read_tools` takes them, with their namespaces. Raises CommandLineError."""
    return tuple(full for name in names for full in _qualify(name))


def _qualify(name: str) -> tuple[str, ...]:
    if any(c.isspace() or c in "<>\"'{}[]" for c in name):
        raise CommandLineError(f"--tools: {name!r} is neither a file nor a tool name")
    return _BUILT_IN.get(name) or ((name,) if "." in name else (f"{FUNCTIONS}.{name}",))


def _from_json(content: Any, where: str) -> tuple[str, ...]:
    if isinstance(content, dict) and isinstance(content.get("tools"), list | dict):
        content, where = content["tools"], f"{where}: tools"
    else:
        where = f"{where}: "
    if isinstance(content, list):
        return tuple(q for i, tool in enumerate(content) for q in _tool(tool, f"{where}[{i}]"))
    if isinstance(content, dict):
        return tuple(q for key, space in content.items() for q in _namespace(key, space, where))
    raise DataError(f"{where.removesuffix(': ')}: expected a list of tools or namespaces by name")


def _tool(tool: Any, where: str) -> tuple[str, ...]:
    if isinstance(tool, str):
        return _qualify(tool)
    if not isinstance(tool, dict):
        raise DataError(f"{where}: expected a tool, an object")
    function = tool.get("function")
    named = function if isinstance(function, dict) else tool
    name = named.get("name")
    if isinstance(name, str) and name:
        return (f"{FUNCTIONS}.{name}",)
    if tool.get("type") in ("browser_search", "web_search", "web_search_preview"):
        return _BROWSER
    if tool.get("type") == "code_interpreter":
        return ("python",)
    field = "function.name" if isinstance(function, dict) else "name"
    raise DataError(f"{where}.{field}: expected a tool name, a non-empty string")


def _namespace(key: str, space: Any, where: str) -> tuple[str, ...]:
    tools = space.get("tools", []) if isinstance(space, dict) else space
    if not isinstance(tools, list):
        raise DataError(f"{where}{key}: expected a namespace, an object with a list of tools")
    names = []
    for i, tool in enumerate(tools):
        name = tool.get("name") if isinstance(tool, dict) else None
        if not isinstance(name, str) or not name:
            raise DataError(f"{where}{key}.tools[{i}].name: expected a non-empty string")
        names.append(f"{key}.{name}")
    return tuple(names) or (key,)
