"""Every row of the catalogue of malformed output once more, through the wire.

A gateway over an engine that says what a row says, in each way an engine can say it; a client that
reads the answer, whole and streamed. Whatever the model wrote, the client gets an answer it can
use, in which no word is lost and no control token shows.
"""

from __future__ import annotations

import json
import re
from collections.abc import AsyncGenerator, Iterator, Sequence
from typing import Any

import pytest
from tests.codec.reading import encode
from tests.codec.recovery_rows import ROWS, Row
from tests.gateway.serving import Gateway

from antiphon.engines.protocol import (
    Capabilities,
    Chunk,
    CompletionRequest,
    Finish,
    FinishReason,
    Reading,
    Usage,
)
from antiphon.settings.model import Settings, TurnSettings
from antiphon.vocab.control import CONTROL_NAMES, GENERATION_STOP_IDS
from antiphon.vocab.table import token_bytes

READINGS: tuple[Reading, ...] = ("ids", "hybrid", "marked")
CONTROL_TEXT = re.compile(r"<\|(?:start|end|message|channel|constrain|return|call)\|>")


class RowEngine:
    """Says ``ids``, then stops; in one of the ways an engine can say it."""

    name = "row engine"

    def __init__(self, reading: Reading) -> None:
        self.reading = reading
        self.ids: list[int] = []
        self.running = 0

    @property
    def capabilities(self) -> Capabilities:
        return Capabilities(reading=self.reading, prompt_ids=True, context_length=131_072)

    async def complete(self, request: CompletionRequest) -> AsyncGenerator[Sequence[Chunk], None]:
        self.running += 1
        try:
            held = b""
            for token in self.ids:
                held += token_bytes(token) or b""
                try:
                    text, held = held.decode(), b""
                except UnicodeDecodeError:
                    if self.reading == "ids":
                        yield (Chunk((token,), ""),)
                    continue
                ids = () if self.reading == "marked" else (token,)
                yield (Chunk(ids, text, exact=self.reading == "ids" or token in CONTROL_NAMES),)
            stop = self.ids[-1] if self.ids and self.ids[-1] in GENERATION_STOP_IDS else None
            usage = Usage(prompt_tokens=len(request.prompt), completion_tokens=len(self.ids))
            yield (Chunk(text=held.decode("utf-8", "replace"),
                         finish=Finish(FinishReason.STOP, stop, usage)),)  # fmt: skip
        finally:
            self.running -= 1

    async def aclose(self) -> None:
        pass


@pytest.fixture(scope="module", params=READINGS)
def gateway(request: pytest.FixtureRequest) -> Iterator[Gateway]:
    settings = Settings(turn=TurnSettings(continue_silent=False, adopt_calls=False))
    with Gateway(RowEngine(request.param), settings) as running:
        yield running


def ask(gateway: Gateway, row: Row, *, stream: bool) -> dict[str, Any]:
    """The message that a client has in the end."""
    gateway.engine.ids = encode(row.written)
    names = sorted({*(row.tools or ()), *called(row)})
    tools = [{"type": "function", "function": {"name": name}} for name in names]
    parameters: dict[str, Any] = {"tools": tools} if tools else {}
    answer = gateway.chat("Hi", stream=stream, **parameters)
    assert answer.status == 200, answer.body
    if not stream:
        (choice,) = answer.json["choices"]
        assert choice["finish_reason"] in ("stop", "tool_calls", "length")
        message: dict[str, Any] = choice["message"]
        return message
    assert answer.events[-1] == "data: [DONE]"
    return accumulated(answer.events[:-1])


def accumulated(events: Sequence[Any]) -> dict[str, Any]:
    message: dict[str, Any] = {"content": "", "reasoning": "", "tool_calls": []}
    for event in events:
        assert "error" not in event, event
        for choice in event["choices"]:
            delta = choice["delta"]
            message["content"] += delta.get("content") or ""
            message["reasoning"] += delta.get("reasoning") or ""
            for call in delta.get("tool_calls") or ():
                if call["index"] == len(message["tool_calls"]):
                    message["tool_calls"].append({"function": {"name": "", "arguments": ""}})
                function = message["tool_calls"][call["index"]]["function"]
                function["name"] += call["function"].get("name") or ""
                function["arguments"] += call["function"].get("arguments") or ""
    return message


def called(row: Row) -> list[str]:
    """The functions that the row's messages call."""
    recipients = [message.recipient or "" for message in row.expected]
    return [r.removeprefix("functions.") for r in recipients if r.startswith("functions.")]


def words(text: str) -> set[str]:
    return set(re.findall(r"\w+", text))


@pytest.mark.parametrize("row", ROWS, ids=[f"{row.number}: {row.says}" for row in ROWS])
def test_a_client_gets_every_word_of_a_row_and_no_markup(gateway: Gateway, row: Row) -> None:
    whole = ask(gateway, row, stream=False)
    streamed = ask(gateway, row, stream=True)
    calls = [call["function"] for call in whole.get("tool_calls") or ()]
    shown = [whole["content"] or "", whole.get("reasoning") or ""]
    got = words(" ".join([*shown, *[f"{call['name']} {call['arguments']}" for call in calls]]))
    meant = [message for message in row.expected if message.author == "assistant"]
    for message in meant:
        assert words(message.text) <= got, (message, whole)
    for text in shown:
        assert not CONTROL_TEXT.search(text) or CONTROL_TEXT.search(
            "".join([message.text for message in row.expected])
        )
    assert (streamed["content"], streamed["reasoning"]) == tuple(shown)
    assert [call["function"] for call in streamed["tool_calls"]] == calls


@pytest.mark.parametrize(
    "row", [row for row in ROWS if called(row)], ids=lambda row: f"{row.number}: {row.says}"
)
def test_a_call_of_a_row_reaches_the_client_as_a_call(gateway: Gateway, row: Row) -> None:
    message = ask(gateway, row, stream=False)
    calls = [call["function"] for call in message.get("tool_calls") or ()]
    assert {call["name"] for call in calls} <= set(called(row))
    assert {call["name"] for call in calls}, message
    for call in calls:
        if call["arguments"].startswith("{") and call["arguments"].endswith("}"):
            assert isinstance(json.loads(call["arguments"]), dict)
