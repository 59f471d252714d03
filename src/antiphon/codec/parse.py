"""Batch parsing: a whole completion or transcript in, messages out.

Well-formed ids take a fast path (`antiphon.codec.wellformed`); anything else goes through
`antiphon.codec.stream.Parser`. The result is the same. The slower parts are imported when needed,
so that a process that parses one completion starts fast.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING, Final

from antiphon.codec.events import Stop
from antiphon.codec.parsed import MessageSpan, Parsed, fold, message_of
from antiphon.codec.wellformed import read_well_formed
from antiphon.model.message import Role
from antiphon.vocab.control import CALL, END, RETURN

if TYPE_CHECKING:
    from antiphon.codec.stream import Input, Tools
    from antiphon.codec.tooltable import ToolTable

__all__ = ["MessageSpan", "Parsed", "fold", "parse"]

_STOPS_BY_ID: Final = {END: Stop.END, RETURN: Stop.RETURN, CALL: Stop.CALL, None: Stop.EOF}


def parse(
    source: Sequence[int] | str,
    *,
    role: Role | str | None = None,
    tools: Tools = None,
    strict: bool = False,
    input: Input = "auto",
) -> Parsed:
    """Parse ids, marked text or stripped text as a whole.

    ``role``: the role the prompt already names; for a completion, `Role.ASSISTANT`. ``tools``: the
    recipients on offer; None accepts every recipient. ``input``: ``auto`` takes text without any
    control token as stripped if it looks like it. Never raises on what a model wrote, unless
    ``strict``: then `ParseError` where the reference's strict mode raises.
    """
    given = role if role is None or role.__class__ is Role else Role(role)
    table = None if tools is None else _tool_table(tools)
    if isinstance(source, str):
        if input == "auto":
            input = _detect(source)
    elif strict and input in ("auto", "ids"):
        return _parse_strictly(source, given)
    elif input in ("auto", "ids", "hybrid"):
        read = read_well_formed(source, given, table)
        if read is not None:
            messages, stops = read
            return Parsed(messages, stops, None, None, partial(_stream, source, given, table))
    return _stream(source, given, table, strict=strict, input=input)


def _tool_table(tools: Tools) -> ToolTable | None:
    from antiphon.codec.tooltable import ToolTable

    return tools if tools is None or isinstance(tools, ToolTable) else ToolTable(tools)


def _stream(
    source: Sequence[int] | str,
    role: Role | None,
    tools: ToolTable | None,
    *,
    strict: bool = False,
    input: Input = "ids",
) -> Parsed:
    """The same through the stream parser, with spans and diagnostics."""
    from antiphon.codec.stream import Parser

    parser = Parser(role=role, tools=tools, strict=strict, input=input)
    return fold([*parser.feed(source), *parser.eof()])


def _detect(text: str) -> Input:
    from antiphon.codec.stripped import looks_stripped
    from antiphon.codec.text import find_control

    if find_control(text):
        return "marked"
    return "stripped" if looks_stripped(text) else "marked"


def _parse_strictly(ids: Sequence[int], role: Role | None) -> Parsed:
    from antiphon.codec.strict import parse_strict

    read = parse_strict(ids, role)
    return Parsed(
        [message_of(message.header, message.text) for message in read],
        [_STOPS_BY_ID[message.stop] for message in read],
        replay=partial(_stream, ids, role, None, strict=True),
    )
