"""Lemonade as an engine: its llama.cpp server behind OpenAI's completions (spec/backends.md, 3.9).

``/v1/health`` tells the ``backend_url`` of that server; where it can be reached,
`antiphon.engines.llama_server.client` on it is better, because it gives ids.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from antiphon.engines.completions import CompletionsEngine
from antiphon.engines.llama_server.client import PRESERVED, LlamaServerEngine
from antiphon.engines.protocol import Capabilities, CompletionRequest

__all__ = ["LemonadeEngine"]


class LemonadeEngine(CompletionsEngine):
    """The Lemonade server at ``url``, for models whose recipe is ``llamacpp``.

    Lemonade passes requests on as they are, so that ids go in and llama.cpp's own parameters work;
    what comes back is text in which the tokens named in ``preserved_tokens`` are spelt out.
    """

    kind: ClassVar[str] = "lemonade"
    title: ClassVar[str] = "Lemonade"
    keep_alive: ClassVar[bool] = False
    defaults: ClassVar[Capabilities] = Capabilities(
        reading="marked",
        prompt_ids=True,
        grammar="gbnf",
        sampling=LlamaServerEngine.defaults.sampling,
    )
    names: ClassVar[Mapping[str, str]] = {"repetition_penalty": "repeat_penalty"}

    def _body(self, request: CompletionRequest) -> dict[str, Any]:
        body = super()._body(request)
        body["max_tokens"] = -1 if (room := self._room(request)) is None else room
        body["preserved_tokens"] = PRESERVED
        body["cache_prompt"] = True
        if request.grammar is not None:
            body["grammar"] = request.grammar
        return body
