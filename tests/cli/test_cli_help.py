from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from antiphon.cli.app import COMMANDS

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize("name", COMMANDS)
def test_the_list_of_commands_says_what_each_command_says_of_itself(name):
    entry = COMMANDS[name]
    command = entry.load()
    assert command.name == name
    assert command.get_short_help_str(limit=200) == entry.summary


def test_help_imports_no_command_and_nothing_heavy():
    code = (
        "import sys; from antiphon.cli.main import main; code = main(['--help']);"
        "print(code, *sorted(sys.modules))"
    )
    out = subprocess.run(
        [sys.executable, "-c", code], check=True, capture_output=True, text=True
    ).stdout
    code, *modules = out.splitlines()[-1].split()
    assert code == "0"
    ours = {m for m in modules if m.startswith("antiphon")}
    assert ours == {
        "antiphon", "antiphon.cli", "antiphon.cli.app", "antiphon.cli.errors", "antiphon.cli.main",
        "antiphon.errors",
    }  # fmt: skip
    assert not {"msgspec", "rich", "splintr", "asyncio", "importlib.metadata"} & set(modules)


def test_help_and_no_arguments_list_every_command(antiphon):
    shown = antiphon("--help")
    assert shown.code == 0
    for name, entry in COMMANDS.items():
        assert f"  {name} " in shown.out
        assert entry.summary in shown.out
    assert antiphon().out == shown.out
    assert antiphon("-h").out == shown.out


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_help(antiphon, name):
    result = antiphon(name, "--help")
    assert result.code == 0
    assert result.out.startswith(f"Usage: antiphon {name} ")


@pytest.mark.parametrize("name", ["render", "parse", "inspect", "tokens", "probe"])
def test_help_shows_examples(antiphon, name):
    assert f"\n  Examples:\n    antiphon {name} " in antiphon(name, "--help").out


def test_version_is_the_packages(antiphon):
    import antiphon as package

    assert antiphon("--version").out == f"antiphon {package.__version__}\n"


def test_the_page_holds_the_help_of_every_command():
    script = ROOT / "tools" / "docs" / "cli_help.py"
    checked = subprocess.run([sys.executable, script, "--check"], check=False)
    assert checked.returncode == 0, "run: python tools/docs/cli_help.py"
    page = (ROOT / "docs" / "cli.md").read_text(encoding="utf-8")
    for name in COMMANDS:
        assert f"<!-- help: {name} -->" in page


def test_without_click_one_line_says_what_to_install():
    code = (
        "import sys; sys.modules['click'] = None;"
        "from antiphon.cli.main import main; sys.exit(main(['--help']))"
    )
    python = [sys.executable, "-c", code]
    result = subprocess.run(python, capture_output=True, text=True, check=False)
    assert result.returncode == 2
    assert result.stdout == ""
    assert result.stderr == (
        "antiphon: click is not installed; install it with: pip install 'antiphon[cli]'\n"
    )
