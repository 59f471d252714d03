"""docs/responses.md is complete: every parameter, item, tool choice, event and code."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any, get_args

import pytest
from tests.api.responses_requests import decode, refused
from tests.api.responses_schemas import GOLDEN

from antiphon.api.responses.body import KNOWN, NO_EFFECT, REFUSED
from antiphon.api.responses.items import KINDS, LEFT_OUT, TOLD
from antiphon.api.responses.stream import ResponseStatus
from antiphon.api.responses.summary import SUMMARY_CHARS

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs/responses.md").read_text("utf-8")

OF_OTHERS = {
    "engine_error",
    "invalid_schema",
    "rate_limit_exceeded",
    "server_error",
    "store_unavailable",
}
"""Codes of what is no refusal of a request."""


def tables(heading: str) -> list[list[list[str]]]:
    """The cells of each table under a heading, without its first two rows."""
    section = PAGE.split(f"## {heading}\n", 1)[1].split("\n## ", 1)[0]
    found: list[list[list[str]]] = []
    before = False
    for line in section.splitlines():
        row = line.startswith("|")
        if row and not before:
            found.append([])
        if row:
            found[-1].append([cell.strip().strip("`") for cell in line.strip("|").split("|")])
        before = row
    return [rows[2:] for rows in found]


FATES = {name: fate for name, fate, _ in tables("Parameters")[0]}


def test_every_parameter_is_listed_once():
    assert len(tables("Parameters")[0]) == len(FATES)
    assert set(FATES) == KNOWN
    assert set(FATES.values()) == {"honoured", "passed over", "no effect", "refused"}


def test_parameters_have_the_fate_that_is_listed():
    assert {name for name, fate in FATES.items() if fate == "no effect"} == NO_EFFECT
    assert {name for name, fate in FATES.items() if fate == "refused"} == REFUSED.keys()


@pytest.mark.parametrize("name", sorted(REFUSED))
def test_what_is_listed_as_refused_is_refused(name):
    error = refused(**{name: {"id": "x"}})
    assert (error.code, error.param) == ("unsupported_parameter", name)


@pytest.mark.parametrize(
    "name", sorted(name for name, fate in FATES.items() if fate == "passed over")
)
def test_what_is_listed_as_passed_over_is_named(name):
    fields: dict[str, Any] = {name: {}}
    assert decode(**fields).ignored == (name,)


@pytest.mark.parametrize("name", sorted(NO_EFFECT))
def test_what_has_no_effect_changes_no_turn_and_is_not_named(name):
    objects = ("access_programs", "prompt_cache_options")
    fields: dict[str, Any] = {name: {} if name in objects else "x"}
    request = decode(**fields)
    assert request.ignored == ()
    assert request.turn.conversation == decode().turn.conversation


def test_every_item_is_listed_with_what_becomes_of_it():
    listed = dict(tables("Items")[0])
    assert listed.keys() == KINDS.keys() | TOLD.keys() | LEFT_OUT
    assert {name for name, fate in listed.items() if fate == "told"} == TOLD.keys()
    assert {name for name, fate in listed.items() if fate == "left out"} == LEFT_OUT


def test_every_event_and_status_is_listed():
    statuses, events = tables("The answer")
    assert {status for status, _ in statuses} == set(get_args(ResponseStatus))
    assert {event for event, _ in events} == set(GOLDEN["events"]) - {"error"}


def test_the_lengths_of_summaries_are_those_that_are_said():
    for wanted, chars in SUMMARY_CHARS.items():
        assert f"{chars} (`{wanted}`)" in PAGE.replace("\n", " ")


def test_every_code_of_a_refusal_is_listed():
    listed = {code for code, _ in tables("Errors of the request")[0]}
    sources = [
        *(ROOT / "src/antiphon/api/responses").glob("*.py"),
        ROOT / "src/antiphon/turn/preflight.py",
        ROOT / "src/antiphon/api/errors.py",
        ROOT / "src/antiphon/api/reading.py",
        ROOT / "src/antiphon/api/chat/media.py",
    ]
    used = set()
    for source in sources:
        text = source.read_text("utf-8")
        used |= set(re.findall(r'\bcode ?= ?"(\w+)"', text))
        used |= set(re.findall(r'UNSUPPORTED_CONTENT: Final = "(\w+)"', text))
    assert listed == used - OF_OTHERS


def test_the_choices_of_tools_that_are_listed_are_taken():
    listed = [choice for choice, _ in tables("The choice of tools")[0]]
    tools = [{"type": "function", "name": "f"}, {"type": "custom", "name": "c"}]
    forms = {
        "function": {"type": "function", "name": "f"},
        "custom": {"type": "custom", "name": "c"},
        "allowed_tools": {"type": "allowed_tools", "mode": "auto", "tools": tools[:1]},
    }
    for choice in listed:
        form = forms.get(choice, choice)
        request = decode(tools=tools, tool_choice=form)
        assert json.loads(b"{%b}" % request.echo)["tool_choice"] == form
