"""Put the figures people ask for first from benchmarks/RESULTS.md into the README.

    python tools/docs/figures.py            rewrite the README
    python tools/docs/figures.py --check    exit 1 if it is out of date

They stand between ``<!-- figures -->`` and ``<!-- /figures -->``. A row that is gone is an error.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

from _page import keep_fresh

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "README.md"
RESULTS = ROOT / "benchmarks" / "RESULTS.md"
_BLOCK = re.compile(r"(<!-- figures -->\n).*?(<!-- /figures -->)", re.DOTALL)

SHOWN = (
    ("Parse a whole completion", "Batch parse", "own API, messages of 400 tokens"),
    ("… through the drop-in", "Batch parse", "drop-in, messages of 400 tokens"),
    ("Parse a stream, token by token", "Streaming", "own feed, mixed"),
    (
        "… through the drop-in",
        "Streaming",
        "drop-in, process + last_content_delta, mixed",
    ),
    (
        "Render a conversation never seen before",
        "Render",
        "own API, cold, 50 messages of 400 tokens",
    ),
    ("… through the drop-in", "Render", "drop-in, cold, 50 messages of 400 tokens"),
    ("Render a 200-turn chat, every turn", "Render", "200-turn agent chat, every turn re-rendered"),
    (
        "A Chat request to its prompt, 2,900 tokens",
        "Chat JSON to tokens",
        "a request of 2.9k tokens",
    ),
)


def rows() -> dict[tuple[str, str], list[str]]:
    """Every row of the results by its group and its work, footnote marks taken off."""
    found: dict[tuple[str, str], list[str]] = {}
    group = ""
    for line in RESULTS.read_text(encoding="utf-8").splitlines():
        if line.startswith("## "):
            group = line.removeprefix("## ")
        elif line.startswith("| "):
            work, *cells = [cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]]
            found[group, re.sub(r" \[\d+\]$", "", work)] = cells
    return found


def table() -> str:
    measured = rows()
    lines = ["| work | times as fast | ours | openai-harmony |", "|---|---|---|---|"]
    for label, group, work in SHOWN:
        _, ratio, ours, reference, *_ = measured[group, work]
        lines.append(f"| {label} | {ratio} | {ours} | {reference} |")
    return "\n".join([*lines, ""])


def updated(page: str) -> str:
    return _BLOCK.sub(lambda found: f"{found[1]}{table()}{found[2]}", page)


if __name__ == "__main__":
    sys.exit(keep_fresh(PAGE, updated))
