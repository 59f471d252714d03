"""vLLM as an engine: completions with token ids both ways (spec/backends.md, 3.2)."""

from __future__ import annotations

from typing import Any, ClassVar

from antiphon.engines.completions import CompletionsEngine
from antiphon.engines.protocol import Capabilities, CompletionRequest
from antiphon.vocab.control import GENERATION_STOP_IDS

__all__ = ["VllmEngine"]


class VllmEngine(CompletionsEngine):
    """The vLLM server at ``url``. ``model`` is needed where it serves several."""

    kind: ClassVar[str] = "vllm"
    title: ClassVar[str] = "vLLM"
    defaults: ClassVar[Capabilities] = Capabilities(
        reading="ids",
        prompt_ids=True,
        grammar="structural_tag",
        sampling=frozenset(
            (
                "temperature top_p top_k min_p presence_penalty frequency_penalty"
                " repetition_penalty seed logit_bias"
            ).split()
        ),
        logprobs=20,
        cache_salt=True,
    )

    def _body(self, request: CompletionRequest) -> dict[str, Any]:
        body = super()._body(request)
        # null: as many as fit. Left out, it would be 16.
        body["max_tokens"] = self._room(request)
        body |= {
            "return_token_ids": True,
            "skip_special_tokens": False,
            "spaces_between_special_tokens": False,
            "stop_token_ids": sorted(GENERATION_STOP_IDS),
            "include_stop_str_in_output": False,
        }
        if request.logprobs is not None:
            body["return_tokens_as_token_ids"] = True
        if request.grammar is not None:
            body["structured_outputs"] = {"structural_tag": request.grammar}
        if request.cache_salt is not None:
            body["cache_salt"] = request.cache_salt
        return body
