"""The raw completion requests that engines understand, as the trials send them.

A dialect is named by the engine it belongs to, and by its adapter in `antiphon.engines`. An engine
that says nothing of itself is tried in several.
"""

from __future__ import annotations

from typing import Any, Final

import msgspec

from antiphon.engines.detect.report import Kind
from antiphon.engines.protocol import GrammarKind, Reading
from antiphon.vocab.control import CHANNEL, CONTROL_IDS, END, MESSAGE, START

__all__ = ["FORCED", "PROMPT_IDS", "PROMPT_TEXT", "Attempt", "attempts", "bound"]

TRIAL_TOKENS: Final = 4

PROMPT_TEXT: Final = "<|start|>user<|message|>Hi<|end|><|start|>assistant"
PROMPT_IDS: Final = (START, 1428, MESSAGE, 12194, END, START, 173_781)
"""`PROMPT_TEXT` as ids."""

FORCED: Final = "quartz"
"""What the grammar of a trial makes the model say behind ``<|channel|>``. No model does so of its
own accord."""
_GBNF: Final = f'root ::= <[{CHANNEL}]> "{FORCED}"'
_STRUCTURAL_TAG: Final = msgspec.json.encode(
    {
        "type": "structural_tag",
        "format": {"type": "const_string", "value": f"<|channel|>{FORCED}"},
    }
).decode()

_PRESERVED: Final = [name for name in CONTROL_IDS if not name.startswith("<|reserved")]
_OLLAMA_OPTIONS: Final = {"num_predict": TRIAL_TOKENS, "temperature": 0}
_CHOICE: Final = ("choices", 0)

Path = tuple[str | int, ...]


class Attempt(msgspec.Struct, frozen=True, kw_only=True):
    """A request for a stream of a few tokens, and where in its events things are."""

    dialect: Kind
    route: str
    body: dict[str, Any]
    text: Path
    ids: Path = ()
    thinking: Path = ()
    """Where an engine that parses the answer itself puts its analysis."""
    logprobs: Path = ()
    ask_logprobs: dict[str, Any] = {}
    """What asks for them; left out of the trial of a grammar."""
    with_ids: bool = False
    """Whether the prompt goes over as ids."""
    whole_ids: bool = False
    """Whether no id is withheld, where ids come."""
    cumulative: bool = False
    """Whether an event may repeat what came before."""
    only: Reading | None = None
    """The answer counts only if it reads like this: the dialect is a guess."""


def attempts(kind: Kind, model: str) -> list[Attempt]:
    """What to try on an engine of this kind, the best first."""
    match kind:
        case "llama.cpp":
            return [_llama(model)]
        case "sglang":
            return [_sglang()]
        case "ollama":
            return [_ollama(model), _ollama_template(model), _ollama_chat(model)]
        case "ollama-template":
            return [_ollama_template(model)]
        case "ollama-chat":
            return [_ollama_chat(model)]
        case "vllm":
            return [_vllm(model)]
        case "lemonade":
            return [_preserving(model), _plain(model, "openai")]
        case "lmstudio" | "mlx-lm" | "transformers":
            return [_plain(model, kind)]
        case _:
            return [
                msgspec.structs.replace(_vllm(model), only="ids"),
                msgspec.structs.replace(_preserving(model), only="marked"),
                _plain(model, "openai", with_ids=True),
                _plain(model, "openai"),
            ]


def bound(attempt: Attempt) -> tuple[GrammarKind, Attempt] | None:
    """The same request, bound to say `FORCED`; None if the dialect has no constraint that could
    hold a Harmony message.
    """
    body = attempt.body
    match attempt.dialect:
        case "llama.cpp" | "lemonade":
            return "gbnf", _with(attempt, {**body, "grammar": _GBNF})
        case "sglang":
            sampling = {**body["sampling_params"], "structural_tag": _STRUCTURAL_TAG}
            return "structural_tag", _with(attempt, {**body, "sampling_params": sampling})
        case "vllm":
            outputs = {"structural_tag": _STRUCTURAL_TAG}
            return "structural_tag", _with(attempt, {**body, "structured_outputs": outputs})
        case _:
            return None


def _with(attempt: Attempt, body: dict[str, Any]) -> Attempt:
    return msgspec.structs.replace(attempt, body=body)


def _llama(model: str) -> Attempt:
    return Attempt(
        dialect="llama.cpp",
        route="/completion",
        body={
            "model": model,
            "prompt": list(PROMPT_IDS),
            "n_predict": TRIAL_TOKENS,
            "temperature": 0,
            "stream": True,
            "return_tokens": True,
            "preserved_tokens": _PRESERVED,
        },
        text=("content",),
        ids=("tokens",),
        logprobs=("completion_probabilities",),
        ask_logprobs={"n_probs": 1},
        with_ids=True,
    )


def _sglang() -> Attempt:
    return Attempt(
        dialect="sglang",
        route="/generate",
        body={
            "input_ids": list(PROMPT_IDS),
            "sampling_params": {
                "max_new_tokens": TRIAL_TOKENS,
                "temperature": 0,
                "skip_special_tokens": False,
                "spaces_between_special_tokens": False,
                "no_stop_trim": True,
            },
            "stream": True,
        },
        text=("text",),
        ids=("output_ids",),
        logprobs=("meta_info", "output_token_logprobs"),
        ask_logprobs={"return_logprob": True},
        with_ids=True,
        whole_ids=True,
        cumulative=True,
    )


def _ollama(model: str) -> Attempt:
    return Attempt(
        dialect="ollama",
        route="/api/generate",
        body={
            "model": model,
            "raw": True,
            "stream": True,
            "prompt": PROMPT_TEXT,
            "options": _OLLAMA_OPTIONS,
        },
        text=("response",),
    )


def _ollama_template(model: str) -> Attempt:
    """The prompt as it is, and Ollama's own parser on the answer."""
    return Attempt(
        dialect="ollama-template",
        route="/api/generate",
        body={
            "model": model,
            "stream": True,
            "prompt": PROMPT_TEXT,
            "template": "{{ .Prompt }}",
            "options": _OLLAMA_OPTIONS,
        },
        text=("response",),
        thinking=("thinking",),
    )


def _ollama_chat(model: str) -> Attempt:
    return Attempt(
        dialect="ollama-chat",
        route="/api/chat",
        body={
            "model": model,
            "stream": True,
            "messages": [{"role": "user", "content": "Hi"}],
            "options": _OLLAMA_OPTIONS,
        },
        text=("message", "content"),
        thinking=("message", "thinking"),
    )


def _vllm(model: str) -> Attempt:
    return Attempt(
        dialect="vllm",
        route="/v1/completions",
        body={
            **_openai_body(model),
            "prompt": list(PROMPT_IDS),
            "return_token_ids": True,
            "skip_special_tokens": False,
            "spaces_between_special_tokens": False,
        },
        text=(*_CHOICE, "text"),
        ids=(*_CHOICE, "token_ids"),
        logprobs=(*_CHOICE, "logprobs"),
        ask_logprobs={"logprobs": 1},
        with_ids=True,
        whole_ids=True,
    )


def _preserving(model: str) -> Attempt:
    """llama.cpp's server behind something that hands OpenAI's routes on, like Lemonade."""
    return Attempt(
        dialect="lemonade",
        route="/v1/completions",
        body={
            **_openai_body(model),
            "prompt": list(PROMPT_IDS),
            "preserved_tokens": _PRESERVED,
        },
        text=(*_CHOICE, "text"),
        with_ids=True,
    )


def _plain(model: str, dialect: Kind, *, with_ids: bool = False) -> Attempt:
    prompt: Any = list(PROMPT_IDS) if with_ids else PROMPT_TEXT
    return Attempt(
        dialect=dialect,
        route="/v1/completions",
        body={**_openai_body(model), "prompt": prompt},
        text=(*_CHOICE, "text"),
        with_ids=with_ids,
    )


def _openai_body(model: str) -> dict[str, Any]:
    return {"model": model, "max_tokens": TRIAL_TOKENS, "temperature": 0, "stream": True}
