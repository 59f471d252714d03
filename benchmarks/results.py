"""The parts of benchmarks/RESULTS.md: each begins with a heading, one script writes each."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

__all__ = ["RESULTS", "replace_part"]

RESULTS = Path(__file__).with_name("RESULTS.md")


def replace_part(heading: str, lines: Sequence[str]) -> None:
    """Write the part under ``heading`` (``# The store``) anew, or add it at the end."""
    text = RESULTS.read_text(encoding="utf-8")
    parts = [f"# {part}" for part in ("\n" + text).split("\n# ")[1:]]
    fresh = "\n".join([heading, "", *lines]).rstrip() + "\n"
    places = [at for at, part in enumerate(parts) if part.splitlines()[0] == heading]
    if places:
        parts[places[0]] = fresh
    else:
        parts.append(fresh)
    whole = "\n\n".join(part.rstrip() for part in parts) + "\n"
    RESULTS.write_text(whole, encoding="utf-8")
    print(f"written to {RESULTS}")
