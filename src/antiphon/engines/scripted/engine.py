"""The scripted engine: given completions, a trace, or rules, sent as an engine would."""

from __future__ import annotations

import asyncio
import codecs
from collections import deque
from collections.abc import AsyncGenerator, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Final

import msgspec

from antiphon.codec.grammar.plan import Plan
from antiphon.engines.protocol import (
    Capabilities,
    Chunk,
    CompletionRequest,
    Finish,
    FinishReason,
    Reading,
    TokenLogprob,
    Usage,
)
from antiphon.engines.refusal import refusal
from antiphon.engines.scripted.completion import complete_scene
from antiphon.engines.scripted.prefixes import Prefixes
from antiphon.engines.scripted.scene import Scene, read_scene
from antiphon.engines.scripted.trace import Line, Trace, marked_ids, read_trace
from antiphon.errors import EngineError
from antiphon.vocab.control import CONTROL_NAMES, GENERATION_STOP_IDS, LAST_CONTROL_ID, is_control
from antiphon.vocab.table import token_bytes

__all__ = ["MAX_LOGPROBS", "ScriptedEngine"]

MAX_LOGPROBS: Final = 20
"""Most alternatives reported for a token."""

_KEPT_REQUESTS: Final = 1_000
_CHOSEN: Final = -0.01
_OTHERS: Final = -6.0
_NO_LINE: Final = Line()


class ScriptedEngine:
    """A gpt-oss without a model.

    With ``scripts``, the n-th request is answered with the n-th of them. Without, a line of
    ``trace`` that fits the prompt, else the built-in rules (docs/scripted-engine.md).

    ``chunking`` is how many tokens the successive chunks of a completion hold; its last number
    goes on for the rest. ``reading`` is how completions come; a trace may say it. ``requests``
    keeps what was asked for, the last thousand. Sampling changes nothing but for ``seed``, which
    picks other words for long texts and lists.
    """

    name: Final = "scripted engine"

    def __init__(
        self,
        scripts: Iterable[Sequence[int]] | None = None,
        *,
        chunking: Sequence[int] = (1,),
        context_length: int = 131_072,
        trace: Trace | None = None,
        reading: Reading | None = None,
    ) -> None:
        if not chunking or min(chunking) < 1:
            raise ValueError("chunking must hold positive numbers")
        self.requests: list[CompletionRequest] = []
        self._scripts = None if scripts is None else deque(tuple(script) for script in scripts)
        self._chunking = tuple(chunking)
        self._context_length = context_length
        self._trace = trace or Trace(())
        self._played = [0] * len(self._trace.lines)
        self._reading: Reading = reading or self._trace.form
        self._prefixes = Prefixes()

    @classmethod
    def from_trace(cls, path: str | Path) -> ScriptedEngine:
        """The engine that plays a trace file. Raises EngineError naming the file and the line."""
        return cls(trace=read_trace(path))

    @property
    def capabilities(self) -> Capabilities:
        ids = self._reading in ("ids", "hybrid")
        return Capabilities(
            reading=self._reading,
            prompt_ids=True,
            grammar="plan",
            sampling=frozenset(
                "temperature top_p top_k min_p presence_penalty frequency_penalty"
                " repetition_penalty seed logit_bias".split()
            ),
            logprobs=MAX_LOGPROBS if ids else None,
            cache_salt=True,
            any_model=True,
            context_length=self._context_length,
        )

    async def complete(self, request: CompletionRequest) -> AsyncGenerator[Sequence[Chunk], None]:
        self.requests.append(request)
        del self.requests[:-_KEPT_REQUESTS]
        self._check(request.prompt)
        script, line = self._script(request)
        if line.hang_ms:
            await asyncio.sleep(line.hang_ms / 1000)
        if line.status is not None:
            raise _refused(line)
        tokens, finish = self._cut(script, request)
        die_after = line.die_after
        left = len(tokens) if die_after is None else min(die_after, len(tokens))
        sizes = self._sizes(left, None if line is _NO_LINE else line.chunk)
        decoder = codecs.getincrementaldecoder("utf-8")("replace")
        for chunk in self._chunks(tokens[:left], sizes, decoder, request.logprobs):
            # The others get their turn, and a cancelled request ends, even without a delay.
            await asyncio.sleep(line.delay_ms / 1000)
            yield (chunk,)
        if die_after is not None and die_after <= len(tokens):
            raise EngineError(f"{self.name}: broke off after {left} tokens")
        yield (Chunk((), decoder.decode(b"", final=True), finish=finish),)

    async def aclose(self) -> None:
        """Nothing to let go of."""

    def _check(self, prompt: Sequence[int]) -> None:
        refused: str | None = None
        if not prompt or not all(0 <= token < LAST_CONTROL_ID for token in prompt):
            refused = "the prompt is empty or holds an id that is out of range"
        elif len(prompt) >= self._context_length:
            refused = f"the prompt's {len(prompt)} tokens do not fit in {self._context_length}"
        elif self._scripts is not None and not self._scripts:
            raise EngineError("the scripted engine has no script left")
        if refused is not None:
            error = EngineError(f"{self.name}: {refused}")
            error.status_hint = 400
            raise error

    def _script(self, request: CompletionRequest) -> tuple[Sequence[int], Line]:
        """What to say, and the line of the trace that says how."""
        if self._scripts is not None:
            return self._scripts.popleft(), _NO_LINE
        plan = _plan(request.grammar)
        scene = read_scene(request.prompt)
        line = self._line(scene, request.model)
        if isinstance(line.emit, str):
            return marked_ids(line.emit), line
        if line.emit is not None:
            return line.emit, line
        room = self._context_length - len(request.prompt)
        if request.max_tokens is not None:
            room = min(room, request.max_tokens)
        asked = None if request.max_tokens is None else room
        return complete_scene(scene, plan, seed=request.seed or 0, room=asked), line

    def _line(self, scene: Scene, model: str | None) -> Line:
        for i in self._trace.matching(scene, model):
            line = self._trace.lines[i]
            if line.times is None or self._played[i] < line.times:
                self._played[i] += 1
                return line
        return _NO_LINE

    def _cut(
        self, script: Sequence[int], request: CompletionRequest
    ) -> tuple[tuple[int, ...], Finish]:
        """The script up to its first stop token or the end of the room."""
        prompt = request.prompt
        room = self._context_length - len(prompt)
        if request.max_tokens is not None:
            room = min(room, request.max_tokens)
        stops = GENERATION_STOP_IDS
        end = next((i + 1 for i, token in enumerate(script) if token in stops), len(script))
        tokens = tuple(script[: min(end, room)])
        stop = tokens[-1] if tokens and tokens[-1] in stops else None
        cached = self._prefixes.shared(prompt, request.cache_salt)
        self._prefixes.add([*prompt, *tokens], request.cache_salt)
        usage = Usage(
            prompt_tokens=len(prompt), completion_tokens=len(tokens), cached_tokens=cached
        )
        reason = FinishReason.LENGTH if stop is None else FinishReason.STOP
        return tokens, Finish(reason, None if self._reading == "stripped" else stop, usage)

    def _sizes(self, total: int, chunk: int | None) -> Iterator[int]:
        sizes = iter(self._chunking if chunk is None else (chunk,))
        size = 1
        while total > 0:
            size = next(sizes, size)
            yield min(size, total)
            total -= size

    def _chunks(
        self,
        tokens: Sequence[int],
        sizes: Iterable[int],
        decoder: codecs.IncrementalDecoder,
        logprobs: int | None,
    ) -> Iterator[Chunk]:
        reading = self._reading
        start = 0
        for size in sizes:
            piece = tuple(tokens[start : start + size])
            start += size
            if reading == "hybrid":
                yield from _hybrid(piece, decoder)
                continue
            said = [t for t in piece if not is_control(t)] if reading == "stripped" else piece
            text = decoder.decode(b"".join([token_bytes(t) or b"" for t in said]))
            if reading != "ids":
                yield Chunk((), text)
                continue
            chances = () if logprobs is None else tuple(_chances(t, logprobs) for t in piece)
            yield Chunk(piece, text, logprobs=chances)


def _hybrid(piece: Sequence[int], decoder: codecs.IncrementalDecoder) -> Iterator[Chunk]:
    """As llama.cpp tells it: nothing of a character until it is complete, then its last id only."""
    for token in piece:
        if is_control(token):
            yield Chunk((token,), CONTROL_NAMES[token])
            continue
        spelled = token_bytes(token) or b""
        text = decoder.decode(spelled)
        if text:
            yield Chunk((token,), text, text.encode() == spelled)


def _chances(token: int, alternatives: int) -> TokenLogprob:
    """A sure choice, and the tokens with the next ids as the unlikely others."""
    spelled = token_bytes(token) or b""
    chosen = TokenLogprob(token, spelled, _CHOSEN)
    if not alternatives:
        return chosen
    top = [chosen]
    for rank in range(1, min(alternatives, MAX_LOGPROBS)):
        other = (token + rank) % LAST_CONTROL_ID
        top.append(TokenLogprob(other, token_bytes(other) or b"", _OTHERS - rank))
    return TokenLogprob(token, spelled, _CHOSEN, tuple(top))


def _plan(grammar: str | None) -> Plan | None:
    if grammar is None:
        return None
    try:
        return msgspec.json.decode(grammar, type=Plan)
    except msgspec.MsgspecError as error:
        refused = EngineError(f"{ScriptedEngine.name} cannot read the grammar: {error}")
        refused.status_hint = 400
        raise refused from error


def _refused(line: Line) -> EngineError:
    status = line.status or 500
    body = (line.body if line.body is not None else "as the trace says").encode()
    return refusal(ScriptedEngine.name, status, body, {})
