"""``antiphon inspect``: a transcript as people want to see it."""

from __future__ import annotations

import click

from antiphon.cli.annotate import Annotator
from antiphon.cli.blocks import BlockWriter
from antiphon.cli.feeding import INPUTS
from antiphon.cli.page import PageWriter
from antiphon.cli.progress import progress
from antiphon.cli.session import ParserSettings, Session
from antiphon.cli.source import open_source
from antiphon.cli.terminal import Terminal, printable
from antiphon.cli.tooltable import read_tools
from antiphon.cli.tracefile import open_trace
from antiphon.model.message import Role

__all__ = ["inspect"]


@click.command()
@click.argument("file", default="-", metavar="[FILE|-]", type=click.Path(allow_dash=True))
@click.option(
    "--input",
    "kind",
    type=click.Choice(INPUTS),
    default="auto",
    show_default=True,
    help="What FILE holds: token ids, marked text, or text stripped of its control tokens.",
)
@click.option(
    "--role",
    type=click.Choice([role.value for role in Role]),
    help="The role of the first message, if the input begins after it.  [default: assistant]",
)
@click.option(
    "--tools",
    metavar="FILE|NAMES",
    help="The tools that were on offer: a JSON file, or names between commas. '' means none.",
)
@click.option(
    "--entry",
    type=int,
    metavar="N",
    help="Which turn of a trace file: 1 is the first, -1 the last.  [default: -1]",
)
@click.option("--html", is_flag=True, help="Write a self-contained HTML page to standard output.")
def inspect(
    file: str, kind: str, role: str | None, tools: str | None, entry: int | None, html: bool
) -> None:
    """Show a transcript, annotated.

    One block a message, with its role, channel, recipient and content type, its token counts, its
    raw header, and a note in the margin wherever malformed output was mended. Reads token ids,
    marked text or stripped text, and the trace files of 'antiphon serve --trace'.

    \b
    Examples:
      antiphon inspect transcript.txt
      antiphon render conversation.json | antiphon inspect
      antiphon inspect --tools get_weather --html transcript.txt > transcript.html
      antiphon inspect --entry 3 trace.jsonl
    """
    known_tools = read_tools(tools)
    with open_source(file) as source, progress(source):
        opened = open_trace(source, entry)
        if opened.about is not None:
            click.echo(printable(opened.about), err=True)
        settings = ParserSettings(
            opened.kind or kind, None if role is None else Role(role), known_tools
        )
        session = Session(opened.source, settings)
        annotator = Annotator(session.kind)
        terminal = Terminal()
        writer: BlockWriter | PageWriter
        if html:
            writer = PageWriter(terminal, source.name, exact=annotator.exact)
        else:
            writer = BlockWriter(terminal, full=True, exact=annotator.exact)
        try:
            for chunk, events in session:
                annotator.saw(chunk)
                for event in annotator.annotate(events):
                    writer.event(event)
                terminal.flush()
        finally:
            writer.finish(annotator.totals)
