"""Running the command line: in this process where that is enough, else the real console command."""

from __future__ import annotations

import io
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest

_SCRIPT = Path(sys.executable).with_name("antiphon")
COMMAND = [str(_SCRIPT)] if _SCRIPT.exists() else [sys.executable, "-m", "antiphon.cli"]


class Result(NamedTuple):
    code: int
    out: str
    err: str


def environment(**extra: str) -> dict[str, str]:
    """The environment without what would change how output looks."""
    unwanted = ("COLUMNS", "FORCE_COLOR", "LINES", "NO_COLOR", "TERM")
    kept = {name: value for name, value in os.environ.items() if name not in unwanted}
    return {**kept, "TERM": "xterm", **extra}


@pytest.fixture(scope="session")
def command() -> list[str]:
    """The real console command, as the start of an argument list."""
    return COMMAND


@pytest.fixture(scope="session")
def spawn() -> Callable[..., subprocess.Popen[bytes]]:
    """Start the real console command with pipes."""

    def start(*args: str, env: dict[str, str] | None = None, **how: Any) -> subprocess.Popen[bytes]:
        how = {
            "stdin": subprocess.PIPE,
            "stdout": subprocess.PIPE,
            "stderr": subprocess.PIPE,
            **how,
        }
        return subprocess.Popen([*COMMAND, *args], env=environment(**(env or {})), **how)

    return start


@pytest.fixture
def antiphon(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> Callable[..., Result]:
    """Run a command line in this process: ``antiphon("parse", "-", stdin="…")``."""
    from antiphon.cli.main import main

    for name in ("NO_COLOR", "FORCE_COLOR"):
        monkeypatch.delenv(name, raising=False)

    def run(*args: str, stdin: str | bytes = b"") -> Result:
        data = stdin.encode() if isinstance(stdin, str) else stdin
        path = tmp_path / "stdin"
        path.write_bytes(data)
        with path.open("rb") as raw:
            monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(raw, encoding="utf-8"))
            code = main(args)
        out, err = capsys.readouterr()
        return Result(code, out, err)

    return run
