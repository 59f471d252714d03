"""A plan as a Lark grammar for llguidance, a backend of vLLM and SGLang.

The grammar starts behind ``<|start|>assistant``. Control tokens are written by id: a name that the
engine's tokenizer does not know would constrain nothing. Text never holds a control token there.
"""

from __future__ import annotations

import json
from typing import Final

from antiphon.codec.grammar.input_body import input_schema
from antiphon.codec.grammar.notes import GrammarText, Notes
from antiphon.codec.grammar.plan import AnyText, Body, Call, InputBody, Plan
from antiphon.codec.grammar.portable import portable_schema
from antiphon.vocab.control import CALL, CHANNEL, CONSTRAIN, END, MESSAGE, RETURN, START

__all__ = ["lark"]

_CHANNEL: Final = f"<[{CHANNEL}]>"
_MESSAGE: Final = f"<[{MESSAGE}]>"
_JSON: Final = f'(" "? <[{CONSTRAIN}]> "json" | " json")?'
_CODE: Final = f'(" "? <[{CONSTRAIN}]> "code" | " code")?'
_EITHER: Final = f'(" "? <[{CONSTRAIN}]> ("json" | "code") | " json" | " code")?'
_LENIENT: Final = {"lenient": True}
"""Keywords llguidance does not know are ignored instead of refused."""


def lark(plan: Plan) -> GrammarText:
    """The grammar text for llguidance.

    It compiles the schemas itself, leniently. Notes name only what it could not have followed.
    """
    notes = Notes()
    lines: list[str] = []
    endings: list[str] = []
    if plan.final is not None:
        kind = "" if isinstance(plan.final, AnyText) else f" {_JSON}"
        lines.append(_rule("final_body", plan.final, "final", notes))
        endings.append(f'{_CHANNEL} "final"{kind} {_MESSAGE} final_body <[{RETURN}]>?')
    if plan.calls:
        for i, call in enumerate(plan.calls):
            lines.append(_call(i, call))
            lines.append(_rule(f"body_{i}", call.body, call.recipient, notes, object_only=True))
        lines.append(f"call: {' | '.join(f'call_{i}' for i in range(len(plan.calls)))}")
        more = " (next call)*" if plan.parallel else ""
        endings.append(f"call{more} <[{CALL}]>?")
    before = _before(plan)
    head = ["%llguidance {}", f"start: {before}ending", f"ending: {' | '.join(endings)}"]
    if before or plan.parallel:
        head.append(f'next: <[{END}]> <[{START}]> "assistant"')
    return GrammarText("\n".join([*head, *lines, "TEXT: /(.|\\n)*/"]) + "\n", notes.done())


def _before(plan: Plan) -> str:
    """The free messages that may come first."""
    names = ["analysis"] * plan.analysis + ["commentary"] * plan.preamble
    if not names:
        return ""
    channel = " | ".join([json.dumps(name) for name in names])
    return f"({_CHANNEL} ({channel}) {_MESSAGE} TEXT next)* "


def _call(index: int, call: Call) -> str:
    channel = f"{_CHANNEL} ({' | '.join([json.dumps(name) for name in call.channels])})"
    recipient = json.dumps(f" to={call.recipient}", ensure_ascii=False)
    kind = _CODE if isinstance(call.body, AnyText) else _JSON
    if len(call.channels) > 1 and kind is _JSON:
        kind = _EITHER
    header = f"({channel} {recipient} | {recipient} {channel})"
    return f"call_{index}: {header} {kind} {_MESSAGE} body_{index}"


def _rule(name: str, body: Body, where: str, notes: Notes, *, object_only: bool = False) -> str:
    if isinstance(body, AnyText):
        return f"{name}: TEXT"
    if isinstance(body, InputBody):
        schema = input_schema(body, where, notes)
    else:
        schema = portable_schema(body.schema, where, notes, object_only=object_only)
    text = json.dumps({**schema, "x-guidance": _LENIENT}, ensure_ascii=False)
    return f"{name}: %json {text}"
