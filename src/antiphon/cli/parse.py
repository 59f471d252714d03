"""``antiphon parse``: tokens or text in, messages out."""

from __future__ import annotations

import click

from antiphon.cli.annotate import Annotator
from antiphon.cli.blocks import BlockWriter
from antiphon.cli.errors import CommandLineError, DataError
from antiphon.cli.feeding import INPUTS
from antiphon.cli.jsonout import JsonWriter
from antiphon.cli.progress import progress
from antiphon.cli.session import ParserSettings, Session
from antiphon.cli.source import open_source
from antiphon.cli.terminal import Terminal
from antiphon.cli.tooltable import read_tools
from antiphon.model.message import Role

__all__ = ["parse"]


@click.command()
@click.argument("file", default="-", metavar="[FILE|-]", type=click.Path(allow_dash=True))
@click.option(
    "--input",
    "kind",
    type=click.Choice(INPUTS),
    default="auto",
    show_default=True,
    help="What FILE holds: token ids (a JSON array, or integers between spaces or commas); marked"
    " text, with <|start|> and the like spelled out; or text that an engine has stripped of them.",
)
@click.option(
    "--role",
    type=click.Choice([role.value for role in Role]),
    help="The role of the first message, if the prompt named it and the input begins after it."
    "  [default: assistant]",
)
@click.option(
    "--tools",
    metavar="FILE|NAMES",
    help="The tools that were on offer: a JSON file (a list of tools, a request, or namespaces), or"
    " names between commas. '' means none. Without it every recipient is believed.",
)
@click.option("--strict", is_flag=True, help="Fail where the reference library's strict mode does.")
@click.option(
    "--json", "as_json", is_flag=True, help="Print one JSON object; 'antiphon render' reads it."
)
@click.option("--jsonl", "as_lines", is_flag=True, help="Print JSON Lines, one message a line.")
def parse(
    file: str,
    kind: str,
    role: str | None,
    tools: str | None,
    strict: bool,
    as_json: bool,
    as_lines: bool,
) -> None:
    """Turn tokens or text into messages.

    Reads what a gpt-oss model wrote, from FILE or standard input. Malformed output is mended, and
    each mend is reported as a diagnostic; nothing the model wrote is lost.

    \b
    Examples:
      antiphon parse completion.txt
      antiphon parse --json --tools get_weather,browser completion.txt
      echo '[200005, 17196, 200008, 3686, 200002]' | antiphon parse --jsonl
      antiphon parse --strict --role assistant < completion.txt
    """
    if as_json and as_lines:
        raise CommandLineError("--json and --jsonl cannot be used together")
    settings = ParserSettings(
        kind, None if role is None else Role(role), read_tools(tools), strict=strict
    )
    with open_source(file) as source, progress(source):
        if as_json or as_lines:
            _write_json(Session(source, settings), lines=as_lines)
        else:
            _write_blocks(Session(source, settings))


def _write_json(session: Session, *, lines: bool) -> None:
    terminal = Terminal()
    writer = JsonWriter(terminal, lines=lines)
    try:
        for _, events in session:
            for event in events:
                writer.event(event)
            terminal.flush()
    except DataError as error:
        writer.finish(error)
        raise
    writer.finish()


def _write_blocks(session: Session) -> None:
    terminal = Terminal()
    writer = BlockWriter(terminal, full=False)
    annotator = Annotator(session.kind, counting=False)
    try:
        for _, events in session:
            for event in annotator.annotate(events):
                writer.event(event)
            terminal.flush()
    finally:
        writer.finish(annotator.totals)
