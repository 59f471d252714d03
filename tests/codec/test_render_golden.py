"""The reference dialect against recorded results of the reference library."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Literal

import pytest

from antiphon.codec.render import Renderer
from antiphon.errors import MessageError, RenderError
from antiphon.model.json import message_from_builtins

LONE_SURROGATE = "lone surrogate in user text"  # the reference raises, we write U+FFFD
RECORDED = json.loads((Path(__file__).parents[1] / "golden" / "render.json").read_text("utf-8"))
CASES = [case for case in RECORDED if case["case"] != LONE_SURROGATE]


@pytest.fixture(scope="module")
def renderer() -> Renderer:
    return Renderer(dialect="reference", check=False)


def tokens_of(renderer: Renderer, case: dict[str, Any]) -> list[int]:
    method, value, args = case["method"], case["input"], list(case["args"])
    if method == "render":
        options = args[0] if args else {}
        flag = bool((options or {}).get("conversation_has_function_tools"))
        return renderer.message(message_from_builtins(value), has_function_tools=flag)
    messages = [message_from_builtins(m) for m in value["messages"]]
    role = args.pop(0) if method == "render_conversation_for_completion" else "assistant"
    drop = (args[0] if args else {}).get("auto_drop_analysis", True)
    history: Literal["reference", "keep"] = "reference" if drop else "keep"
    if method == "render_conversation_for_completion":
        return renderer.for_completion(messages, role, history=history)
    if method == "render_conversation_for_training":
        return renderer.for_training(messages, history=history).tokens
    return renderer.conversation(messages, history=history)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["case"])
def test_reference_dialect_renders_as_recorded(renderer: Renderer, case: dict[str, Any]) -> None:
    if case["case"] == "effort assigned str none":
        with pytest.raises(MessageError, match="expected low, medium or high"):
            tokens_of(renderer, case)
        return
    if case["error"]:
        with pytest.raises(RenderError) as caught:
            tokens_of(renderer, case)
        assert str(caught.value) in case["error"]
        return
    assert tokens_of(renderer, case) == case["tokens"]
    assert tokens_of(renderer, case) == case["tokens"], "the second time, from the memo"


def test_a_golden_case_covers_every_kind_of_call() -> None:
    assert {case["method"] for case in CASES} == {
        "render",
        "render_conversation",
        "render_conversation_for_completion",
        "render_conversation_for_training",
    }
