"""The OpenAI Agents SDK over both APIs: the Responses API is what it speaks by default."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any

import pytest
from tests.e2e.serving import Serving

pytestmark = [pytest.mark.clients, pytest.mark.filterwarnings("default")]


@pytest.fixture(params=["chat", "responses"])
def api(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@contextlib.asynccontextmanager
async def agent(server: Serving, api: str, **more: Any) -> AsyncIterator[Any]:
    import agents
    from openai import AsyncOpenAI

    agents.set_tracing_disabled(True)
    async with AsyncOpenAI(
        base_url=server.base_url, api_key="unused", _strict_response_validation=True
    ) as client:
        speaking = {
            "chat": agents.OpenAIChatCompletionsModel,
            "responses": agents.OpenAIResponsesModel,
        }[api]
        model = speaking(model="gpt-oss-120b", openai_client=client)
        yield agents.Agent(name="Tester", instructions="Help.", model=model, **more)


async def ask(server: Serving, api: str, question: str, **more: Any) -> Any:
    import agents

    async with agent(server, api, **more) as made:
        return (await agents.Runner.run(made, question)).final_output


def weather_tool(asked: list[str]) -> Any:
    import agents

    @agents.function_tool  # type: ignore[untyped-decorator]
    def get_weather(city: str) -> str:
        """Get the current weather for a city."""
        asked.append(city)
        return f'{{"city": "{city}", "sky": "clear"}}'

    return get_weather


def test_a_run_calls_the_tool_and_answers(server: Serving, api: str) -> None:
    asked: list[str] = []
    output = asyncio.run(ask(server, api, "The weather in Oslo?", tools=[weather_tool(asked)]))
    assert asked == ["Oslo"]
    assert "sky is clear" in output


def test_a_streamed_run_gives_reasoning_calls_and_text(server: Serving, api: str) -> None:
    import agents

    asked: list[str] = []

    async def run() -> tuple[list[str], str]:
        async with agent(server, api, tools=[weather_tool(asked)]) as made:
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


def test_an_output_type_is_filled_in(server: Serving, api: str) -> None:
    from pydantic import BaseModel

    class Event(BaseModel):
        name: str
        participants: list[str]

    assert isinstance(asyncio.run(ask(server, api, "Invent an event.", output_type=Event)), Event)


@pytest.mark.parametrize("stored", [True, False])
def test_turns_are_chained_by_the_response_before_or_by_encrypted_reasoning(
    server: Serving, stored: bool
) -> None:
    import agents

    asked: list[str] = []
    settings = agents.ModelSettings(
        store=stored, response_include=None if stored else ["reasoning.encrypted_content"]
    )

    async def run() -> str:
        tools = [weather_tool(asked)]
        async with agent(server, "responses", tools=tools, model_settings=settings) as made:
            first = await agents.Runner.run(
                made,
                "The weather in Oslo? The code word is walrus.",
                auto_previous_response_id=stored,
            )
            question = "Do not use any tool. What was the code word?"
            if stored:
                assert first.last_response_id
                said = await agents.Runner.run(
                    made, question, previous_response_id=first.last_response_id
                )
            else:
                history = [*first.to_input_list(), {"role": "user", "content": question}]
                said = await agents.Runner.run(made, history)
            return str(said.final_output)

    assert "walrus" in asyncio.run(run())
    assert asked == ["Oslo"]


def test_a_conversation_is_a_session(server: Serving) -> None:
    import agents

    async def run() -> tuple[str, int]:
        async with agent(server, "responses") as made:
            session = agents.OpenAIConversationsSession(openai_client=made.model._client)
            await agents.Runner.run(made, "The code word is walrus.", session=session)
            said = await agents.Runner.run(made, "What was the code word?", session=session)
            kept = len(await session.get_items())
            await session.clear_session()
            return str(said.final_output), kept

    output, kept = asyncio.run(run())
    assert "walrus" in output
    assert kept >= 4
