"""Settings, sessions and keys of a test's own: nothing of whoever runs the tests is seen."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

__all__ = ["own_home"]


def own_home(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    """Home is ``folder / "home"``, and no setting comes from the environment."""
    for name in list(os.environ):
        if name.startswith("ANTIPHON_") and name != "ANTIPHON_CACHE":
            monkeypatch.delenv(name)
    for name in ("XDG_STATE_HOME", "XDG_CONFIG_HOME", "XDG_DATA_HOME", "HOME"):
        monkeypatch.setenv(name, str(folder / "home"))
