from __future__ import annotations

import re
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from antiphon.api.toolnames import BUILT_IN_NAMES, MAX_ALIAS_CHARS, ToolNames

NAMES = st.lists(
    st.one_of(
        st.text(max_size=80),
        st.sampled_from(sorted(BUILT_IN_NAMES)),
        st.sampled_from(["web search", "web-search", "web_search", "Web Search", "use_python"]),
    ),
    max_size=8,
)


@pytest.mark.parametrize("name", ["get_weather", "f", "_x", "Bash2", "a" * 64])
def test_a_plain_name_is_its_own(name):
    names = ToolNames([name])
    assert names.alias(name) == name
    assert names.recipient(name) == f"functions.{name}"
    assert names.aliased == {}


@pytest.mark.parametrize(
    ("name", "alias"),
    [
        ("python", "use_python"),
        ("Browser", "use_Browser"),
        ("Web Search", "Web_Search"),
        ("a.b-c", "a_b_c"),
        ("7zip", "use_7zip"),
        ("été", "t"),
        ("日本", "tool"),
    ],
)
def test_other_names_get_an_alias(name, alias):
    got = ToolNames([name])
    assert got.alias(name) in (alias, f"use_{alias}")
    assert got.client(got.recipient(name)) == name
    assert got.aliased == {name: got.alias(name)}


@given(NAMES, st.randoms(use_true_random=False))
def test_aliases_are_identifiers_each_its_own_and_lead_back(given_names, random: Random):
    names = ToolNames(given_names)
    aliases = list(names.aliases.values())
    assert len(set(aliases)) == len(aliases) == len(set(given_names))
    for name, alias in names.aliases.items():
        assert re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", alias)
        assert alias.lower() not in BUILT_IN_NAMES
        assert len(alias) <= MAX_ALIAS_CHARS
        assert names.client(f"functions.{alias}") == name
    shuffled = list(given_names)
    random.shuffle(shuffled)
    assert ToolNames(shuffled).aliases == names.aliases


@given(NAMES, st.text(max_size=80))
def test_a_tool_no_longer_offered_gets_a_name_that_is_nobody_elses(offered, other):
    names = ToolNames(offered)
    alias = names.alias(other)
    assert re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", alias)
    if other not in names.aliases:
        assert alias not in names.aliases.values()


def test_an_unknown_recipient_is_what_it_is():
    assert ToolNames(["f"]).client("functions.g") == "g"
    assert ToolNames(["f"]).client("python") == "python"
