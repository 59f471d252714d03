"""What openai/gpt-oss asks of providers in its compatibility test, for Chat Completions.

A call of the offered tool with arguments that its schema accepts, and a ``message.reasoning`` that
is not empty; here in streams too, and over several turns.
"""

from __future__ import annotations

import json
from typing import Any

import pytest
from tests.e2e.serving import Serving

pytestmark = [pytest.mark.clients, pytest.mark.filterwarnings("default")]


def function(name: str, description: str, properties: dict[str, Any]) -> dict[str, Any]:
    parameters = {
        "type": "object",
        "properties": properties,
        "required": list(properties),
        "additionalProperties": False,
    }
    return {"name": name, "description": description, "parameters": parameters}


TEXT = {"type": "string"}
TOOLS = [
    function("get_system_health", "Says whether the language model and its tools are healthy.", {}),
    function("markdown_to_html", "Turns Markdown into HTML.", {"markdown": TEXT}),
    function("detect_language", "Finds out in which language a text is written.", {"text": TEXT}),
    function(
        "generate_chart",
        "Draws a chart of some points.",
        {
            "data": {
                "type": "array",
                "items": {"type": "array", "items": {"type": "number"}, "minItems": 2},
                "minItems": 1,
            },
            "chart_type": {"type": "string", "enum": ["line", "bar", "scatter"]},
            "title": TEXT,
            "x_label": TEXT,
            "y_label": TEXT,
        },
    ),
    function(
        "query_database",
        "Looks up columns of a table.",
        {
            "table": TEXT,
            "columns": {"type": "array", "items": TEXT, "minItems": 1},
            "filters": TEXT,
            "limit": {"type": "integer", "minimum": 1},
            "order_by": TEXT,
        },
    ),
    function(
        "get_weather",
        "Tells the weather at a place.",
        {"location": TEXT, "unit": {"type": "string", "enum": ["celsius", "fahrenheit"]}},
    ),
]
QUESTIONS = {
    "get_system_health": ["Is the system healthy?", "Check the health of the tools, please."],
    "markdown_to_html": ["Turn this Markdown into HTML: # Hello", "Make HTML of '**bold**'."],
    "detect_language": ["In which language is 'buenos días' written?", "Detect this: bonjour"],
    "generate_chart": ["Draw a bar chart of (1,2) and (3,4) titled 'Sales'.", "A line chart: 1,1"],
    "query_database": ["Look up id and name in users, limit 5.", "Which orders are open?"],
    "get_weather": ["The weather in Berlin in celsius?", "How warm is it in Cairo, fahrenheit?"],
}
CASES = [(tool, text) for tool in TOOLS for text in QUESTIONS[tool["name"]]]


def streamed(client: Any, **asked: Any) -> tuple[list[Any], str, str | None]:
    """The calls, the reasoning and the finish reason of a stream."""
    calls: dict[int, list[str]] = {}
    reasoning, reason = "", None
    for chunk in client.chat.completions.create(**asked, stream=True):
        for choice in chunk.choices:
            reasoning += getattr(choice.delta, "reasoning", None) or ""
            reason = choice.finish_reason or reason
            for part in choice.delta.tool_calls or []:
                if part.id:
                    assert part.index not in calls
                    calls[part.index] = [part.function.name, ""]
                calls[part.index][1] += part.function.arguments or ""
    return list(calls.values()), reasoning, reason


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(("tool", "question"), CASES, ids=lambda v: v if type(v) is str else "")
def test_the_tool_is_called_with_valid_arguments_and_reasoning_shown(
    server: Serving, tool: dict[str, Any], question: str, stream: bool
) -> None:
    from jsonschema import Draft202012Validator
    from openai import OpenAI

    asked: dict[str, Any] = {
        "model": "gpt-oss-120b",
        "messages": [{"role": "user", "content": question}],
        "tools": [{"type": "function", "function": tool}],
    }
    with OpenAI(base_url=server.base_url, api_key="x", _strict_response_validation=True) as client:
        if stream:
            calls, reasoning, reason = streamed(client, **asked)
        else:
            (choice,) = client.chat.completions.create(**asked).choices
            message: Any = choice.message
            calls = [[c.function.name, c.function.arguments] for c in message.tool_calls or []]
            reasoning, reason = message.reasoning, choice.finish_reason
    assert reason == "tool_calls"
    assert calls
    for name, arguments in calls:
        assert name == tool["name"]
        Draft202012Validator(tool["parameters"]).validate(json.loads(arguments))
    assert isinstance(reasoning, str)
    assert reasoning
