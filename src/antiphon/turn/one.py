"""The state of one turn: what was asked, what came, what comes next. No engine is called here."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from hashlib import blake2b
from typing import Final

from antiphon.api.errors import ApiError
from antiphon.api.turn import FinishReason, Recovered, TurnEnd, TurnEvent, TurnRequest, TurnUsage
from antiphon.codec.arguments import parse_arguments
from antiphon.engines.protocol import Capabilities, CompletionRequest, Finish
from antiphon.engines.protocol import FinishReason as EngineFinish
from antiphon.errors import SchemaError
from antiphon.model.message import Conversation, Role
from antiphon.settings.model import ModelSettings, Settings
from antiphon.turn.attempt import Attempt, Attempts
from antiphon.turn.call_check import call_misfit
from antiphon.turn.codes import mended
from antiphon.turn.constraint import Constraint, constraint, is_bound
from antiphon.turn.fold import TurnFold
from antiphon.turn.intake import Intake
from antiphon.turn.memory import ReasoningMemory
from antiphon.turn.offer import offer_of
from antiphon.turn.part import FoldOptions
from antiphon.turn.preflight import check_request
from antiphon.turn.prompt import off_loop, renderer, room, size
from antiphon.turn.repetition import RepetitionGuard
from antiphon.turn.sampling import check_logprobs, sampling
from antiphon.turn.stops import MAX_STOP_CHARS
from antiphon.turn.truncate import room_for_answer, truncated
from antiphon.turn.validation import check_text

__all__ = ["OneTurn"]

_NO_MODEL: Final = ModelSettings()
_OPENINGS: Final = {"object": "{", "array": "["}
_START_OF_ANSWER: Final = 2
"""``<|start|>assistant``, with which a prompt ends."""


class OneTurn:
    """One run of a turn, completion after completion. ``attempt`` is the next one, if any."""

    def __init__(
        self,
        request: TurnRequest,
        can: Capabilities,
        settings: Settings,
        new_id: Callable[[], str],
        memory: ReasoningMemory,
        *,
        model: ModelSettings | None = None,
        grammar_holds: bool = True,
        checked: bool = False,
    ) -> None:
        self.request = request
        self.grammar_holds = grammar_holds
        """False once an answer under a grammar did not fit its schema."""
        self.attempt: Attempt | None = None
        self.fold: TurnFold
        self.intake: Intake
        self._can = can
        self._settings = settings
        self._model = model or settings.models.get(request.model, _NO_MODEL)
        self._new_id = new_id
        self._memory = memory
        self._offer = offer_of(request)
        self._fields = sampling(request.sampling, settings.prompt, can)
        self._logprobs = check_logprobs(request, can)
        self._request_checked = checked
        self._length = False
        self._usage = TurnUsage(completions=0)
        self._prompt: list[int] = []
        self._checked = 0
        self._dropped = 0
        if sum(map(len, request.stop)) > MAX_STOP_CHARS or not all(request.stop):
            raise ApiError(
                f"stop: strings must not be empty, nor longer than {MAX_STOP_CHARS} characters"
                " together",
                param="stop",
            )

    # Before and between completions.

    async def begin(self) -> list[TurnEvent]:
        """Make the prompt, decide how to begin. Raises ApiError for what cannot be done."""
        request = self.request
        bound = Constraint(False, self._offer.namespaces)
        if is_bound(request, self._offer):
            if not self._request_checked:
                await check_request(request)
            bound = await self._bound()
        ids = {past.message: past.call_id for past in request.past_calls}
        conversation, restored = await self._memory.restore(
            request.conversation, ids, request.tenant
        )
        chars = size(conversation.messages)
        self._prompt = await off_loop(chars, lambda: self._rendered(conversation))
        self._restored = restored
        self._attempts = Attempts(
            request,
            self._offer,
            bound,
            self._settings.turn,
            self._can.grammar,
            grammar_holds=self.grammar_holds,
        )
        self.attempt = self._attempts.first()
        self.fold = TurnFold(self._offer, self._options(self.attempt), self._new_id, self._guard())
        self._next = await self._completion(self.attempt)
        return [Recovered(mended("reasoning-restored", str(restored)))] if restored else []

    def _rendered(self, conversation: Conversation) -> list[int]:
        """The prompt, without the oldest turns if it may be cut and is too long."""
        context = self._context_length()
        if self.request.truncate and context is not None:
            limit = context - room_for_answer(context, self.request.max_tokens)
            conversation, self._dropped = truncated(
                conversation, limit, lambda shorter: len(self._tokens(shorter))
            )
        return self._tokens(conversation)

    def _tokens(self, conversation: Conversation) -> list[int]:
        return renderer().for_completion(conversation, encoded=self.request.encoded)

    def decisions(self) -> list[tuple[str, str]]:
        """What was decided before the engine is asked, and why."""
        found = []
        if self._restored:
            found.append(("remembered", f"{self._restored} calls came without their reasoning"))
        if self._dropped:
            found.append(("truncated", f"{self._dropped} turns did not fit the context"))
        return found

    def completion(self) -> CompletionRequest:
        """What to ask the engine for now."""
        self._sent = len(self._next.prompt)
        self.intake = Intake(self._can.reading, self._offer.table, self.fold)
        return self._next

    async def _completion(self, attempt: Attempt) -> CompletionRequest:
        """Raises ApiError if there is no room for it."""
        prompt = self._prompt
        extra = [*self.fold.messages, *attempt.rejected]
        if extra:
            said = await off_loop(
                size(extra), lambda: renderer().conversation(extra, history="keep")
            )
            prompt = [*prompt[:-_START_OF_ANSWER], *said, *prompt[-_START_OF_ANSWER:]]
        prompt = [*prompt, *attempt.prefill] if attempt.prefill else prompt
        request = self.request
        return CompletionRequest(
            prompt=prompt,
            model=self._model.engine or (request.model if self._can.any_model else None),
            max_tokens=self._room(len(prompt)),
            logprobs=self._logprobs,
            grammar=attempt.grammar,
            cache_salt=_salt(request.tenant) if self._can.cache_salt else None,
            affinity=self._affinity(),
            **self._fields,
        )

    def prefilled(self) -> list[TurnEvent]:
        """The events of the completion's beginning that the prompt holds."""
        out: list[TurnEvent] = []
        attempt = self.attempt
        if attempt is not None:
            if attempt.code is not None:
                out.append(Recovered(mended(attempt.code, attempt.detail)))
            self.intake.prefill(attempt.prefill, out)
        return out

    # After a completion.

    async def ended(self, finish: Finish | None) -> list[TurnEvent]:
        """A completion is over: the rest of its events, and ``attempt`` for what comes next."""
        out: list[TurnEvent] = []
        fold = self.fold
        over = fold.over
        self.intake.end(finish, out)
        self._count(finish)
        cut = over is None and finish is not None and finish.reason is EngineFinish.LENGTH
        self._length = cut or fold.over == "repetition"
        self.attempt = None if self._length else await self._checked_against(out)
        if self.attempt is None and not self._length:
            self.attempt = self._attempts.after(fold)
            if self.attempt is None and self._offer.required and not fold.calls:
                raise ApiError(
                    "the model did not call a tool, though tool_choice requires it",
                    status=502,
                    type="engine_error",
                    param="tool_choice",
                    code="tool_call_missing",
                )
        if self.attempt is not None:
            try:
                self._next = await self._completion(self.attempt)
            except ApiError as error:
                if self.attempt.rejected:
                    why = f"what the model wrote does not fit: {self.attempt.detail}"
                    raise _unfit(f"{why}; no room is left to ask again") from error
                self.attempt, self._length = None, True  # the context is full
        if self.attempt is None:
            fold.release(out)
        else:
            fold.again()
            fold.options = self._options(self.attempt)
        return out

    async def end(self) -> list[TurnEvent]:
        """The turn is over."""
        fold, request = self.fold, self.request
        if fold.call_ids:
            await self._memory.remember(
                request.conversation.messages, fold.messages, fold.call_ids, request.tenant
            )
        reason: FinishReason = "stop"
        if self._length:
            reason = "length"
        elif fold.calls:
            reason = "tool_calls"
        end = TurnEnd(
            finish_reason=reason,
            usage=self._usage,
            messages=tuple(fold.messages),
            stop_string=fold.stop_string,
        )
        return [end]

    # Inside.

    async def _bound(self) -> Constraint:
        """What the request binds, looked at in a thread: schemas are the client's."""
        try:
            return await asyncio.to_thread(constraint, self.request, self._offer, self._can.grammar)
        except SchemaError as error:
            raise ApiError(str(error), param="tools", code="invalid_json_schema") from error

    def _options(self, attempt: Attempt) -> FoldOptions:
        request = self.request
        output = request.output
        held_to = attempt.grammar is not None and attempt.exact and self.grammar_holds
        strict = output is not None and output.strict
        opening = None
        if output is not None and strict and held_to:
            opening = _OPENINGS.get(str(output.schema.get("type")))
        return FoldOptions(
            stops=request.stop,
            adopt=self._settings.turn.adopt_calls,
            structured=output is not None,
            hold_answer=strict and not held_to,
            hold_calls=frozenset() if held_to else self._offer.checked,
            opening=opening,
            logprobs=self._logprobs is not None,
        )

    def _guard(self) -> RepetitionGuard | None:
        turn = self._settings.turn
        return RepetitionGuard(turn.repetition_tokens) if turn.repetition_guard else None

    def _room(self, prompt: int) -> int | None:
        limits = (self._settings.turn.output_tokens, self._model.output_tokens or 0)
        return room(prompt, self._context_length(), self._left(), limits)

    def _context_length(self) -> int | None:
        known = (self._can.context_length, self._model.context_length)
        return min([length for length in known if length is not None], default=None)

    def _left(self) -> int | None:
        """Raises ApiError if what the client allows is used up."""
        asked = self.request.max_tokens
        if asked is None:
            return None
        left = asked - self._usage.completion_tokens
        if left <= 0 < self._usage.completion_tokens:
            raise ApiError(
                f"max_tokens: {asked} tokens were not enough for a complete answer",
                param="max_tokens",
                code="max_tokens_reached",
            )
        return left

    def _affinity(self) -> str | None:
        request = self.request
        digest = blake2b(request.tenant.encode(), digest_size=16)
        if request.conversation_key is not None:
            digest.update(b"\0key\0" + request.conversation_key.encode("utf-8", "surrogatepass"))
            return digest.hexdigest()
        for message in request.conversation.messages:
            if message.role == Role.USER:
                digest.update(b"\0user\0" + message.text.encode("utf-8", "surrogatepass"))
                return digest.hexdigest()
        return None

    def _count(self, finish: Finish | None) -> None:
        """Add a completion's tokens. Engines that do not send every id tell only the sum."""
        told = None if finish is None else finish.usage
        seen = self.intake.tokens
        completion = told.completion_tokens if told and told.completion_tokens else seen
        reasoning = self.intake.reasoning_tokens
        if seen and seen != completion:
            reasoning = round(completion * reasoning / seen)
        known = self._usage
        self._usage = TurnUsage(
            prompt_tokens=known.prompt_tokens
            + (told.prompt_tokens if told and told.prompt_tokens else self._sent),
            cached_tokens=known.cached_tokens + (told.cached_tokens if told else 0),
            completion_tokens=known.completion_tokens + completion,
            reasoning_tokens=known.reasoning_tokens + min(reasoning, completion),
            completions=known.completions + 1,
        )

    # What is bound.

    async def _checked_against(self, out: list[TurnEvent]) -> Attempt | None:
        """Check what is bound to a schema. The attempt that mends it, if it does not fit.

        Raises ApiError if it cannot be mended.
        """
        fold, output = self.fold, self.request.output
        for call in fold.bound[self._checked :]:
            tool = call.tool
            why = await call_misfit(call)
            if why is None:
                continue
            grammar = tool.grammar is not None
            leaked = self._misfits()
            attempt = None
            if not leaked:
                attempt = self._attempts.another_call(
                    tool.recipient, fold.discard(), why, grammar=grammar
                )
            if attempt is None:
                what = "input" if grammar else "arguments"
                match = "does not match its grammar" if grammar else "do not match its schema"
                raise _unfit(f"the {what} of {tool.name} {match}: {why}")
            return attempt
        self._checked = len(fold.bound)
        if output is None or not output.strict or not fold.answers or fold.stop_string is not None:
            return None
        text = fold.answers[0]
        why_not = await asyncio.to_thread(check_text, output.schema, text)
        if why_not is None:
            return None
        leaked = self._misfits()
        if not leaked:
            better = await asyncio.to_thread(parse_arguments, text)
            fits = better.value is not None and not better.truncated
            if fits and await asyncio.to_thread(check_text, output.schema, better.json) is None:
                fold.discard()
                out.append(Recovered(mended("repaired-output", ", ".join(better.repairs))))
                fold.answer(better.json, out)
                return None
        attempt = None if leaked else self._attempts.another_answer(fold.discard(), why_not)
        if attempt is None:
            raise _unfit(f"the answer does not match the required schema: {why_not}")
        return attempt

    def _misfits(self) -> bool:
        """Something did not fit. Whether it was shown already, because a grammar was trusted."""
        if self.attempt is not None and self.attempt.grammar is not None and self.attempt.exact:
            self.grammar_holds = self._attempts.grammar_holds = False
        return self.fold.held is None


def _unfit(message: str) -> ApiError:
    return ApiError(message, status=502, type="engine_error", code="structured_output_failed")


def _salt(tenant: str) -> str | None:
    return blake2b(tenant.encode(), digest_size=16).hexdigest() if tenant else None
