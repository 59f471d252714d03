"""A plan as GBNF for llama.cpp, with token literals for the control tokens.

The grammar starts behind ``<|start|>assistant``. It holds no stop token: llama.cpp lets any end of
generation follow where the grammar is complete, so ``<|call|>`` and ``<|return|>`` both may.
"""

from __future__ import annotations

from typing import Final

from antiphon.codec.grammar.gbnf_schema import schema_rule
from antiphon.codec.grammar.gbnf_text import Rules, choice, literal
from antiphon.codec.grammar.input_body import input_rule
from antiphon.codec.grammar.limits import Budget, check_schema
from antiphon.codec.grammar.notes import GrammarText, Notes
from antiphon.codec.grammar.plan import AnyText, Body, Call, InputBody, Plan
from antiphon.vocab.control import CHANNEL, CONSTRAIN, END, MESSAGE, START

__all__ = ["gbnf"]

_CHANNEL: Final = f"<[{CHANNEL}]>"
_MESSAGE: Final = f"<[{MESSAGE}]>"
_NEXT: Final = f'<[{END}]> <[{START}]> "assistant"'
_JSON: Final = f'( " "? <[{CONSTRAIN}]> "json" | " json" )?'
_CODE: Final = f'( " "? <[{CONSTRAIN}]> "code" | " code" )?'
_EITHER: Final = f'( " "? <[{CONSTRAIN}]> ( "json" | "code" ) | " json" | " code" )?'


def gbnf(plan: Plan) -> GrammarText:
    """The grammar text for ``grammar`` of llama.cpp's ``/completion``. Raises SchemaError."""
    rules, budget, notes = Rules(), Budget(), Notes()
    endings: list[str] = []
    if plan.final is not None:
        body = _body(plan.final, "final", rules, budget, notes)
        kind = "" if isinstance(plan.final, AnyText) else f" {_JSON}"
        endings.append(f'{_CHANNEL} "final"{kind} {_MESSAGE} {body}')
    if plan.calls:
        call = rules.add(choice([_call(c, rules, budget, notes) for c in plan.calls]))
        endings.append(f"{call} ( {_NEXT} {call} )*" if plan.parallel else call)
    return GrammarText(rules.text(f"{_before(plan)}{choice(endings)}"), notes.done())


def _before(plan: Plan) -> str:
    """The free messages that may come first."""
    names = ["analysis"] * plan.analysis + ["commentary"] * plan.preamble
    if not names:
        return ""
    channel = choice([literal(name) for name in names])
    return f"( {_CHANNEL} {channel} {_MESSAGE} text {_NEXT} )* "


def _call(call: Call, rules: Rules, budget: Budget, notes: Notes) -> str:
    """One call: the recipient behind the channel, as the model writes it, or before it."""
    channel = f"{_CHANNEL} {choice([literal(name) for name in call.channels])}"
    recipient = literal(f" to={call.recipient}")
    kind = _CODE if isinstance(call.body, AnyText) else _JSON
    if len(call.channels) > 1 and kind is _JSON:
        kind = _EITHER  # the built-in tools' JSON is often called code
    body = _body(call.body, call.recipient, rules, budget, notes, object_only=True)
    header = choice([f"{channel} {recipient}", f"{recipient} {channel}"])
    return rules.add(f"{header} {kind} {_MESSAGE} {body}")


def _body(
    body: Body,
    where: str,
    rules: Rules,
    budget: Budget,
    notes: Notes,
    *,
    object_only: bool = False,
) -> str:
    if isinstance(body, AnyText):
        return "text"
    if isinstance(body, InputBody):
        return input_rule(body, where, rules, budget, notes)
    schema = check_schema(body.schema, where)
    return schema_rule(schema, where, rules, budget, notes, object_only=object_only)
