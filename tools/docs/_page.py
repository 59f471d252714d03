"""What the scripts here have in common: rewrite a page's generated part, or check it."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

__all__ = ["keep_fresh"]


def keep_fresh(path: Path, updated: Callable[[str], str]) -> int:
    """Rewrite the page; with ``--check`` only say, as exit code 1, that it is out of date."""
    page = path.read_text(encoding="utf-8")
    fresh = updated(page)
    if "--check" in sys.argv[1:]:
        return int(fresh != page)
    path.write_text(fresh, encoding="utf-8")
    return 0
