"""The list of diagnostics is complete, documented and used."""

from __future__ import annotations

import re
from pathlib import Path

from antiphon.codec.diagnostics import CODES, RULES

ROOT = Path(__file__).parents[2]
SOURCES = [
    (ROOT / "src/antiphon/codec" / name).read_text()
    for name in ("header.py", "header_words.py", "state.py", "stream.py")
]


def test_every_code_and_rule_is_documented() -> None:
    page = (ROOT / "docs/recovery.md").read_text()
    for code, (rule, meaning) in CODES.items():
        assert f"| `{code}` | {rule} | {meaning.replace('|', chr(92) + '|')} |" in page
    for rule, says in RULES.items():
        assert f"| {rule} | {says} |" in page


def test_codes_are_exactly_those_in_use() -> None:
    used = {code for source in SOURCES for code in re.findall(r'"([a-z]+(?:-[a-z]+)+)"', source)}
    assert used == set(CODES)


def test_every_symbol_is_legal_in_every_state() -> None:
    from antiphon.codec.state import TRANSITIONS, Machine, State, Symbol

    assert set(TRANSITIONS) == {(state, symbol) for state in State for symbol in Symbol}
    assert all(callable(getattr(Machine, action)) for action in TRANSITIONS.values())
