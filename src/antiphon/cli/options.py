"""Options that several commands have: the file of settings, single settings, files of keys."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, Final, TypeVar

import click

from antiphon.cli.errors import CommandLineError

__all__ = [
    "SETTINGS_HELP",
    "Decorated",
    "assigned",
    "config_option",
    "engine_option",
    "key_file_options",
    "set_option",
]

Decorated = TypeVar("Decorated", bound=Callable[..., Any])

SETTINGS_HELP: Final = "Settings; default: antiphon.toml here or in the configuration folder."


def config_option(help: str = SETTINGS_HELP) -> Callable[[Decorated], Decorated]:
    """``--config FILE``, as ``config: Path | None``."""
    return click.option(
        "--config",
        type=click.Path(exists=True, dir_okay=False, path_type=Path),
        metavar="FILE",
        help=help,
    )


def set_option(example: str) -> Callable[[Decorated], Decorated]:
    """``--set NAME=VALUE``, as ``assignments: tuple[str, ...]``; `assigned` reads them."""
    return click.option(
        "--set",
        "assignments",
        multiple=True,
        metavar="NAME=VALUE",
        help=f"A setting by its path, such as {example}. May be repeated.",
    )


def assigned(assignments: Iterable[str]) -> dict[str, str]:
    """Paths of settings → values. Raises CommandLineError for one without ``=``."""
    flags: dict[str, str] = {}
    for assignment in assignments:
        name, equals, value = assignment.partition("=")
        if not equals:
            raise CommandLineError(f"--set {assignment}: expected NAME=VALUE")
        flags[name.strip()] = value
    return flags


def engine_option() -> Callable[[Decorated], Decorated]:
    """``--engine WHAT``, as ``engine: str | None``."""
    return click.option(
        "--engine",
        metavar="WHAT",
        help="tiny, scripted[:FILE], a URL, or a name from the registry. Default: an engine that"
        " runs on a usual port, else tiny.",
    )


def key_file_options(setting: str, what: str) -> Callable[[Decorated], Decorated]:
    """``--config`` and ``--file``: which file is meant, by ``setting`` or itself.

    ``what`` is in it: ``keys``.
    """
    config = config_option(
        f"Settings whose {setting} is meant; default: as 'antiphon serve' finds them."
    )
    file = click.option(
        "--file",
        type=click.Path(dir_okay=False, path_type=Path),
        metavar="FILE",
        help=f"The file of {what} itself.",
    )

    def both(command: Decorated) -> Decorated:
        return config(file(command))

    return both
