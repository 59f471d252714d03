"""``transformers serve`` as an engine: a string prompt, stripped text (spec/backends.md, 3.6)."""

from __future__ import annotations

from typing import Any, ClassVar

import msgspec

from antiphon.engines.completions import CompletionsEngine
from antiphon.engines.protocol import Capabilities, CompletionRequest
from antiphon.vocab.control import GENERATION_STOP_IDS

__all__ = ["TransformersEngine"]


class TransformersEngine(CompletionsEngine):
    """The server at ``url``. It refuses fields it does not know, so that most of the sampling goes
    into ``generation_config``, a string of JSON.
    """

    kind: ClassVar[str] = "transformers"
    title: ClassVar[str] = "transformers serve"
    defaults: ClassVar[Capabilities] = Capabilities(
        reading="stripped",
        sampling=frozenset("temperature top_p top_k min_p repetition_penalty seed".split()),
    )
    usage_option: ClassVar[bool] = False

    def _body(self, request: CompletionRequest) -> dict[str, Any]:
        body = super()._body(request)
        config: dict[str, Any] = {
            "eos_token_id": sorted(GENERATION_STOP_IDS),
            "max_new_tokens": body["max_tokens"],
            "do_sample": request.temperature > 0,
        }
        for field in ("top_k", "min_p", "repetition_penalty"):
            if (value := body.pop(field, None)) is not None:
                config[field] = value
        if request.temperature > 0:
            config |= {"temperature": request.temperature, "top_p": request.top_p}
        body["generation_config"] = msgspec.json.encode(config).decode()
        return body
