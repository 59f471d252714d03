"""Rendering through the drop-in: golden cases, and the reference library on generated input."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

import pytest
from tests.compat.conversations import conversation

reference: Any = pytest.importorskip("openai_harmony")
ours: Any = pytest.importorskip("antiphon.openai_harmony")

SEED = 11
CASES = json.loads((Path(__file__).parents[1] / "golden" / "render.json").read_text())
NAMES = {"RenderError": "RuntimeError"}
"""A subclass of ours is as good as the reference's class."""


@pytest.fixture(scope="module")
def encoding() -> Any:
    return ours.load_harmony_encoding(ours.HarmonyEncodingName.HARMONY_GPT_OSS)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["case"])
def test_a_golden_case_renders_from_json_as_the_reference_renders_it(
    case: dict[str, Any], encoding: Any
) -> None:
    call = getattr(encoding._inner, case["method"])
    args = list(case["args"])
    if case["method"] != "render" and not isinstance((args or [None])[-1], dict):
        args.append({"auto_drop_analysis": True})
    result = outcome(call, json.dumps(case["input"]), *args)
    if case["error"] is None:
        assert result == case["tokens"]
    else:
        kind, _, text = case["error"].partition(": ")
        assert result[0] == kind
        assert result[1] == text or kind == "ValueError"


def outcome(call: Callable[..., Any], *args: Any) -> Any:
    try:
        return call(*args)
    except Exception as error:  # noqa: BLE001 - the error is the outcome that is compared
        name = type(error).__name__
        return NAMES.get(name, name), str(error)


def rendered(library: Any, encoding: Any, seed: int) -> dict[str, Any]:
    rng = Random(seed)
    conv = conversation(library, rng)
    config = rng.choice(
        (
            None,
            library.RenderConversationConfig(),
            library.RenderConversationConfig(auto_drop_analysis=False),
        )
    )
    options = rng.choice(
        (None, library.RenderOptions(), library.RenderOptions(conversation_has_function_tools=True))
    )
    role = rng.choice(list(library.Role))
    out = {
        "conversation": outcome(encoding.render_conversation, conv, config),
        "training": outcome(encoding.render_conversation_for_training, conv, config),
        "completion": outcome(encoding.render_conversation_for_completion, conv, role, config),
        "messages": [outcome(encoding.render, message, options) for message in conv],
        "json": without_nulls(conv.to_dict()),
    }
    comparable: dict[str, Any] = json.loads(re.sub(r"column \d+", "column N", json.dumps(out)))
    return comparable


def without_nulls(value: dict[str, Any]) -> dict[str, Any]:
    """Ours says null for settings that are None; the reference leaves them out and forgets them."""
    for message in value["messages"]:
        message["content"] = [
            {key: field for key, field in part.items() if field is not None}
            for part in message["content"]
        ]
    return value


def compare(encoding: Any, oracle: Any, seeds: range) -> None:
    for seed in seeds:
        assert rendered(ours, encoding, seed) == rendered(reference, oracle, seed), seed


def test_generated_conversations_render_as_the_reference_renders_them(
    encoding: Any, reference_encoding: Any
) -> None:
    compare(encoding, reference_encoding, range(SEED, SEED + 250))


@pytest.mark.slow
def test_five_thousand_conversations_render_as_the_reference_renders_them(
    encoding: Any, reference_encoding: Any
) -> None:
    compare(encoding, reference_encoding, range(SEED, SEED + 5_000))


@pytest.mark.parametrize(
    "text",
    [
        "a\ud800",
        "q\udc00\ud83d",
        "\ud83d\\u",
        "é\ud83d\\n",
        "\ud83d\ud83d\ude00",
        '\ud800"',
        "😀\udfff",
    ],
    ids=ascii,
)
def test_a_lone_surrogate_is_refused_at_the_same_column(
    text: str, encoding: Any, reference_encoding: Any
) -> None:
    for role in ("USER", "ASSISTANT"):
        mine = ours.Message.from_role_and_content(getattr(ours.Role, role), text)
        theirs = reference.Message.from_role_and_content(getattr(reference.Role, role), text)
        expected = outcome(reference_encoding.render, theirs)
        assert expected[0] == "ValueError"
        assert outcome(encoding.render, mine) == expected
        assert outcome(encoding._inner.render, mine.to_json()) == expected
        expected = outcome(
            reference_encoding.render_conversation, reference.Conversation(messages=[theirs])
        )
        assert outcome(encoding.render_conversation, ours.Conversation(messages=[mine])) == expected


def test_a_conversation_that_was_changed_renders_anew(encoding: Any) -> None:
    developer = ours.DeveloperContent.new().with_instructions("one")
    message = ours.Message.from_role_and_content(ours.Role.DEVELOPER, developer)
    user = ours.Message.from_role_and_content(ours.Role.USER, "one")
    conv = ours.Conversation.from_messages([message, user])
    assert encoding.decode(encoding.render_conversation(conv)).count("one") == 2
    developer.instructions = "two"
    user.content[0].text = "two"
    assert encoding.decode(encoding.render_conversation(conv)).count("two") == 2


def test_a_caller_may_change_the_tokens_he_got(encoding: Any) -> None:
    system = ours.Message.from_role_and_content(ours.Role.SYSTEM, ours.SystemContent.new())
    user = ours.Message.from_role_and_content(ours.Role.USER, "a")
    for message in (system, user):
        first = encoding.render(message)
        kept = first.copy()
        first.clear()
        assert encoding.render(message) == kept


def test_text_of_a_subclass_is_rendered_as_the_subclass_writes_it(encoding: Any) -> None:
    class Shouted(ours.TextContent):  # type: ignore[misc]
        def to_dict(self) -> dict[str, Any]:
            return {"type": "text", "text": self.text.upper()}

    message = ours.Message.from_role_and_content(ours.Role.USER, Shouted(text="hello"))
    assert "HELLO" in encoding.decode(encoding.render(message))


def test_a_schema_that_json_cannot_carry_is_a_value_error(encoding: Any) -> None:
    tool = ours.ToolDescription.new("f", "", {"type": "number", "default": float("nan")})
    content = ours.DeveloperContent.new().with_function_tools([tool])
    message = ours.Message.from_role_and_content(ours.Role.DEVELOPER, content)
    with pytest.raises(ValueError, match="invalid message JSON"):
        encoding.render(message)
