"""A raw completion of a few tokens, to see how an engine's answers come; and one under a grammar.

After ``<|start|>assistant`` a gpt-oss writes ``<|channel|>`` and a channel's name. Whether that
arrives as an id, as text or not at all is what has to be known before a word of it can be read.
"""

from __future__ import annotations

from typing import Any, Final

import msgspec

from antiphon.engines.detect.asking import Answer, Asker, dig
from antiphon.engines.detect.listed import Listed
from antiphon.engines.detect.report import Finding, Kind
from antiphon.engines.protocol import GrammarKind, Reading
from antiphon.vocab.control import CHANNEL, CONTROL_IDS, END, MESSAGE, START
from antiphon.vocab.table import token_bytes

__all__ = ["PROMPT_IDS", "PROMPT_TEXT", "Trial", "classify", "try_grammar", "try_raw"]

TRIAL_SECONDS: Final = 20.0
"""Longest wait for a trial: a few tokens, on an engine that may be busy."""
TRIAL_TOKENS: Final = 4

PROMPT_TEXT: Final = "<|start|>user<|message|>Hi<|end|><|start|>assistant"
PROMPT_IDS: Final = (START, 1428, MESSAGE, 12194, END, START, 173_781)
"""`PROMPT_TEXT` as ids."""

_PRESERVED: Final = [name for name in CONTROL_IDS if not name.startswith("<|reserved")]
_CHANNELS: Final = ("analysis", "commentary", "final")
_MARKS: Final = ("<|channel|>", "<|message|>")

_FORCED: Final = "quartz"
"""What the grammar of the trial makes the model say behind ``<|channel|>``. No model does so of
its own accord."""
_GBNF: Final = f'root ::= <[{CHANNEL}]> "{_FORCED}"'
_STRUCTURAL_TAG: Final = msgspec.json.encode(
    {
        "type": "structural_tag",
        "format": {"type": "const_string", "value": f"<|channel|>{_FORCED}"},
    }
).decode()


class Trial(msgspec.Struct, frozen=True, kw_only=True):
    """What a raw completion showed."""

    reading: Finding[Reading | None]
    prompt_ids: Finding[bool]
    logprobs: Finding[int | None]


class _Try(msgspec.Struct, frozen=True):
    """A request for a stream, and where in its events things are."""

    route: str
    body: dict[str, Any]
    text: tuple[str | int, ...]
    ids: tuple[str | int, ...] = ()
    logprobs: tuple[str | int, ...] = ()
    whole_ids: bool = False
    """Whether the engine sends all ids also in a stream."""
    with_ids: bool = False
    """Whether the prompt goes over as ids."""
    cumulative: bool = False
    """Whether an event may repeat what came before."""


_CHOICE: Final = ("choices", 0)
_LOGPROB_FIELDS: Final = ("n_probs", "logprobs", "return_logprob")
MAX_SAID: Final = 1000
"""Characters and ids of an answer that are looked at."""
MAX_LOGPROBS: Final = 20
"""Most alternatives that are asked for: OpenAI's limit, and vLLM's own default."""


async def try_raw(asker: Asker, kind: Kind, model: Listed) -> Trial:
    """Ask for a few tokens, in the ways this kind of engine may understand, until one works."""
    failed = ""
    for attempt in _attempts(kind, model.id):
        answer = await asker.events(attempt.route, attempt.body, seconds=TRIAL_SECONDS)
        if not answer.ok:
            failed = failed or f"{attempt.route}: {answer.error}"
            continue
        said, ids = _fold(attempt, answer)
        reading = classify(said, ids, whole_ids=attempt.whole_ids)
        if reading.value is None:
            failed = f"{attempt.route}: {reading.reason}"
            continue
        how = "as ids" if attempt.with_ids else "as text"
        return Trial(
            reading=reading,
            prompt_ids=Finding(attempt.with_ids, f"{attempt.route} took a prompt {how}"),
            logprobs=_logprobs(attempt, answer),
        )
    return unknown(failed or "there is no raw completion route")


def unknown(reason: str) -> Trial:
    """A trial that was not made, or showed nothing."""
    return Trial(
        reading=Finding(None, reason),
        prompt_ids=Finding(False, reason),
        logprobs=Finding(None, reason),
    )


def _attempts(kind: Kind, model: str) -> list[_Try]:
    ids = list(PROMPT_IDS)
    match kind:
        case "llama.cpp":
            body = {**_llama_body(model), "prompt": ids, "n_probs": 1, "return_tokens": True}
            probabilities = ("completion_probabilities",)
            return [
                _Try("/completion", body, ("content",), ("tokens",), probabilities, with_ids=True)
            ]
        case "sglang":
            body = _sglang_body({"max_new_tokens": TRIAL_TOKENS, "temperature": 0})
            return [
                _Try(
                    "/generate",
                    {**body, "return_logprob": True},
                    ("text",),
                    ("output_ids",),
                    ("meta_info", "output_token_logprobs"),
                    whole_ids=True,
                    with_ids=True,
                    cumulative=True,
                )
            ]
        case "ollama":
            body = {
                "model": model,
                "raw": True,
                "stream": True,
                "prompt": PROMPT_TEXT,
                "options": {"num_predict": TRIAL_TOKENS, "temperature": 0},
                "logprobs": True,
            }
            return [_Try("/api/generate", body, ("response",), (), ("logprobs",))]
        case _:
            return _openai_attempts(kind, model)


def _openai_attempts(kind: Kind, model: str) -> list[_Try]:
    plain = {"model": model, "max_tokens": TRIAL_TOKENS, "temperature": 0, "stream": True}
    rich = {
        **plain,
        "logprobs": 1,
        "return_token_ids": True,
        "skip_special_tokens": False,
        "spaces_between_special_tokens": False,
        "preserved_tokens": _PRESERVED,
    }
    if kind == "vllm":
        del rich["preserved_tokens"]
    text, ids, logprobs = (*_CHOICE, "text"), (*_CHOICE, "token_ids"), (*_CHOICE, "logprobs")

    def attempt(body: dict[str, Any], *, with_ids: bool) -> _Try:
        prompt = list(PROMPT_IDS) if with_ids else PROMPT_TEXT
        return _Try(
            "/v1/completions",
            {**body, "prompt": prompt},
            text,
            ids,
            logprobs,
            whole_ids=True,
            with_ids=with_ids,
        )

    if kind in ("mlx-lm", "transformers"):
        return [attempt(plain, with_ids=False)]
    with_text = [attempt(rich, with_ids=False), attempt(plain, with_ids=False)]
    return [attempt(rich, with_ids=True), *with_text]


def _llama_body(model: str) -> dict[str, Any]:
    return {
        "model": model,
        "n_predict": TRIAL_TOKENS,
        "temperature": 0,
        "stream": True,
        "preserved_tokens": _PRESERVED,
    }


def _sglang_body(sampling: dict[str, Any]) -> dict[str, Any]:
    keep = {"skip_special_tokens": False, "spaces_between_special_tokens": False}
    return {
        "input_ids": list(PROMPT_IDS),
        "sampling_params": {**sampling, **keep, "no_stop_trim": True},
        "stream": True,
    }


def _fold(attempt: _Try, answer: Answer) -> tuple[str, list[int]]:
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


def _logprobs(attempt: _Try, answer: Answer) -> Finding[int | None]:
    if not attempt.logprobs:
        return Finding(None, "not offered on this route")
    if any(dig(event, *attempt.logprobs) for event in answer.data):
        return Finding(MAX_LOGPROBS, f"{attempt.route} sent some when asked")
    return Finding(None, f"{attempt.route} sent none when asked")


async def try_grammar(asker: Asker, kind: Kind, model: Listed) -> Finding[GrammarKind | None]:
    """Constrain a completion to what no model says, and see whether it said it."""
    found = _grammar_attempt(kind, model.id)
    if found is None:
        return Finding(None, "no constraint that could hold a Harmony message is known for it")
    grammar, attempt = found
    answer = await asker.events(attempt.route, attempt.body, seconds=TRIAL_SECONDS)
    if not answer.ok:
        return Finding(None, f"a {grammar} on {attempt.route} is refused: {answer.error}")
    said, ids = _fold(attempt, answer)
    if ids and attempt.whole_ids:
        said = b"".join([token_bytes(token) or b"" for token in ids]).decode("utf-8", "replace")
    if said.removeprefix("<|channel|>").startswith(_FORCED[:4]):
        return Finding(grammar, f"a tiny {grammar} on {attempt.route} took hold")
    return Finding(None, f"a {grammar} on {attempt.route} is accepted and ignored")


def _grammar_attempt(kind: Kind, model: str) -> tuple[GrammarKind, _Try] | None:
    """A request bound to `_FORCED`. It differs from the raw trial in the constraint only."""
    first = _attempts(kind, model)[0]
    body = {name: value for name, value in first.body.items() if name not in _LOGPROB_FIELDS}
    match kind:
        case "llama.cpp" | "lemonade":
            return "gbnf", msgspec.structs.replace(first, body={**body, "grammar": _GBNF})
        case "sglang":
            sampling = {**body["sampling_params"], "structural_tag": _STRUCTURAL_TAG}
            bound = {**body, "sampling_params": sampling}
            return "structural_tag", msgspec.structs.replace(first, body=bound)
        case "vllm":
            bound = {**body, "structured_outputs": {"structural_tag": _STRUCTURAL_TAG}}
            return "structural_tag", msgspec.structs.replace(first, body=bound)
        case _:
            return None
