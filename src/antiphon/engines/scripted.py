"""An engine that says what it is told to: for tests, and for replaying recorded completions."""

from __future__ import annotations

import codecs
from collections import deque
from collections.abc import AsyncGenerator, Iterable, Sequence
from typing import Final

from antiphon.engines.protocol import (
    Capabilities,
    Chunk,
    CompletionRequest,
    Finish,
    FinishReason,
    Usage,
)
from antiphon.errors import EngineError
from antiphon.vocab.control import CALL, ENDOFTEXT, LAST_CONTROL_ID, RETURN
from antiphon.vocab.table import token_bytes

__all__ = ["ScriptedEngine"]

_STOPS: Final = frozenset({RETURN, CALL, ENDOFTEXT})


class ScriptedEngine:
    """Answers the n-th request with the n-th script.

    ``chunking`` is how many tokens the successive chunks of a completion hold; its last number
    goes on for the rest. ``requests`` keeps what was asked for. Sampling and grammars are ignored.
    """

    name: Final = "scripted engine"

    def __init__(
        self,
        scripts: Iterable[Sequence[int]],
        *,
        chunking: Sequence[int] = (1,),
        context_length: int = 131_072,
    ) -> None:
        if not chunking or min(chunking) < 1:
            raise ValueError("chunking must hold positive numbers")
        self.requests: list[CompletionRequest] = []
        self._scripts = deque(tuple(script) for script in scripts)
        self._chunking = tuple(chunking)
        self._context_length = context_length

    @property
    def capabilities(self) -> Capabilities:
        return Capabilities(
            reading="ids",
            prompt_ids=True,
            sampling=frozenset(CompletionRequest.__struct_fields__),
            context_length=self._context_length,
        )

    async def complete(self, request: CompletionRequest) -> AsyncGenerator[Sequence[Chunk], None]:
        self.requests.append(request)
        self._check(request.prompt)
        tokens, finish = self._play(request)
        decoder = codecs.getincrementaldecoder("utf-8")("replace")
        start = 0
        for size in self._sizes(len(tokens)):
            piece = tokens[start : start + size]
            start += size
            text = decoder.decode(b"".join([token_bytes(t) or b"" for t in piece]))
            yield (Chunk(piece, text),)
        yield (Chunk((), decoder.decode(b"", final=True), finish=finish),)

    async def aclose(self) -> None:
        """Nothing to let go of."""

    def _check(self, prompt: Sequence[int]) -> None:
        refused: str | None = None
        if not prompt or not all(0 <= token < LAST_CONTROL_ID for token in prompt):
            refused = "the prompt is empty or holds an id that is out of range"
        elif len(prompt) >= self._context_length:
            refused = f"the prompt's {len(prompt)} tokens do not fit in {self._context_length}"
        elif not self._scripts:
            raise EngineError("the scripted engine has no script left")
        if refused is not None:
            error = EngineError(f"{self.name}: {refused}")
            error.status_hint = 400
            raise error

    def _play(self, request: CompletionRequest) -> tuple[tuple[int, ...], Finish]:
        """The next script, cut at the first stop token and where the room ends."""
        tokens = self._scripts.popleft()
        room = self._context_length - len(request.prompt)
        if request.max_tokens is not None:
            room = min(room, request.max_tokens)
        end = next((i + 1 for i, token in enumerate(tokens) if token in _STOPS), len(tokens))
        tokens = tokens[: min(end, room)]
        stop = tokens[-1] if tokens and tokens[-1] in _STOPS else None
        usage = Usage(prompt_tokens=len(request.prompt), completion_tokens=len(tokens))
        reason = FinishReason.LENGTH if stop is None else FinishReason.STOP
        return tokens, Finish(reason, stop, usage)

    def _sizes(self, total: int) -> Iterable[int]:
        sizes = iter(self._chunking)
        size = 1
        while total > 0:
            size = next(sizes, size)
            yield size
            total -= size
