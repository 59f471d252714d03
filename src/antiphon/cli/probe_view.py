"""How a probe's report looks: a table on a terminal, aligned lines in a pipe."""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import Any, Final, NamedTuple

from antiphon.cli.terminal import Terminal, printable
from antiphon.engines.detect import USUAL_PORTS, Finding, ModelReport, ProbeReport

__all__ = ["show"]

MAX_OTHERS: Final = 20
"""Models that are no gpt-oss and are named; the rest are counted. ``--json`` has them all."""

MIN_WIDTH: Final = 40
"""Columns below which a table cannot be laid out."""

_SPEAKS: Final = {
    "ids": "ids",
    "hybrid": "hybrid (ids and text)",
    "marked": "marked text",
    "stripped": "stripped text",
}
_NO: Final = "no"


class _Row(NamedTuple):
    """What was asked, the answer, how it is known, and whether the answer is a good one."""

    what: str
    answer: str
    reason: str
    good: bool | None = None


def show(reports: Sequence[ProbeReport], terminal: Terminal) -> None:
    """Write the reports. What an engine says cannot drive the terminal."""
    if not reports:
        ports = ", ".join(map(str, USUAL_PORTS))
        terminal.write(f"No engine was found on the usual ports ({ports}).\n")
        terminal.write("One that runs elsewhere: antiphon probe URL\n")
        terminal.write("None yet: antiphon serve --model FILE.gguf starts llama.cpp.\n")
    for number, report in enumerate(reports):
        if number:
            terminal.write("\n")
        _show(report, terminal)


def _show(report: ProbeReport, terminal: Terminal) -> None:
    kind = report.kind.value or "no engine"
    title = " ".join(part for part in (kind, report.version, "at", report.url) if part)
    terminal.write(f"{terminal.style(printable(title), 'bold')}\n")
    terminal.write(f"  {printable(report.kind.reason)}\n")
    if report.error and report.error != report.kind.reason:
        terminal.write(f"  {terminal.style(printable(report.error), 'red')}\n")
    ours = [model for model in report.models if model.gpt_oss.value]
    for model in ours:
        terminal.write(f"\n{terminal.style(printable(model.id), 'bold')}\n")
        _table(_rows(model), terminal)
    _others([model for model in report.models if not model.gpt_oss.value], terminal)
    terminal.write(f"\n{_verdict(report)}\n")


def _rows(model: ModelReport) -> list[_Row]:
    reading = model.reading.value
    rows = [_Row("gpt-oss", "yes", model.gpt_oss.reason, good=True)]
    rows += [
        _Row("", "", evidence.detail)
        for evidence in model.evidence
        if evidence.detail != model.gpt_oss.reason
    ]
    loaded = {None: "not told", True: "yes", False: _NO}[model.loaded]
    rows.append(_Row("loaded", loaded, ""))
    speaks = _NO if reading is None else _SPEAKS[reading]
    rows.append(_Row("speaks", speaks, model.reading.reason, good=reading is not None))
    prompts = "ids" if model.prompt_ids.value else "text"
    rows.append(_Row("prompts", prompts, model.prompt_ids.reason))
    for what, finding in (
        ("constraints", model.grammar),
        ("logprobs", model.logprobs),
        ("context", model.context_length),
    ):
        rows.append(_finding(what, finding))
    if model.url:
        rows.append(_Row("runs at", model.url, "the server behind it, which can do more"))
    return rows


def _finding(what: str, finding: Finding[Any]) -> _Row:
    unknown = "not told" if what == "context" else _NO
    answer = unknown if finding.value is None else str(finding.value)
    return _Row(what, answer, finding.reason)


def _table(rows: Sequence[_Row], terminal: Terminal) -> None:
    if terminal.is_tty:
        _rich_table(rows, terminal)
        return
    first = max(len(row.what) for row in rows)
    second = max(len(row.answer) for row in rows)
    for row in rows:
        line = f"  {row.what:<{first}}  {row.answer:<{second}}  {row.reason}".rstrip()
        terminal.write(f"{printable(line)}\n")


def _rich_table(rows: Sequence[_Row], terminal: Terminal) -> None:
    """Wrapped to the terminal's width, each reason in its own column."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, show_header=False, padding=(0, 2, 0, 0))
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    table.add_column(overflow="fold", ratio=1)
    colors = {True: "green", False: "red", None: ""}
    for row in rows:
        table.add_row(
            Text(f"  {row.what}"),
            Text(printable(row.answer), style=colors[row.good]),
            Text(printable(row.reason), style="dim"),
        )
    out = io.StringIO()
    console = Console(
        file=out,
        width=max(terminal.width, MIN_WIDTH),
        force_terminal=terminal.color,
        color_system="standard" if terminal.color else None,
    )
    console.print(table)
    terminal.write(out.getvalue())


def _others(models: Sequence[ModelReport], terminal: Terminal) -> None:
    if not models:
        return
    title = terminal.style("Other models, used through their own chat route", "bold")
    terminal.write(f"\n{title}\n")
    width = max(len(printable(model.id)) for model in models[:MAX_OTHERS])
    for model in models[:MAX_OTHERS]:
        reason = terminal.style(printable(model.gpt_oss.reason), "dim")
        terminal.write(f"  {printable(model.id):<{width}}  {reason}\n")
    if len(models) > MAX_OTHERS:
        terminal.write(f"  and {len(models) - MAX_OTHERS} more\n")


def _verdict(report: ProbeReport) -> str:
    if report.usable:
        return f"Usable: antiphon serve --engine {printable(report.url)}"
    if report.kind.value == "antiphon":
        return "This is a gateway already; point it at an engine, not at itself."
    if report.kind.value is None and not report.needs_key:
        return "Not usable: there is no engine."
    if report.needs_key:
        return "Not usable like this: give its key with --api-key-env."
    if any(model.gpt_oss.value for model in report.models):
        return "Not usable: it has a gpt-oss, but gives no raw completion of it."
    return "Not usable: there is no gpt-oss."
