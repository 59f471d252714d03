"""Items as they are kept and listed: with an id, a status, and every field their type has.

What clients send leaves much of that out, or says null; what they get back must not.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final

import msgspec

from antiphon.errors import MessageError
from antiphon.model.json import decode_as

__all__ = ["StoredItem", "id_prefix", "stored_items"]

MAX_ID_CHARS: Final = 128
"""Longer ids of clients are replaced."""

_ITEM: Final = msgspec.json.Decoder(dict[str, Any])
_ENCODE: Final = msgspec.json.Encoder().encode
_PREFIXES: Final = {
    "message": "msg",
    "reasoning": "rs",
    "function_call": "fc",
    "function_call_output": "fco",
    "custom_tool_call": "ctc",
    "custom_tool_call_output": "ctco",
    "compaction": "cmp",
    "web_search_call": "ws",
    "file_search_call": "fs",
    "code_interpreter_call": "ci",
    "computer_call": "cu",
    "computer_call_output": "cuo",
    "image_generation_call": "ig",
    "mcp_call": "mcp",
    "mcp_list_tools": "mcpl",
    "mcp_approval_request": "mcpr",
    "mcp_approval_response": "mcpa",
    "local_shell_call": "lsh",
    "local_shell_call_output": "lsho",
    "shell_call": "sh",
    "shell_call_output": "sho",
    "apply_patch_call": "apc",
    "apply_patch_call_output": "apco",
}
_WITH_STATUS: Final = frozenset(
    {
        "message",
        "function_call",
        "function_call_output",
        "custom_tool_call",
        "custom_tool_call_output",
    }
)
_COMPACTIONS: Final = frozenset({"compaction_summary", "context_compaction"})


class StoredItem(msgspec.Struct, frozen=True):
    """An item and its id."""

    id: str
    body: bytes


def id_prefix(type: str) -> str:
    """What the ids of items of a type begin with, without the underscore."""
    return _PREFIXES.get(type, "item")


def stored_items(items: Sequence[bytes], new_id: Callable[[], str]) -> list[StoredItem]:
    """The items, which were read before, as they are kept.

    An id that the client gave stays, unless another of these items has it. Raises MessageError for
    items that are nested too deep.
    """
    try:
        return _stored(items, new_id)
    except RecursionError as error:
        raise MessageError("input: is nested too deep", field="input") from error


def _stored(items: Sequence[bytes], new_id: Callable[[], str]) -> list[StoredItem]:
    taken: set[str] = set()
    made = []
    for raw in items:
        item = {key: value for key, value in decode_as(_ITEM, raw).items() if value is not None}
        kind = str(item.setdefault("type", "message"))
        if kind in _COMPACTIONS:
            kind = item["type"] = "compaction"
        given = item.get("id")
        if not isinstance(given, str) or not 0 < len(given) <= MAX_ID_CHARS or given in taken:
            given = f"{id_prefix(kind)}_{new_id()}"
        taken.add(given)
        item["id"] = given
        if kind in _WITH_STATUS:
            item.setdefault("status", "completed")
        if kind == "message":
            _complete_message(item)
        elif kind == "reasoning":
            item.setdefault("summary", [])
        elif kind == "function_call" and not isinstance(item.get("arguments"), str):
            item["arguments"] = _ENCODE(item.get("arguments", {})).decode()
        elif kind == "custom_tool_call":
            item.setdefault("input", "")
        elif kind.endswith("_call_output"):
            _complete_output(item)
        made.append(StoredItem(given, _ENCODE(item)))
    return made


def _complete_message(item: dict[str, Any]) -> None:
    content = item.get("content") or []
    own = "output_text" if item.get("role") == "assistant" else "input_text"
    if isinstance(content, str):
        content = [{"type": own, "text": content}]
    item["content"] = [_complete_part(part, own) for part in content]


def _complete_output(item: dict[str, Any]) -> None:
    output = item.get("output")
    if isinstance(output, list) and all(isinstance(part, dict) for part in output):
        item["output"] = [_complete_part(part, "input_text") for part in output]
    elif item["type"] in _WITH_STATUS and not isinstance(output, str):
        item["output"] = "" if output is None else _ENCODE(output).decode()


def _complete_part(part: dict[str, Any], own: str) -> dict[str, Any]:
    made = {key: value for key, value in part.items() if value is not None}
    kind = made.get("type")
    if kind == "text" or (kind in ("input_text", "output_text") and kind != own):
        kind = made["type"] = own
    if kind == "output_text":
        made.setdefault("annotations", [])
        made.setdefault("logprobs", [])
    elif kind == "input_image":
        made.setdefault("detail", "auto")
    return made
