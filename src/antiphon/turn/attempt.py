"""The completions of one turn: how the first begins, and how one that mends it begins.

What an engine can be held to by a grammar is; what it cannot is begun for it, by writing the header
of the message that is wanted at the end of the prompt.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import msgspec

from antiphon.api.turn import TurnRequest
from antiphon.codec.grammar.plan import Plan
from antiphon.engines.protocol import GrammarKind
from antiphon.model.message import Message
from antiphon.settings.model import TurnSettings
from antiphon.turn.constraint import Constraint, planned, written
from antiphon.turn.fold import TurnFold
from antiphon.turn.offer import Offer
from antiphon.turn.prompt import call_header, final_header, no_thoughts

__all__ = ["Attempt", "Attempts"]


_ANSWERS: Final = frozenset({"silent-turn", "invalid-output"})
"""Mends that begin the answer; the others begin a call."""


class Attempt(msgspec.Struct, frozen=True, kw_only=True):
    """How one completion begins."""

    prefill: tuple[int, ...] = ()
    """Behind ``<|start|>assistant``."""
    grammar: str | None = None
    exact: bool = False
    """Whether the grammar expresses all that is bound."""
    rejected: tuple[Message, ...] = ()
    """What did not fit, and what the model is told of it before it tries again."""
    code: str | None = None
    """The mend that this completion is."""
    detail: str = ""


class Attempts:
    """Decides, for one turn, on its completions. Beyond the first there are few."""

    def __init__(
        self,
        request: TurnRequest,
        offer: Offer,
        bound: Constraint,
        settings: TurnSettings,
        grammar: GrammarKind | None,
        *,
        grammar_holds: bool = True,
    ) -> None:
        self._request = request
        self._offer = offer
        self._bound = bound
        self.grammar_holds = grammar_holds
        """False once what was made under a grammar did not fit: then headers are written."""
        self._plans = grammar == "plan"
        self._grammar: GrammarKind | None = grammar if bound.bound and not self._plans else None
        self._continue = settings.continue_silent
        self._call_wanted = True
        self._retries = settings.structured_retries

    def first(self) -> Attempt:
        """How the turn begins."""
        request, offer = self._request, self._offer
        what = planned(request, offer, answer=False, call=False) if self._plans else None
        if self._grammar is not None:
            made = self._constrained(self._bound.plan(think=request.think))
            if made is not None:
                return made
        if request.think:
            return Attempt(grammar=what)
        if offer.required:
            return Attempt(prefill=self._call_header(), grammar=what)
        if offer.tools:
            return Attempt(prefill=no_thoughts(), grammar=what)
        return Attempt(prefill=final_header(json=request.output is not None), grammar=what)

    def after(self, fold: TurnFold) -> Attempt | None:
        """What mends a turn that ended without what it should have brought, if anything does."""
        if fold.calls:
            return None
        if self._offer.required:
            if not self._call_wanted:
                return None
            self._call_wanted = False
            return self._begun(self._call_plan(None), self._call_header(), "missing-call")
        if fold.spoken or not self._continue:
            return None
        self._continue = False
        return self._answer("silent-turn")

    def another_answer(self, rejected: Sequence[Message], why: str) -> Attempt | None:
        """Ask again for an answer that did not fit."""
        if not self._retry():
            return None
        note = Message.developer(
            f"Your last answer did not match the required JSON Schema: {why}\n"
            "Answer again, with JSON that matches the schema and nothing else."
        )
        begun = self._answer("invalid-output")
        return msgspec.structs.replace(begun, rejected=(*rejected, note), detail=why)

    def another_call(
        self, recipient: str, rejected: Sequence[Message], why: str, *, grammar: bool = False
    ) -> Attempt | None:
        """Ask again for a call whose arguments did not fit; ``grammar``: a custom tool's input."""
        if not self._retry():
            return None
        what, wanted, match = (
            ("input", "grammar", "matches") if grammar else ("arguments", "schema", "match")
        )
        note = Message.developer(
            f"The {what} of your last call of {recipient} did not match its {wanted}: {why}\n"
            f"Write the call again, with {what} that {match} the {wanted}."
        )
        code = "invalid-input" if grammar else "invalid-arguments"
        begun = self._begun(self._call_plan(recipient), call_header(recipient), code)
        return msgspec.structs.replace(begun, rejected=(*rejected, note), detail=why)

    def _retry(self) -> bool:
        self._retries -= 1
        return self._retries >= 0

    def _answer(self, code: str) -> Attempt:
        output = self._request.output
        what = None if output is None else self._bound.only_answer()
        return self._begun(what, final_header(json=output is not None), code)

    def _begun(self, what: Plan | None, header: tuple[int, ...], code: str) -> Attempt:
        """Held to the plan if the engine can, else begun with the header."""
        made = None
        if what is not None and self._grammar is not None and self.grammar_holds:
            made = self._constrained(what)
        if made is None:
            answer = code in _ANSWERS
            told = None
            if self._plans:
                told = planned(self._request, self._offer, answer=answer, call=not answer)
            return Attempt(prefill=header, code=code, grammar=told)
        return msgspec.structs.replace(made, code=code)

    def _constrained(self, what: Plan) -> Attempt | None:
        text = None if self._grammar is None else written(what, self._grammar)
        return None if text is None else Attempt(grammar=text.text, exact=not text.notes)

    def _call_plan(self, recipient: str | None) -> Plan | None:
        return self._bound.only_call(recipient) if self._bound.namespaces else None

    def _call_header(self) -> tuple[int, ...]:
        only = self._offer.only
        if only is not None:
            return call_header(only, json=self._offer.tools[only].json)
        return call_header(None)
