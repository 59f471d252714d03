"""The OpenAI Agents SDK over Chat Completions."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from tests.e2e.serving import Serving

pytestmark = [pytest.mark.clients, pytest.mark.filterwarnings("default")]


def agent(server: Serving, **more: Any) -> Any:
    import agents
    from openai import AsyncOpenAI

    agents.set_tracing_disabled(True)
    client = AsyncOpenAI(
        base_url=server.base_url, api_key="unused", _strict_response_validation=True
    )
    model = agents.OpenAIChatCompletionsModel(model="gpt-oss-120b", openai_client=client)
    return agents.Agent(name="Tester", instructions="Help.", model=model, **more)


def weather_tool(asked: list[str]) -> Any:
    import agents

    @agents.function_tool  # type: ignore[untyped-decorator]
    def get_weather(city: str) -> str:
        """Get the current weather for a city."""
        asked.append(city)
        return f'{{"city": "{city}", "sky": "clear"}}'

    return get_weather


def test_a_run_calls_the_tool_and_answers(server: Serving) -> None:
    import agents

    asked: list[str] = []
    done = asyncio.run(
        agents.Runner.run(agent(server, tools=[weather_tool(asked)]), "The weather in Oslo?")
    )
    assert asked == ["Oslo"]
    assert "sky is clear" in done.final_output


def test_a_streamed_run_gives_reasoning_calls_and_text(server: Serving) -> None:
    import agents

    asked: list[str] = []

    async def run() -> tuple[list[str], str]:
        result = agents.Runner.run_streamed(
            agent(server, tools=[weather_tool(asked)]), "The weather in Paris and in Rome?"
        )
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
    import agents
    from pydantic import BaseModel

    class Event(BaseModel):
        name: str
        participants: list[str]

    done = asyncio.run(agents.Runner.run(agent(server, output_type=Event), "Invent an event."))
    assert isinstance(done.final_output, Event)
