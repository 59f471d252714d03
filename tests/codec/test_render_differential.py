"""The reference dialect against the reference library itself, on generated input."""

from __future__ import annotations

import json
from random import Random
from typing import Any

import pytest
from tests.differential import generate

from antiphon.codec.render import Renderer
from antiphon.model.json import message_from_builtins

SEED = 20_251_105


def run(reference: Any, seeds: range) -> None:
    """Render generated conversations both ways, in all three manners."""
    inner = reference._inner
    renderer = Renderer(dialect="reference", check=False)
    for seed in seeds:
        rng = Random(seed)
        value = generate.conversation(rng)
        text = json.dumps(value)
        messages = [message_from_builtins(m) for m in value["messages"]]
        drop = rng.random() < 0.6
        history: Any = "reference" if drop else "keep"
        role = rng.choice(["assistant", "user", "tool", "system", "developer"])
        config = {"auto_drop_analysis": drop}
        expected = inner.render_conversation(text, config)
        assert renderer.conversation(messages, history=history) == expected, seed
        completion = inner.render_conversation_for_completion(text, role, config)
        assert renderer.for_completion(messages, role, history=history) == completion, seed
        sample = renderer.for_training(messages, history=history)
        assert sample.tokens == inner.render_conversation_for_training(text, config), seed
        assert len(sample.mask) == len(sample.tokens)
        if messages:
            options = {"conversation_has_function_tools": drop}
            one = inner.render(json.dumps(value["messages"][0]), options)
            assert renderer.message(messages[0], has_function_tools=drop) == one, seed


def test_generated_conversations_render_as_the_reference_does(reference_encoding: Any) -> None:
    run(reference_encoding, range(SEED, SEED + 400))


@pytest.mark.slow
def test_twenty_thousand_conversations_render_as_the_reference_does(
    reference_encoding: Any,
) -> None:
    run(reference_encoding, range(SEED, SEED + 20_000))


def run_schemas(reference: Any, seeds: range) -> None:
    """Write generated schemas both ways, twenty a developer message."""
    renderer = Renderer(dialect="reference", check=False, memo_tokens=0)
    for first in range(seeds.start, seeds.stop, 20):
        made = [generate.schema(Random(seed), 5) for seed in range(first, first + 20)]
        tools = [
            {"name": f"f{seed}", "description": "", "parameters": schema}
            for seed, schema in enumerate(made, first)
            if isinstance(schema, dict)
        ]
        namespaces = {"functions": {"name": "functions", "tools": tools}}
        content = [{"type": "developer_content", "tools": namespaces}]
        value = {"role": "developer", "content": content}
        options = {"conversation_has_function_tools": False}
        expected = reference._inner.render(json.dumps(value), options)
        assert renderer.message(message_from_builtins(value)) == expected, first


def test_generated_schemas_are_written_as_the_reference_writes_them(
    reference_encoding: Any,
) -> None:
    run_schemas(reference_encoding, range(SEED, SEED + 1_000))


@pytest.mark.slow
def test_twenty_thousand_schemas_are_written_as_the_reference_writes_them(
    reference_encoding: Any,
) -> None:
    run_schemas(reference_encoding, range(SEED, SEED + 20_000))
