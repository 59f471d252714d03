"""Draw the parser's transition table as a Mermaid diagram in docs/recovery.md.

    python tools/docs/state_diagram.py            rewrite the page
    python tools/docs/state_diagram.py --check    exit 1 if it is out of date

It stands between ``<!-- state diagram: begin -->`` and ``<!-- state diagram: end -->``.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

from _page import keep_fresh

from antiphon.codec.state import TRANSITIONS, State, Symbol

PAGE = Path(__file__).resolve().parents[2] / "docs" / "recovery.md"
_BLOCK = re.compile(r"(<!-- state diagram: begin -->\n).*?(<!-- state diagram: end -->)", re.DOTALL)

TARGETS = {
    "open_header": State.HEADER,
    "imply_header": State.HEADER,
    "imply_header_if_text": State.HEADER,
    "begin_content": State.CONTENT,
    "stop_header": State.GAP,
    "restart": State.HEADER,
    "end": State.GAP,
}
"""Where an action leads; those not named stay where they are."""


def diagram() -> str:
    """One arrow for every pair of states, labelled with the symbols and what they do."""
    arrows: dict[tuple[State, State], list[str]] = {}
    for (state, symbol), action in TRANSITIONS.items():
        target = TARGETS.get(action, state)
        arrows.setdefault((state, target), []).append(f"{_shown(symbol)} ({action})")
    lines = ["```mermaid", "stateDiagram-v2", "    [*] --> GAP"]
    for (state, target), labels in arrows.items():
        lines.append(f"    {state.name} --> {target.name}: {'<br/>'.join(labels)}")
    return "\n".join([*lines, "```"])


def _shown(symbol: Symbol) -> str:
    return symbol.value.strip("<|>")


def updated(page: str) -> str:
    """``page`` with the diagram as the table is now."""
    return _BLOCK.sub(lambda found: f"{found[1]}{diagram()}\n{found[2]}", page)


if __name__ == "__main__":
    sys.exit(keep_fresh(PAGE, updated))
