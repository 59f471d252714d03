"""openai-python over sealed transport: nothing else about it changes."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import openai
import pytest
from openai import AsyncOpenAI, OpenAI
from tests.gateway.serving import WAIT, Gate, Gateway, StepEngine, final
from tests.sealed.front import Clear, Front

from antiphon.seal import (
    Client,
    KnownGateways,
    OpenError,
    OuterError,
    SealError,
    TruncatedError,
    async_http_client,
    http_client,
)
from antiphon.settings.model import Settings
from antiphon.vocab.control import CHANNEL, MESSAGE, RETURN
from antiphon.vocab.tokenizer import default_tokenizer

SECRET = "the-prompt-nobody-sees"
HELLO: Any = [{"role": "user", "content": SECRET}]


@pytest.fixture
def engine() -> StepEngine:
    return StepEngine(final("naïve 🎉 answer"))


@pytest.fixture
def front(engine: StepEngine) -> Iterator[Front]:
    with Gateway(engine, Settings()) as gateway, Front(gateway.port) as running:
        yield running


@pytest.fixture
def known(tmp_path: Path) -> KnownGateways:
    return KnownGateways(tmp_path / "known.json")


def client_for(front: Front, **options) -> OpenAI:
    options.setdefault("key", front.key.config.fingerprint)
    http = http_client(front.url, **options)
    return OpenAI(base_url=f"{front.url}/v1", api_key="sk-sealed", http_client=http)


def test_an_answer_comes_through_and_nothing_of_it_shows_outside(front: Front) -> None:
    with client_for(front) as client:
        done = client.chat.completions.create(model="m", messages=HELLO)
    assert done.choices[0].message.content == "naïve 🎉 answer"
    (inner,) = front.inside
    fields = dict(inner.head.fields)
    assert fields[b"authorization"] == b"Bearer sk-sealed"
    assert b"date" in fields
    assert inner.head.path == "/v1/chat/completions"
    outside = repr(front.outside)
    for secret in (SECRET, "sk-sealed", "completions", "openai", "OpenAI", "stainless"):
        assert secret not in outside.lower()
        assert secret not in outside


def test_a_stream_comes_token_by_token() -> None:
    gates = [Gate() for _ in range(3)]
    encode = default_tokenizer().encode
    words = ["One", " two", " three"]
    steps: list[Any] = [[CHANNEL, *encode("final"), MESSAGE]]
    for word, gate in zip(words, gates, strict=True):
        steps += [encode(word), gate]
    with (
        Gateway(StepEngine(*steps, [RETURN])) as gateway,
        Front(gateway.port) as front,
        client_for(front) as client,
    ):
        stream: Any = client.chat.completions.create(model="m", messages=HELLO, stream=True)
        seen = []
        for chunk in stream:
            if chunk.choices and chunk.choices[0].delta.content:
                seen.append(chunk.choices[0].delta.content)
                # The engine goes on only now: the token was not held back anywhere.
                gates[len(seen) - 1].open()
        assert seen == words


def test_the_asynchronous_client_streams_too(front: Front) -> None:
    async def go() -> str:
        http = async_http_client(front.url, key=front.key.config.encode())
        async with AsyncOpenAI(
            base_url=f"{front.url}/v1", api_key="sk-sealed", http_client=http
        ) as client:
            stream: Any = await client.chat.completions.create(
                model="m", messages=HELLO, stream=True
            )
            return "".join([c.choices[0].delta.content or "" async for c in stream if c.choices])

    assert asyncio.run(go()) == "naïve 🎉 answer"
    assert [method for method, *_ in front.outside] == ["POST"]  # the pin is the configuration


def test_the_responses_api_streams_sealed(front: Front) -> None:
    with (
        client_for(front) as client,
        client.responses.stream(model="m", input=SECRET) as stream,
    ):
        assert stream.get_final_response().output_text == "naïve 🎉 answer"


def test_the_gateways_errors_are_the_usual_ones(front: Front) -> None:
    with client_for(front) as client:
        with pytest.raises(openai.NotFoundError, match="does not exist") as refused:
            client.chat.completions.create(model="nope", messages=HELLO)
        assert refused.value.code == "model_not_found"
        with pytest.raises(openai.BadRequestError) as bad:
            client.chat.completions.create(model="m", messages=HELLO, temperature=9)
        assert bad.value.param == "temperature"


def test_an_answer_in_the_clear_is_not_believed(front: Front) -> None:
    forged = b'{"choices":[{"message":{"role":"assistant","content":"forged"}}]}'
    with client_for(front) as client:
        client.chat.completions.create(model="m", messages=HELLO)
        front.clear.append(Clear(200, "application/json", forged))
        with pytest.raises(OuterError, match="not sealed"):
            client.chat.completions.create(model="m", messages=HELLO)


@pytest.mark.parametrize("status", [301, 401, 403, 404, 413, 415, 429, 502, 503])
def test_an_outer_error_says_its_status_and_what_it_said(front: Front, status: int) -> None:
    body = b'{"error":{"message":"the proxy says no"}}'
    with client_for(front) as client:
        client.chat.completions.create(model="m", messages=HELLO)
        retry = (("Retry-After", "7"),)
        front.clear.append(Clear(status, "application/json", body, retry))
        with pytest.raises(OuterError, match="the proxy says no") as refused:
            client.chat.completions.create(model="m", messages=HELLO)
        assert refused.value.status == status
        assert refused.value.retry_after == 7


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("chunks", [0, 1, 2])
def test_an_answer_that_is_cut_off_is_an_error(front: Front, stream: bool, chunks: int) -> None:
    """The connection ends as it should; only the seal tells."""
    front.cut_after = chunks
    with client_for(front) as client, pytest.raises(TruncatedError):
        list(client.chat.completions.create(model="m", messages=HELLO, stream=stream))


def test_a_flipped_bit_is_an_error(front: Front) -> None:
    front.damage = lambda sealed: sealed[:-1] + bytes([sealed[-1] ^ 1])
    with client_for(front) as client, pytest.raises(OpenError):
        client.chat.completions.create(model="m", messages=HELLO)


def test_the_answer_to_another_request_is_refused(front: Front) -> None:
    kept: list[bytes] = []

    def keep(sealed: bytes) -> bytes:
        kept.append(sealed)
        return sealed

    front.damage = keep
    with client_for(front) as client:
        client.chat.completions.create(model="m", messages=HELLO)
        again = iter(list(kept))
        front.damage = lambda sealed: next(again, b"")
        with pytest.raises(OpenError):
            client.chat.completions.create(model="m", messages=HELLO)


def test_closing_a_stream_early_reaches_the_engine() -> None:
    encode = default_tokenizer().encode
    goes_on = Gate()
    start = [CHANNEL, *encode("final"), MESSAGE, *encode("one")]
    engine = StepEngine(start, goes_on, encode(" more" * 5000))
    with Gateway(engine) as gateway, Front(gateway.port) as front, client_for(front) as client:
        stream: Any = client.chat.completions.create(model="m", messages=HELLO, stream=True)
        next(iter(stream))
        stream.close()
        goes_on.open()
        assert front.gone.wait(WAIT)
        assert engine.ended.acquire(timeout=WAIT)


def test_a_wrong_clock_is_put_right_by_what_the_gateway_says_under_seal(front: Front) -> None:
    front.clock = lambda: 4_000_000_000.0
    with client_for(front) as client:
        done = client.chat.completions.create(model="m", messages=HELLO)
        assert done.choices[0].message.content == "naïve 🎉 answer"
        client.chat.completions.create(model="m", messages=HELLO)
    assert len(front.inside) == 3  # the offset is remembered


def test_whole_messages_work_for_gateways_without_chunks(front: Front) -> None:
    with Client(front.url, key=front.key.config, chunked=False) as client:
        answer = client.post("/v1/chat/completions", json={"model": "m", "messages": HELLO})
        assert answer.json()["choices"][0]["message"]["content"] == "naïve 🎉 answer"
        front.damage = lambda sealed: sealed[:-9]
        with pytest.raises(OpenError):
            client.get("/v1/models")


def test_padding_hides_the_length_of_a_request(front: Front) -> None:
    with client_for(front, padding="buckets:4096") as client:
        for text in ("a", "a" * 500):
            user: Any = [{"role": "user", "content": text}]
            client.chat.completions.create(model="m", messages=user)
    lengths = {len(body) for method, _, _, body in front.outside if method == "POST"}
    assert len(lengths) == 1


def test_a_request_to_another_server_is_refused(front: Front) -> None:
    with (
        Client(front.url, key=front.key.config) as client,
        pytest.raises(SealError, match="not for it"),
    ):
        client.get("http://127.0.0.1:1/v1/models")
    assert front.outside == []


def test_a_path_before_v1_stays_outside(front: Front) -> None:
    with Client(f"{front.url}/llm", key=front.key.config) as client:
        assert client.get("v1/models").status_code == 200
    assert [path for _, path, _, _ in front.outside] == ["/llm/.well-known/ohttp-gateway"]
    assert front.inside[0].head.path == "/v1/models"


def test_httpx_works_as_well_as_httpx2(front: Front) -> None:
    httpx = pytest.importorskip("httpx")
    with http_client(front.url, key=front.key.config, library=httpx) as client:
        assert isinstance(client, httpx.Client)
        assert client.get("/v1/models").json()["data"][0]["id"] == "m"
