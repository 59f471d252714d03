"""OpenAI's Chat Completions JSON → prompt tokens."""

from __future__ import annotations

from typing import Final

from bench import Bench, Case, NotBuiltError, Row

__all__ = ["CASES"]

GROUP: Final = "Chat JSON to tokens"


def _chat(bench: Bench, work: str) -> Row:
    raise NotBuiltError("antiphon.api.chat.conversation")


CASES: Final = [
    Case(GROUP, f"a request of {size} tokens", _chat, f"at least {target}x")
    for size, target in (("179", 30), ("2.9k", 15), ("50k", 6.5))
]
