"""Put every module and the first sentence of its docstring into docs/architecture.md.

    python tools/docs/module_table.py            rewrite the page
    python tools/docs/module_table.py --check    exit 1 if it is out of date

The tables stand between ``<!-- modules: PACKAGE -->`` and ``<!-- /modules -->``; the rest is
written by hand. A package without such a place is an error.
"""

from __future__ import annotations

import ast
import re
import sys
from pathlib import Path

from _page import keep_fresh

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs" / "architecture.md"
SOURCE = ROOT / "src" / "antiphon"
_BLOCK = re.compile(r"(<!-- modules: (\w+|\.) -->\n).*?(<!-- /modules -->)", re.DOTALL)


def subject(path: Path) -> str:
    """The first sentence of a module's docstring, on one line."""
    docstring = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""
    paragraph = " ".join(docstring.split("\n\n", 1)[0].split())
    sentence = re.split(r"(?<=\.) (?=[A-Z`])", paragraph)[0].rstrip(".:")
    return sentence.replace("``", "`").replace("|", "\\|")


def table(package: str) -> str:
    """One row a module; those that only mark a package have none."""
    root = SOURCE / package
    paths = sorted(root.glob("*.py" if package == "." else "**/*.py"))
    rows = [
        f"| `{path.relative_to(root).as_posix()}` | {subject(path)} |"
        for path in paths
        if package == "." or path.name not in ("__init__.py", "__main__.py")
    ]
    return "\n".join(["| module | subject |", "|---|---|", *rows, ""])


def updated(page: str) -> str:
    """``page`` with every table as it is now. Raises ValueError if a package has no place in it."""
    packages = {path.parent.name for path in SOURCE.glob("*/__init__.py")}
    if missing := packages - {found[2] for found in _BLOCK.finditer(page)}:
        raise ValueError(f"docs/architecture.md has no place for {', '.join(sorted(missing))}")
    return _BLOCK.sub(lambda found: f"{found[1]}{table(found[2])}{found[3]}", page)


if __name__ == "__main__":
    sys.exit(keep_fresh(PAGE, updated))
