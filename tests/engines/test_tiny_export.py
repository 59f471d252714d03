"""The GGUF of the tiny model: the whole vocabulary, the learned rows, and the computed ones."""

from __future__ import annotations

import hashlib
import math
import struct
from pathlib import Path
from typing import Any

import pytest

np = pytest.importorskip("numpy")

from antiphon.engines.tiny import architecture as tiny  # noqa: E402
from antiphon.engines.tiny.model import WEIGHTS  # noqa: E402
from antiphon.vocab.control import CONTROL_NAMES, FIRST_CONTROL_ID  # noqa: E402
from antiphon.vocab.table import ordinary_bytes  # noqa: E402

TABLES = {
    "token_embd.weight": "1de1f52da2e865ec2722ee21dba5da1288d345db1fdba10a29f2170cbba03765",
    "output.weight": "338275f134730d3b584203d20ab3fa50b132cb6c89d79378f8ff606979eca28b",
}
"""What the first builder of these weights wrote, and the measured model ran with."""


# A reader of our own: the gguf package's takes 20 s for a vocabulary of this size.

SCALARS = {4: "<I", 5: "<i", 6: "<f", 7: "<?", 10: "<Q"}
STRING, ARRAY = 8, 9
F32, F16, Q8_0 = 0, 1, 8
ALIGNMENT = 32


class Model:
    """The fields and tensors of a GGUF file (version 3)."""

    def __init__(self, path: Path) -> None:
        self.data = path.read_bytes()
        self.at = 4
        assert self.data[:4] == b"GGUF"
        assert self.scalar("<I") == 3
        tensors, fields = self.scalar("<Q"), self.scalar("<Q")
        self.fields = {self.string(): self.value(self.scalar("<I")) for _ in range(fields)}
        found = [self.tensor_info() for _ in range(tensors)]
        start = -(-self.at // ALIGNMENT) * ALIGNMENT
        self.tensors = {
            name: self.tensor(shape, kind, start + offset) for name, shape, kind, offset in found
        }

    def scalar(self, form: str) -> Any:
        (value,) = struct.unpack_from(form, self.data, self.at)
        self.at += struct.calcsize(form)
        return value

    def string(self) -> str:
        size = self.scalar("<Q")
        self.at += size
        return self.data[self.at - size : self.at].decode()

    def value(self, kind: int) -> Any:
        if kind == ARRAY:
            kind, count = self.scalar("<I"), self.scalar("<Q")
            return [self.value(kind) for _ in range(count)]
        return self.string() if kind == STRING else self.scalar(SCALARS[kind])

    def tensor_info(self) -> tuple[str, list[int], int, int]:
        name = self.string()
        shape = [self.scalar("<Q") for _ in range(self.scalar("<I"))][::-1]
        return name, shape, self.scalar("<I"), self.scalar("<Q")

    def tensor(self, shape: list[int], kind: int, start: int) -> Any:
        """The values; for Q8_0 the bytes: in each block of 32 a 16-bit scale and 32 integers."""
        if kind == Q8_0:
            shape, dtype = [shape[0], shape[1] // 32, 34], np.uint8
        else:
            dtype = {F32: np.float32, F16: np.float16}[kind]
        count = math.prod(shape)
        return np.frombuffer(self.data, dtype, count, start).reshape(shape)


@pytest.fixture(scope="module")
def model(tiny_model_path: Path) -> Model:
    return Model(tiny_model_path)


def values_of(blocks: Any) -> Any:
    """What Q8_0 blocks stand for."""
    scales = blocks[..., :2].copy().view(np.float16).astype(np.float32)
    return (scales * blocks[..., 2:].view(np.int8)).reshape(len(blocks), -1)


def test_every_ordinary_token_spells_its_bytes(model: Model) -> None:
    texts = model.fields["tokenizer.ggml.tokens"]
    shown = [*range(33, 127), *range(161, 173), *range(174, 256)]
    back = {chr(byte): byte for byte in shown}
    hidden = [byte for byte in range(256) if byte not in shown]
    back |= {chr(256 + i): byte for i, byte in enumerate(hidden)}
    spelled = [bytes(back[c] for c in text) for text in texts[:FIRST_CONTROL_ID]]
    assert spelled == ordinary_bytes()


def test_control_tokens_have_their_names_and_type(model: Model) -> None:
    texts = model.fields["tokenizer.ggml.tokens"]
    types = model.fields["tokenizer.ggml.token_type"]
    assert len(texts) == len(types) == model.fields["gpt-oss.vocab_size"] == 201_088
    names = [CONTROL_NAMES[i] for i in range(FIRST_CONTROL_ID, 201_088)]
    assert texts[FIRST_CONTROL_ID:] == names
    assert set(types[:FIRST_CONTROL_ID]) == {1}
    assert set(types[FIRST_CONTROL_ID:]) == {3}


def test_merges_build_every_token_of_two_bytes_or_more(model: Model) -> None:
    texts = model.fields["tokenizer.ggml.tokens"][:FIRST_CONTROL_ID]
    known = set(texts)
    merged = set()
    for merge in model.fields["tokenizer.ggml.merges"]:
        left, right = merge.split(" ")
        assert left in known
        assert right in known
        merged.add(left + right)
    assert merged == {text for text in texts if len(text) > 1}


@pytest.mark.parametrize("name", TABLES)
def test_the_token_tables_are_those_the_model_was_measured_with(model: Model, name: str) -> None:
    blocks = model.tensors[name]
    assert blocks.shape == (tiny.VOCABULARY_SIZE, tiny.HIDDEN_SIZE // 32, 34)
    assert hashlib.sha256(blocks.tobytes()).hexdigest() == TABLES[name]


@pytest.mark.slow  # The tables are known by their hashes: this says what they were made of.
@pytest.mark.parametrize(("name", "key"), [("token_embd.weight", "E"), ("output.weight", "H")])
def test_learned_rows_come_from_the_weights_and_the_rest_is_codes(
    model: Model, name: str, key: str
) -> None:
    rows = values_of(model.tensors[name])
    weights = np.load(WEIGHTS)
    learned = weights[key].astype(np.float32)
    # Q8_0: 1/254 of the largest in a block, and the rounding of its 16-bit scale.
    largest = np.abs(learned).max(axis=1, keepdims=True)
    assert (np.abs(rows[weights["seen"]] - learned) <= largest / 220).all()

    inputs = tiny.input_codes()
    codes = inputs if key == "E" else tiny.output_codes(inputs)
    rest = np.setdiff1d(np.arange(tiny.VOCABULARY_SIZE), weights["seen"])
    assert np.abs(rows[rest] - codes[rest]).max() < 1e-3
    signs = np.packbits(codes[:, codes[0] != 0] > 0, axis=1).copy().view(np.uint64)
    assert len(np.unique(signs)) == tiny.VOCABULARY_SIZE


def test_gate_and_up_projections_are_taken_apart(model: Model) -> None:
    both = np.load(WEIGHTS)["sd.model.layers.1.mlp.experts.gate_up_proj"]
    for offset, part in enumerate(("gate", "up")):
        written = model.tensors[f"blk.1.ffn_{part}_exps.weight"]
        assert (written == both[..., offset::2].transpose(0, 2, 1)).all()
