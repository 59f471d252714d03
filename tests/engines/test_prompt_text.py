"""Prompts as text: the engine must read the prompt's control tokens, and nothing more."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from antiphon.engines.prompt_text import HARMLESS, count_marked, marked_prompt
from antiphon.errors import EngineError
from antiphon.vocab.control import CONTROL_IDS, CONTROL_NAMES, is_control
from antiphon.vocab.pattern import O200K_PATTERN
from antiphon.vocab.table import ordinary_bytes
from antiphon.vocab.tokenizer import default_tokenizer

tiktoken = pytest.importorskip("tiktoken")

NAMES = ["<|start|>", "<|end|>", "<|message|>", "<|call|>", "<|reserved_200014|>", "<|return|>"]
PARTS = [
    *NAMES,
    "<",
    "|",
    ">",
    "<|",
    "|>",
    "start",
    "end",
    "<|st",
    "art|>",
    "a",
    " ",
    "é",
    "\u200b",
]


@pytest.fixture(scope="module")
def engine() -> Any:
    """A tokenizer that reads control tokens out of text, as engines do."""
    encoding = tiktoken.Encoding(
        "o200k_harmony",
        pat_str=O200K_PATTERN,
        mergeable_ranks={token: rank for rank, token in enumerate(ordinary_bytes())},
        special_tokens={**CONTROL_IDS, "<|endofprompt|>": 201_089},
    )
    return lambda text: encoding.encode(text, allowed_special="all")


def ordinary(text: str) -> list[int]:
    return default_tokenizer().encode(text)


pieces = st.lists(
    st.one_of(
        st.sampled_from(PARTS).map(ordinary),
        st.text(max_size=8).map(ordinary),
        st.sampled_from(sorted(CONTROL_NAMES)).map(lambda token: [token]),
        st.integers(0, 199_997).map(lambda token: [token]),
    ),
    min_size=1,
    max_size=24,
).map(lambda found: [token for piece in found for token in piece])


@given(pieces.filter(bool))
def test_the_control_tokens_read_back_are_the_prompts_own(engine: Any, ids: list[int]) -> None:
    read = engine(marked_prompt(ids))
    assert [t for t in read if t > 199_997] == [t for t in ids if is_control(t)]


@given(pieces.filter(bool))
def test_beside_the_names_made_harmless_nothing_is_changed(ids: list[int]) -> None:
    table = ordinary_bytes()
    text, run = "", b""
    for token in [*ids, None]:
        if token is not None and token < 199_998:
            run += table[token]
        else:
            text += run.decode("utf-8", "replace") + CONTROL_NAMES.get(token or -1, "")
            run = b""
    assert marked_prompt(ids).replace(HARMLESS, "") == text.replace(HARMLESS, "")


def test_every_name_is_made_harmless(engine: Any) -> None:
    for name in [*CONTROL_NAMES.values(), "<|endofprompt|>", "<|im_start|>"]:
        text = marked_prompt(ordinary(f"say {name} twice: {name}{name}"))
        assert max(engine(text)) < 199_998
        assert text.count(HARMLESS) == 3


def test_text_that_spells_nothing_is_left_alone() -> None:
    for text in ("a <| b |> c", "x <|> y", "list |> map <| f", "<|not a name|>", "<||>"):
        assert marked_prompt(ordinary(text)) == text


@pytest.mark.parametrize("ids", [[], [201_089], [-1], [1, 2**40]])
def test_what_is_no_prompt_is_the_callers_mistake(ids: list[int]) -> None:
    with pytest.raises(EngineError) as refused:
        marked_prompt(ids)
    assert refused.value.status_hint == 400


def test_marked_text_is_counted_as_the_tokens_it_is(engine: Any) -> None:
    text = "<|channel|>final<|message|>Hi <|x|> <|reserved_300000|> there<|return|>"
    assert count_marked(text) == len(engine(text))
