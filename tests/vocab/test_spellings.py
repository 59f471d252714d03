from __future__ import annotations

import random
import subprocess
import sys

import pytest

from antiphon.vocab import control, spellings
from antiphon.vocab.control import CONTROL_NAMES, LAST_CONTROL_ID, ORDINARY_COUNT
from antiphon.vocab.table import ordinary_bytes, token_bytes


def test_a_joined_completion_spells_out_to_the_bytes_of_its_tokens() -> None:
    ids = [i for i in range(LAST_CONTROL_ID + 1) if i != spellings.RAW_FF]
    joined = spellings.join(ids)
    assert joined is not None
    assert spellings.named(joined) == b"".join([token_bytes(i) or b"" for i in ids])


def test_the_mark_is_in_no_ordinary_token_but_one() -> None:
    assert [i for i, b in enumerate(ordinary_bytes()) if spellings.MARK in b] == [spellings.RAW_FF]


@pytest.mark.parametrize(
    ("token", "marker"),
    [
        (control.START, spellings.START),
        (control.CHANNEL, spellings.CHANNEL),
        (control.MESSAGE, spellings.MESSAGE),
        (control.CONSTRAIN, spellings.CONSTRAIN),
        (control.END, spellings.END),
        (control.RETURN, spellings.RETURN),
        (control.CALL, spellings.CALL),
        (control.ENDOFTEXT, spellings.ENDOFTEXT),
    ],
)
def test_each_named_control_token_has_its_own_marker(token: int, marker: bytes) -> None:
    assert spellings.join([token]) == marker
    assert spellings.join([24912, token, 24912]) == b"hello" + marker + b"hello"
    assert spellings.named(marker) == CONTROL_NAMES[token].encode()


def test_reserved_tokens_keep_their_name_behind_the_marker() -> None:
    assert spellings.join([200_017]) == spellings.OTHER + b"<|reserved_200017|>"


@pytest.mark.parametrize(
    "bad", [spellings.RAW_FF, -1, -5, -201_089, LAST_CONTROL_ID + 1, 402_178, 2**32 - 1, 2**70]
)
@pytest.mark.parametrize("length", [0, 1, 6_000])
def test_an_id_outside_the_vocabulary_has_no_joined_form(bad: int, length: int) -> None:
    assert spellings.join([24912] * length + [bad]) is None


def test_nothing_joins_to_nothing() -> None:
    assert spellings.join([]) == b""


def test_what_is_not_an_integer_is_a_type_error() -> None:
    with pytest.raises(TypeError):
        spellings.join([1, 2.5, 3])  # type: ignore[list-item]


_LAZY = """
import random
from antiphon.vocab import spellings
ids = [random.Random(7).randrange(201_089) for _ in range(900)]
ids = [i for i in ids if i != spellings.RAW_FF]
first = spellings.join(ids)
assert type(spellings._table) is spellings._LazyTable
assert spellings.join([spellings.RAW_FF]) is None and spellings.join([-1, 5]) is None
assert spellings.join([10**30, 5]) is None
for _ in range(9):
    assert spellings.join(ids) == first
assert type(spellings._table) is list
"""


def test_the_lazy_table_and_the_whole_table_agree() -> None:
    subprocess.run([sys.executable, "-c", _LAZY], check=True)


def test_random_ordinary_ids_join_to_their_bytes() -> None:
    rng = random.Random(3)
    ids = [rng.randrange(200, ORDINARY_COUNT) for _ in range(5_000)]
    table = ordinary_bytes()
    assert spellings.join(ids) == b"".join([table[i] for i in ids])
