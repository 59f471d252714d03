"""The lines of a results table of benchmarks/RESULTS.md, and the options of scripts that make one.

The gateway's, the Responses API's, the store's, the seal's and the agent's scripts share it: a row
is printed as soon as it is measured, and `conclude` writes them all.
"""

from __future__ import annotations

import argparse
import datetime as dt
import platform
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import version

from report import machine
from results import RESULTS, replace_part

__all__ = ["Row", "conclude", "options_of", "parser_for", "row"]


@dataclass
class Row:
    """One line of the table."""

    work: str
    target: str
    measured: str
    other: str
    verdict: str = ""


def row(work: str, target: str, measured: str, other: str = "", *, ok: bool | None = None) -> Row:
    """Print what was measured. ``ok``: whether the target is met; None for a row without one."""
    verdict = "" if ok is None else "ok" if ok else "short"
    made = Row(work, target, measured, other, verdict)
    print(f"  {verdict or '-':6} {work}: {measured} ({target or 'no target'}) {other}", flush=True)
    return made


def parser_for(doc: str | None) -> argparse.ArgumentParser:
    """A parser with ``--quick``, ``--write`` and ``--date``, for the script with this docstring."""
    parser = argparse.ArgumentParser(
        description=(doc or "").split("\n", 1)[0],
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--quick", action="store_true", help="small and inexact")
    parser.add_argument("--write", action="store_true", help=f"write {RESULTS.name}")
    today = dt.datetime.now(tz=dt.UTC).date().isoformat()
    parser.add_argument("--date", default=today, help="the date to write (today)")
    return parser


def options_of(parser: argparse.ArgumentParser, *, whole: Sequence[str] = ()) -> argparse.Namespace:
    """What the command line says. Only a full run may write: no ``--quick``, and no ``--only`` but
    of what is a part of its own (``whole``).
    """
    options = parser.parse_args()
    partial = [name for name in ("only", "quick") if hasattr(options, name)]
    given = [getattr(options, name) for name in partial]
    if options.write and any(value and value not in whole for value in given):
        but = {"only": f" (but {', '.join(whole)})"} if whole else {}
        without = ", ".join(f"no --{name}{but.get(name, '')}" for name in partial)
        parser.error(f"--write needs every row, measured properly: {without}")
    return options


def conclude(
    rows: Sequence[Row],
    options: argparse.Namespace,
    seconds: float,
    *,
    heading: str,
    script: str,
    packages: Sequence[str],
    others: Sequence[str] = (),
    method: str,
) -> None:
    """Print how many rows are fine; with ``--write``, write the part under ``heading``.

    ``script``: the file's name, and arguments if it takes some to write this; ``packages``:
    whose versions are told; ``others``: more of the kind, such as ``SQLite 3.40.1``; ``method``:
    how it was measured.
    """
    short = sum(each.verdict == "short" for each in rows)
    print(f"\n{len(rows) - short} fine, {short} short; {seconds:.0f} s")
    if not options.write:
        return
    name, _, more = script.partition(" ")
    command = f"python benchmarks/{name} --write" + (f" {more}" if more else "")
    versions = [f"{package} {version(package)}" for package in packages]
    lines = [
        f"Written by `{command}` on {options.date} in {seconds / 60:.0f} minutes; do not edit.",
        "",
        f"Machine: {machine()}.  ",
        f"Versions: {', '.join([*versions, *others, f'Linux {platform.release()}'])}.",
        "",
        method,
        "",
        "| Work | Target | Measured |  |  |",
        "| --- | --- | --- | --- | --- |",
    ]
    lines += [
        f"| {r.work} | {r.target} | {r.measured} | {r.other} |"
        f" {r.verdict.upper() if r.verdict == 'short' else r.verdict} |"
        for r in rows
    ]
    replace_part(heading, lines)
