"""Weights and vocabulary → a complete gpt-oss GGUF that llama.cpp loads. Needs numpy and gguf.

The body keeps its 16-bit weights and the two token tables become Q8_0: together 69 MB.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from antiphon.engines.tiny import architecture as tiny
from antiphon.engines.tiny.merges import merges, token_texts, token_types
from antiphon.errors import MissingExtraError
from antiphon.vocab.control import ENDOFTEXT, RETURN, STARTOFTEXT

if TYPE_CHECKING:
    from gguf import GGUFWriter
    from numpy.typing import NDArray

__all__ = ["BUILDER_VERSION", "Progress", "write_gguf"]

BUILDER_VERSION: Final = 1
"""Part of the cache key: raise it whenever the file that comes out changes."""

Progress = Callable[[str, float], None]
"""Called with what is being done and how much of the whole build is finished, 0.0 to 1.0."""

_LAYER_WEIGHTS: Final = {
    "self_attn.q_proj.weight": "attn_q.weight",
    "self_attn.k_proj.weight": "attn_k.weight",
    "self_attn.v_proj.weight": "attn_v.weight",
    "self_attn.o_proj.weight": "attn_output.weight",
}
"""Matrices, kept at 16 bits: the trained name and llama.cpp's."""
_LAYER_VECTORS: Final = {
    "input_layernorm.weight": "attn_norm.weight",
    "post_attention_layernorm.weight": "post_attention_norm.weight",
    "self_attn.q_proj.bias": "attn_q.bias",
    "self_attn.k_proj.bias": "attn_k.bias",
    "self_attn.v_proj.bias": "attn_v.bias",
    "self_attn.o_proj.bias": "attn_output.bias",
    "self_attn.sinks": "attn_sinks.weight",
    "mlp.router.weight": "ffn_gate_inp.weight",
    "mlp.router.bias": "ffn_gate_inp.bias",
    "mlp.experts.down_proj_bias": "ffn_down_exps.bias",
}
"""What llama.cpp wants at 32 bits."""


def write_gguf(weights: Path, target: Path, progress: Progress) -> None:
    """Build ``target`` from the trained ``weights`` (npz).

    Raises MissingExtraError without numpy and gguf, and OSError if it cannot be written.
    """
    try:
        import numpy as np
        from gguf import GGUFWriter
    except ModuleNotFoundError as error:
        raise MissingExtraError(error.name or "gguf", "local") from error

    progress("reading the vocabulary", 0.0)
    texts = token_texts()
    pairs = merges(texts, lambda done: progress("listing the merges", 0.05 + 0.30 * done))
    writer = GGUFWriter(os.fspath(target), "gpt-oss")
    try:
        _add_settings(writer)
        _add_vocabulary(writer, texts, pairs)
        progress("computing the token tables", 0.35)
        with np.load(weights) as arrays:
            _add_tables(writer, arrays, progress)
            _add_body(writer, arrays)
        progress("writing the file", 0.65)
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        progress("writing the file", 0.9)
        writer.write_tensors_to_file()
    finally:
        writer.close()
    progress("writing the file", 1.0)


def _add_settings(writer: GGUFWriter) -> None:
    from gguf import LlamaFileType, RopeScalingType

    writer.add_type("model")
    writer.add_name(tiny.NAME)
    writer.add_file_type(LlamaFileType.MOSTLY_Q8_0)
    writer.add_quantization_version(2)
    writer.add_block_count(tiny.LAYERS)
    writer.add_context_length(tiny.CONTEXT_LENGTH)
    writer.add_embedding_length(tiny.HIDDEN_SIZE)
    writer.add_feed_forward_length(tiny.INTERMEDIATE_SIZE)
    writer.add_expert_feed_forward_length(tiny.INTERMEDIATE_SIZE)
    writer.add_head_count(tiny.HEADS)
    writer.add_head_count_kv(tiny.KEY_VALUE_HEADS)
    writer.add_key_length(tiny.HEAD_SIZE)
    writer.add_value_length(tiny.HEAD_SIZE)
    writer.add_rope_dimension_count(tiny.HEAD_SIZE)
    writer.add_rope_freq_base(tiny.ROPE_BASE)
    writer.add_rope_scaling_type(RopeScalingType.YARN)
    writer.add_rope_scaling_factor(tiny.YARN_FACTOR)
    writer.add_rope_scaling_orig_ctx_len(tiny.YARN_ORIGINAL_CONTEXT)
    writer.add_sliding_window(tiny.SLIDING_WINDOW)
    writer.add_layer_norm_rms_eps(tiny.NORM_EPSILON)
    writer.add_expert_count(tiny.EXPERTS)
    writer.add_expert_used_count(tiny.EXPERTS_PER_TOKEN)
    writer.add_vocab_size(tiny.VOCABULARY_SIZE)


def _add_vocabulary(writer: GGUFWriter, texts: list[str], pairs: list[str]) -> None:
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("gpt-4o")
    writer.add_token_list(texts)
    writer.add_token_types(token_types())
    writer.add_token_merges(pairs)
    writer.add_bos_token_id(STARTOFTEXT)
    writer.add_eos_token_id(RETURN)
    writer.add_pad_token_id(ENDOFTEXT)
    writer.add_add_bos_token(False)


def _add_tables(writer: GGUFWriter, arrays: Mapping[str, NDArray[Any]], progress: Progress) -> None:
    """The input and output tables: codes, overwritten by the learned rows."""
    from gguf import GGMLQuantizationType, quantize

    inputs = tiny.input_codes()
    outputs = tiny.output_codes(inputs)
    learned = arrays["seen"]
    inputs[learned] = arrays["E"]
    outputs[learned] = arrays["H"]
    kind = GGMLQuantizationType.Q8_0
    writer.add_tensor("token_embd.weight", quantize(inputs, kind), raw_dtype=kind)
    progress("computing the token tables", 0.5)
    writer.add_tensor("output.weight", quantize(outputs, kind), raw_dtype=kind)


def _add_body(writer: GGUFWriter, arrays: Mapping[str, NDArray[Any]]) -> None:
    """Everything between the tables. The npz has transformers' names with ``sd.`` in front."""
    import numpy as np

    def put(name: str, values: NDArray[Any], dtype: type[np.floating[Any]]) -> None:
        writer.add_tensor(name, np.ascontiguousarray(values.astype(dtype)))

    put("output_norm.weight", arrays["sd.model.norm.weight"], np.float32)
    for layer in range(tiny.LAYERS):
        source, block = f"sd.model.layers.{layer}.", f"blk.{layer}."
        for ours, theirs in _LAYER_WEIGHTS.items():
            put(block + theirs, arrays[source + ours], np.float16)
        for ours, theirs in _LAYER_VECTORS.items():
            put(block + theirs, arrays[source + ours], np.float32)
        experts = source + "mlp.experts."
        down = arrays[experts + "down_proj"]
        put(block + "ffn_down_exps.weight", down.swapaxes(1, 2), np.float16)
        # Training keeps gate and up interleaved in one matrix; llama.cpp has two.
        both, bias = arrays[experts + "gate_up_proj"], arrays[experts + "gate_up_proj_bias"]
        for offset, part in enumerate(("gate", "up")):
            put(f"{block}ffn_{part}_exps.weight", both[..., offset::2].swapaxes(1, 2), np.float16)
            put(f"{block}ffn_{part}_exps.bias", bias[..., offset::2], np.float32)
