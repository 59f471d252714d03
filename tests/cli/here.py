"""A command line in this process, with the environment and the folder that a new one would have."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import pytest


class Done(NamedTuple):
    returncode: int
    stdout: str
    stderr: str


def run_here(
    arguments: list[str],
    capsys: pytest.CaptureFixture[str],
    *,
    folder: Path,
    environment: Mapping[str, str],
) -> Done:
    """As ``subprocess.run([antiphon, *arguments], cwd=folder, env=environment)``, but sooner."""
    from antiphon.cli.main import main

    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        for name in os.environ:
            if name not in environment:
                patch.delenv(name)
        for name, value in environment.items():
            patch.setenv(name, value)
        capsys.readouterr()
        code = main(arguments)
    out, err = capsys.readouterr()
    return Done(code, out, err)
