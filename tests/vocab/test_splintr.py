from __future__ import annotations

import random
import subprocess
import sys

import pytest

from antiphon.vocab import splintr
from antiphon.vocab.pattern import O200K_PATTERN
from antiphon.vocab.splintr import SplintrTokenizer


def test_the_library_and_tiktoken_use_the_pattern_stated_here(monkeypatch) -> None:
    import splintr as library

    assert library.O200K_BASE_PATTERN == O200K_PATTERN
    published = pytest.importorskip("tiktoken_ext.openai_public")
    monkeypatch.setattr(published, "load_tiktoken_bpe", lambda *_, **__: {})
    assert published.o200k_base()["pat_str"] == O200K_PATTERN


def long_piece(seed: int) -> str:
    return "".join(random.Random(seed).choices("abcdefghijklmnopqrstuvwxyz", k=4096))


@pytest.mark.parametrize("batch", [False, True], ids=["one by one", "batch"])
def test_long_pieces_do_not_pile_up_in_the_library(monkeypatch, batch) -> None:
    monkeypatch.setattr(splintr, "_CACHED_STRETCHES", 40)
    tokenizer = SplintrTokenizer()
    texts = [long_piece(seed) for seed in range(200)]
    encoded = tokenizer.encode_batch(texts) if batch else [tokenizer.encode(t) for t in texts]
    assert encoded == [tokenizer.encode(text) for text in texts]
    assert tokenizer._tokenizer.cache_len <= 11


def test_ordinary_prose_stays_in_the_cache_of_the_library(monkeypatch) -> None:
    monkeypatch.setattr(splintr, "_CACHED_STRETCHES", 10)
    tokenizer = SplintrTokenizer()
    words = [long_piece(seed)[:9] for seed in range(100)]
    tokenizer.encode(" ".join(words * 100))
    assert tokenizer._tokenizer.cache_len >= 90


_FOOTPRINT = """
import sys
from antiphon.vocab.tokenizer import default_tokenizer
default_tokenizer().encode("hello")
from antiphon.vocab.table import ordinary_bytes
assert ordinary_bytes.cache_info().currsize == 0
assert not {"asyncio", "logging", "msgspec", "socket"} & set(sys.modules)
"""


def test_loading_the_encoder_keeps_no_second_table_and_loads_no_framework() -> None:
    subprocess.run([sys.executable, "-c", _FOOTPRINT], check=True)
