"""The GGUF of the tiny model: the whole vocabulary, the learned rows, and the computed ones."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import pytest

np = pytest.importorskip("numpy")
gguf = pytest.importorskip("gguf")

from antiphon.engines.tiny import architecture as tiny  # noqa: E402
from antiphon.engines.tiny.model import WEIGHTS  # noqa: E402
from antiphon.vocab.control import CONTROL_NAMES, FIRST_CONTROL_ID  # noqa: E402
from antiphon.vocab.table import ordinary_bytes  # noqa: E402

TABLES = {
    "token_embd.weight": "1de1f52da2e865ec2722ee21dba5da1288d345db1fdba10a29f2170cbba03765",
    "output.weight": "338275f134730d3b584203d20ab3fa50b132cb6c89d79378f8ff606979eca28b",
}
"""What the first builder of these weights wrote, and the measured model ran with."""


@pytest.fixture(scope="module")
def model(tiny_model_path: Path) -> Any:
    return gguf.GGUFReader(tiny_model_path)


def field(model: Any, name: str) -> Any:
    return model.fields[name].contents()


def tensor(model: Any, name: str) -> Any:
    return next(tensor for tensor in model.tensors if tensor.name == name)


def test_every_ordinary_token_spells_its_bytes(model: Any) -> None:
    texts = field(model, "tokenizer.ggml.tokens")
    shown = [*range(33, 127), *range(161, 173), *range(174, 256)]
    back = {chr(byte): byte for byte in shown}
    hidden = [byte for byte in range(256) if byte not in shown]
    back |= {chr(256 + i): byte for i, byte in enumerate(hidden)}
    spelled = [bytes(back[c] for c in text) for text in texts[:FIRST_CONTROL_ID]]
    assert spelled == ordinary_bytes()


def test_control_tokens_have_their_names_and_type(model: Any) -> None:
    texts = field(model, "tokenizer.ggml.tokens")
    types = field(model, "tokenizer.ggml.token_type")
    assert len(texts) == len(types) == field(model, "gpt-oss.vocab_size") == 201_088
    names = [CONTROL_NAMES[i] for i in range(FIRST_CONTROL_ID, 201_088)]
    assert texts[FIRST_CONTROL_ID:] == names
    assert set(types[:FIRST_CONTROL_ID]) == {1}
    assert set(types[FIRST_CONTROL_ID:]) == {3}


def test_merges_build_every_token_of_two_bytes_or_more(model: Any) -> None:
    texts = field(model, "tokenizer.ggml.tokens")[:FIRST_CONTROL_ID]
    known = set(texts)
    merged = set()
    for merge in field(model, "tokenizer.ggml.merges"):
        left, right = merge.split(" ")
        assert left in known
        assert right in known
        merged.add(left + right)
    assert merged == {text for text in texts if len(text) > 1}


@pytest.mark.parametrize("name", TABLES)
def test_the_token_tables_are_those_the_model_was_measured_with(model: Any, name: str) -> None:
    table = tensor(model, name)
    assert list(table.shape) == [tiny.HIDDEN_SIZE, tiny.VOCABULARY_SIZE]
    assert hashlib.sha256(table.data.tobytes()).hexdigest() == TABLES[name]


@pytest.mark.parametrize(("name", "key"), [("token_embd.weight", "E"), ("output.weight", "H")])
def test_learned_rows_come_from_the_weights_and_the_rest_is_codes(
    model: Any, name: str, key: str
) -> None:
    table = tensor(model, name)
    rows = gguf.dequantize(table.data, table.tensor_type)
    weights = np.load(WEIGHTS)
    learned = weights[key].astype(np.float32)
    # Q8_0: 1/254 of the largest in a block, and the rounding of its 16-bit scale.
    largest = np.abs(learned).max(axis=1, keepdims=True)
    assert (np.abs(rows[weights["seen"]] - learned) <= largest / 220).all()

    inputs = tiny.input_codes()
    codes = inputs if key == "E" else tiny.output_codes(inputs)
    rest = np.setdiff1d(np.arange(tiny.VOCABULARY_SIZE), weights["seen"])
    assert np.abs(rows[rest] - codes[rest]).max() < 1e-3
    assert len(np.unique(codes[:, : 2 * tiny.CODE_SIZE], axis=0)) == tiny.VOCABULARY_SIZE


def test_gate_and_up_projections_are_taken_apart(model: Any) -> None:
    both = np.load(WEIGHTS)["sd.model.layers.1.mlp.experts.gate_up_proj"]
    for offset, part in enumerate(("gate", "up")):
        written = tensor(model, f"blk.1.ffn_{part}_exps.weight").data
        assert (written == both[..., offset::2].transpose(0, 2, 1)).all()
