"""Key configurations and their lists, pins, key files, and the ring of a gateway."""

from __future__ import annotations

import contextlib
import json
from base64 import b64encode

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.seal.sealing import KEMS as KEM_NAMES
from tests.seal.sealing import NOW, key_for

from antiphon.seal import (
    KeyConfig,
    KeyConfigError,
    Keyring,
    Pin,
    SealError,
    SealKey,
    UnknownKeyError,
    decode_keys,
    encode_keys,
    open_request,
    seal_request,
)
from antiphon.seal.keyconfig import MAX_KEYS_BYTES
from antiphon.seal.keys import MAX_KEY_FILE_BYTES
from antiphon.seal.suites import KEMS, Symmetric

CONFIGS = st.builds(
    lambda kem, key_id, public, pairs: KeyConfig(
        key_id=key_id,
        kem=kem,
        public_key=public.ljust(KEMS[kem].public, b"\1")[: KEMS[kem].public],
        symmetric=tuple(pairs),
    ),
    st.sampled_from(sorted(KEMS)),
    st.integers(0, 255),
    st.binary(max_size=80),
    st.lists(
        st.builds(Symmetric, st.integers(0, 0xFFFF), st.integers(0, 0xFFFF)), min_size=1, max_size=5
    ),
)


# Configurations


@given(CONFIGS)
def test_a_configuration_encodes_to_the_bytes_it_came_from(config: KeyConfig) -> None:
    data = config.encode()
    assert KeyConfig.decode(data) == config
    assert KeyConfig.decode(data).encode() == data
    for cut in range(len(data)):
        with pytest.raises(KeyConfigError):
            KeyConfig.decode(data[:cut])
    with pytest.raises(KeyConfigError):
        KeyConfig.decode(data + b"\0")


@given(st.binary(max_size=120))
def test_noise_is_no_configuration_and_no_list(data: bytes) -> None:
    for read in (KeyConfig.decode, decode_keys):
        with contextlib.suppress(KeyConfigError):
            read(data)


def test_a_configuration_without_algorithms_or_with_half_of_one_is_refused() -> None:
    start = key_for().config.encode()[:35]
    for rest in (b"\0\0", b"\0\2\0\1", b"\0\6\0\1\0\1\0\1"):
        with pytest.raises(KeyConfigError):
            KeyConfig.decode(start + rest)


def test_the_fingerprint_covers_every_part() -> None:
    config = key_for().config
    data = config.encode()
    seen = {config.fingerprint}
    for at in (0, 3, 34, 38, 40):
        changed = bytearray(data)
        changed[at] ^= 1
        seen.add(KeyConfig.decode(bytes(changed)).fingerprint)
    assert len(seen) == 6
    assert all(len(one) == len("sha256:") + 64 for one in seen)


# Lists


def test_a_list_keeps_its_order() -> None:
    configs = tuple(key_for(kem, key_id=n).config for n, kem in enumerate(KEM_NAMES))
    assert decode_keys(encode_keys(configs)) == configs


def test_configurations_for_other_kems_and_suites_are_passed_over() -> None:
    mine = key_for().config
    foreign = b"\1\x00\x21" + bytes(56) + b"\0\4\0\3\0\3"  # X448
    export_only = KeyConfig(
        key_id=2, kem=0x20, public_key=bytes(32), symmetric=(Symmetric(1, 0xFFFF),)
    )
    listed = b"".join(
        len(one).to_bytes(2, "big") + one for one in (foreign, export_only.encode(), mine.encode())
    )
    assert decode_keys(listed) == (mine,)
    with pytest.raises(KeyConfigError, match="none of"):
        decode_keys(encode_keys([export_only]))


def test_a_list_with_any_mistake_is_refused_as_a_whole() -> None:
    good = encode_keys([key_for().config])
    assert decode_keys(good)
    damaged = good[:-6] + b"\0\3" + good[-4:]
    for bad in (good[:-1], good + b"\0", good + b"\0\2ab", good + damaged, b"\0\0" + good):
        with pytest.raises(KeyConfigError):
            decode_keys(bad)


def test_an_empty_and_an_endless_list_are_refused() -> None:
    with pytest.raises(KeyConfigError):
        decode_keys(b"")
    endless = encode_keys([key_for().config]) * (MAX_KEYS_BYTES // 40)
    with pytest.raises(KeyConfigError, match="too long"):
        decode_keys(endless)


# Pins


def test_a_pin_may_be_written_in_every_usual_way() -> None:
    config = key_for().config
    data = config.encode()
    listed = encode_keys([config])
    url_safe = b64encode(data).decode().replace("+", "-").replace("/", "_").rstrip("=")
    digits = config.fingerprint.removeprefix("sha256:")
    for text in (config.fingerprint, digits, digits.upper(), f"  {digits}\n"):
        assert Pin.parse(text) == Pin(config.fingerprint)
    for text in (data.hex(), listed.hex(), b64encode(data).decode(), url_safe):
        assert Pin.parse(text) == Pin(config.fingerprint, config) == Pin.of(config)


@pytest.mark.parametrize("text", ["", "sha256:12", "hello world", "00" * 20, "é" * 64, "AAAA"])
def test_what_is_no_pin_is_refused(text: str) -> None:
    with pytest.raises(KeyConfigError):
        Pin.parse(text)


def test_the_proxy_that_swaps_the_key_is_refused() -> None:
    mine, swapped = key_for().config, key_for(key_id=8).config
    pin = Pin.parse(mine.fingerprint)
    assert pin.pick([swapped, mine]) is mine
    with pytest.raises(SealError, match="not the pinned") as caught:
        pin.pick([swapped])
    assert caught.value.layer == "key"
    assert "fingerprint" in caught.value.advice
    assert mine.fingerprint in str(caught.value)
    assert swapped.fingerprint in str(caught.value)


def test_taking_an_algorithm_away_from_a_pinned_key_is_refused() -> None:
    config = SealKey.generate(1, created=NOW).config
    weaker = KeyConfig.decode(config.encode()[:-6] + b"\0\4\0\1\0\3")
    assert weaker.public_key == config.public_key
    with pytest.raises(SealError, match="not the pinned"):
        Pin.of(config).pick([weaker])


# Key files


@pytest.mark.parametrize("kem", KEM_NAMES)
def test_a_key_file_holds_all_of_a_key_and_reads_like_one(kem: str) -> None:
    key = SealKey.generate(200, created=NOW, expires=NOW + 5, kem=kem)
    data = key.encode()
    assert SealKey.decode(data) == key
    shown = json.loads(data)
    assert (shown["key_id"], shown["kem"]) == (200, kem)
    assert shown["fingerprint"] == key.config.fingerprint
    sealed = seal_request(key.config, b"x")
    assert open_request(Keyring([SealKey.decode(data)]), sealed.body, NOW).message == b"x"


def edited(**changes: object) -> bytes:
    return json.dumps({**json.loads(key_for().encode()), **changes}).encode()


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"null",
        b"-----BEGIN PRIVATE KEY-----",
        b"\xff" * 50,
        edited(key_id=8),
        edited(key_id=256),
        edited(kem="p256"),
        edited(kem="x448"),
        edited(ciphers=["chacha20-poly1305"]),
        edited(ciphers=[]),
        edited(ciphers=["aes-128-gcm"] * 2),
        edited(ciphers=["rot13"]),
        edited(secret="!"),
        edited(secret=b64encode(bytes(31)).decode()),
        edited(secret=b64encode(bytes(32)).decode()),
        edited(fingerprint="sha256:" + "0" * 64),
        edited(antiphon_seal_key=2),
        edited(comment="x"),
        b" " * MAX_KEY_FILE_BYTES + edited(),
    ],
    ids=range(19),
)
def test_a_key_file_that_is_damaged_or_edited_is_refused_without_being_quoted(data: bytes) -> None:
    with pytest.raises(KeyConfigError) as caught:
        SealKey.decode(data)
    assert json.loads(key_for().encode())["secret"] not in str(caught.value)
    assert caught.value.__cause__ is None or "secret" not in str(caught.value.__cause__)


@pytest.mark.parametrize("wrong", [{"key_id": -1}, {"key_id": 256}, {"kem": "rsa"}])
def test_a_key_there_cannot_be_is_not_made(wrong: dict) -> None:
    with pytest.raises(KeyConfigError):
        SealKey.generate(**{"key_id": 1, "created": NOW, **wrong})


# The ring


def test_a_rotated_ring_opens_requests_for_both_keys_until_the_old_one_expires() -> None:
    old = SealKey.generate(1, created=NOW, expires=NOW + 100)
    new = SealKey.generate(2, created=NOW)
    ring = Keyring([new, old])
    bodies = [seal_request(key.config, b"x").body for key in (old, new)]
    for body in bodies:
        assert open_request(ring, body, NOW).message == b"x"
    assert ring.current is new
    assert decode_keys(ring.published(NOW)) == (new.config, old.config)
    assert decode_keys(ring.published(NOW + 100)) == (new.config,)
    with pytest.raises(UnknownKeyError):
        open_request(ring, bodies[0], NOW + 100)
    assert open_request(ring, bodies[1], NOW + 100).message == b"x"


def test_the_next_key_gets_an_identifier_that_is_free() -> None:
    keys = [SealKey.generate(n, created=NOW) for n in (255, 0, 3)]
    assert Keyring(keys).free_key_id() == 1
    assert Keyring([keys[2]]).free_key_id() == 4


def test_a_ring_needs_keys_with_identifiers_of_their_own() -> None:
    with pytest.raises(KeyConfigError):
        Keyring([])
    with pytest.raises(KeyConfigError):
        Keyring([SealKey.generate(1, created=NOW) for _ in range(2)])
