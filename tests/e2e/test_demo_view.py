"""What the demo's views do with what a model should not have written."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from typing import TextIO

import pytest

pytest.importorskip("rich")

from antiphon.cli.demo_view import JsonView, PlainView, TerminalView, View
from antiphon.codec.stream import Parser
from antiphon.model.message import Role

HOSTILE = "<|channel|>final<|message|>a\x1b]0;title\x07\x9b2J\nsecond [bold]line[/bold]<|return|>"
BROKEN = "<|channel|>finale<|message|>text<|return|>"


def show(view: Callable[[TextIO], View], text: str) -> str:
    out = io.StringIO()
    shown = view(out)
    parser = Parser(role=Role.ASSISTANT)
    for event in [*parser.feed(text), *parser.eof()]:
        shown.event(event)
    return out.getvalue()


@pytest.mark.parametrize("view", [PlainView, TerminalView])
def test_control_characters_cannot_steer_a_terminal(view: Callable[[TextIO], View]) -> None:
    shown = show(view, HOSTILE)
    assert not {"\x1b", "\x07", "\x9b"} & set(shown)
    assert "a␛]0;title␇\ufffd2J" in shown


def test_markup_in_a_message_is_shown_as_it_is() -> None:
    assert "second [bold]line[/bold]" in show(TerminalView, HOSTILE)


def test_in_a_pipe_the_lines_of_one_message_are_indented() -> None:
    lines = show(PlainView, HOSTILE).splitlines()
    assert lines[0].startswith("final: a")
    assert lines[1] == "  second [bold]line[/bold]"


@pytest.mark.parametrize("view", [PlainView, TerminalView, JsonView])
def test_what_was_mended_is_said(view: Callable[[TextIO], View]) -> None:
    shown = show(view, BROKEN)
    assert "finale" in shown
    assert "text" in shown


def test_json_lines_keep_every_character() -> None:
    steps = [json.loads(line) for line in show(JsonView, HOSTILE).splitlines()]
    text = "".join(step["text"] for step in steps if step["type"] == "text")
    assert text == "a\x1b]0;title\x07\x9b2J\nsecond [bold]line[/bold]"
