"""The network in torch: gpt-oss's body at the tiny sizes, and a start that can already copy.

The body is transformers' own `GptOssModel`. Its two token tables are replaced by `Tables`, which
learns rows for the tokens seen often and uses the fixed codes for all others.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from transformers import GptOssConfig, GptOssForCausalLM

from antiphon.engines.tiny import architecture as tiny
from antiphon.vocab.control import ORDINARY_COUNT

_PEAK = 40.0
"""Attention score of the copying heads at the place they look for: all others get next to none."""


class Tables(nn.Module):
    """The input and output tables: learned rows for ``seen``, codes for the rest."""

    slot: Tensor
    inputs: Tensor
    outputs: Tensor
    unseen: Tensor

    def __init__(self, seen: np.ndarray[Any, Any]) -> None:
        super().__init__()
        self.seen = seen
        codes = tiny.input_codes()
        slot = np.full(tiny.VOCABULARY_SIZE, -1)
        slot[seen] = np.arange(len(seen))
        self.register_buffer("slot", torch.from_numpy(slot))
        self.register_buffer("inputs", torch.from_numpy(codes))
        self.register_buffer("outputs", torch.from_numpy(tiny.output_codes(codes)))
        unseen = np.setdiff1d(np.arange(ORDINARY_COUNT), seen)
        self.register_buffer("unseen", torch.from_numpy(unseen))
        self.learned_inputs = nn.Parameter(self.inputs[seen].clone())
        self.learned_outputs = nn.Parameter(self.outputs[seen].clone())

    def embed(self, tokens: Tensor) -> Tensor:
        slot = self.slot[tokens]
        learned = self.learned_inputs[slot.clamp(min=0)]
        return torch.where((slot >= 0)[..., None], learned, self.inputs[tokens])

    def whole_output(self) -> Tensor:
        """All 201,088 output rows, to evaluate with."""
        rows = self.outputs.clone()
        rows[self.seen] = self.learned_outputs.detach()
        return rows


class Network(nn.Module):
    """Tables and body."""

    def __init__(self, seen: np.ndarray[Any, Any]) -> None:
        super().__init__()
        self.tables = Tables(seen)
        # The tables are ours, so the body is made with as few rows as it allows.
        whole = GptOssForCausalLM(_config(rows=16))
        _start_copying(whole)
        self.body = whole.model

    def forward(self, tokens: Tensor) -> Tensor:
        """The last hidden state of every place."""
        hidden: Tensor = self.body(
            inputs_embeds=self.tables.embed(tokens), use_cache=False
        ).last_hidden_state
        return hidden

    def body_parameters(self) -> list[nn.Parameter]:
        return [p for name, p in self.body.named_parameters() if "embed_tokens" not in name]

    def save(self, path: Path) -> None:
        """Write the npz that the package ships, at 16 bits."""
        arrays = {
            f"sd.model.{name}": value
            for name, value in self.body.state_dict().items()
            if "embed_tokens" not in name
        }
        arrays |= {"E": self.tables.learned_inputs, "H": self.tables.learned_outputs}
        halves = {name: value.detach().numpy().astype(np.float16) for name, value in arrays.items()}
        np.savez_compressed(path, seen=self.tables.seen.astype(np.int32), **halves)

    @classmethod
    def load(cls, path: Path) -> Network:
        """Go on from saved weights."""
        with np.load(path) as arrays:
            network = cls(arrays["seen"])
            body = {
                name.removeprefix("sd.model."): torch.from_numpy(arrays[name].astype(np.float32))
                for name in arrays.files
                if name.startswith("sd.")
            }
            missing, unexpected = network.body.load_state_dict(body, strict=False)
            assert not unexpected, unexpected
            assert all("embed_tokens" in name for name in missing), missing
            with torch.no_grad():
                for rows, name in (
                    (network.tables.learned_inputs, "E"),
                    (network.tables.learned_outputs, "H"),
                ):
                    rows.copy_(torch.from_numpy(arrays[name].astype(np.float32)))
        return network


def _config(rows: int) -> GptOssConfig:
    config = GptOssConfig(
        vocab_size=rows,
        hidden_size=tiny.HIDDEN_SIZE,
        intermediate_size=tiny.INTERMEDIATE_SIZE,
        num_hidden_layers=tiny.LAYERS,
        num_attention_heads=tiny.HEADS,
        num_key_value_heads=tiny.KEY_VALUE_HEADS,
        head_dim=tiny.HEAD_SIZE,
        num_local_experts=tiny.EXPERTS,
        num_experts_per_tok=tiny.EXPERTS_PER_TOKEN,
        sliding_window=tiny.SLIDING_WINDOW,
        max_position_embeddings=tiny.CONTEXT_LENGTH,
        rms_norm_eps=tiny.NORM_EPSILON,
        attn_implementation="eager",
        pad_token_id=None,
        eos_token_id=None,
        # llama.cpp rounds the range that YaRN corrects, so training does as well.
        rope_parameters={
            "rope_type": "yarn",
            "rope_theta": tiny.ROPE_BASE,
            "factor": tiny.YARN_FACTOR,
            "original_max_position_embeddings": tiny.YARN_ORIGINAL_CONTEXT,
            "beta_fast": 32.0,
            "beta_slow": 1.0,
            "truncate": True,
        },
    )
    config.initializer_range = 0.04
    return config


@torch.no_grad()
def _start_copying(model: GptOssForCausalLM) -> None:
    """Set two heads so that the untrained model already copies; training only has to use it.

    Layer 0, head 0 looks one token back and writes that token's code into places 64 to 127. Layer
    1, head 0 looks for an earlier place whose previous token is the current one, and writes the
    code of the token found there into places 64 to 127, where the output table reads it.
    """
    size, half, code = tiny.HEAD_SIZE, tiny.HEAD_SIZE // 2, tiny.CODE_SIZE
    places = torch.arange(code)
    angle = model.model.rotary_emb.inv_freq
    previous, induction = (model.model.layers[i].self_attn for i in (0, 1))
    for attention in (previous, induction):
        for weight in (attention.q_proj.weight, attention.k_proj.weight, attention.v_proj.weight):
            weight[:size] = 0
        attention.o_proj.weight[:, :size] = 0

    # A query turned by one position more than the key meets it exactly one token back.
    scale = _PEAK**0.5
    previous.q_proj.bias[:half] = scale * torch.cos(angle)
    previous.q_proj.bias[half:size] = -scale * torch.sin(angle)
    previous.k_proj.bias[:half] = scale
    previous.k_proj.bias[half:size] = 0
    previous.v_proj.weight[places, places] = 2**-0.5
    previous.o_proj.weight[code + places, places] = 1.0

    # Only slow rotations compare codes alike at any distance.
    slow = [i for i in range(half) if angle[i] < 0.012]
    slots = (slow + [i + half for i in slow])[:code]
    scale = 2**0.5 * (_PEAK / len(slots)) ** 0.5
    for place, slot in enumerate(slots):
        induction.q_proj.weight[slot, place] = scale
        induction.k_proj.weight[slot, code + place] = scale
    induction.v_proj.weight[places, places] = 1.0
    induction.o_proj.weight[code + places, places] = 3.0

    for layer in model.model.layers:
        layer.self_attn.sinks.zero_()
    induction.sinks[0] = 10.0
