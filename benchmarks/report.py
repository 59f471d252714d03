"""The table: row by row on the terminal, and as benchmarks/RESULTS.md."""

from __future__ import annotations

import os
import platform
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from bench import Row

__all__ = ["Report", "machine", "versions"]

METHOD = """\
Each figure is taken in pairs with openai-harmony 0.0.8 in one process, after the outputs were
found equal: ours, the reference's and the physical limit's work in turn, each repeated until a
sample lasts long enough, the order changing from pair to pair. Times are CPU time of the process.
*Measured* is the median of the pairs' ratios, with the smallest and the largest in brackets; the
absolute times are medians and depend on the machine. *Physical limit* is work that no
implementation in Python can avoid, measured beside the row, and the part of our time that it takes.
Rows without a target are there for comparison."""

HEADINGS = ("Work", "Target", "Measured", "Ours", "openai-harmony", "Physical limit", "")


class Report:
    """Collects rows by group, and prints them as they come."""

    def __init__(self) -> None:
        self.groups: dict[str, list[Row]] = {}

    def add(self, group: str, row: Row) -> None:
        if group not in self.groups:
            self.groups[group] = []
            print(f"\n{group}", flush=True)
        self.groups[group].append(row)
        target = f" ({row.target})" if row.target else ""
        print(f"  {row.verdict or '-':9} {row.work}: {row.measured}{target}")
        details = [
            f"ours {row.ours}" if row.ours else "",
            row.reference and f"reference {row.reference}",
        ]
        details.append(f"limit {row.limit}" if row.limit else "")
        if shown := "; ".join([part for part in details if part]):
            print(f"            {shown}")
        if row.note:
            print(f"            {row.note}")
        print(end="", flush=True)

    def rows(self) -> list[Row]:
        return [row for rows in self.groups.values() for row in rows]

    def summary(self) -> str:
        rows = [row for row in self.rows() if row.verdict]
        counts = {v: sum(row.verdict == v for row in rows) for v in ("ok", "short")}
        return ", ".join([f"{n} {v}" for v, n in counts.items() if n]) or "no row has a target"

    def markdown(self, command: str, date: str, seconds: float) -> str:
        out = [
            "# Benchmark results",
            "",
            f"Written by `{command}` on {date} in {seconds / 60:.0f} minutes; do not edit.",
            "",
            f"Machine: {machine()}.  ",
            f"Versions: {versions()}.",
            "",
            f"**{self.summary()}.**",
            "",
            METHOD,
            "",
        ]
        for group, rows in self.groups.items():
            out += [f"## {group}", "", _line(HEADINGS), _line(["---"] * len(HEADINGS))]
            notes = []
            for row in rows:
                work = row.work
                if row.note:
                    notes.append(row.note)
                    work += f" [{len(notes)}]"
                verdict = row.verdict.upper() if row.verdict == "short" else row.verdict
                cells = [
                    work,
                    row.target,
                    row.measured,
                    row.ours,
                    row.reference,
                    row.limit,
                    verdict,
                ]
                out.append(_line(cells))
            out.append("")
            out += [f"[{i}] {note}  " for i, note in enumerate(notes, 1)]
            if notes:
                out.append("")
        return "\n".join(out).rstrip() + "\n"


def _line(cells: Sequence[str]) -> str:
    return "| " + " | ".join([cell.replace("|", "\\|") for cell in cells]) + " |"


def machine() -> str:
    """Processor, cores and Python."""
    name = platform.processor() or platform.machine()
    info = Path("/proc/cpuinfo")
    if info.exists():
        for line in info.read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                name = line.partition(":")[2].strip()
                break
    return (
        f"{name}, {os.cpu_count()} cores, {platform.system()} {platform.machine()},"
        f" {platform.python_implementation()} {platform.python_version()}"
    )


def versions() -> str:
    """The packages that take part."""
    out = []
    for name in ("antiphon", "openai-harmony", "msgspec", "splintr-rs", "pydantic"):
        try:
            out.append(f"{name} {version(name)}")
        except PackageNotFoundError:
            out.append(f"{name} is not installed")
    return ", ".join(out)
