"""What a docstring says of a function and of each parameter: Google's, NumPy's or Sphinx's way."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterable
from typing import Final

import msgspec

__all__ = ["Described", "described"]

_SECTION: Final = frozenset(
    "args arguments parameters params returns return yields raises examples example note notes"
    " attributes warning warnings see references todo".split()
)
_PARAMETERS: Final = frozenset("args arguments parameters params".split())
_GOOGLE: Final = re.compile(r"\*{0,2}(\w+)\s*(?:\([^)]*\))?\s*:(?:\s+(.*))?$")
_NUMPY: Final = re.compile(r"\*{0,2}(\w+)\s*(?::.*)?$")
_SPHINX: Final = re.compile(
    r":(?:param|parameter|arg|argument)\s+(?:[^:]*\s)?\*{0,2}(\w+):\s*(.*)$"
)
_SPHINX_OTHER: Final = re.compile(r":\w+(?:\s[^:]*)?:")


class Described(msgspec.Struct, frozen=True):
    """A docstring, read."""

    summary: str
    """Everything before the first section."""
    parameters: dict[str, str]


def described(docstring: str | None) -> Described:
    """Read a docstring. What is not understood is left out; nothing is raised."""
    lines = inspect.cleandoc(docstring or "").splitlines()
    summary: list[str] = []
    parameters: dict[str, str] = {}
    section = ""
    at = 0
    while at < len(lines):
        line = lines[at]
        title = _title(lines, at)
        if title:
            section = title
            at += 2 if _underlined(lines, at) else 1
            if section in _PARAMETERS:
                block, at = _block(lines, at)
                parameters |= _read(block)
            continue
        sphinx = _SPHINX.match(line.strip())
        if sphinx or _SPHINX_OTHER.match(line.strip()):
            section = "sphinx"
            if sphinx:
                more, at = _indented(lines, at + 1)
                parameters[sphinx[1]] = _joined([sphinx[2], *more])
                continue
        elif not section:
            summary.append(line)
        at += 1
    return Described("\n".join(summary).strip(), parameters)


def _underlined(lines: list[str], at: int) -> bool:
    return at + 1 < len(lines) and re.fullmatch(r"-{3,}", lines[at + 1].strip()) is not None


def _title(lines: list[str], at: int) -> str:
    line = lines[at]
    word = line.split()[0].rstrip(":").lower() if line.split() else ""
    if word not in _SECTION or line[0].isspace():
        return ""
    return word if line.rstrip().endswith(":") or _underlined(lines, at) else ""


def _block(lines: list[str], at: int) -> tuple[list[str], int]:
    start = at
    while at < len(lines) and not _title(lines, at):
        at += 1
    return lines[start:at], at


def _indented(lines: list[str], at: int) -> tuple[list[str], int]:
    start = at
    while at < len(lines) and lines[at][:1].isspace():
        at += 1
    return lines[start:at], at


def _read(block: list[str]) -> dict[str, str]:
    """Entries at the block's own indentation, each with the deeper lines that follow it."""
    filled = [line for line in block if line.strip()]
    if not filled:
        return {}
    base = min(len(line) - len(line.lstrip()) for line in filled)
    found: dict[str, list[str]] = {}
    current: list[str] | None = None
    for line in filled:
        if len(line) - len(line.lstrip()) > base:
            if current is not None:
                current.append(line)
            continue
        entry = _GOOGLE.match(line.strip()) if base else None
        if entry:
            current = found[entry[1]] = [entry[2] or ""]
        elif not base and (entry := _NUMPY.match(line.strip())):
            current = found[entry[1]] = []
        else:
            current = None
    return {name: _joined(text) for name, text in found.items()}


def _joined(lines: Iterable[str]) -> str:
    return " ".join(line.strip() for line in lines if line.strip())
