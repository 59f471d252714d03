from __future__ import annotations

import hashlib
import random
import shutil
import zlib
from binascii import b2a_base64
from pathlib import Path

import pytest

from antiphon.errors import VocabularyError
from antiphon.vocab import table
from antiphon.vocab.control import ORDINARY_COUNT
from antiphon.vocab.table import DATA_FILE, ordinary_bytes, token_bytes, vocabulary

PUBLISHED_SHA256 = "446a9538cb6c348e3516120d7c08b09f57c36495e2acfffe59a5bf8b0cfb1a2d"
DATA = Path(table.__file__).with_name("data") / DATA_FILE


def test_the_table_is_the_published_vocabulary() -> None:
    lines = [
        b"%b %d\n" % (b2a_base64(token, newline=False), rank)
        for rank, token in enumerate(ordinary_bytes())
    ]
    assert hashlib.sha256(b"".join(lines)).hexdigest() == PUBLISHED_SHA256


@pytest.mark.parametrize(
    ("token", "spelling"),
    [(0, b"!"), (220, b" "), (198, b"\n"), (24912, b"hello"), (2375, b" world"), (188, b"\x00")],
)
def test_known_tokens_have_their_bytes(token: int, spelling: bytes) -> None:
    assert ordinary_bytes()[token] == spelling == token_bytes(token)


def test_tokens_are_distinct_and_every_byte_is_one() -> None:
    tokens = ordinary_bytes()
    assert len(tokens) == len(set(tokens)) == ORDINARY_COUNT
    assert {bytes([b]) for b in range(256)} <= set(tokens)


def test_looking_up_one_token_agrees_with_the_whole_list() -> None:
    lazy, tokens = vocabulary().ordinary, ordinary_bytes()
    ids = random.Random(1).sample(range(ORDINARY_COUNT), 20_000)
    ids += [0, 255, 256, 257, ORDINARY_COUNT - 1]
    assert [lazy(i) for i in ids] == [tokens[i] for i in ids]


@pytest.mark.parametrize("token", [-1, -ORDINARY_COUNT, 201_089, 2**40])
def test_an_id_out_of_range_has_no_bytes(token: int) -> None:
    assert token_bytes(token) is None


@pytest.fixture
def installed_data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the data file, which the module is made to read."""
    (tmp_path / "data").mkdir()
    copy = Path(shutil.copy(DATA, tmp_path / "data"))
    monkeypatch.setattr(table, "__file__", str(tmp_path / "table.py"))
    return copy


def read_again() -> table.Vocabulary:
    return vocabulary.__wrapped__()


def test_an_intact_copy_is_accepted(installed_data: Path) -> None:
    assert read_again() == vocabulary()


def test_a_missing_file_is_a_vocabulary_error(installed_data: Path) -> None:
    installed_data.unlink()
    with pytest.raises(VocabularyError, match=rf"cannot read .*{DATA_FILE}.*reinstall"):
        read_again()


@pytest.mark.parametrize("keep", [0, 1, 100_000, -1])
def test_a_truncated_file_is_a_vocabulary_error(installed_data: Path, keep: int) -> None:
    installed_data.write_bytes(installed_data.read_bytes()[:keep])
    with pytest.raises(VocabularyError, match="reinstall"):
        read_again()


def test_a_flipped_bit_is_a_vocabulary_error(installed_data: Path) -> None:
    data = bytearray(installed_data.read_bytes())
    data[len(data) // 2] ^= 1
    installed_data.write_bytes(data)
    with pytest.raises(VocabularyError, match="reinstall"):
        read_again()


def test_another_vocabulary_is_a_vocabulary_error(installed_data: Path) -> None:
    content = bytearray(zlib.decompress(installed_data.read_bytes()))
    content[-1] ^= 1
    installed_data.write_bytes(zlib.compress(content))
    with pytest.raises(VocabularyError, match="checksum"):
        read_again()
