"""Every mend the turn itself makes, beside the parser's: its code, its rule, its meaning."""

from __future__ import annotations

from typing import Final

from antiphon.codec.arguments import Arguments, ArgumentsKind
from antiphon.codec.events import Diagnostic, Span

__all__ = ["TURN_CODES", "TURN_RULES", "argument_mends", "mended"]

TURN_RULES: Final[dict[str, str]] = {
    "R1": "Nothing is dropped: what cannot be classified becomes content or reasoning.",
    "R3": "A call is accepted if its recipient means exactly one declared tool.",
    "R7": "Arguments are valid JSON, or repaired, or delivered as they are; see docs/grammar.md.",
    "T1": "A turn ends with an answer or a call: one that has neither is continued once.",
    "T2": "The model speaks only for itself: what it writes for others is not acted on.",
    "T3": "What is bound to a schema or a grammar is checked, and asked for again if it misses.",
    "T4": "A turn that only repeats itself is ended.",
    "T5": "Reasoning that a client dropped is put back while its turn is open.",
}
"""The rules behind `TURN_CODES`; R1, R3 and R7 are the parser's."""

TURN_CODES: Final[dict[str, tuple[str, str]]] = {
    "adopted-call": ("R3", "a JSON object without a recipient that fits exactly one tool: a call"),
    "answer-instead-of-call": ("T1", "an answer where a call was required: kept as reasoning"),
    "arguments-raw": ("R7", "arguments that are no JSON: delivered as they are"),
    "arguments-repaired": ("R7", "arguments that were almost JSON: mended"),
    "arguments-truncated": ("R7", "the turn ended inside the arguments: delivered as far as known"),
    "custom-input-raw": ("R7", "a custom tool's input without its JSON wrapping: taken as it is"),
    "further-answer": ("R1", "a second answer behind a structured one: kept as reasoning"),
    "further-call": ("R1", "more calls than one where parallel calls are off: kept as reasoning"),
    "invalid-arguments": ("T3", "a strict tool's arguments do not fit: asked for again"),
    "invalid-input": ("T3", "a custom tool's input does not match its grammar: asked for again"),
    "invalid-output": ("T3", "a structured answer does not fit its schema: asked for again"),
    "message-of-another": ("T2", "a message in another role: kept as reasoning, or cut off"),
    "missing-call": ("T1", "no call where one was required: continued with a call's header"),
    "reasoning-restored": ("T5", "reasoning that the client dropped was put back"),
    "repaired-output": ("T3", "a structured answer that was almost JSON: mended"),
    "repetition": ("T4", "nothing but repetition: the turn was ended"),
    "several-calls": ("R7", "several JSON objects in one call: each is a call of its own"),
    "silent-turn": ("T1", "thoughts and nothing else: continued with the final channel's header"),
}
"""Code → (rule, meaning)."""

_NOWHERE: Final = Span(0, 0)


def mended(code: str, detail: str = "") -> Diagnostic:
    """The diagnostic of a mend; ``detail`` says what was seen."""
    return Diagnostic(code, TURN_CODES[code][0], _NOWHERE, detail)


def argument_mends(arguments: Arguments, *, complete: bool) -> list[Diagnostic]:
    """What was mended of a call's arguments. Not ``complete``: the turn ended inside them."""
    found: list[Diagnostic] = []
    if arguments.more:
        found.append(mended("several-calls", str(1 + len(arguments.more))))
    if arguments.kind is ArgumentsKind.VALID:
        return found
    codes = ", ".join(arguments.repairs)
    if not complete:
        found.append(mended("arguments-truncated", codes))
    elif arguments.kind is ArgumentsKind.RAW:
        found.append(mended("arguments-raw", codes))
    elif not arguments.more:
        found.append(mended("arguments-repaired", codes))
    return found
