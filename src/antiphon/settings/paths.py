"""Where this user's settings and data belong."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Final

__all__ = ["FILE_NAME", "config_directory", "data_directory", "home_directory", "state_directory"]

FILE_NAME: Final = "antiphon.toml"
"""The settings file, in the working directory or in `config_directory`."""


def home_directory(environ: Mapping[str, str]) -> Path:
    """The user's home as ``environ`` tells it, so that a test can move it."""
    home = environ.get("HOME") or environ.get("USERPROFILE")
    return Path(home) if home else Path.home()


def config_directory(environ: Mapping[str, str]) -> Path:
    """The folder for settings: antiphon's own below the platform's place for them."""
    if sys.platform == "darwin":
        return home_directory(environ) / "Library" / "Application Support" / "antiphon"
    if sys.platform == "win32" and (roaming := environ.get("APPDATA")):
        return Path(roaming) / "antiphon"
    base = Path(environ.get("XDG_CONFIG_HOME", ""))
    # The XDG specification: a relative path there is invalid and ignored.
    return (base if base.is_absolute() else home_directory(environ) / ".config") / "antiphon"


def data_directory(environ: Mapping[str, str]) -> Path:
    """The folder for what is kept: antiphon's own below the platform's place for data."""
    if sys.platform == "darwin":
        return home_directory(environ) / "Library" / "Application Support" / "antiphon"
    if sys.platform == "win32" and (local := environ.get("LOCALAPPDATA")):
        return Path(local) / "antiphon"
    base = Path(environ.get("XDG_DATA_HOME", ""))
    return (base if base.is_absolute() else home_directory(environ) / ".local/share") / "antiphon"


def state_directory(environ: Mapping[str, str]) -> Path:
    """The folder for what a person did: antiphon's own below the platform's place for state."""
    if sys.platform in ("darwin", "win32"):
        return data_directory(environ)
    base = Path(environ.get("XDG_STATE_HOME", ""))
    return (base if base.is_absolute() else home_directory(environ) / ".local/state") / "antiphon"
