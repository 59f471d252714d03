"""Calls that a model wrote without an address (recovery rows 25, 37 and 48). Opt-in.

A message whose text is a JSON object may have been meant as a tool call: arguments on the
commentary channel without a recipient, or a recipient that is only a namespace. It is taken for a
call if exactly one declared tool fits. The parser never does this by itself.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import msgspec

from antiphon.model.message import CONSTRAIN_JSON, Message, Role
from antiphon.model.tools import ToolNamespace

__all__ = ["adopt_call", "adopt_calls", "fits"]

MAX_DEPTH: Final = 32
"""Objects nested deeper than this are not checked, and so never fit."""

_WRAPPED_ARGUMENTS: Final = ("arguments", "parameters")
_TYPES: Final[dict[str, tuple[type, ...]]] = {
    "object": (dict,),
    "array": (list,),
    "string": (str,),
    "integer": (int,),
    "number": (int, float),
    "boolean": (bool,),
    "null": (type(None),),
}


def adopt_calls(messages: Sequence[Message], tools: Mapping[str, ToolNamespace]) -> list[Message]:
    """The messages, with those that `adopt_call` understands replaced by calls."""
    return [adopt_call(message, tools) or message for message in messages]


def adopt_call(message: Message, tools: Mapping[str, ToolNamespace]) -> Message | None:
    """The call that an unaddressed assistant message means, or None if that is not certain."""
    if message.role != Role.ASSISTANT or message.recipient or message.channel == "final":
        return None
    try:
        value = msgspec.json.decode(message.text)
    except (msgspec.DecodeError, RecursionError):
        return None
    if not isinstance(value, dict):
        return None
    schemas = {
        f"{key}.{tool.name}": tool.parameters or {}
        for key, namespace in tools.items()
        for tool in namespace.tools
    }
    name, arguments = _unwrap(value, schemas)
    if name is None:
        fitting = [name for name, schema in schemas.items() if schema and fits(schema, value)]
        if len(fitting) != 1:
            return None
        name, arguments = fitting[0], message.text
    content_type = message.content_type or CONSTRAIN_JSON
    return Message.call(name, arguments, content_type=content_type)


def _unwrap(value: dict[str, Any], schemas: Mapping[str, Any]) -> tuple[str | None, str]:
    """`{"name": "f", "arguments": {…}}`, the shape other models use."""
    if set(value) <= {"name", *_WRAPPED_ARGUMENTS}:
        named = [n for n in schemas if value.get("name") in (n, n.partition(".")[2])]
        wrapped = [value[key] for key in _WRAPPED_ARGUMENTS if key in value]
        if len(named) == 1 and len(wrapped) == 1 and isinstance(wrapped[0], dict | str):
            arguments = wrapped[0]
            text = (
                arguments if isinstance(arguments, str) else msgspec.json.encode(arguments).decode()
            )
            return named[0], text
    return None, ""


def fits(schema: Mapping[str, Any], value: Any, depth: int = 0) -> bool:
    """Whether a value has the schema's types and required keys, and no key it does not name.

    Only `type`, `enum`, `const`, `properties`, `required` and `items` are looked at.
    """
    if depth > MAX_DEPTH:
        return False
    kinds = schema.get("type")
    if kinds is not None and not any(
        _is_type(value, kind) for kind in ([kinds] if isinstance(kinds, str) else kinds)
    ):
        return False
    if "enum" in schema and value not in schema["enum"]:
        return False
    if "const" in schema and value != schema["const"]:
        return False
    if isinstance(value, list) and isinstance(items := schema.get("items"), Mapping):
        return all(fits(items, item, depth + 1) for item in value)
    if isinstance(value, dict):
        properties = schema.get("properties", {})
        return set(schema.get("required", ())) <= set(value) <= set(properties) and all(
            fits(properties[key], item, depth + 1) for key, item in value.items()
        )
    return True


def _is_type(value: Any, kind: str) -> bool:
    if isinstance(value, bool):
        return kind == "boolean"
    return isinstance(value, _TYPES.get(kind, ()))
