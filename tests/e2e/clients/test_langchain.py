"""LangChain's OpenAI chat model."""

from __future__ import annotations

from typing import Any

import pytest
from tests.e2e.serving import Serving

pytestmark = [pytest.mark.clients, pytest.mark.filterwarnings("default")]


@pytest.fixture
def model(server: Serving, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setenv("LANGSMITH_TRACING", "false")
    from langchain_openai import ChatOpenAI

    return ChatOpenAI(
        model="gpt-oss-120b",
        base_url=server.base_url,
        api_key="unused",
        max_retries=0,
        stream_usage=True,
    )


def test_it_answers_whole_and_in_a_stream(model: Any) -> None:
    whole = model.invoke("Count from 1 to 9.")
    pieces = list(model.stream("Count from 1 to 9."))
    assert whole.content == "".join([p.content for p in pieces]) == "1, 2, 3, 4, 5, 6, 7, 8, 9"
    assert whole.usage_metadata["total_tokens"] > whole.usage_metadata["output_tokens"]
    assert (
        sum((p.usage_metadata or {}).get("output_tokens", 0) for p in pieces)
        == (whole.usage_metadata["output_tokens"])
    )


def test_a_tool_is_called_and_its_result_used(model: Any) -> None:
    from langchain_core.messages import HumanMessage
    from langchain_core.tools import tool

    @tool  # type: ignore[untyped-decorator]
    def get_weather(city: str) -> dict[str, str]:
        """Get the current weather for a city."""
        return {"city": city, "sky": "clear"}

    bound = model.bind_tools([get_weather])
    messages: list[Any] = [HumanMessage("What's the weather in Paris and in Rome?")]
    said = bound.invoke(messages)
    assert [call["args"] for call in said.tool_calls] == [{"city": "Paris"}, {"city": "Rome"}]
    messages += [said, *[get_weather.invoke(call) for call in said.tool_calls]]
    assert "sky is clear" in bound.invoke(messages).content
    streamed = None
    for piece in bound.stream(messages[:1]):
        streamed = piece if streamed is None else streamed + piece
    assert streamed is not None
    assert [call["args"] for call in streamed.tool_calls] == [{"city": "Paris"}, {"city": "Rome"}]


@pytest.mark.parametrize("method", ["json_schema", "function_calling"])
def test_structured_output_is_filled_in(model: Any, method: str) -> None:
    from pydantic import BaseModel

    class Joke(BaseModel):
        """A joke."""

        setup: str
        punchline: str
        rating: int

    told = model.with_structured_output(Joke, method=method).invoke("Tell me a joke about cats")
    assert isinstance(told, Joke)
