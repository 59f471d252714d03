"""docs/chat-completions.md is complete: every parameter, every effort, every code."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from antiphon.api.chat.body import KNOWN, NO_EFFECT
from antiphon.api.chat.conversation import EFFORTS
from antiphon.api.chat.request import decode_chat
from antiphon.api.errors import ApiError
from antiphon.api.policy import PromptPolicy

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs/chat-completions.md").read_text("utf-8")


def table(heading: str) -> list[list[str]]:
    """The cells of the first table under a heading, without its first two rows."""
    section = PAGE.split(f"## {heading}\n", 1)[1].split("\n## ", 1)[0]
    rows = [line for line in section.splitlines() if line.startswith("|")]
    return [[cell.strip().strip("`") for cell in row.strip("|").split("|")] for row in rows[2:]]


FATES = {name: fate for name, fate, _ in table("Parameters")}


def test_every_parameter_is_listed_once():
    assert len(table("Parameters")) == len(FATES)
    assert set(FATES) == KNOWN


def test_what_has_no_effect_is_listed_as_such():
    assert {name for name, fate in FATES.items() if fate == "no effect"} == NO_EFFECT


@pytest.mark.parametrize("name", sorted(name for name, fate in FATES.items() if fate == "refused"))
def test_what_is_listed_as_refused_is_refused(name):
    value: object = ["audio"] if name == "modalities" else {}
    body = {"model": "m", "messages": [{"role": "user", "content": "x"}], name: value}
    with pytest.raises(ApiError) as caught:
        decode_chat(json.dumps(body).encode(), policy=PromptPolicy())
    assert caught.value.code == "unsupported_parameter"


@pytest.mark.parametrize(
    "name", sorted(name for name, fate in FATES.items() if fate == "passed over")
)
def test_what_is_listed_as_passed_over_is_named(name):
    body = {"model": "m", "messages": [{"role": "user", "content": "x"}], name: {}}
    assert decode_chat(json.dumps(body).encode(), policy=PromptPolicy()).ignored == (name,)


def test_every_effort_is_listed_with_what_it_becomes():
    listed = {
        asked: (effort, thinks.startswith("yes")) for asked, effort, thinks in table("Effort")
    }
    made = {}
    for asked in EFFORTS:
        body = {
            "model": "m",
            "messages": [{"role": "user", "content": "x"}],
            "reasoning_effort": asked,
        }
        turn = decode_chat(json.dumps(body).encode(), policy=PromptPolicy()).turn
        content = turn.conversation.messages[0].content[0]
        made[asked] = (content.reasoning_effort, turn.think)  # type: ignore[union-attr]
    assert listed == made


def test_every_code_of_a_refusal_is_listed():
    listed = {code for code, _ in table("Errors of the request")}
    sources = [*(ROOT / "src/antiphon/api/chat").glob("*.py"), ROOT / "src/antiphon/api/errors.py"]
    sources.append(ROOT / "src/antiphon/turn/preflight.py")
    used = set()
    for source in sources:
        text = source.read_text("utf-8")
        used |= set(re.findall(r'code ?= ?"((?:invalid|missing|unsupported)_\w+)"', text))
        used |= set(re.findall(r'UNSUPPORTED_CONTENT: Final = "(\w+)"', text))
    assert listed == used - {"invalid_schema"}
