"""The token memo: found again, bounded, safe between threads."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import given
from hypothesis import strategies as st

from antiphon.codec.memo import ByIdentity, TokenMemo


def held(memo: TokenMemo) -> int:
    return sum(len(t) for t in {**memo._old, **memo._young}.values())


def test_what_was_put_is_found() -> None:
    memo = TokenMemo(100)
    memo.put("a", [1, 2])
    assert memo.get("a") == [1, 2]
    assert memo.get("b") is None


def test_an_empty_token_list_is_found_too() -> None:
    memo = TokenMemo(100)
    memo.put("a", [])
    assert memo.get("a") == []


def test_what_is_used_outlives_what_is_not() -> None:
    memo = TokenMemo(200)
    memo.put("used", [0] * 10)
    memo.put("unused", [0] * 10)
    for i in range(50):
        memo.put(i, [0] * 10)
        assert memo.get("used") is not None
    assert memo.get("unused") is None


@given(st.lists(st.tuples(st.integers(0, 30), st.integers(0, 60))))
def test_the_budget_is_never_exceeded(entries: list[tuple[int, int]]) -> None:
    memo = TokenMemo(150)
    for key, size in entries:
        memo.put((key, size), [0] * size)
        assert held(memo) <= 150
        assert len(memo) <= 150


def test_a_budget_of_zero_remembers_nothing() -> None:
    memo = TokenMemo(0)
    memo.put("a", [])
    assert memo.get("a") is None
    assert len(memo) == 0


def test_a_long_text_of_few_tokens_is_not_kept_alive() -> None:
    memo = TokenMemo(1_000)
    memo.put(" " * 100_000, [0] * 10, 100_000)
    memo.put("words", [0] * 10, 50)
    assert len(memo) == 1


def test_a_key_without_hash_is_a_type_error() -> None:
    with pytest.raises(TypeError):
        TokenMemo(10).get({})  # type: ignore[arg-type]


def test_identity_keys_tell_equal_objects_apart() -> None:
    one, other = [1], [1]
    memo = TokenMemo(100)
    memo.put(ByIdentity(one, False), [1])
    assert memo.get(ByIdentity(one, False)) == [1]
    assert memo.get(ByIdentity(other, False)) is None
    assert memo.get(ByIdentity(one, True)) is None


def test_threads_share_one_memo_without_losing_the_bound() -> None:
    memo = TokenMemo(2_000)

    def work(seed: int) -> bool:
        for i in range(3_000):
            key = (i * seed) % 97
            tokens = memo.get(key)
            if tokens is None:
                memo.put(key, [key] * 20)
            elif tokens != [key] * 20:
                return False
        return True

    with ThreadPoolExecutor(4) as pool:
        assert all(pool.map(work, range(1, 9)))
    assert held(memo) <= 2_000
