"""Whom a client seals for: pins, trust on first use, rotation, and the proxy that swaps the key."""

from __future__ import annotations

import asyncio
import stat
import threading
from base64 import b64encode
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest
from tests.gateway.serving import Gateway, StepEngine, final
from tests.sealed.front import Clear, Front

from antiphon.seal import (
    AsyncClient,
    Client,
    KeyConfigError,
    Keyring,
    KnownGateways,
    PinError,
    SealError,
    SealKey,
    decode_keys,
    encode_keys,
    http_client,
)
from antiphon.seal.media import KEY_PROBLEM, KEYS, PROBLEM_JSON
from antiphon.sealed import session
from antiphon.sealed.trust import FOLLOW_SECONDS

OLD = SealKey.generate(1, created=0)
NEW = SealKey.generate(2, created=0)
EVIL = SealKey.generate(1, created=0)


@pytest.fixture(scope="module")
def gateway() -> Iterator[Gateway]:
    with Gateway(StepEngine(final("fine"))) as running:
        yield running


@pytest.fixture
def front(gateway: Gateway) -> Iterator[Front]:
    with Front(gateway.port, OLD) as running:
        yield running


@pytest.fixture
def known(tmp_path: Path) -> KnownGateways:
    return KnownGateways(tmp_path / "deep" / "known.json")


def works(client: Client) -> bool:
    return client.get("/v1/models").status_code == 200


# The proxy in between


def test_a_pinned_client_refuses_a_proxy_that_swaps_the_key(front: Front) -> None:
    front.offered = encode_keys([EVIL.config])
    with (
        Client(front.url, key=OLD.config.fingerprint) as client,
        pytest.raises(PinError, match="not the pinned") as refused,
    ):
        works(client)
    assert EVIL.config.fingerprint in str(refused.value)
    assert OLD.config.fingerprint in str(refused.value)
    assert [method for method, *_ in front.outside] == ["GET"]  # nothing was sealed for it


def test_a_client_that_knows_the_gateway_refuses_a_proxy_that_swaps_the_key(
    front: Front, known: KnownGateways
) -> None:
    with Client(front.url, known=known) as client:
        assert works(client)
    front.offered = encode_keys([EVIL.config])
    front.ring = Keyring([SealKey.generate(9, created=0)])  # it says that the old key is unknown
    with Client(front.url, known=known) as client:
        for _ in range(2):
            with pytest.raises(PinError, match=r"has changed.*antiphon seal forget") as refused:
                works(client)
    assert EVIL.config.fingerprint in str(refused.value)
    remembered = known.get(front.url)
    assert remembered is not None
    assert remembered.config == OLD.config
    assert len(front.inside) == 1


def test_a_client_that_knows_the_gateway_does_not_ask_in_the_clear(
    front: Front, known: KnownGateways
) -> None:
    for _ in range(2):
        with Client(front.url, known=known) as client:
            assert works(client)
    assert [method for method, *_ in front.outside] == ["GET", "POST", "POST"]


# Pins


@pytest.mark.parametrize(
    "form", ["fingerprint", "bare", "base64", "hex", "list", "bytes", "config"]
)
def test_a_pin_may_be_given_in_every_form(front: Front, form: str) -> None:
    config = OLD.config
    forms: Any = {
        "fingerprint": config.fingerprint,
        "bare": config.fingerprint.removeprefix("sha256:").upper(),
        "base64": b64encode(config.encode()).decode(),
        "hex": config.encode().hex(),
        "list": b64encode(encode_keys([config])).decode(),
        "bytes": encode_keys([config]),
        "config": config,
    }
    with Client(front.url, key=forms[form]) as client:
        assert works(client)
        assert client.fingerprint() == config.fingerprint
    fetched = any(method == "GET" for method, *_ in front.outside)
    assert fetched == (form in ("fingerprint", "bare"))


def test_a_file_may_hold_the_pin(front: Front, tmp_path: Path) -> None:
    text, binary = tmp_path / "pins.txt", tmp_path / "keys.bin"
    text.write_text(f"# ours\n{EVIL.config.fingerprint}\n\n{OLD.config.fingerprint} # now\n")
    binary.write_bytes(encode_keys([OLD.config]))
    for pin in (text, str(text), binary, str(binary)):
        with Client(front.url, key=pin) as client:
            assert works(client)


@pytest.mark.parametrize("pin", ["", "nonsense", "sha256:12", b"", "#", ()])
def test_what_is_no_pin_is_refused_at_once(pin) -> None:
    with pytest.raises(KeyConfigError):
        Client("https://gpt.example", key=pin)


def test_an_empty_or_missing_pin_file_is_refused(tmp_path: Path) -> None:
    empty = tmp_path / "empty"
    empty.write_text("# nothing\n")
    for path in (empty, tmp_path / "missing"):
        with pytest.raises(KeyConfigError):
            Client("https://gpt.example", key=path)


def test_a_pin_ends_with_its_key(front: Front) -> None:
    with Client(front.url, key=OLD.config) as client:
        assert works(client)
        front.ring = Keyring([NEW])
        with pytest.raises(PinError, match="no longer knows the pinned key"):
            works(client)


def test_who_pins_the_next_key_too_gets_over_a_rotation(front: Front) -> None:
    for pins in (
        [OLD.config.fingerprint, NEW.config.fingerprint],
        [OLD.config, NEW.config],
    ):
        front.ring = Keyring([OLD])
        with Client(front.url, key=pins) as client:
            assert works(client)
            front.ring = Keyring([NEW])
            assert works(client)
            assert client.fingerprint() == NEW.config.fingerprint


def test_an_unknown_key_that_is_offered_all_the_same_is_not_asked_for_ever(front: Front) -> None:
    front.offered = encode_keys([OLD.config])
    front.ring = Keyring([NEW])
    with Client(front.url, key=OLD.config.fingerprint) as client, pytest.raises(PinError):
        works(client)
    assert len(front.outside) == 2


def test_a_forged_unknown_key_does_not_loosen_a_pin(front: Front) -> None:
    problem = b'{"type":"%s"}' % KEY_PROBLEM.encode()
    front.offered = encode_keys([EVIL.config])
    front.clear.append(Clear(200, KEYS, encode_keys([OLD.config])))
    front.clear.append(Clear(400, PROBLEM_JSON, problem))
    with Client(front.url, key=OLD.config.fingerprint) as client, pytest.raises(PinError):
        works(client)
    assert front.inside == []


# Trust on first use


def test_the_first_key_is_remembered_for_the_user_alone(front: Front, known: KnownGateways) -> None:
    with Client(f"{front.url}/v1/", known=known) as client:
        assert works(client)
    assert stat.S_IMODE(known.path.stat().st_mode) == 0o600
    assert stat.S_IMODE(known.path.parent.stat().st_mode) == 0o700
    assert [*known.all()] == [front.url]
    assert known.forget(front.url)
    assert not known.forget(front.url)
    assert known.all() == {}


def test_a_key_that_the_trusted_key_vouches_for_is_followed(
    front: Front, known: KnownGateways, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [1_000_000.0]
    front.clock = lambda: now[0]
    monkeypatch.setattr(session.Session, "_now", lambda _: now[0])
    with Client(front.url, known=known) as client:
        assert works(client)
        front.ring = Keyring([NEW, OLD])
        assert works(client)
        assert client.fingerprint() == OLD.config.fingerprint
        now[0] += FOLLOW_SECONDS
        assert works(client)
        assert client.fingerprint() == NEW.config.fingerprint
    front.ring = Keyring([NEW])
    with Client(front.url, known=known) as client:
        assert works(client)
    remembered = known.get(front.url)
    assert remembered is not None
    assert remembered.config == NEW.config
    assert sum(method == "GET" for method, *_ in front.outside) == 1


def test_another_process_may_have_followed_already(front: Front, known: KnownGateways) -> None:
    with Client(front.url, known=known) as client:
        assert works(client)
        known.follow(front.url, OLD.config, NEW.config, 5)
        front.ring = Keyring([NEW])
        assert works(client)


def test_a_gateway_that_does_not_name_its_keys_inside_is_still_used(
    front: Front, known: KnownGateways
) -> None:
    known.add(front.url, OLD.config, 0)
    front.vouched = b"not a list"
    with Client(front.url, known=known) as client:
        assert works(client)
        assert works(client)
    assert len(front.inside) == 3  # asked once


def test_one_of_many_at_once_is_remembered(front: Front, known: KnownGateways) -> None:
    problems: list[BaseException] = []

    def use() -> None:
        try:
            with Client(front.url, known=known) as client:
                assert works(client)
        except BaseException as error:  # noqa: BLE001 - told to the test
            problems.append(error)

    threads = [threading.Thread(target=use) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert problems == []
    assert [*known.all()] == [front.url]


@pytest.mark.parametrize(
    "content",
    [b"{", b"[]", b'{"antiphon_known_gateways":2}', b"\xff" * 9],
)
def test_a_damaged_file_of_known_gateways_is_an_error(
    front: Front, known: KnownGateways, content: bytes
) -> None:
    known.path.parent.mkdir()
    known.path.write_bytes(content)
    with Client(front.url, known=known) as client, pytest.raises(KeyConfigError, match="known"):
        works(client)
    assert known.path.read_bytes() == content


def test_what_cannot_be_remembered_is_not_trusted(front: Front, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    known = KnownGateways(tmp_path / "file" / "known.json")
    with Client(front.url, known=known) as client, pytest.raises(KeyConfigError):
        works(client)


@pytest.mark.parametrize(
    ("clear", "message"),
    [
        (Clear(404), "no gateway for sealed requests"),
        (Clear(200, "text/html", b"<p>hello"), "does not answer with a list of keys"),
        (Clear(200, KEYS, b"\0\x09junk"), "cut off or damaged"),
        (Clear(200, KEYS, b""), "none of the gateway's"),
        (Clear(503, "text/plain", b"x" * 100_000), "status 503"),
    ],
)
def test_keys_that_cannot_be_had_are_an_error(
    front: Front, known: KnownGateways, clear: Clear, message: str
) -> None:
    front.clear.append(clear)
    with Client(front.url, known=known) as client, pytest.raises(SealError, match=message):
        works(client)
    assert known.all() == {}


# A relay


def test_through_a_relay_a_pin_is_required() -> None:
    with pytest.raises(PinError, match="must be pinned"):
        http_client("https://gpt.example", via="https://relay.example")


def test_through_a_relay_the_gateway_is_never_asked_directly(front: Front) -> None:
    with Client("https://gpt.example", key=OLD.config, via=f"{front.url}/r") as client:
        assert works(client)
    ((_, path, headers, _),) = front.outside
    assert path == "/r"
    assert "gpt.example" not in repr(headers)
    assert front.inside[0].head.authority == "gpt.example"


def test_through_a_relay_a_fingerprint_is_looked_up_there(front: Front) -> None:
    relay = f"{front.url}/.well-known/ohttp-gateway"
    with Client("https://gpt.example", key=OLD.config.fingerprint, via=relay) as client:
        assert works(client)


def test_the_asynchronous_client_pins_just_so(front: Front, known: KnownGateways) -> None:
    async def go() -> None:
        async with AsyncClient(front.url, known=known) as client:
            assert (await client.get("/v1/models")).status_code == 200
            assert await client.fingerprint() == OLD.config.fingerprint
            front.ring = Keyring([NEW])
            with pytest.raises(PinError):
                await client.get("/v1/models")

    asyncio.run(go())


def test_a_gateway_that_is_not_there_is_a_connection_error(known: KnownGateways) -> None:
    with Client("http://127.0.0.1:9", known=known) as client, pytest.raises(httpx2.ConnectError):
        works(client)


@pytest.mark.parametrize(
    "url",
    [
        "gpt.example",
        "ftp://x",
        "https://",
        "https://a b",
        "https://u:p@x",
        "https://x/?q",
        "http://x:y",
    ],
)
def test_what_is_no_gateways_url_is_refused(url: str) -> None:
    with pytest.raises(SealError, match="not the URL"):
        Client(url, key=OLD.config)


def test_the_published_list_is_what_the_tests_think(front: Front) -> None:
    answer = httpx2.get(f"{front.url}/.well-known/ohttp-gateway")
    assert decode_keys(answer.content) == (OLD.config,)
