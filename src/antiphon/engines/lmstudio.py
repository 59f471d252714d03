"""LM Studio as an engine: completions with a string prompt (spec/backends.md, 3.5)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from antiphon.engines.completions import CompletionsEngine
from antiphon.engines.protocol import Capabilities

__all__ = ["LmStudioEngine"]


class LmStudioEngine(CompletionsEngine):
    """The LM Studio server at ``url``. Whether its text is marked is not documented: a probe tells,
    and until then it is taken as stripped.
    """

    kind: ClassVar[str] = "lmstudio"
    title: ClassVar[str] = "LM Studio"
    defaults: ClassVar[Capabilities] = Capabilities(
        reading="stripped",
        sampling=frozenset(
            (
                "temperature top_p top_k presence_penalty frequency_penalty repetition_penalty"
                " seed logit_bias"
            ).split()
        ),
    )
    names: ClassVar[Mapping[str, str]] = {"repetition_penalty": "repeat_penalty"}
