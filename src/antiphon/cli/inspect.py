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
from antiphon.cli.terminal import Terminal
from antiphon.cli.tooltable import read_tools
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
@click.option("--html", is_flag=True, help="Write a self-contained HTML page to standard output.")
def inspect(file: str, kind: str, role: str | None, tools: str | None, html: bool) -> None:
    """Show a transcript, annotated.

    One block a message, with its role, channel, recipient and content type, its token counts, its
    raw header, and a note in the margin wherever malformed output was mended. Reads token ids,
    marked text or stripped text.

    \b
    Examples:
      antiphon inspect transcript.txt
      antiphon render conversation.json | antiphon inspect
      antiphon inspect --tools get_weather --html transcript.txt > transcript.html
    """
    settings = ParserSettings(kind, None if role is None else Role(role), read_tools(tools))
    with open_source(file) as source, progress(source):
        session = Session(source, settings)
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
