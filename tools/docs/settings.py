"""Put every setting into docs/settings.md, from src/antiphon/settings/model.py.

    python tools/docs/settings.py            rewrite the page
    python tools/docs/settings.py --check    exit 1 if it is out of date

The tables stand between ``<!-- settings: GROUP -->`` and ``<!-- /settings -->``; the rest is
written by hand. A group without such a place is an error.
"""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path

import msgspec
from _page import keep_fresh

from antiphon.settings.options import Option, engine_options, model_options, options

PAGE = Path(__file__).resolve().parents[2] / "docs" / "settings.md"
_BLOCK = re.compile(r"(<!-- settings: (\S+) -->\n).*?(<!-- /settings -->)", re.DOTALL)

TABLES = ("engines", "models")
"""Settings that are no single value."""
TOP = "top"
"""The group of settings that stand in no table."""
ENTRIES = {"[[engines]]": engine_options, "[models.NAME]": model_options}
"""Groups whose settings repeat: they have no variable and no flag of their own."""


def groups() -> dict[str, list[Option]]:
    """Every setting by its table in the file, in the order of the model."""
    found: dict[str, list[Option]] = {}
    for option in options():
        found.setdefault(option.path.rpartition(".")[0] or TOP, []).append(option)
    for name, entries in ENTRIES.items():
        found[name] = list(entries())
    return found


def table(name: str, group: list[Option]) -> str:
    named = name not in ENTRIES
    lines = [
        "| setting | value | default | meaning |" + (" variable, flag |" if named else ""),
        "|---|---|---|---|" + ("---|" if named else ""),
    ]
    for option in group:
        cells = [
            f"`{option.path.rpartition('.')[2]}`",
            option.expected,
            default(option),
            option.doc.replace("``", "`").replace("|", "\\|"),
        ]
        if named:
            tables = option.path in TABLES
            flag = f"--set {option.path}=…" if tables else option.flag
            cells.append(f"`{option.variable}` `{flag}`")
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join([*lines, ""])


def default(option: Option) -> str:
    if option.default is msgspec.NODEFAULT:
        return "required"
    if option.default is None:
        return "–"
    if isinstance(option.default, tuple | dict):
        return "none"
    return f"`{json.dumps(option.default)}`"


def updated(page: str) -> str:
    """``page`` with every table as it is now. Raises ValueError if a group has no place in it."""
    found = groups()
    places = {match[2] for match in _BLOCK.finditer(page)}
    if missing := found.keys() - places:
        raise ValueError(f"docs/settings.md has no place for {', '.join(sorted(missing))}")
    return _BLOCK.sub(lambda match: f"{match[1]}{table(match[2], found[match[2]])}{match[3]}", page)


if __name__ == "__main__":
    sys.exit(keep_fresh(PAGE, updated))
