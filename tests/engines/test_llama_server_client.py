"""The client of llama.cpp's server: against the real one, and against one that misbehaves."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, TypeVar

import pytest

aiohttp = pytest.importorskip("aiohttp")

from tests.engines.chunks import tokens_of  # noqa: E402
from tests.ports import closed_port  # noqa: E402

from antiphon.codec.parse import parse  # noqa: E402
from antiphon.codec.render import Renderer  # noqa: E402
from antiphon.engines.llama_server.client import LlamaServerEngine  # noqa: E402
from antiphon.engines.protocol import Chunk, CompletionRequest, FinishReason  # noqa: E402
from antiphon.errors import EngineError  # noqa: E402
from antiphon.model.message import Conversation, Role  # noqa: E402
from antiphon.vocab.control import (  # noqa: E402
    CHANNEL,
    CONSTRAIN,
    MESSAGE,
    RETURN,
)
from antiphon.vocab.table import token_bytes  # noqa: E402
from antiphon.vocab.tokenizer import default_tokenizer  # noqa: E402

CASES = json.loads(
    (Path(__file__).parents[1] / "golden" / "tiny_model.json").read_text(encoding="utf-8")
)
ENDLESS = 'root ::= "a" root'

T = TypeVar("T")


def with_engine(url: str, use: Callable[[LlamaServerEngine], Awaitable[T]]) -> T:
    async def run() -> T:
        async with LlamaServerEngine(url) as engine:
            return await use(engine)

    return asyncio.run(run())


def complete(url: str, **request: Any) -> list[Chunk]:
    async def use(engine: LlamaServerEngine) -> list[Chunk]:
        return [
            chunk
            async for chunks in engine.complete(CompletionRequest(**request))
            for chunk in chunks
        ]

    return with_engine(url, use)


def case(name: str) -> dict[str, Any]:
    found: dict[str, Any] = next(case for case in CASES if case["name"] == name)
    return found


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["name"])
def test_a_conversation_is_rendered_and_answered_token_for_token(
    llama_server: str, case: dict[str, Any]
) -> None:
    conversation = Conversation.from_json(json.dumps(case["conversation"]))
    prompt = Renderer(dialect="reference").for_completion(conversation)
    assert prompt == case["prompt"]
    chunks = complete(llama_server, prompt=prompt, max_tokens=400, temperature=0.0)
    assert tokens_of(chunks) == case["completion"]


def test_an_answer_parses_into_the_messages_it_was_made_of(llama_server: str) -> None:
    prompt = case("weather-medium")["prompt"]
    chunks = complete(llama_server, prompt=prompt, max_tokens=400, temperature=0.0)
    parsed = parse(tokens_of(chunks), role=Role.ASSISTANT)
    assert [message.channel for message in parsed] == ["analysis", "commentary"]
    assert parsed[1].recipient == "functions.get_current_weather"
    assert list(json.loads(parsed[1].text)) == ["location"]
    assert parsed.diagnostics == []


def test_where_the_server_withholds_ids_the_text_is_whole(llama_server: str) -> None:
    emoji = case("repeat-medium-2")
    chunks = complete(llama_server, prompt=emoji["prompt"], max_tokens=400, temperature=0.0)
    assert [len(chunk.tokens) for chunk in chunks if not chunk.exact] == [1]
    assert tokens_of(chunks) == emoji["completion"]


def test_the_finish_tells_cost_and_cached_prompt(llama_server: str) -> None:
    sum_ = case("add-medium")
    complete(llama_server, prompt=sum_["prompt"], max_tokens=400, temperature=0.0)
    finish = complete(llama_server, prompt=sum_["prompt"], max_tokens=400, temperature=0.0)[
        -1
    ].finish
    assert finish is not None
    assert (finish.reason, finish.stop_token) == (FinishReason.STOP, RETURN)
    assert finish.usage.prompt_tokens == len(sum_["prompt"])
    assert finish.usage.completion_tokens == len(sum_["completion"])
    assert 0 < finish.usage.cached_tokens < len(sum_["prompt"])
    assert finish.usage.prompt_seconds > 0
    assert finish.usage.completion_seconds > 0


def test_a_grammar_constrains_control_tokens_and_text(llama_server: str) -> None:
    grammar = 'root ::= <[200005]> "final" <[200008]> ("yes" | "no")'
    chunks = complete(
        llama_server, prompt=case("add-medium")["prompt"], grammar=grammar, max_tokens=20
    )
    tokens = tokens_of(chunks)
    assert tokens[0] == CHANNEL
    assert tokens[2] == MESSAGE
    assert "".join(chunk.text for chunk in chunks[3:-2]) in ("yes", "no")


def test_log_probabilities_are_those_of_the_tokens_sent(llama_server: str) -> None:
    script = case("add-medium")
    chunks = complete(
        llama_server, prompt=script["prompt"], max_tokens=400, temperature=0.0, logprobs=3
    )
    assert tokens_of(chunks) == script["completion"]
    found = [logprob for chunk in chunks for logprob in chunk.logprobs]
    assert [logprob.token for logprob in found] == script["completion"]
    for logprob in found:
        assert logprob.logprob <= 0
        assert len(logprob.top) == 3
        assert logprob.top[0].logprob == max(likely.logprob for likely in logprob.top)
        assert logprob.text == (token_bytes(logprob.token) or b"")


def test_a_bias_forbids_a_token(llama_server: str) -> None:
    script = case("add-medium")
    first = script["completion"][0]
    chunks = complete(
        llama_server,
        prompt=script["prompt"],
        max_tokens=1,
        temperature=0.0,
        logit_bias={first: -100.0},
    )
    assert first not in tokens_of(chunks)


def test_penalties_change_what_is_said(llama_server: str) -> None:
    request: dict[str, Any] = {
        "prompt": case("hello-medium")["prompt"],
        "max_tokens": 60,
        "temperature": 0.0,
    }
    plain = tokens_of(complete(llama_server, **request))
    for penalty, value in [
        ("presence_penalty", 100.0),
        ("frequency_penalty", 100.0),
        ("repetition_penalty", 100.0),
    ]:
        assert tokens_of(complete(llama_server, **request, **{penalty: value})) != plain


def test_a_control_token_after_half_a_character_is_not_lost(llama_server: str) -> None:
    """The server holds back what leaves a character incomplete; the token's own text ends that."""
    half = default_tokenizer().encode("👋")[0]
    chunks = complete(
        llama_server,
        prompt=case("add-medium")["prompt"],
        temperature=0.0,
        max_tokens=2,
        # Each is chosen once, the likelier first, and then forbidden.
        logit_bias={half: 100.0, CONSTRAIN: 90.0},
        presence_penalty=1000.0,
    )
    assert [t for chunk in chunks if chunk.exact for t in chunk.tokens] == [CONSTRAIN]
    assert "\ufffd" in chunks[0].text


def test_a_grammar_the_server_cannot_read_is_refused(llama_server: str) -> None:
    with pytest.raises(EngineError, match="failed to parse grammar") as refused:
        complete(llama_server, prompt=[1, 2, 3], grammar='root ::= "')
    assert refused.value.status_hint == 400


def test_going_away_frees_the_slot(llama_server: str) -> None:
    """Both slots are given endless work and left; a free one must come back."""

    async def busy(engine: LlamaServerEngine) -> int:
        async with (
            aiohttp.ClientSession() as session,
            session.get(f"{engine.url}/slots") as answer,
        ):
            return sum(slot["is_processing"] for slot in await answer.json())

    async def use(engine: LlamaServerEngine) -> None:
        request = CompletionRequest(prompt=[1], grammar=ENDLESS)
        endless = [engine.complete(request), engine.complete(request)]
        for generator in endless:
            await anext(generator)
        assert await busy(engine) == 2
        for generator in endless:
            await generator.aclose()
        for _ in range(2000):
            if await busy(engine) == 0:
                return
        raise AssertionError("the server goes on working for nobody")

    with_engine(llama_server, use)


def test_cancelling_the_task_frees_the_slot_for_the_next(llama_server: str) -> None:
    async def use(engine: LlamaServerEngine) -> list[Chunk]:
        async def endless() -> None:
            async for _ in engine.complete(CompletionRequest(prompt=[1], grammar=ENDLESS)):
                started.set()

        started = asyncio.Event()
        tasks = [asyncio.create_task(endless()) for _ in range(2)]
        await started.wait()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        request = CompletionRequest(prompt=case("add-medium")["prompt"], temperature=0.0)
        return [chunk async for chunks in engine.complete(request) for chunk in chunks]

    assert tokens_of(with_engine(llama_server, use)) == case("add-medium")["completion"]


# A server that is not there, or is not what it should be.


def test_a_server_that_is_not_there_is_named() -> None:
    with closed_port() as port:
        url = f"http://127.0.0.1:{port}"
        with pytest.raises(EngineError, match=f"cannot reach llama.cpp's server at {url}"):
            complete(url, prompt=[1])


def against(answer: bytes, *, hold: bool = False, read_timeout: float = 60.0) -> list[Chunk]:
    """Complete on a server that answers every request with these bytes, then closes or holds."""

    async def run() -> list[Chunk]:
        release = asyncio.Event()

        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.readuntil(b"\r\n\r\n")
            writer.write(answer)
            await writer.drain()
            if hold:
                await release.wait()
            writer.close()
            await writer.wait_closed()

        server = await asyncio.start_server(serve, "127.0.0.1", 0)
        host, port = server.sockets[0].getsockname()
        async with (
            server,
            LlamaServerEngine(f"http://{host}:{port}", read_timeout=read_timeout) as engine,
        ):
            try:
                request = CompletionRequest(prompt=[1])
                return [chunk async for chunks in engine.complete(request) for chunk in chunks]
            finally:
                release.set()

    return asyncio.run(run())


HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\n\r\n"
FIRST = b'data: {"content":"a","tokens":[64],"stop":false}\n\n'


def test_a_stream_that_breaks_off_is_an_error() -> None:
    with pytest.raises(EngineError, match="ended before its last event"):
        against(HEAD + FIRST)


def test_a_connection_that_breaks_off_is_an_error() -> None:
    chunked = HEAD.replace(b"Connection: close", b"Transfer-Encoding: chunked")
    with pytest.raises(EngineError, match="broke off"):
        against(chunked + b"32\r\n" + FIRST[:10])


def test_an_error_in_the_stream_is_passed_on() -> None:
    event = b'data: {"error":{"code":500,"message":"out of luck","type":"server_error"}}\n\n'
    with pytest.raises(EngineError, match="gave up: out of luck") as error:
        against(HEAD + FIRST + event)
    assert error.value.status_hint == 502


@pytest.mark.parametrize("event", [b"data: {\n\n", b"data: []\n\n", b'data: {"tokens":"x"}\n\n'])
def test_an_event_that_is_none_is_an_error(event: bytes) -> None:
    with pytest.raises(EngineError, match="sent an event that is not one"):
        against(HEAD + event)


def test_a_refusal_that_is_not_json_is_shown() -> None:
    with pytest.raises(EngineError, match="status 503: <h1>Busy</h1>"):
        against(b"HTTP/1.1 503 Busy\r\nConnection: close\r\n\r\n<h1>Busy</h1>")


def test_a_silent_server_times_out_by_a_named_limit() -> None:
    with pytest.raises(EngineError, match=r"sent nothing for 0.05 s \(read_timeout\)"):
        against(HEAD + FIRST, hold=True, read_timeout=0.05)


def test_what_comes_after_the_last_event_is_ignored() -> None:
    last = b'data: {"content":"","tokens":[],"stop":true,"stop_type":"limit"}\n\n'
    chunks = against(HEAD + FIRST + last + b"data: [DONE]\n\n")
    assert [chunk.text for chunk in chunks] == ["a", ""]
    assert chunks[-1].finish is not None
    assert chunks[-1].finish.reason is FinishReason.LENGTH
