"""mlx-lm's server as an engine: a string prompt, marked text (spec/backends.md, 3.7)."""

from __future__ import annotations

from typing import ClassVar

from antiphon.engines.completions import CompletionsEngine
from antiphon.engines.protocol import Capabilities

__all__ = ["MlxEngine"]


class MlxEngine(CompletionsEngine):
    """The mlx-lm server at ``url``.

    It keeps the stop token's text to itself, so that only the message's header tells an answer
    from a call; comments while it reads the prompt say that it is alive.
    """

    kind: ClassVar[str] = "mlx-lm"
    title: ClassVar[str] = "mlx-lm"
    defaults: ClassVar[Capabilities] = Capabilities(
        reading="marked",
        sampling=frozenset(
            (
                "temperature top_p top_k min_p presence_penalty frequency_penalty"
                " repetition_penalty seed logit_bias"
            ).split()
        ),
    )
