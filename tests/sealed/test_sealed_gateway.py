"""The clients against the gateway itself: `antiphon serve --seal` without a process of its own."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import openai
import pytest
from openai import AsyncOpenAI, OpenAI
from tests.gateway.governing import add_key, with_keys
from tests.gateway.serving import WAIT, Gate, Gateway, StepEngine, final
from tests.relay.relaying import Relay

from antiphon.seal import (
    Client,
    KnownGateways,
    OuterError,
    PinError,
    SealKey,
    async_http_client,
    http_client,
)
from antiphon.seal.media import KEYS, WELL_KNOWN_GATEWAY
from antiphon.sealed.trust import FOLLOW_SECONDS
from antiphon.settings.model import SealSettings, Settings
from antiphon.vocab.control import CHANNEL, MESSAGE, RETURN
from antiphon.vocab.tokenizer import default_tokenizer

HELLO: Any = [{"role": "user", "content": "hello"}]


def sealed_gateway(folder: Path, engine: StepEngine, **seal: Any) -> Gateway:
    keys = str(folder / "ohttp-keys.json")
    return Gateway(engine, Settings(seal=SealSettings(enabled=True, keys_file=keys, **seal)))


def url_of(gateway: Gateway) -> str:
    return f"http://127.0.0.1:{gateway.port}"


def key_of(gateway: Gateway) -> SealKey:
    transport = gateway.services.sealed
    assert transport is not None
    return transport.ring.current


@pytest.fixture
def gateway(tmp_path: Path) -> Iterator[Gateway]:
    engine = StepEngine(final("naïve 🎉 answer"))
    with sealed_gateway(tmp_path, engine, required=True) as running:
        yield running


def openai_for(gateway: Gateway, **options: Any) -> OpenAI:
    url = url_of(gateway)
    options.setdefault("key", key_of(gateway).config.fingerprint)
    http = http_client(url, **options)
    return OpenAI(base_url=f"{url}/v1", api_key="sk-sealed", http_client=http)


def test_one_line_seals_openai_python_where_nothing_else_is_taken(gateway: Gateway) -> None:
    with (
        OpenAI(base_url=f"{url_of(gateway)}/v1", api_key="x", max_retries=0) as plain,
        pytest.raises(openai.APIStatusError),
    ):
        plain.chat.completions.create(model="m", messages=HELLO)
    with openai_for(gateway) as client:
        done = client.chat.completions.create(model="m", messages=HELLO)
        assert done.choices[0].message.content == "naïve 🎉 answer"
        stream = client.chat.completions.create(model="m", messages=HELLO, stream=True)
        text = "".join(c.choices[0].delta.content or "" for c in stream if c.choices)
        assert text == "naïve 🎉 answer"
        with client.responses.stream(model="m", input="hello") as events:
            assert events.get_final_response().output_text == "naïve 🎉 answer"
        with pytest.raises(openai.NotFoundError, match="does not exist"):
            client.chat.completions.create(model="nope", messages=HELLO)


@pytest.mark.parametrize("kem", ["x25519", "p256", "mlkem768-x25519"])
@pytest.mark.parametrize("cipher", ["aes-128-gcm", "chacha20-poly1305"])
def test_every_suite_works(tmp_path: Path, kem: str, cipher: str) -> None:
    engine = StepEngine(final("fine"))
    with (
        sealed_gateway(tmp_path, engine, kems=(kem,), ciphers=(cipher,)) as gateway,
        openai_for(gateway) as client,
    ):
        done = client.chat.completions.create(model="m", messages=HELLO)
    assert done.choices[0].message.content == "fine"


def test_a_stream_comes_token_by_token(tmp_path: Path) -> None:
    encode = default_tokenizer().encode
    words = ["One", " two", " three"]
    gates = [Gate() for _ in words]
    steps: list[Any] = [[CHANNEL, *encode("final"), MESSAGE]]
    for word, gate in zip(words, gates, strict=True):
        steps += [encode(word), gate]
    with (
        sealed_gateway(tmp_path, StepEngine(*steps, [RETURN])) as gateway,
        openai_for(gateway) as client,
    ):
        seen = []
        for chunk in client.chat.completions.create(model="m", messages=HELLO, stream=True):
            if chunk.choices and chunk.choices[0].delta.content:
                seen.append(chunk.choices[0].delta.content)
                gates[len(seen) - 1].open()  # the engine goes on only now
    assert seen == words


@pytest.mark.parametrize("padding", ["none", "multiple:256"])
def test_the_asynchronous_client_streams_padded_or_not(tmp_path: Path, padding: str) -> None:
    async def go(gateway: Gateway) -> str:
        url = url_of(gateway)
        http = async_http_client(url, key=key_of(gateway).config, padding=padding)
        async with AsyncOpenAI(base_url=f"{url}/v1", api_key="x", http_client=http) as client:
            stream: Any = await client.chat.completions.create(
                model="m", messages=HELLO, stream=True
            )
            return "".join([c.choices[0].delta.content or "" async for c in stream if c.choices])

    with sealed_gateway(tmp_path, StepEngine(final("fine")), padding=padding) as gateway:
        assert asyncio.run(go(gateway)) == "fine"


@pytest.mark.parametrize("how", ["sync", "async"])
def test_closing_a_stream_ends_the_turn(tmp_path: Path, how: str) -> None:
    encode = default_tokenizer().encode
    engine = StepEngine([CHANNEL, *encode("final"), MESSAGE, *encode("one")], Gate())

    async def leave(url: str, key: SealKey) -> None:
        http = async_http_client(url, key=key.config)
        async with AsyncOpenAI(base_url=f"{url}/v1", api_key="x", http_client=http) as client:
            stream: Any = await client.chat.completions.create(
                model="m", messages=HELLO, stream=True
            )
            await anext(aiter(stream))
            await stream.close()
            assert await asyncio.to_thread(engine.ended.acquire, timeout=WAIT)

    with sealed_gateway(tmp_path, engine) as gateway:
        if how == "async":
            asyncio.run(leave(url_of(gateway), key_of(gateway)))
        else:
            with openai_for(gateway) as client:
                stream = client.chat.completions.create(model="m", messages=HELLO, stream=True)
                next(iter(stream))
                stream.close()
                assert engine.ended.acquire(timeout=WAIT)


def test_a_relay_forwards_what_it_cannot_read_and_the_keys(gateway: Gateway) -> None:
    with (
        Relay(url_of(gateway)) as relay,
        openai_for(gateway, via=f"http://127.0.0.1:{relay.port}") as client,
    ):
        stream = client.chat.completions.create(model="m", messages=HELLO, stream=True)
        text = "".join(c.choices[0].delta.content or "" for c in stream if c.choices)
    assert text == "naïve 🎉 answer"


def test_a_copy_of_a_request_is_refused(gateway: Gateway) -> None:
    with Client(url_of(gateway), key=key_of(gateway).config) as client:
        sealed = client.seal("GET", "/v1/models")
    url = url_of(gateway) + WELL_KNOWN_GATEWAY
    first, copy = (httpx2.post(url, content=sealed.body, headers=sealed.headers) for _ in range(2))
    reader = sealed.reader()
    assert reader.feed(first.content) + reader.eof()
    assert reader.head is not None
    assert reader.head.status == 200
    assert copy.status_code == 400
    assert copy.headers["content-type"] == "application/problem+json"


def test_a_gateway_without_sealed_transport_says_so(tmp_path: Path) -> None:
    known = KnownGateways(tmp_path / "known.json")
    with (
        Gateway(StepEngine(final("x")), Settings()) as gateway,
        Client(url_of(gateway), known=known) as client,
        pytest.raises(OuterError, match="no gateway for sealed requests"),
    ):
        client.get("/v1/models")


def test_who_trusted_the_first_key_follows_the_gateways_own_rotation(
    gateway: Gateway, tmp_path: Path
) -> None:
    known = KnownGateways(tmp_path / "known.json")
    url = url_of(gateway)
    with Client(url, known=known) as client:
        assert client.get("/v1/models").status_code == 200
        old = client.fingerprint()
    transport = gateway.services.sealed
    assert transport is not None
    transport.file.rotate(transport.settings, time.time(), grace=3600)
    transport.look()
    new = key_of(gateway).config.fingerprint
    assert new != old
    remembered = known.get(url)
    assert remembered is not None
    known.follow(url, remembered.config, remembered.config, int(time.time()) - FOLLOW_SECONDS)
    with Client(url, known=known) as client:
        assert client.get("/v1/models").status_code == 200
        assert client.fingerprint() == new


def test_who_was_away_for_longer_than_the_old_key_was_good_is_told(
    gateway: Gateway, tmp_path: Path
) -> None:
    known = KnownGateways(tmp_path / "known.json")
    url = url_of(gateway)
    known.add(url, SealKey.generate(200, created=0).config, int(time.time()))
    with Client(url, known=known) as client, pytest.raises(PinError, match="has changed"):
        client.get("/v1/models")


def test_a_clock_that_is_wrong_is_put_right(gateway: Gateway, monkeypatch) -> None:
    with Client(url_of(gateway), key=key_of(gateway).config) as client:
        monkeypatch.setattr(client._session, "_clock", lambda: time.time() - 86_400)
        assert client.get("/v1/models").status_code == 200


def test_the_next_key_is_told_under_seal_to_clients_without_an_api_key(tmp_path: Path) -> None:
    """As it is in the clear: a client must be able to follow before it knows who asks."""
    api_keys = tmp_path / "keys.toml"
    add_key(api_keys)
    seal = SealSettings(required=True, keys_file=str(tmp_path / "ohttp-keys.json"))
    settings = with_keys(api_keys, seal=seal)
    with (
        Gateway(StepEngine(final("x")), settings) as gateway,
        Client(url_of(gateway), key=key_of(gateway).config) as client,
    ):
        assert client.get("/v1/models").status_code == 401
        assert client.get(WELL_KNOWN_GATEWAY).headers["content-type"] == KEYS
        assert client.post(WELL_KNOWN_GATEWAY, content=b"x").status_code in (400, 401)
