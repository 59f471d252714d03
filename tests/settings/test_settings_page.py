"""docs/settings.md names every setting, as it is now."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from antiphon.settings.load import OTHER_VARIABLES
from antiphon.settings.options import Option, engine_options, model_options, options

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "settings.md").read_text("utf-8")


def test_the_page_is_as_its_script_writes_it() -> None:
    done = subprocess.run(
        [sys.executable, "tools/docs/settings.py", "--check"],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert (done.returncode, done.stderr) == (0, ""), "run: make docs"


@pytest.mark.parametrize("option", options(), ids=lambda option: option.path)
def test_a_setting_is_on_the_page_with_all_its_names(option: Option) -> None:
    name = option.path.rpartition(".")[2]
    (row,) = [line for line in PAGE.splitlines() if f"`{option.variable}`" in line and "|" in line]
    assert row.startswith(f"| `{name}` | {option.expected} |")
    flag = f"--set {name}=…" if name in ("engines", "models") else option.flag
    assert f"`{flag}`" in row
    assert option.doc


@pytest.mark.parametrize("option", [*engine_options(), *model_options()], ids=lambda o: o.path)
def test_what_an_engine_or_a_model_may_say_is_on_the_page(option: Option) -> None:
    assert f"\n| `{option.path}` | {option.expected} |" in PAGE
    assert option.doc


def test_the_page_names_no_variable_that_does_not_exist() -> None:
    named = set(re.findall(r"ANTIPHON_[A-Z_]+[A-Z]", PAGE))
    assert named <= {option.variable for option in options()} | OTHER_VARIABLES
    assert named >= OTHER_VARIABLES
