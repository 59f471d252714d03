"""What an engine of a known kind does, where a trial could not show it.

Source: the engines' own sources and documentation, as docs/engines.md tells them.
"""

from __future__ import annotations

import re
from typing import Final

import msgspec

from antiphon.engines.detect.listed import Listed
from antiphon.engines.detect.report import Finding, Kind
from antiphon.engines.detect.trial import MAX_LOGPROBS, Tried
from antiphon.engines.protocol import GrammarKind, Reading

__all__ = ["assumed"]


class _Known(msgspec.Struct, frozen=True):
    reading: Reading
    prompt_ids: bool = False
    grammar: GrammarKind | None = None
    logprobs: int | None = None


_KNOWN: Final[dict[Kind, _Known]] = {
    "llama.cpp": _Known("hybrid", True, "gbnf", MAX_LOGPROBS),
    "vllm": _Known("ids", True, "structural_tag", MAX_LOGPROBS),
    "sglang": _Known("ids", True, "structural_tag", MAX_LOGPROBS),
    "ollama": _Known("stripped"),
    "ollama-template": _Known("hybrid"),
    "ollama-chat": _Known("hybrid"),
    "mlx-lm": _Known("marked"),
    "transformers": _Known("stripped"),
}
_STRIPS_SINCE: Final = (0, 30)
"""Ollama's version since when raw answers lack control tokens (its llama-server does not send
them); before, they were spelt out."""


def assumed(kind: Kind, version: str | None, model: Listed, why: str) -> Tried | None:
    """The usual of this kind, with ``why`` it had to be assumed; None if there is no usual."""
    known = _KNOWN.get(kind)
    if kind == "ollama" and version is not None and _older(version):
        known = _Known("marked")
    if kind == "lemonade" and model.recipe in (None, "llamacpp"):
        known = _Known("marked", True, "gbnf")
    if known is None:
        return None
    reason = f"usual for {kind}; {why}"
    return Tried(
        reading=Finding(known.reading, reason),
        prompt_ids=Finding(known.prompt_ids, reason),
        logprobs=Finding(known.logprobs, reason),
        grammar=Finding(known.grammar, reason),
        dialect=kind,
    )


def _older(version: str) -> bool:
    found = re.match(r"(\d{1,6})\.(\d{1,6})", version)
    return found is not None and (int(found[1]), int(found[2])) < _STRIPS_SINCE
