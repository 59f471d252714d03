"""How the parser tests read a transcript: over ids and marked text alike, as plain tuples."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from antiphon.codec.parse import Parsed, fold, parse
from antiphon.codec.stream import Input, Parser
from antiphon.codec.text import CONTROL
from antiphon.vocab.control import CONTROL_IDS
from antiphon.vocab.tokenizer import default_tokenizer


class Read(NamedTuple):
    """A message as the tests write it down."""

    author: str
    channel: str | None
    recipient: str | None
    content_type: str | None
    text: str
    stop: str


def encode(marked: str) -> list[int]:
    """Marked text → ids; control tokens become control ids."""
    ids: list[int] = []
    done = 0
    for found in CONTROL.finditer(marked):
        ids += default_tokenizer().encode(marked[done : found.start()])
        ids.append(CONTROL_IDS[found.group()])
        done = found.end()
    return ids + default_tokenizer().encode(marked[done:])


def as_reads(parsed: Parsed) -> list[Read]:
    return [
        Read(
            message.role.value + (f":{message.name}" if message.name else ""),
            message.channel,
            message.recipient,
            message.content_type,
            message.text,
            stop.value,
        )
        for message, stop in zip(parsed.messages, parsed.stops, strict=True)
    ]


def read(
    marked: str, *, role: str | None = "assistant", tools: Iterable[str] | None = None
) -> tuple[list[Read], list[str]]:
    """Messages and diagnostic codes; checks that every way of feeding gives the same."""
    names = None if tools is None else tuple(tools)
    ids = encode(marked)
    whole = parse(ids, role=role, tools=names)
    assert as_reads(whole) == as_reads(parse(marked, role=role, tools=names, input="marked"))
    assert as_reads(whole) == as_reads(feed_one_by_one(ids, role, names))
    assert as_reads(whole) == as_reads(feed_one_by_one(marked, role, names))
    return as_reads(whole), [diagnostic.code for diagnostic in whole.diagnostics]


def feed_one_by_one(
    source: list[int] | str,
    role: str | None,
    tools: tuple[str, ...] | None,
    input: Input = "auto",
) -> Parsed:
    parser = Parser(role=role, tools=tools, input=input)
    events = [event for item in source for event in parser.feed(item)]
    return fold([*events, *parser.eof()])
