"""A plan as structural-tag JSON for vLLM and SGLang (xgrammar).

The tag starts behind ``<|start|>assistant``. xgrammar takes no stop token inside a constraint: a
message that may end the turn ends with ``""`` or ``<|end|>``, and the engine's stop tokens follow.
"""

from __future__ import annotations

import json
from typing import Any, Final

from antiphon.codec.grammar.input_body import input_schema
from antiphon.codec.grammar.notes import GrammarText, Notes
from antiphon.codec.grammar.plan import AnyText, Body, Call, InputBody, Plan
from antiphon.codec.grammar.portable import portable_schema

__all__ = ["structural_tag"]

_END: Final = "<|end|>"
_NEXT: Final = "<|start|>assistant"
_LAST: Final = [_END, ""]
_JSON: Final = (" <|constrain|>json", "<|constrain|>json", " json", "")
_CODE: Final = (" code", " <|constrain|>code", "")
_EITHER: Final = (*_JSON, " <|constrain|>code", " code")
_FREE: Final = {
    "type": "any_text",
    "excludes": ["<|start|>", "<|channel|>", "<|message|>", "<|constrain|>"],
}
"""Free text: xgrammar sees control tokens as their text, so those of a header are excluded."""


def structural_tag(plan: Plan) -> GrammarText:
    """The JSON text for vLLM's ``structured_outputs.structural_tag`` and SGLang's like field.

    The engine compiles the schemas itself. Notes name only what it could not have followed.
    """
    notes = Notes()
    endings: list[Any] = []
    if plan.final is not None:
        kinds = ("",) if isinstance(plan.final, AnyText) else _JSON
        endings.append(_message("<|channel|>final", kinds, _content(plan.final, "final", notes)))
    if plan.calls:
        tags = [tag for call in plan.calls for tag in _call(call, notes)]
        if plan.parallel:
            separated = {"type": "tags_with_separator", "tags": tags, "separator": _NEXT}
            endings.append({**separated, "at_least_one": True, "stop_after_first": False})
        else:
            endings += tags
    whole = [*_before(plan), _one_of(endings)]
    form = whole[0] if len(whole) == 1 else {"type": "sequence", "elements": whole}
    tag = {"type": "structural_tag", "format": form}
    return GrammarText(json.dumps(tag, ensure_ascii=False, separators=(",", ":")), notes.done())


def _before(plan: Plan) -> list[Any]:
    """The free messages that may come first."""
    names = ["analysis"] * plan.analysis + ["commentary"] * plan.preamble
    if not names:
        return []
    tags = [_tag(f"<|channel|>{name}<|message|>", _FREE, _END) for name in names]
    then = {"type": "const_string", "value": _NEXT}
    message = {"type": "sequence", "elements": [_one_of(tags), then]}
    return [{"type": "star", "content": message}]


def _one_of(options: list[Any]) -> Any:
    return options[0] if len(options) == 1 else {"type": "or", "elements": options}


def _call(call: Call, notes: Notes) -> list[Any]:
    content = _content(call.body, call.recipient, notes, object_only=True)
    kinds: tuple[str, ...] = _CODE if isinstance(call.body, AnyText) else _JSON
    if len(call.channels) > 1 and kinds is _JSON:
        kinds = _EITHER
    recipient = f" to={call.recipient}"
    headers = [
        header
        for channel in call.channels
        for header in (f"<|channel|>{channel}{recipient}", f"{recipient}<|channel|>{channel}")
    ]
    return [_message(header, kinds, content) for header in headers]


def _message(header: str, kinds: tuple[str, ...], content: Any) -> Any:
    """A message that may end the turn: the schema is written once for all content types."""
    if kinds == ("",):
        return _tag(f"{header}<|message|>", content, _LAST)
    types = [{"type": "const_string", "value": f"{kind}<|message|>"} for kind in kinds]
    whole = {"type": "sequence", "elements": [_one_of(types), content]}
    return _tag(header, whole, _LAST)


def _tag(begin: str, content: Any, end: str | list[str]) -> Any:
    return {"type": "tag", "begin": begin, "content": content, "end": end}


def _content(body: Body, where: str, notes: Notes, *, object_only: bool = False) -> Any:
    if isinstance(body, AnyText):
        return _FREE
    if isinstance(body, InputBody):
        schema = input_schema(body, where, notes)
    else:
        schema = portable_schema(body.schema, where, notes, object_only=object_only)
    return {"type": "json_schema", "json_schema": schema}
