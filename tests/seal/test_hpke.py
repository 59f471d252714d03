"""HPKE under the seal: the published vectors, and `cryptography` as a second opinion."""

from __future__ import annotations

from typing import Any

import pytest
from cryptography.hazmat.primitives import hpke as other
from cryptography.hazmat.primitives.asymmetric import ec, x25519
from hypothesis import given
from hypothesis import strategies as st
from tests.seal.sealing import CIPHERS, key_for
from tests.seal.sealing import KEMS as KEM_NAMES

from antiphon.seal import KeyConfig, KeyConfigError, OpenError
from antiphon.seal.hpke import load_secret, public_key_of, recipient, sender
from antiphon.seal.suites import AEADS, HYBRID, KEMS, Suite, Symmetric

OTHER_AEADS = {1: other.AEAD.AES_128_GCM, 3: other.AEAD.CHACHA20_POLY1305}
OTHER_KEMS = {0x20: other.KEM.X25519, 0x10: other.KEM.P256, HYBRID: other.KEM.MLKEM768_X25519}


@pytest.fixture
def vectors(golden) -> Any:
    found = golden("seal/hpke.json")["vectors"]
    suites = {(v["kem_id"], v["aead_id"]) for v in found}
    assert suites >= {(kem, aead) for kem in (0x20, 0x10) for aead in AEADS} | {(HYBRID, 3)}
    return found


def test_the_published_vectors_open_and_export(vectors) -> None:
    for vector in vectors:
        suite = Suite(vector["kem_id"], vector["kdf_id"], vector["aead_id"])
        private = load_secret(suite.kem, bytes.fromhex(vector["skRm"]))
        assert public_key_of(suite.kem, private).hex() == vector["pkRm"]
        context = recipient(
            suite, bytes.fromhex(vector["enc"]), private, bytes.fromhex(vector["info"])
        )
        for one in vector["encryptions"]:
            opened = context.open(bytes.fromhex(one["ct"]), bytes.fromhex(one["aad"]))
            assert opened.hex() == one["pt"]
        for one in vector["exports"]:
            exported = context.export(bytes.fromhex(one["exporter_context"]), one["L"])
            assert exported.hex() == one["exported_value"]


def test_the_published_vectors_are_what_we_seal(vectors) -> None:
    made = 0
    for vector in vectors:
        if vector["kem_id"] == HYBRID:
            continue  # its encapsulation takes the library's randomness
        suite = Suite(vector["kem_id"], vector["kdf_id"], vector["aead_id"])
        config = KeyConfig(
            key_id=1, kem=suite.kem, public_key=bytes.fromhex(vector["pkRm"]), symmetric=()
        )
        enc, context = sender(
            config, suite, bytes.fromhex(vector["info"]), bytes.fromhex(vector["skEm"])
        )
        assert enc.hex() == vector["enc"]
        for one in vector["encryptions"]:
            sealed = context.seal(bytes.fromhex(one["pt"]), bytes.fromhex(one["aad"]))
            assert sealed.hex() == one["ct"]
        made += 1
    assert made == 4


def other_private(kem: int, secret: bytes):
    if kem == 0x10:
        return ec.derive_private_key(int.from_bytes(secret, "big"), ec.SECP256R1())
    if kem == 0x20:
        return x25519.X25519PrivateKey.from_private_bytes(secret)
    ours: Any = load_secret(kem, secret)
    return other.MLKEM768X25519PrivateKey(ours.mlkem, ours.x25519)


@given(
    st.sampled_from(KEM_NAMES),
    st.sampled_from(CIPHERS),
    st.binary(max_size=500),
    st.binary(max_size=60),
)
def test_single_messages_cross_over_to_cryptography_and_back(
    kem: str, cipher: str, plain: bytes, info: bytes
) -> None:
    key = key_for(kem, cipher)
    (suite,) = key.config.suites
    theirs = other.Suite(OTHER_KEMS[suite.kem], other.KDF.HKDF_SHA256, OTHER_AEADS[suite.aead])
    private = other_private(suite.kem, key.secret)

    enc, context = sender(key.config, suite, info)
    assert theirs.decrypt(enc + context.seal(plain), private, info) == plain

    sealed = theirs.encrypt(plain, private.public_key(), info)
    size = KEMS[suite.kem].encapsulated
    ours = recipient(suite, sealed[:size], load_secret(suite.kem, key.secret), info)
    assert ours.open(sealed[size:]) == plain


@pytest.mark.parametrize(
    "public", [bytes(32), b"\1" + bytes(31), (2**255 - 19).to_bytes(32, "little")]
)
def test_public_keys_of_small_order_are_refused_on_both_sides(public: bytes) -> None:
    config = KeyConfig(key_id=1, kem=0x20, public_key=public, symmetric=(Symmetric(1, 1),))
    with pytest.raises(KeyConfigError):
        sender(config, Suite(0x20, 1, 1), b"")
    private = load_secret(0x20, key_for().secret)
    with pytest.raises(OpenError):
        recipient(Suite(0x20, 1, 1), public, private, b"")


def test_points_that_are_not_on_the_curve_are_refused() -> None:
    private = load_secret(0x10, key_for("p256").secret)
    for enc in (bytes(65), b"\4" + bytes(64), b"\2" + bytes(64), b"\4" + b"\xff" * 64):
        with pytest.raises(OpenError):
            recipient(Suite(0x10, 1, 1), enc, private, b"")


@pytest.mark.parametrize("secret", [b"", bytes(31), bytes(33), bytes(64)])
@pytest.mark.parametrize("kem", sorted(KEMS))
def test_secrets_of_the_wrong_length_are_refused(kem: int, secret: bytes) -> None:
    with pytest.raises(KeyConfigError):
        load_secret(kem, secret)


def test_a_p256_secret_outside_the_group_is_refused() -> None:
    for secret in (bytes(32), b"\xff" * 32):
        with pytest.raises(KeyConfigError):
            load_secret(0x10, secret)
