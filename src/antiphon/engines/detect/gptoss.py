"""Whether a model is a gpt-oss: the signs, and which of them decides.

A tokenizer that has ``<|channel|>`` as the token 200005 is proof. An architecture is nearly that;
a chat template is proof only where it has Harmony's tokens (a GGUF may come without one); labels
and names are what people wrote, and hold where nothing better is known.
"""

from __future__ import annotations

import re
from typing import Any, Final

import msgspec

from antiphon.engines.detect.asking import Asker, dig
from antiphon.engines.detect.listed import Listed
from antiphon.engines.detect.report import Evidence, Finding, Kind, Sign
from antiphon.vocab.control import CHANNEL

__all__ = ["Verdict", "judge", "tokenized_channel"]

_NAME: Final = re.compile(r"gpt[-_]?oss", re.IGNORECASE)
_TEMPLATE_TOKENS: Final = ("<|start|>", "<|channel|>", "<|message|>")
_SPELLING: Final = "<|channel|>"
_ORDER: Final[tuple[Sign, ...]] = ("tokenizer", "architecture", "template", "labels", "name")


class Verdict(msgspec.Struct, frozen=True):
    """Yes or no, why, and everything that was said for and against, the decisive first."""

    gpt_oss: Finding[bool]
    evidence: tuple[Evidence, ...] = ()


def judge(model: Listed, channel_tokens: list[int] | None) -> Verdict:
    """Weigh what is known; ``channel_tokens`` is how its tokenizer cut ``<|channel|>``."""
    found = [e for e in (_tokenizer(channel_tokens), *_declared(model)) if e is not None]
    found.sort(key=lambda evidence: _ORDER.index(evidence.sign))
    if not model.text_model:
        return Verdict(Finding(False, "it is not a text model"), tuple(found))
    if not found:
        return Verdict(Finding(False, "nothing about it says so"))
    return Verdict(Finding(found[0].gpt_oss, found[0].detail), tuple(found))


def _tokenizer(tokens: list[int] | None) -> Evidence | None:
    if tokens is None:
        return None
    if tokens == [CHANNEL]:
        return Evidence("tokenizer", True, f"its tokenizer has {_SPELLING} as token {CHANNEL}")
    shown = f"{len(tokens)} tokens" if len(tokens) != 1 else f"token {tokens[0]}"
    return Evidence("tokenizer", False, f"its tokenizer has {_SPELLING} as {shown}")


def _declared(model: Listed) -> list[Evidence]:
    found = []
    if model.architecture is not None:
        is_one = re.sub(r"[^a-z]", "", model.architecture.lower()).startswith("gptoss")
        detail = f"its architecture is {model.architecture}"
        found.append(Evidence("architecture", is_one, detail))
    if model.template is not None and all(t in model.template for t in _TEMPLATE_TOKENS):
        found.append(Evidence("template", True, "its chat template writes Harmony"))
    if label := next((label for label in model.labels if _NAME.search(label)), None):
        found.append(Evidence("labels", True, f"it has the label {label}"))
    names = (model.id, *model.aliases, *model.other_names)
    if name := next((name for name in names if _NAME.search(name)), None):
        found.append(Evidence("name", True, f"it is called {name}"))
    return found


async def tokenized_channel(asker: Asker, kind: Kind | None, model: str) -> list[int] | None:
    """How the model's tokenizer cuts ``<|channel|>``; None if the engine does not tell."""
    route, body = "/tokenize", dict[str, Any]()
    match kind:
        case "llama.cpp":
            body = {"content": _SPELLING, "add_special": False, "parse_special": True}
        case "vllm" | "sglang":
            body = {"prompt": _SPELLING, "add_special_tokens": False}
        case "lemonade":
            route = "/v1/tokenize"
            body = {"content": _SPELLING, "add_special": False, "parse_special": True}
        case _:
            return None
    answer = await asker.post(route, {"model": model, **body})
    tokens = dig(answer.data, "tokens")
    if isinstance(tokens, list) and len(tokens) == 1 and isinstance(tokens[0], list):
        tokens = tokens[0]
    if not isinstance(tokens, list) or not tokens:
        return None
    ids = [dig(token, "id") if isinstance(token, dict) else token for token in tokens]
    return ids if all(type(token) is int for token in ids) else None
