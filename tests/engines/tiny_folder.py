"""The tiny model as a Hugging Face folder, for the engines that load nothing else."""

from __future__ import annotations

import json
import struct
from pathlib import Path
from typing import Any, Final, Literal

import numpy as np
from numpy.typing import NDArray

from antiphon.engines.tiny import architecture as tiny
from antiphon.engines.tiny.merges import merges, token_texts
from antiphon.engines.tiny.model import WEIGHTS
from antiphon.vocab.control import (
    CONTROL_NAMES,
    ENDOFTEXT,
    FIRST_CONTROL_ID,
    GENERATION_STOP_IDS,
    RETURN,
    STARTOFTEXT,
)
from antiphon.vocab.pattern import O200K_PATTERN

__all__ = ["Layout", "write_folder"]

Layout = Literal["transformers", "mlx"]
"""How the experts' matrices lie: gate and up interleaved in one, or apart and transposed. MLX has
its experts in 32 bits on a CPU, or not at all."""
_NAMES: Final = {"float16": "F16", "float32": "F32"}


def write_folder(folder: Path, layout: Layout) -> Path:
    """Write config, weights and tokenizer; return the folder."""
    folder.mkdir(parents=True, exist_ok=True)
    stops = sorted(GENERATION_STOP_IDS)
    _write_json(folder / "config.json", _config(stops))
    _write_json(
        folder / "generation_config.json", {"eos_token_id": stops, "pad_token_id": ENDOFTEXT}
    )
    _write_tokenizer(folder)
    _write_tensors(folder / "model.safetensors", _tensors(layout))
    return folder


def _config(stops: list[int]) -> dict[str, Any]:
    yarn = {
        "rope_type": "yarn",
        "factor": tiny.YARN_FACTOR,
        "beta_fast": 32.0,
        "beta_slow": 1.0,
        "truncate": True,
        "rope_theta": tiny.ROPE_BASE,
        "original_max_position_embeddings": tiny.YARN_ORIGINAL_CONTEXT,
    }
    kinds = ("sliding_attention", "full_attention")
    return {
        "architectures": ["GptOssForCausalLM"],
        "model_type": "gpt_oss",
        "dtype": "float32",
        "vocab_size": tiny.VOCABULARY_SIZE,
        "hidden_size": tiny.HIDDEN_SIZE,
        "intermediate_size": tiny.INTERMEDIATE_SIZE,
        "num_hidden_layers": tiny.LAYERS,
        "num_attention_heads": tiny.HEADS,
        "num_key_value_heads": tiny.KEY_VALUE_HEADS,
        "head_dim": tiny.HEAD_SIZE,
        "num_local_experts": tiny.EXPERTS,
        "num_experts_per_tok": tiny.EXPERTS_PER_TOKEN,
        "sliding_window": tiny.SLIDING_WINDOW,
        "max_position_embeddings": tiny.CONTEXT_LENGTH,
        "rms_norm_eps": tiny.NORM_EPSILON,
        "rope_theta": tiny.ROPE_BASE,
        "rope_parameters": yarn,
        "rope_scaling": yarn,
        "layer_types": [kinds[layer % 2] for layer in range(tiny.LAYERS)],
        "tie_word_embeddings": False,
        "attention_bias": True,
        "eos_token_id": stops,
        "pad_token_id": ENDOFTEXT,
    }


def _tensors(layout: Layout) -> dict[str, NDArray[Any]]:
    with np.load(WEIGHTS) as arrays:
        inputs = tiny.input_codes()
        outputs = tiny.output_codes(inputs)
        inputs[arrays["seen"]] = arrays["E"]
        outputs[arrays["seen"]] = arrays["H"]
        tensors = {
            "model.embed_tokens.weight": inputs,
            "lm_head.weight": outputs,
        }
        for name in arrays.files:
            if name.startswith("sd."):
                tensors |= _tensor(name.removeprefix("sd."), arrays[name], layout)
    width = np.float16 if layout == "transformers" else np.float32
    return {name: values.astype(width) for name, values in tensors.items()}


def _tensor(name: str, values: NDArray[Any], layout: Layout) -> dict[str, NDArray[Any]]:
    if layout == "transformers" or ".experts." not in name:
        return {name: values}
    stem, _, part = name.rpartition(".")
    if part == "down_proj":
        return {f"{stem}.down_proj.weight": values.swapaxes(1, 2)}
    if part == "down_proj_bias":
        return {f"{stem}.down_proj.bias": values}
    kind = "bias" if part.endswith("_bias") else "weight"
    halves = {"gate_proj": values[..., ::2], "up_proj": values[..., 1::2]}
    return {
        f"{stem}.{half}.{kind}": part if kind == "bias" else part.swapaxes(1, 2)
        for half, part in halves.items()
    }


def _write_tensors(path: Path, tensors: dict[str, NDArray[Any]]) -> None:
    """The safetensors format: a length, a JSON header, the bytes."""
    header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    at = 0
    for name, values in tensors.items():
        header[name] = {
            "dtype": _NAMES[values.dtype.name],
            "shape": list(values.shape),
            "data_offsets": [at, at + values.nbytes],
        }
        at += values.nbytes
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with path.open("wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        for values in tensors.values():
            file.write(np.ascontiguousarray(values).tobytes())


def _write_tokenizer(folder: Path) -> None:
    texts = token_texts()
    split = {
        "type": "Split",
        "pattern": {"Regex": O200K_PATTERN},
        "behavior": "Isolated",
        "invert": False,
    }
    level = {
        "type": "ByteLevel",
        "add_prefix_space": False,
        "trim_offsets": True,
        "use_regex": False,
    }
    added = [
        {
            "id": token,
            "content": CONTROL_NAMES[token],
            "single_word": False,
            "lstrip": False,
            "rstrip": False,
            "normalized": False,
            "special": True,
        }
        for token in range(FIRST_CONTROL_ID, tiny.VOCABULARY_SIZE)
    ]
    model = {
        "type": "BPE",
        "dropout": None,
        "unk_token": None,
        "continuing_subword_prefix": None,
        "end_of_word_suffix": None,
        "fuse_unk": False,
        "byte_fallback": False,
        "ignore_merges": False,
        "vocab": {text: token for token, text in enumerate(texts[:FIRST_CONTROL_ID])},
        "merges": [pair.split(" ") for pair in merges(texts, lambda done: None)],
    }
    tokenizer = {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": added,
        "normalizer": None,
        "pre_tokenizer": {"type": "Sequence", "pretokenizers": [split, level]},
        "post_processor": None,
        "decoder": level,
        "model": model,
    }
    _write_json(folder / "tokenizer.json", tokenizer)
    _write_json(
        folder / "tokenizer_config.json",
        {
            "tokenizer_class": "PreTrainedTokenizerFast",
            "bos_token": CONTROL_NAMES[STARTOFTEXT],
            "eos_token": CONTROL_NAMES[RETURN],
            "pad_token": CONTROL_NAMES[ENDOFTEXT],
            "clean_up_tokenization_spaces": False,
            "model_input_names": ["input_ids", "attention_mask"],
            "model_max_length": tiny.CONTEXT_LENGTH,
        },
    )


def _write_json(path: Path, value: Any) -> None:
    path.write_text(json.dumps(value, ensure_ascii=False), encoding="utf-8")
