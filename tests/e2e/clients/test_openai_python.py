"""openai-python, with strict validation of every answer."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from typing import Any, Literal

import pytest
from tests.e2e.serving import Serving

pytestmark = [pytest.mark.clients, pytest.mark.filterwarnings("default")]

MODEL = "gpt-oss-120b"
WEATHER: Any = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "Get the current weather for a city.",
        "parameters": {
            "type": "object",
            "properties": {
                "city": {"type": "string"},
                "unit": {"type": "string", "enum": ["celsius", "fahrenheit"]},
            },
            "required": ["city"],
            "additionalProperties": False,
        },
    },
}


@pytest.fixture
def client(server: Serving) -> Iterator[Any]:
    from openai import OpenAI

    with OpenAI(
        base_url=server.base_url,
        api_key="unused",
        max_retries=0,
        _strict_response_validation=True,
    ) as made:
        yield made


def user(text: str) -> Any:
    return [{"role": "user", "content": text}]


def test_an_answer_has_content_reasoning_and_usage(client: Any) -> None:
    done = client.chat.completions.create(model=MODEL, messages=user("Say exactly: naïve 🎉"))
    (choice,) = done.choices
    assert (choice.message.content, choice.finish_reason) == ("naïve 🎉", "stop")
    assert choice.message.reasoning
    assert choice.message.reasoning == choice.message.reasoning_content
    usage = done.usage
    assert usage.total_tokens == usage.prompt_tokens + usage.completion_tokens
    assert 0 < usage.completion_tokens_details.reasoning_tokens < usage.completion_tokens


def test_a_stream_says_the_same_as_the_whole(client: Any) -> None:
    asked: Any = {"model": MODEL, "messages": user("Count from 1 to 20.")}
    whole = client.chat.completions.create(**asked)
    text, reasoning, usage, reasons = "", "", None, []
    for chunk in client.chat.completions.create(
        **asked, stream=True, stream_options={"include_usage": True}
    ):
        usage = chunk.usage or usage
        for choice in chunk.choices:
            text += choice.delta.content or ""
            reasoning += getattr(choice.delta, "reasoning", None) or ""
            reasons += [choice.finish_reason] if choice.finish_reason else []
    message = whole.choices[0].message
    assert (text, reasoning) == (message.content, message.reasoning)
    assert reasons == ["stop"]
    assert usage is not None
    assert usage.completion_tokens == whole.usage.completion_tokens


def test_the_streaming_helper_assembles_calls(client: Any) -> None:
    with client.chat.completions.stream(
        model=MODEL, messages=user("The weather in Paris?"), tools=[WEATHER]
    ) as stream:
        kinds = [event.type for event in stream]
        done = stream.get_final_completion()
    (call,) = done.choices[0].message.tool_calls
    assert call.function.name == "get_weather"
    assert json.loads(call.function.arguments) == {"city": "Paris"}
    assert done.choices[0].finish_reason == "tool_calls"
    assert {"tool_calls.function.arguments.delta", "tool_calls.function.arguments.done"} <= set(
        kinds
    )


def test_parse_gives_the_model_that_was_asked_for(client: Any) -> None:
    from pydantic import BaseModel

    class Person(BaseModel):
        name: str
        age: int
        mood: Literal["<|channel|>final", "glad"]
        friends: list[str]

    done = client.chat.completions.parse(
        model=MODEL, messages=user("Invent a person."), response_format=Person
    )
    parsed = done.choices[0].message.parsed
    assert isinstance(parsed, Person)
    assert parsed.mood == "<|channel|>final"
    with client.chat.completions.stream(
        model=MODEL, messages=user("Invent a person."), response_format=Person
    ) as stream:
        assert stream.get_final_completion().choices[0].message.parsed == parsed


def test_parse_gives_strict_calls_their_arguments(client: Any) -> None:
    import openai
    from pydantic import BaseModel

    class BookTable(BaseModel):
        restaurant: str
        party_size: int
        outdoor: bool

    done = client.chat.completions.parse(
        model=MODEL,
        messages=user("Book a table at Chez Nous for 4 people, outdoors."),
        tools=[openai.pydantic_function_tool(BookTable)],
        tool_choice="required",
    )
    (call,) = done.choices[0].message.tool_calls
    assert isinstance(call.function.parsed_arguments, BookTable)
    assert call.function.parsed_arguments.party_size == 4


def test_a_tool_loop_ends_in_an_answer_with_the_tools_facts(client: Any) -> None:
    messages = user("What's the weather in Paris and in Tokyo?")
    first = client.chat.completions.create(model=MODEL, messages=messages, tools=[WEATHER])
    calls = first.choices[0].message.tool_calls
    assert [json.loads(c.function.arguments)["city"] for c in calls] == ["Paris", "Tokyo"]
    assert len({c.id for c in calls}) == 2
    messages.append(first.choices[0].message)
    messages += [
        {"role": "tool", "tool_call_id": c.id, "content": f'{{"sky": "{i} clouds"}}'}
        for i, c in enumerate(calls)
    ]
    second = client.chat.completions.create(model=MODEL, messages=messages, tools=[WEATHER])
    content = second.choices[0].message.content
    assert "0 clouds" in content
    assert "1 clouds" in content
    assert second.usage.prompt_tokens_details.cached_tokens > first.usage.prompt_tokens


@pytest.mark.parametrize(
    ("choice", "names"),
    [
        ("none", []),
        ("required", ["get_weather"]),
        ({"type": "function", "function": {"name": "get_weather"}}, ["get_weather"]),
    ],
)
def test_tool_choice_is_kept(client: Any, choice: Any, names: list[str]) -> None:
    done = client.chat.completions.create(
        model=MODEL, messages=user("The weather in Rome?"), tools=[WEATHER], tool_choice=choice
    )
    message = done.choices[0].message
    assert [c.function.name for c in message.tool_calls or []] == names
    assert bool(message.content) is (not names)


def test_parallel_calls_can_be_turned_off(client: Any) -> None:
    done = client.chat.completions.create(
        model=MODEL,
        messages=user("The weather in Paris and in Tokyo?"),
        tools=[WEATHER],
        parallel_tool_calls=False,
    )
    assert len(done.choices[0].message.tool_calls) == 1


def test_several_choices_stop_strings_and_limits_work(client: Any) -> None:
    done = client.chat.completions.create(
        model=MODEL, messages=user("Say exactly: alpha beta gamma"), n=2, stop=["beta"]
    )
    assert [c.message.content for c in done.choices] == ["alpha ", "alpha "]
    assert [c.index for c in done.choices] == [0, 1]
    short = client.chat.completions.create(
        model=MODEL, messages=user("Write a long story."), max_completion_tokens=50
    )
    assert short.choices[0].finish_reason == "length"
    assert short.usage.completion_tokens == 50


def test_log_probabilities_spell_the_answer(client: Any) -> None:
    asked: Any = {"model": MODEL, "messages": user("Say exactly: naïve 🎉 <|call|>")}
    asked |= {"logprobs": True, "top_logprobs": 3}
    done = client.chat.completions.create(**asked)
    content = done.choices[0].logprobs.content
    spelled = b"".join([bytes(entry.bytes) for entry in content]).decode()
    assert spelled == done.choices[0].message.content == "naïve 🎉 <|call|>"
    assert all(len(entry.top_logprobs) == 3 for entry in content)
    streamed = [
        entry.token
        for chunk in client.chat.completions.create(**asked, stream=True)
        for choice in chunk.choices
        if choice.logprobs
        for entry in choice.logprobs.content or []
    ]
    assert streamed == [entry.token for entry in content]


@pytest.mark.parametrize(
    ("effort", "thinks"), [("none", False), ("minimal", False), ("low", False), ("high", True)]
)
def test_effort_decides_whether_it_thinks(client: Any, effort: Any, thinks: bool) -> None:
    done = client.chat.completions.create(
        model=MODEL, messages=user("Say hi."), reasoning_effort=effort
    )
    message = done.choices[0].message
    assert message.content == "hi"
    assert bool(getattr(message, "reasoning", None)) is thinks


def test_errors_are_the_ones_the_client_knows(client: Any) -> None:
    import openai

    with pytest.raises(openai.BadRequestError) as refused:
        client.chat.completions.create(model=MODEL, messages=user("x"), temperature=9)
    assert refused.value.param == "temperature"
    with pytest.raises(openai.BadRequestError) as refused:
        client.chat.completions.create(model=MODEL, messages=user("word " * 200_000))
    assert refused.value.code == "context_length_exceeded"
    with pytest.raises(openai.NotFoundError):
        client.get("/nothing-here", cast_to=object)


def test_models_are_listed_and_found(client: Any) -> None:
    listed = client.models.list().data
    assert listed
    assert client.models.retrieve(listed[0].id).id == listed[0].id


def test_raw_completions_pass_through(client: Any, server: Serving) -> None:
    from openai import OpenAI

    done = client.completions.create(model=MODEL, prompt="Say exactly: raw", max_tokens=20)
    assert done.choices[0].text.startswith("raw")
    # OpenAI's own streams hold `finish_reason: null` here, which its strict types do not.
    with OpenAI(base_url=server.base_url, api_key="unused") as lenient:
        streamed = lenient.completions.create(
            model=MODEL, prompt="Say exactly: raw", max_tokens=20, stream=True
        )
        text = "".join([chunk.choices[0].text for chunk in streamed])
    assert text == done.choices[0].text


def test_fifty_at_a_time_get_their_own_answers(server: Serving) -> None:
    from openai import AsyncOpenAI

    async def run() -> list[str]:
        async with AsyncOpenAI(
            base_url=server.base_url, api_key="x", _strict_response_validation=True
        ) as client:

            async def one(i: int) -> str:
                text = ""
                stream = await client.chat.completions.create(
                    model=MODEL, messages=user(f"Say exactly: word {i}"), stream=True
                )
                async for chunk in stream:
                    text += (chunk.choices[0].delta.content or "") if chunk.choices else ""
                return text

            return await asyncio.gather(*[one(i) for i in range(50)])

    assert asyncio.run(run()) == [f"word {i}" for i in range(50)]


def test_a_client_that_goes_away_leaves_the_server_whole(client: Any) -> None:
    stream = client.chat.completions.create(
        model=MODEL, messages=user("Write a long story."), stream=True
    )
    next(iter(stream))
    stream.close()
    done = client.chat.completions.create(model=MODEL, messages=user("Say hi."))
    assert done.choices[0].message.content == "hi"
