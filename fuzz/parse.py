# Invariant tested: whatever ids, marked or stripped text come in, in whatever chunks, the total
# parser never raises, gives the same events for every way of cutting the input and the same
# messages in one go, loses nothing, invents nothing, and holds no more than its limits.
# fuzz/invariants.py spells it out.
"""Fuzz target for atheris (libFuzzer).

    python fuzz/parse.py -max_total_time=600
    python fuzz/parse.py CRASH_FILE            # once more

Without further arguments the corpus grows in fuzz/corpus and crashes land in fuzz/crashes.
"""

from __future__ import annotations

import sys
from pathlib import Path

import atheris  # type: ignore[import-untyped]

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent))

with atheris.instrument_imports(include=["antiphon.codec", "antiphon.model"]):
    from fuzz.inputs import case_from
    from fuzz.invariants import check


def test_one_input(data: bytes) -> None:
    case = case_from(data)
    if case is not None:
        check(case)


def main() -> None:
    arguments = sys.argv
    if all(argument.startswith("-") for argument in arguments[1:]):
        (HERE / "corpus").mkdir(exist_ok=True)
        (HERE / "crashes").mkdir(exist_ok=True)
        arguments = [*arguments, f"-artifact_prefix={HERE / 'crashes'}/", str(HERE / "corpus")]
    atheris.Setup([*arguments, "-max_len=120", "-len_control=0", "-timeout=20"], test_one_input)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
