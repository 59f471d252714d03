"""What the tests of the Responses API share: requests, streams that are checked, turns of ids."""

from __future__ import annotations

from typing import Any

from tests.api.responses_grammar import check_events, check_response, read_sse
from tests.api.responses_schemas import check_schema_of_event, validator
from tests.gateway.serving import Answer, Gateway

from antiphon.vocab.control import CALL, CHANNEL, CONSTRAIN, END, MESSAGE, RETURN, START
from antiphon.vocab.tokenizer import default_tokenizer

PATH = "/v1/responses"
WEATHER = {
    "type": "function",
    "name": "get_weather",
    "parameters": {
        "type": "object",
        "properties": {"city": {"type": "string"}},
        "required": ["city"],
    },
}


def encode(text: str) -> list[int]:
    return default_tokenizer().encode(text)


def thought(text: str) -> list[int]:
    """A thought, and the start of what follows it."""
    return [CHANNEL, *encode("analysis"), MESSAGE, *encode(text), END, START, *encode("assistant")]


def answer(text: str) -> list[int]:
    return [CHANNEL, *encode("final"), MESSAGE, *encode(text), RETURN]


def calling(name: str, arguments: str) -> list[int]:
    header = encode(f"commentary to=functions.{name} ")
    return [CHANNEL, *header, CONSTRAIN, *encode("json"), MESSAGE, *encode(arguments), CALL]


def create(
    gateway: Gateway,
    text: Any = "Hi",
    /,
    headers: dict[str, str] | None = None,
    **parameters: Any,
) -> Answer:
    body = {"model": "m", "input": text, **parameters}
    return gateway.send("POST", PATH, body, headers)


def created(gateway: Gateway, text: Any = "Hi", /, **parameters: Any) -> dict[str, Any]:
    """A whole response, which is checked."""
    got = create(gateway, text, **parameters)
    assert got.status == 200, got.body
    return checked(got.json)


def checked(response: dict[str, Any]) -> dict[str, Any]:
    """A response object that keeps to OpenAI's schema and to itself."""
    check_response(response)
    validator("Response").validate(response)
    return response


def streamed(gateway: Gateway, text: Any = "Hi", /, **parameters: Any) -> list[dict[str, Any]]:
    """A stream's events, which are checked."""
    got = create(gateway, text, stream=True, **parameters)
    assert got.status == 200, got.body
    return checked_events(got)


def checked_events(got: Answer) -> list[dict[str, Any]]:
    """The events of a whole stream that keeps to the grammar and to OpenAI's schemas."""
    events = read_sse(got.body)
    check_events(events)
    for event in events:
        check_schema_of_event(event)
    return events


def said(response: dict[str, Any]) -> str:
    """The text of a response's messages."""
    return "".join(
        part["text"]
        for item in response["output"]
        if item["type"] == "message"
        for part in item["content"]
    )


def stored(gateway: Gateway, id: str, query: str = "", **how: Any) -> Answer:
    return gateway.send("GET", f"{PATH}/{id}{query}", **how)
