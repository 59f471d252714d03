"""Draw the parser's transition table as a Mermaid diagram.

python tools/state_diagram.py            # print it
python tools/state_diagram.py --write    # put it into docs/recovery.md
"""

from __future__ import annotations

import sys
from pathlib import Path

from antiphon.codec.state import TRANSITIONS, State, Symbol

PAGE = Path(__file__).parents[1] / "docs" / "recovery.md"
BEGIN, FINISH = "<!-- state diagram: begin -->", "<!-- state diagram: end -->"

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


def page_with_diagram() -> str:
    before, _, rest = PAGE.read_text().partition(BEGIN)
    _, _, after = rest.partition(FINISH)
    return f"{before}{BEGIN}\n{diagram()}\n{FINISH}{after}"


if __name__ == "__main__":
    if "--write" in sys.argv:
        PAGE.write_text(page_with_diagram())
    else:
        print(diagram())
