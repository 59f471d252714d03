"""The canonical JSON of system and developer content → the values that the codec renders.

A field that is missing means None here, as in the reference's JSON reader, not the default of the
data class.
"""

from __future__ import annotations

import json
import re
from typing import Any, Final, NoReturn

from antiphon.model.content import (
    ChannelConfig,
    Content,
    DeveloperContent,
    ReasoningEffort,
    SystemContent,
    TextContent,
)
from antiphon.model.tools import Tool, ToolNamespace

__all__ = ["content_from_json", "invalid_json", "loads", "surrogate_error"]


def loads(text: str, what: str) -> Any:
    """``json.loads`` without NaN, infinities and lone surrogates.

    Raises ValueError saying ``invalid WHAT JSON``.
    """
    found = surrogate_error(text) if _SURROGATE_ESCAPE.search(text) else None
    if found is not None:
        raise invalid_json(what, found)

    def refuse(constant: str) -> NoReturn:
        raise ValueError(f"{constant} is not JSON")

    try:
        return json.loads(text, parse_constant=refuse)
    except RecursionError:
        raise invalid_json(what, "recursion limit exceeded") from None
    except ValueError as error:
        raise invalid_json(what, str(error)) from None


def invalid_json(what: str, why: str) -> ValueError:
    return ValueError(f"invalid {what} JSON: {why}")


def content_from_json(raw: dict[str, Any]) -> Content:
    """One part. Raises KeyError, TypeError, AttributeError or ValueError if it is not of the form.

    Nothing is checked that rendering does not depend on.
    """
    kind = raw["type"]
    if kind == "text":
        return TextContent(raw["text"])
    tools = raw.get("tools")
    namespaces = None if tools is None else {key: _namespace(tools[key]) for key in tools}
    if kind == "developer_content":
        return DeveloperContent(raw.get("instructions"), namespaces)
    if kind != "system_content":
        raise ValueError(
            f"unknown variant `{kind}`, expected one of `text`, `system_content`,"
            " `developer_content`"
        )
    effort = raw.get("reasoning_effort")
    channels = raw.get("channel_config")
    return SystemContent(
        raw.get("model_identity"),
        None if effort is None else ReasoningEffort(effort.lower()),
        raw.get("conversation_start_date"),
        raw.get("knowledge_cutoff"),
        None
        if channels is None
        else ChannelConfig(tuple(channels["valid_channels"]), channels["channel_required"]),
        namespaces,
    )


def _namespace(raw: dict[str, Any]) -> ToolNamespace:
    tools = [
        Tool(tool["name"], tool["description"], tool.get("parameters")) for tool in raw["tools"]
    ]
    return ToolNamespace(raw["name"], raw.get("description"), tuple(tools))


_SURROGATE_ESCAPE: Final = re.compile(r"\\u[dD][89a-fA-F]")
_LOW_SURROGATE: Final = re.compile(r"\\u[dD][c-fC-F][0-9a-fA-F]{2}")
_UNICODE_ESCAPE: Final = re.compile(r"\\(?:u([0-9a-fA-F]{4})|.)")


def surrogate_error(text: str) -> str | None:
    """What the reference's JSON reader says of the first lone surrogate escape in ``text``.

    The column is right for one line of JSON in ASCII, as ``json.dumps`` writes it.
    """
    at = 0
    while found := _UNICODE_ESCAPE.search(text, at):
        at = found.end()
        code = int(found[1] or "0", 16)
        if 0xDC00 <= code < 0xE000:
            return f"lone leading surrogate in hex escape at line 1 column {at}"
        if 0xD800 <= code < 0xDC00:
            second = text[at : at + 6]
            if second[:1] != "\\":
                return f"unexpected end of hex escape at line 1 column {at + 1}"
            if second[1:2] != "u":
                return f"unexpected end of hex escape at line 1 column {at + 2}"
            at += 6
            if not _LOW_SURROGATE.match(second):
                return f"lone leading surrogate in hex escape at line 1 column {at}"
    return None
