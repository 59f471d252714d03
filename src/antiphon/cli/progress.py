"""A progress bar on stderr, when somebody can see it and there is something to wait for."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

import click

from antiphon.cli.source import Source

__all__ = ["MIN_SIZE", "progress"]

MIN_SIZE: Final = 1 << 20
"""Smaller files are done before a bar could be read."""


@contextmanager
def progress(source: Source) -> Iterator[None]:
    """Show how much of ``source`` has been read.

    Only on a terminal, only for a file of a megabyte or more, and not when stdout is the same
    terminal, where the output itself shows how far it is.
    """
    size = source.size
    if size is None or size < MIN_SIZE or not sys.stderr.isatty() or sys.stdout.isatty():
        yield
        return
    label = source.name if len(source.name) <= 30 else "…" + source.name[-29:]
    with click.progressbar(length=size, label=label, file=sys.stderr) as bar:
        source.on_read = bar.update
        yield
