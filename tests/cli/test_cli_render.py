from __future__ import annotations

import json

import pytest

from antiphon.codec.render import Renderer
from antiphon.model.content import ReasoningEffort, SystemContent
from antiphon.model.message import Conversation, Message, Role

CONVERSATION = Conversation.of(
    Message.system(SystemContent.default("low", date="2025-06-28")),
    Message.user("What is 2 + 2? <|end|>"),
    Message.analysis("Simple."),
    Message.final("4"),
    Message.user("And 3 + 3?"),
)
JSON = CONVERSATION.to_json()
LIST = json.dumps(json.loads(JSON)["messages"])


def tokens(result):
    assert (result.code, result.err) == (0, "")
    return json.loads(result.out)


def test_the_default_is_a_prompt_for_the_assistant_in_the_emission_dialect(antiphon):
    expected = Renderer(dialect="emission").for_completion(CONVERSATION)
    assert tokens(antiphon("render", "-", stdin=JSON)) == expected


def test_a_bare_list_of_messages_is_a_conversation(antiphon):
    assert antiphon("render", "-", stdin=LIST).out == antiphon("render", "-", stdin=JSON).out


@pytest.mark.parametrize("dialect", ["reference", "emission"])
@pytest.mark.parametrize("history", ["reference", "guide", "keep"])
def test_dialect_and_history_are_the_renderers(antiphon, dialect, history):
    expected = Renderer(dialect=dialect).conversation(CONVERSATION, history=history)
    options = ("--whole", "--dialect", dialect, "--history", history)
    assert tokens(antiphon("render", *options, "-", stdin=JSON)) == expected


def test_the_reference_dialect_is_the_reference_librarys(antiphon, golden):
    same = 0
    for entry in golden("render.json"):
        if entry["method"] != "render" or entry["error"] or entry["args"]:
            continue
        stdin = json.dumps([entry["input"]])
        result = antiphon("render", "--dialect", "reference", "--whole", "-", stdin=stdin)
        if result.code:
            # A header that would not survive, which the reference writes all the same.
            assert result.err.startswith("antiphon render: standard input: messages[0].")
        else:
            assert json.loads(result.out) == entry["tokens"]
            same += 1
    assert same >= 40


def test_the_next_role_can_be_another(antiphon):
    expected = Renderer(dialect="emission").for_completion(CONVERSATION, Role.USER)
    assert tokens(antiphon("render", "--role", "user", "-", stdin=JSON)) == expected


def test_text_is_the_tokens_spelled_out(antiphon):
    conversation = '[{"role":"user","content":"h\\u00e9 \\n"}]'
    out = antiphon("render", "-o", "text", "-", stdin=conversation).out
    assert out == "<|start|>user<|message|>h\u00e9 \n<|end|><|start|>assistant\n"


def test_both_is_tokens_and_then_text(antiphon):
    result = antiphon("render", "-o", "both", "-", stdin='[{"role":"user","content":"a"}]')
    ids, text = result.out.splitlines()
    assert json.loads(ids) == [200006, 1428, 200008, 64, 200007, 200006, 173781]
    assert text == "<|start|>user<|message|>a<|end|><|start|>assistant"


def test_json_holds_what_output_asks_for(antiphon):
    def keys(*options):
        return set(json.loads(antiphon("render", "--json", *options, "-", stdin=JSON).out))

    assert keys() == {"count", "tokens"}
    assert keys("-o", "text") == {"count", "text"}
    assert keys("-o", "both", "--training") == {"count", "tokens", "mask", "text"}


def test_training_adds_the_loss_mask(antiphon):
    sample = Renderer(dialect="emission").for_training(CONVERSATION)
    ids, mask = antiphon("render", "--training", "-", stdin=JSON).out.splitlines()
    assert json.loads(ids) == sample.tokens
    assert json.loads(mask) == list(sample.mask)


def test_effort_replaces_that_of_the_system_message(antiphon):
    out = antiphon("render", "-o", "text", "--effort", "high", "-", stdin=JSON).out
    assert "Reasoning: high" in out
    assert "Current date: 2025-06-28" in out
    assert "low" not in out


def test_effort_without_a_system_message_adds_the_default_one(antiphon):
    out = antiphon("render", "--effort", "high", "-", stdin='[{"role":"user","content":"a"}]')
    system = Message.system(SystemContent.default(ReasoningEffort.HIGH))
    expected = Renderer(dialect="emission").for_completion([system, Message.user("a")])
    assert tokens(out) == expected


def test_effort_cannot_be_set_in_a_plain_text_system_message(antiphon):
    result = antiphon("render", "--effort", "low", "-", stdin='[{"role":"system","content":"a"}]')
    assert result.code == 1
    assert result.err.startswith("antiphon render: standard input: messages[0]: ")


def test_text_for_a_pipe_is_exact_whatever_it_holds(antiphon):
    text = "\x00\x1b[31m\u202e\r"
    conversation = json.dumps([{"role": "user", "content": text}])
    out = antiphon("render", "-o", "text", "--whole", "-", stdin=conversation).out
    assert out == f"<|start|>user<|message|>{text}<|end|>\n"


CHAT = {
    "messages": [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "Weather?"},
        {
            "role": "assistant",
            "reasoning": "Look.",
            "tool_calls": [{"id": "c", "function": {"name": "f", "arguments": "{}"}}],
        },
        {"role": "tool", "tool_call_id": "c", "content": "rain"},
    ],
}
AMBIGUOUS = {"messages": CHAT["messages"][:2]}


def text(antiphon, conversation, *options):
    result = antiphon("render", "-o", "text", *options, "-", stdin=json.dumps(conversation))
    assert (result.code, result.err) == (0, "")
    return result.out


def test_a_chat_request_is_recognised(antiphon):
    out = text(antiphon, CHAT)
    assert out.startswith("<|start|>system<|message|>You are ChatGPT")
    assert "<|start|>developer<|message|># Instructions\n\nBe brief.<|end|>" in out
    assert "<|start|>functions.f to=assistant<|channel|>commentary<|message|>rain<|end|>" in out
    assert text(antiphon, CHAT["messages"]) == out
    assert text(antiphon, CHAT, "--format", "chat") == out


@pytest.mark.parametrize(
    "field",
    [
        {"model": "gpt-oss-20b"},
        {"reasoning_effort": "low"},
        {"tools": [{"type": "function", "function": {"name": "f"}}]},
        {"response_format": {"type": "text"}},
    ],
)
def test_one_field_of_a_request_is_enough(antiphon, field):
    out = text(antiphon, {**AMBIGUOUS, **field})
    assert "# Instructions\n\nBe brief." in out


def test_what_could_be_either_is_harmony_unless_said_otherwise(antiphon):
    assert text(antiphon, AMBIGUOUS).startswith("<|start|>system<|message|>Be brief.<|end|>")
    assert "# Instructions" in text(antiphon, AMBIGUOUS, "--format", "chat")


def test_anything_of_harmonys_own_makes_it_harmony(antiphon):
    message = {"role": "assistant", "channel": "final", "content": "4"}
    out = text(antiphon, {"model": "gpt-oss", "messages": [message]})
    assert out == "<|start|>assistant<|channel|>final<|message|>4<|end|><|start|>assistant\n"


def test_effort_is_set_in_a_chat_request_as_well(antiphon):
    assert "Reasoning: high\n" in text(antiphon, CHAT, "--effort", "high")


def test_a_wrong_field_of_a_chat_request_is_named(antiphon):
    broken = {**CHAT, "tools": [{"type": "function", "function": {"name": 3}}]}
    result = antiphon("render", "-", stdin=json.dumps(broken))
    assert result.code == 1
    assert result.err == (
        "antiphon render: standard input: tools[0].function.name: Expected `str`, got `int`\n"
    )
