"""openai-python's Responses API, with strict validation of every object and every event."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any, Literal

import pytest
from tests.e2e.serving import Serving, serving

pytestmark = [pytest.mark.clients, pytest.mark.filterwarnings("default")]

MODEL = "gpt-oss-120b"
NUMBERS = ", ".join(map(str, range(1, 21)))
WEATHER: Any = {
    "type": "function",
    "name": "get_weather",
    "description": "Get the current weather for a city.",
    "parameters": {
        "type": "object",
        "properties": {"city": {"type": "string"}},
        "required": ["city"],
        "additionalProperties": False,
    },
    "strict": True,
}
FINISHED = ("completed", "failed", "incomplete", "cancelled")


def strict(server: Serving) -> Any:
    from openai import OpenAI

    return OpenAI(
        base_url=server.base_url,
        api_key="unused",
        max_retries=0,
        _strict_response_validation=True,
    )


@pytest.fixture
def client(server: Serving) -> Iterator[Any]:
    with strict(server) as made:
        yield made


@pytest.fixture(scope="module")
def forgetful(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """A gateway that does not put back reasoning which clients leave out."""
    engine = ("--engine", "scripted", "--set", "memory.enabled=false")
    with serving(tmp_path_factory.mktemp("forgetful"), *engine) as server, strict(server) as made:
        yield made


def outputs(calls: list[Any]) -> list[Any]:
    """What the tool says to each call."""
    return [
        {
            "type": "function_call_output",
            "call_id": call.call_id,
            "output": json.dumps({"sky": f"{i} clouds"}),
        }
        for i, call in enumerate(calls)
    ]


def calls_of(response: Any) -> list[Any]:
    return [item for item in response.output if item.type == "function_call"]


def streamed(client: Any, **asked: Any) -> tuple[list[Any], Any]:
    """The events of a stream, checked for numbers, and its last response."""
    events = list(client.responses.create(model=MODEL, stream=True, **asked))
    assert [event.sequence_number for event in events] == list(range(len(events)))
    return events, events[-1].response


def joined(events: list[Any], kind: str) -> str:
    return "".join([event.delta for event in events if event.type == kind])


def test_an_answer_has_text_reasoning_and_usage(client: Any) -> None:
    done = client.responses.create(model=MODEL, input="Say exactly: naïve 🎉")
    assert (done.status, done.output_text) == ("completed", "naïve 🎉")
    reasoning, message = done.output
    assert (reasoning.type, message.type, message.phase) == ("reasoning", "message", "final_answer")
    assert reasoning.content[0].text
    usage = done.usage
    assert usage.total_tokens == usage.input_tokens + usage.output_tokens
    assert 0 < usage.output_tokens_details.reasoning_tokens < usage.output_tokens


def test_a_stream_says_the_same_as_the_whole(client: Any) -> None:
    whole = client.responses.create(model=MODEL, input="Count from 1 to 20.")
    events, last = streamed(client, input="Count from 1 to 20.")
    assert joined(events, "response.output_text.delta") == last.output_text == NUMBERS
    assert whole.output_text == NUMBERS
    assert joined(events, "response.reasoning_text.delta") == last.output[0].content[0].text
    assert [item.type for item in last.output] == [item.type for item in whole.output]
    assert last.usage.output_tokens == whole.usage.output_tokens


def test_the_streaming_helper_gives_the_final_response(client: Any) -> None:
    with client.responses.stream(
        model=MODEL, input="The weather in Paris and in Rome?", tools=[WEATHER]
    ) as stream:
        kinds = [event.type for event in stream]
        done = stream.get_final_response()
    assert [json.loads(c.arguments)["city"] for c in calls_of(done)] == ["Paris", "Rome"]
    assert kinds.count("response.function_call_arguments.done") == 2
    assert kinds[-1] == "response.completed"


def test_parse_gives_the_model_that_was_asked_for(client: Any) -> None:
    from pydantic import BaseModel

    class Person(BaseModel):
        name: str
        age: int
        mood: Literal["<|channel|>final", "glad"]
        friends: list[str]

    done = client.responses.parse(model=MODEL, input="Invent a person.", text_format=Person)
    assert isinstance(done.output_parsed, Person)
    assert done.output_parsed.mood == "<|channel|>final"
    with client.responses.stream(
        model=MODEL, input="Invent a person.", text_format=Person
    ) as stream:
        for _ in stream:
            pass
        assert stream.get_final_response().output_parsed == done.output_parsed


def test_parse_gives_strict_calls_their_arguments(client: Any) -> None:
    import openai
    from pydantic import BaseModel

    class BookTable(BaseModel):
        restaurant: str
        party_size: int

    done = client.responses.parse(
        model=MODEL,
        input="Book a table at Chez Nous for 4 people.",
        tools=[openai.pydantic_function_tool(BookTable)],
        tool_choice="required",
    )
    (call,) = calls_of(done)
    assert isinstance(call.parsed_arguments, BookTable)
    assert call.parsed_arguments.party_size == 4


@pytest.mark.parametrize("stream", [False, True])
def test_a_stored_tool_loop_goes_on_by_the_response_before(client: Any, stream: bool) -> None:
    def ask(**asked: Any) -> Any:
        if stream:
            return streamed(client, tools=[WEATHER], **asked)[1]
        return client.responses.create(model=MODEL, tools=[WEATHER], **asked)

    first = ask(input="What's the weather in Paris and in Tokyo?")
    calls = calls_of(first)
    assert [json.loads(call.arguments)["city"] for call in calls] == ["Paris", "Tokyo"]
    second = ask(input=outputs(calls), previous_response_id=first.id)
    assert second.previous_response_id == first.id
    assert "0 clouds" in second.output_text
    assert "1 clouds" in second.output_text
    assert second.usage.input_tokens_details.cached_tokens > first.usage.input_tokens
    third = ask(input="Repeat this text: goodbye", previous_response_id=second.id)
    assert third.output_text == "goodbye"
    assert third.usage.input_tokens > second.usage.input_tokens


@pytest.mark.parametrize("stream", [False, True])
def test_a_loop_that_is_not_stored_carries_its_reasoning_encrypted(
    forgetful: Any, stream: bool
) -> None:
    import openai

    asked: Any = {
        "tools": [WEATHER],
        "store": False,
        "include": ["reasoning.encrypted_content"],
    }

    def ask(items: list[Any]) -> Any:
        if stream:
            return streamed(forgetful, input=items, **asked)[1]
        return forgetful.responses.create(model=MODEL, input=items, **asked)

    items: list[Any] = [{"role": "user", "content": "What's the weather in Paris?"}]
    first = ask(items)
    with pytest.raises(openai.NotFoundError):
        forgetful.responses.retrieve(first.id)
    reasoning, *said = [item.model_dump() for item in first.output]
    assert reasoning["encrypted_content"]
    said += outputs(calls_of(first))
    whole = ask([*items, reasoning, *said])
    assert "0 clouds" in whole.output_text
    # The sealed text alone is worth as much as the plain one beside it.
    sealed = {**reasoning, "content": None}
    assert ask([*items, sealed, *said]).usage.input_tokens == whole.usage.input_tokens
    assert ask([*items, *said]).usage.input_tokens < whole.usage.input_tokens
    # What was not sealed here is passed over, and named.
    foreign = {**sealed, "encrypted_content": "A" + reasoning["encrypted_content"]}
    raw = forgetful.responses.with_raw_response.create(
        model=MODEL, input=[*items, foreign, *said], **asked
    )
    assert "input[1].encrypted_content" in raw.headers["antiphon-ignored"]
    assert raw.parse().usage.input_tokens < whole.usage.input_tokens


@pytest.mark.parametrize(
    ("choice", "names"),
    [
        ("none", []),
        ("required", ["get_weather"]),
        ({"type": "function", "name": "get_weather"}, ["get_weather"]),
        (
            {
                "type": "allowed_tools",
                "mode": "required",
                "tools": [{"type": "function", "name": "get_weather"}],
            },
            ["get_weather"],
        ),
    ],
)
def test_tool_choice_is_kept(client: Any, choice: Any, names: list[str]) -> None:
    other = {**WEATHER, "name": "get_tides", "description": "Get the tides."}
    done = client.responses.create(
        model=MODEL, input="The weather in Rome?", tools=[other, WEATHER], tool_choice=choice
    )
    assert [call.name for call in calls_of(done)] == names
    assert bool(done.output_text) is (not names)


def test_a_custom_tool_gets_raw_text(client: Any) -> None:
    tool: Any = {
        "type": "custom",
        "name": "calculator",
        "description": "Calculates.",
        "format": {"type": "grammar", "syntax": "regex", "definition": r"[0-9]+ \+ [0-9]+"},
    }
    events, last = streamed(client, input="17 + 25", tools=[tool], tool_choice="required")
    (call,) = [item for item in last.output if item.type == "custom_tool_call"]
    assert joined(events, "response.custom_tool_call_input.delta") == call.input
    assert call.input == "17 + 25"
    said = client.responses.create(
        model=MODEL,
        previous_response_id=last.id,
        input=[{"type": "custom_tool_call_output", "call_id": call.call_id, "output": "42!"}],
        tools=[tool],
    )
    assert "42!" in said.output_text


def test_a_limit_makes_the_response_incomplete(client: Any) -> None:
    asked: Any = {"input": "Write a long story.", "max_output_tokens": 50}
    done = client.responses.create(model=MODEL, **asked)
    events, last = streamed(client, **asked)
    assert events[-1].type == "response.incomplete"
    for response in (done, last):
        assert response.status == "incomplete"
        assert response.incomplete_details.reason == "max_output_tokens"
        assert response.output[-1].status == "incomplete"
        assert response.usage.output_tokens == 50


def test_log_probabilities_spell_the_answer(client: Any) -> None:
    asked: Any = {
        "input": "Say exactly: naïve 🎉 <|call|>",
        "include": ["message.output_text.logprobs"],
        "top_logprobs": 3,
    }
    done = client.responses.create(model=MODEL, **asked)
    entries = done.output[-1].content[0].logprobs
    assert b"".join([bytes(e.bytes) for e in entries]).decode() == "naïve 🎉 <|call|>"
    assert all(len(entry.top_logprobs) == 3 for entry in entries)
    events, _ = streamed(client, **asked)
    deltas = [e for e in events if e.type == "response.output_text.delta"]
    assert [e.token for d in deltas for e in d.logprobs] == [entry.token for entry in entries]


def test_a_stored_response_can_be_read_streamed_and_deleted(client: Any) -> None:
    import openai

    events, last = streamed(client, input="Count from 1 to 9.")
    assert client.responses.retrieve(last.id) == last
    sealed = client.responses.retrieve(last.id, include=["reasoning.encrypted_content"])
    assert sealed.output[0].encrypted_content
    replayed = list(client.responses.retrieve(last.id, stream=True))
    assert replayed[-1] == events[-1]
    assert joined(replayed, "response.output_text.delta") == last.output_text
    assert [event.sequence_number for event in replayed] == list(range(len(replayed)))
    tail = list(client.responses.retrieve(last.id, stream=True, starting_after=4))
    assert tail == replayed[5:]
    (item,) = client.responses.input_items.list(last.id).data
    assert (item.role, item.content[0].text) == ("user", "Count from 1 to 9.")
    with pytest.raises(openai.BadRequestError):
        client.responses.cancel(last.id)
    client.responses.delete(last.id)
    with pytest.raises(openai.NotFoundError):
        client.responses.retrieve(last.id)
    with pytest.raises(openai.NotFoundError):
        client.responses.create(model=MODEL, input="Hi", previous_response_id=last.id)


def test_input_items_come_in_pages(client: Any) -> None:
    texts = [f"part {i}" for i in range(7)]
    done = client.responses.create(
        model=MODEL, input=[{"role": "user", "content": text} for text in texts]
    )
    listed = client.responses.input_items.list(done.id, limit=3, order="asc")
    assert [item.content[0].text for item in listed] == texts
    newest_first = client.responses.input_items.list(done.id, limit=2)
    assert [item.content[0].text for item in newest_first] == texts[::-1]


def test_a_background_response_is_polled(client: Any) -> None:
    import time

    made = client.responses.create(model=MODEL, input="Count from 1 to 20.", background=True)
    assert made.status in ("queued", "in_progress")
    deadline = time.monotonic() + 30
    while (done := client.responses.retrieve(made.id)).status not in FINISHED:
        assert time.monotonic() < deadline
        time.sleep(0.02)
    assert (done.status, done.output_text) == ("completed", NUMBERS)
    assert done.background is True


def test_a_background_stream_is_taken_up_where_it_broke_off(client: Any) -> None:
    stream = client.responses.create(
        model=MODEL,
        input="Count from 1 to 20, ever so slowly.",
        background=True,
        stream=True,
    )
    seen = []
    for event in stream:
        seen.append(event)
        if event.type == "response.output_text.delta":
            break
    stream.close()
    id_, last = seen[0].response.id, seen[-1].sequence_number
    rest = list(client.responses.retrieve(id_, stream=True, starting_after=last))
    events = seen + rest
    assert [event.sequence_number for event in events] == list(range(len(events)))
    assert joined(events, "response.output_text.delta") == NUMBERS
    assert events[-1].type == "response.completed"
    assert events[-1].response.output_text == NUMBERS
    with client.responses.stream(response_id=id_, starting_after=last) as helper:
        assert [event.type for event in helper][-1] == "response.completed"


def test_a_background_response_is_cancelled(client: Any) -> None:
    made = client.responses.create(
        model=MODEL, input="Write a long story, ever so slowly.", background=True
    )
    done = client.responses.cancel(made.id)
    assert done.status == "cancelled"
    assert client.responses.retrieve(made.id).status == "cancelled"
    assert client.responses.cancel(made.id).status == "cancelled"


def test_input_tokens_are_what_the_request_would_use(client: Any) -> None:
    asked: Any = {"input": "What's the weather in Paris?", "tools": [WEATHER]}
    counted = client.responses.input_tokens.count(model=MODEL, **asked)
    done = client.responses.create(model=MODEL, **asked)
    assert counted.input_tokens == done.usage.input_tokens


def test_a_compacted_conversation_goes_on(client: Any) -> None:
    items: list[Any] = [{"role": "user", "content": "The code word is walrus."}]
    for question in ("Count from 1 to 9.", "Count from 1 to 20."):
        items += client.responses.create(model=MODEL, input=items, store=False).output
        items.append({"role": "user", "content": question})
    compacted = client.responses.compact(model=MODEL, input=items)
    assert compacted.object == "response.compaction"
    assert any(item.type == "compaction" for item in compacted.output)
    last = {"role": "user", "content": "Say exactly: still here"}
    done = client.responses.create(model=MODEL, input=[*compacted.output, last])
    assert done.output_text == "still here"


def test_a_conversation_keeps_what_was_said(client: Any) -> None:
    import openai

    conversation = client.conversations.create(
        metadata={"topic": "walrus"},
        items=[{"role": "user", "content": "The code word is walrus."}],
    )
    done = client.responses.create(
        model=MODEL, conversation=conversation.id, input="What was the code word?"
    )
    assert "walrus" in done.output_text
    assert done.conversation.id == conversation.id
    kinds = [i.type for i in client.conversations.items.list(conversation.id, order="asc")]
    assert kinds == ["message", "message", "reasoning", "message"]
    (added,) = client.conversations.items.create(
        conversation.id, items=[{"role": "user", "content": "The code word is zebra."}]
    ).data
    found = client.conversations.items.retrieve(added.id, conversation_id=conversation.id)
    assert found == added
    changed = client.conversations.update(conversation.id, metadata={"topic": "zebra"})
    assert changed.metadata == {"topic": "zebra"}
    _, last = streamed(client, conversation=conversation.id, input="What was the code word?")
    assert "zebra" in last.output_text
    client.conversations.items.delete(added.id, conversation_id=conversation.id)
    assert client.conversations.retrieve(conversation.id).id == conversation.id
    assert client.conversations.delete(conversation.id).deleted
    with pytest.raises(openai.NotFoundError):
        client.conversations.retrieve(conversation.id)


def received(connection: Any) -> list[Any]:
    """The events of one response, or one error; each as strict as the types are."""
    from openai.types.responses import ResponseStreamEvent
    from pydantic import TypeAdapter

    check: Any = TypeAdapter(ResponseStreamEvent)
    events: list[Any] = []
    while True:
        raw = json.loads(connection.recv_bytes())
        if raw["type"] == "error":
            return [raw]
        events.append(check.validate_python(raw))
        if hasattr(events[-1], "response") and events[-1].response.status in FINISHED:
            assert [e.sequence_number for e in events] == list(range(len(events)))
            return events


def test_a_connection_carries_a_chain_that_is_not_stored(client: Any) -> None:
    asked: Any = {"model": MODEL, "tools": [WEATHER], "store": False}
    with client.responses.connect() as connection:
        connection.response.create(input="What's the weather in Paris?", **asked)
        first = received(connection)[-1].response
        connection.response.create(
            input=outputs(calls_of(first)), previous_response_id=first.id, **asked
        )
        second = received(connection)[-1].response
        assert "0 clouds" in second.output_text
        connection.response.create(input="Hi", previous_response_id="resp_nothing", **asked)
        (error,) = received(connection)
        assert (error["status"], error["error"]["code"]) == (404, "previous_response_not_found")
        connection.response.create(input="Say exactly: on we go", model=MODEL)
        assert received(connection)[-1].response.output_text == "on we go"
    with client.responses.connect() as connection:
        connection.response.create(input="Hi", previous_response_id=second.id, **asked)
        (error,) = received(connection)
        assert error["error"]["code"] == "previous_response_not_found"


def test_errors_are_the_ones_the_client_knows(client: Any) -> None:
    import openai

    for wrong, param in (
        ({"temperature": 9}, "temperature"),
        ({"tool_choice": {"type": "function", "name": "nothing"}}, "tool_choice.name"),
        ({"previous_response_id": "resp_x", "conversation": "conv_x"}, None),
    ):
        with pytest.raises(openai.BadRequestError) as refused:
            client.responses.create(model=MODEL, input="x", **wrong)
        assert param is None or refused.value.param == param
    with pytest.raises(openai.BadRequestError) as refused:
        client.responses.create(model=MODEL, input="word " * 200_000)
    assert refused.value.code == "context_length_exceeded"
    with pytest.raises(openai.NotFoundError):
        client.responses.retrieve("resp_nothing")
