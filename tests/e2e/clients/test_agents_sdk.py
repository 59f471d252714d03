"""The OpenAI Agents SDK over Chat Completions."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any

import pytest
from tests.e2e.serving import Serving

pytestmark = [pytest.mark.clients, pytest.mark.filterwarnings("default")]


@contextlib.asynccontextmanager
async def agent(server: Serving, **more: Any) -> AsyncIterator[Any]:
    import agents
    from openai import AsyncOpenAI

    agents.set_tracing_disabled(True)
    async with AsyncOpenAI(
        base_url=server.base_url, api_key="unused", _strict_response_validation=True
    ) as client:
        model = agents.OpenAIChatCompletionsModel(model="gpt-oss-120b", openai_client=client)
        yield agents.Agent(name="Tester", instructions="Help.", model=model, **more)


async def ask(server: Serving, question: str, **more: Any) -> Any:
    import agents

    async with agent(server, **more) as made:
        return (await agents.Runner.run(made, question)).final_output


def weather_tool(asked: list[str]) -> Any:
    import agents

    @agents.function_tool  # type: ignore[untyped-decorator]
    def get_weather(city: str) -> str:
        """Get the current weather for a city."""
        asked.append(city)
        return f'{{"city": "{city}", "sky": "clear"}}'

    return get_weather


def test_a_run_calls_the_tool_and_answers(server: Serving) -> None:
    asked: list[str] = []
    output = asyncio.run(ask(server, "The weather in Oslo?", tools=[weather_tool(asked)]))
    assert asked == ["Oslo"]
    assert "sky is clear" in output


def test_a_streamed_run_gives_reasoning_calls_and_text(server: Serving) -> None:
    import agents

    asked: list[str] = []

    async def run() -> tuple[list[str], str]:
        async with agent(server, tools=[weather_tool(asked)]) as made:
            result = agents.Runner.run_streamed(made, "The weather in Paris and in Rome?")
            items = [
                event.item.type
                async for event in result.stream_events()
                if event.type == "run_item_stream_event"
            ]
            return items, result.final_output

    items, output = asyncio.run(run())
    assert sorted(asked) == ["Paris", "Rome"]
    assert items.count("tool_call_item") == items.count("tool_call_output_item") == 2
    assert "reasoning_item" in items
    assert "Rome" in output


def test_an_output_type_is_filled_in(server: Serving) -> None:
    from pydantic import BaseModel

    class Event(BaseModel):
        name: str
        participants: list[str]

    assert isinstance(asyncio.run(ask(server, "Invent an event.", output_type=Event)), Event)
