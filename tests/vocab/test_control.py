from __future__ import annotations

import pytest

from antiphon.vocab import control
from antiphon.vocab.control import CONTROL_IDS, CONTROL_NAMES, control_name, is_control
from antiphon.vocab.table import ordinary_bytes, token_bytes


def test_there_are_1091_control_tokens_right_after_the_ordinary_ones() -> None:
    assert list(CONTROL_NAMES) == list(range(199_998, 201_089))
    assert len(CONTROL_NAMES) == 1091
    assert len(ordinary_bytes()) == control.FIRST_CONTROL_ID


def test_names_and_ids_are_a_bijection() -> None:
    assert len(CONTROL_IDS) == 1091
    assert all(CONTROL_IDS[name] == i for i, name in CONTROL_NAMES.items())
    assert all(control_name(i) == name for i, name in CONTROL_NAMES.items())


@pytest.mark.parametrize(
    ("token", "name"),
    [
        (199_998, "<|startoftext|>"),
        (199_999, "<|endoftext|>"),
        (200_000, "<|reserved_200000|>"),
        (200_002, "<|return|>"),
        (200_003, "<|constrain|>"),
        (200_005, "<|channel|>"),
        (200_006, "<|start|>"),
        (200_007, "<|end|>"),
        (200_008, "<|message|>"),
        (200_012, "<|call|>"),
        (200_018, "<|reserved_200018|>"),
        (201_088, "<|reserved_201088|>"),
    ],
)
def test_the_named_and_some_reserved_ids_are_the_published_ones(token: int, name: str) -> None:
    assert CONTROL_NAMES[token] == name


def test_the_reference_encodes_every_name_to_the_same_id(reference_encoding) -> None:
    encoded = {name: reference_encoding.encode(name, allowed_special="all") for name in CONTROL_IDS}
    assert encoded == {name: [i] for name, i in CONTROL_IDS.items()}


def test_only_control_ids_are_control() -> None:
    assert [i for i in range(199_990, 201_100) if is_control(i)] == list(CONTROL_NAMES)
    assert not any(map(is_control, (-1, 0, 2**40)))


@pytest.mark.parametrize("token", [-1, 0, 199_997, 201_089])
def test_other_ids_have_no_control_name(token: int) -> None:
    with pytest.raises(KeyError):
        control_name(token)


def test_no_name_is_an_ordinary_token() -> None:
    assert not {name.encode() for name in CONTROL_IDS} & set(ordinary_bytes())


def test_every_control_token_has_its_name_as_bytes() -> None:
    assert all(token_bytes(i) == name.encode() for i, name in CONTROL_NAMES.items())
