"""A raw completion of a few tokens, to see how an engine's answers come; and one under a grammar.

After ``<|start|>assistant`` a gpt-oss writes ``<|channel|>`` and a channel's name. Whether that
arrives as an id, as text or not at all is what has to be known before a word of it can be read.
"""

from __future__ import annotations

from typing import Final

import msgspec

from antiphon.engines.detect.asking import Answer, Asker, dig
from antiphon.engines.detect.dialects import FORCED, Attempt, attempts, bound
from antiphon.engines.detect.report import Finding, Kind
from antiphon.engines.protocol import GrammarKind, Reading
from antiphon.vocab.control import CHANNEL
from antiphon.vocab.table import token_bytes

__all__ = ["MAX_LOGPROBS", "TRIAL_SECONDS", "Tried", "classify", "try_model", "untried"]

TRIAL_SECONDS: Final = 20.0
"""Longest wait for a trial: a few tokens, on an engine that may be busy."""
MAX_SAID: Final = 1000
"""Characters and ids of an answer that are looked at."""
MAX_LOGPROBS: Final = 20
"""Most alternatives that are asked for: OpenAI's limit, and vLLM's own default."""

_REFUSALS: Final = frozenset({400, 401, 403, 404, 405, 415, 422, 501})
"""Statuses that say it will not work later either."""

_CHANNELS: Final = ("analysis", "commentary", "final")
_CHANNEL_MARK: Final = "<|channel|>"
_MARKS: Final = (_CHANNEL_MARK, "<|message|>")


class Tried(msgspec.Struct, frozen=True, kw_only=True):
    """What the trials of one model showed."""

    reading: Finding[Reading | None]
    prompt_ids: Finding[bool]
    logprobs: Finding[int | None]
    grammar: Finding[GrammarKind | None]
    dialect: Kind
    refuted: bool = False
    """Whether the engine showed that it does not do what its kind usually does."""


def untried(kind: Kind, reason: str, *, refuted: bool = False) -> Tried:
    """No trial was made, or none showed anything."""
    return Tried(
        refuted=refuted,
        reading=Finding(None, reason),
        prompt_ids=Finding(False, reason),
        logprobs=Finding(None, reason),
        grammar=Finding(None, reason),
        dialect=kind,
    )


async def try_model(
    asker: Asker, kind: Kind, model: str, *, seconds: float = TRIAL_SECONDS
) -> Tried:
    """Ask for a few tokens, in the ways this kind of engine may understand, until one works; then
    for some under a grammar. ``seconds`` is for each request.
    """
    failed, refuted = "", True
    for attempt in attempts(kind, model):
        body = {**attempt.body, **attempt.ask_logprobs}
        answer = await asker.events(attempt.route, body, seconds=seconds)
        if not answer.ok:
            failed = failed or f"{attempt.route}: {answer.error}"
            refuted &= answer.status in _REFUSALS
            continue
        said, ids = _fold(attempt, answer)
        if attempt.thinking:
            reading = _parsed(said, attempt, answer)
        else:
            reading = classify(said, ids, whole_ids=attempt.whole_ids)
        if reading.value is None:
            failed = f"{attempt.route}: {reading.reason}"
            # An answer with nothing in it is no completion; one that breaks off, or that is not
            # what a gpt-oss would say, still came the usual way.
            refuted &= bool(answer.data) and not said and not ids
        if reading.value is None or attempt.only not in (None, reading.value):
            continue
        how = "as ids" if attempt.with_ids else "as text"
        return Tried(
            reading=reading,
            prompt_ids=Finding(attempt.with_ids, f"{attempt.route} took a prompt {how}"),
            logprobs=_logprobs(attempt, answer),
            grammar=await _try_grammar(asker, attempt),
            dialect=attempt.dialect,
        )
    return untried(kind, failed or "it answers no raw completion", refuted=refuted)


def _fold(attempt: Attempt, answer: Answer) -> tuple[str, list[int]]:
    """The text and the ids of a stream's events."""
    texts: list[str] = []
    ids: list[int] = []
    for event in answer.data:
        if isinstance(piece := dig(event, *attempt.text), str):
            whole = attempt.cumulative and bool(texts) and piece.startswith("".join(texts))
            texts = [piece] if whole else [*texts, piece]
        new = dig(event, *attempt.ids) if attempt.ids else None
        if isinstance(new, list) and all(type(token) is int for token in new):
            ids = new if attempt.cumulative and new[: len(ids)] == ids else [*ids, *new]
        if len(texts) > MAX_SAID or len(ids) > MAX_SAID:
            break
    return "".join(texts)[:MAX_SAID], ids[:MAX_SAID]


def classify(said: str, ids: list[int], *, whole_ids: bool = True) -> Finding[Reading | None]:
    """How an answer to the trial's prompt came. ``whole_ids``: the engine withholds none."""
    if CHANNEL in ids:
        if whole_ids:
            return Finding("ids", f"the answer has the ids, {CHANNEL} among them")
        return Finding("hybrid", f"the answer has {CHANNEL}; ids inside characters never come")
    if not said and not ids:
        return Finding(None, "the answer is empty")
    if any(mark in said for mark in _MARKS):
        return Finding("marked", "the answer spells control tokens out")
    if said.lstrip().startswith(_CHANNELS):
        return Finding("stripped", "the answer has a channel's name and no control tokens")
    shown = msgspec.json.encode(said[:40]).decode()
    return Finding(None, f"the answer {shown} does not look like gpt-oss's")


def _parsed(said: str, attempt: Attempt, answer: Answer) -> Finding[Reading | None]:
    """How the answer came of an engine that parses it: its parts are written as Harmony again."""
    if any(dig(event, *attempt.thinking) for event in answer.data):
        return Finding("hybrid", "the engine parses the answer itself and tells analysis apart")
    if said and classify(said, []).value is None:
        return Finding("hybrid", "the engine parses the answer itself")
    return Finding(None, "the engine does not parse the answer" if said else "the answer is empty")


def _logprobs(attempt: Attempt, answer: Answer) -> Finding[int | None]:
    if not attempt.ask_logprobs:
        return Finding(None, "not asked for on this route")
    if any(dig(event, *attempt.logprobs) for event in answer.data):
        return Finding(MAX_LOGPROBS, f"{attempt.route} sent some when asked")
    return Finding(None, f"{attempt.route} sent none when asked")


async def _try_grammar(asker: Asker, attempt: Attempt) -> Finding[GrammarKind | None]:
    """Constrain the completion to what no model says, and see whether it said it."""
    found = bound(attempt)
    if found is None:
        return Finding(None, "no constraint that could hold a Harmony message is known for it")
    grammar, attempt = found
    answer = await asker.events(attempt.route, attempt.body, seconds=TRIAL_SECONDS)
    if not answer.ok:
        return Finding(None, f"a {grammar} on {attempt.route} is refused: {answer.error}")
    said, ids = _fold(attempt, answer)
    if ids and attempt.whole_ids:
        said = b"".join([token_bytes(token) or b"" for token in ids]).decode("utf-8", "replace")
    if said.removeprefix(_CHANNEL_MARK).startswith(FORCED[:4]):
        return Finding(grammar, f"a tiny {grammar} on {attempt.route} took hold")
    return Finding(None, f"a {grammar} on {attempt.route} is accepted and ignored")
