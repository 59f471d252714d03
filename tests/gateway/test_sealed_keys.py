"""Keys of sealed transport, and what gateways share: rotation, revocation, replay."""

from __future__ import annotations

import datetime as dt
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest
from tests.e2e.serving import serving
from tests.gateway.governing import Clock, LogLines, answering
from tests.gateway.sealing_client import (
    ask,
    chat,
    keys_of,
    message,
    only_key,
    open_chunks,
    post,
    seal_chunks,
    seal_whole,
    sealing,
)
from tests.gateway.serving import Gate, Gateway, StepEngine, final, until

from antiphon.errors import SettingsError
from antiphon.gateway.sealed.keyfile import SealKeyFile
from antiphon.gateway.sealed.transport import SealedTransport
from antiphon.seal import KeyConfig
from antiphon.seal.media import CHUNKED_REQUEST, KEY_PROBLEM, REQUEST
from antiphon.settings.model import SealSettings, Settings, StoreSettings
from antiphon.store.open import open_stores

NOW = 1_800_000_000.0
POSIX = pytest.mark.skipif(os.name != "posix", reason="modes of files")


def key_file(folder: Path) -> SealKeyFile:
    return SealKeyFile(folder / "ohttp-keys.json")


def fingerprints(folder: Path) -> list[str]:
    return [key.config.fingerprint for key in key_file(folder).load()]


# The file


@POSIX
def test_keys_are_made_in_a_file_that_only_its_owner_reads(tmp_path: Path) -> None:
    file = SealKeyFile(tmp_path / "new" / "folder" / "keys.json")
    (key,) = file.ensure(SealSettings(), NOW)
    assert file.path.stat().st_mode & 0o777 == 0o600
    assert file.path.parent.stat().st_mode & 0o777 == 0o700
    assert file.ensure(SealSettings(), NOW) == (key,)
    assert file.load() == (key,)


@POSIX
def test_a_file_that_others_can_read_is_refused(tmp_path: Path) -> None:
    file = key_file(tmp_path)
    file.ensure(SealSettings(), NOW)
    file.path.chmod(0o644)
    with pytest.raises(SettingsError, match="chmod 600"):
        file.load()


@pytest.mark.parametrize("damage", ["cut", "flip", "other", "empty", "huge", "two ids"])
def test_a_damaged_file_of_keys_is_refused_without_quoting_it(tmp_path: Path, damage: str) -> None:
    file = key_file(tmp_path)
    (key,) = file.ensure(SealSettings(), NOW)
    text = file.path.read_text()
    secret = json.loads(text)["keys"][0]["secret"]
    match damage:
        case "cut":
            text = text[: len(text) // 2]
        case "flip":
            text = text.replace(secret, secret[::-1])
        case "other":
            text = '{"keys": []}'
        case "empty":
            text = ""
        case "huge":
            text += " " * (1024 * 1024)
        case "two ids":
            one = json.loads(text)
            text = json.dumps({**one, "keys": one["keys"] * 2})
    file.path.write_text(text)
    with pytest.raises(SettingsError) as refused:
        file.load()
    assert secret not in str(refused.value)
    assert str(file.path) in str(refused.value)
    assert key.config.key_id == 1


def test_rotation_puts_new_keys_in_front_and_gives_the_old_ones_an_end(tmp_path: Path) -> None:
    file, settings = key_file(tmp_path), SealSettings(kems=("x25519", "p256"))
    first = file.ensure(settings, NOW)
    second = file.rotate(settings, NOW, grace=100)
    third = file.rotate(settings, NOW + 50, grace=1000)
    assert [key.expires for key in first] == [None, None]
    assert [key.expires for key in second] == [None, None, NOW + 100, NOW + 100]
    assert [key.expires for key in third] == [None, None, NOW + 1050, NOW + 1050] + [NOW + 100] * 2
    assert len({key.config.key_id for key in third}) == 6
    later = file.rotate(settings, NOW + 2000, grace=10)
    assert len(later) == 4  # Those that had expired are gone from the disk.
    assert [key.config.fingerprint for key in later[2:]] == [
        key.config.fingerprint for key in third[:2]
    ]


def test_identifiers_are_not_used_again_while_there_are_others(tmp_path: Path) -> None:
    file, settings = key_file(tmp_path), SealSettings()
    seen = [file.ensure(settings, NOW)[0].config.key_id]
    seen += [file.rotate(settings, NOW + n, grace=0)[0].config.key_id for n in range(1, 20)]
    assert len(set(seen)) == 20


def test_a_revoked_key_is_gone_and_the_last_of_its_kind_replaced(tmp_path: Path) -> None:
    file, settings = key_file(tmp_path), SealSettings()
    (old,) = file.ensure(settings, NOW)
    new, kept = file.rotate(settings, NOW, grace=100)
    assert kept.config == old.config
    gone, left = file.revoke(old.config.fingerprint[:16], settings, NOW)
    assert gone.config == old.config
    assert left == (new,)
    gone, left = file.revoke(str(new.config.key_id), settings, NOW)
    assert gone == new
    assert left[0].config.key_id not in (old.config.key_id, new.config.key_id)
    for wrong in ("77", "sha256:00", "", "sha256:" + "0" * 64):
        with pytest.raises(SettingsError, match="there is no key"):
            file.revoke(wrong, settings, NOW)


def test_keys_are_taken_over_from_a_changed_file_and_not_from_a_damaged_one(tmp_path: Path) -> None:
    clock = Clock()
    file = key_file(tmp_path)
    transport = SealedTransport(
        sealing(tmp_path), file, now=lambda: NOW, clock=clock.monotonic
    )  # fmt: skip
    first = transport.ring.keys
    rotated = file.rotate(SealSettings(), NOW, grace=100)
    assert transport.ring.keys == first
    clock.time += 2
    assert transport.ring.keys == rotated
    for text in ("{", '{"antiphon_seal_keys": 1, "keys": []}'):
        file.path.write_text(text)
        clock.time += 2
        assert transport.ring.keys == rotated
    file.path.unlink()
    clock.time += 2
    assert transport.ring.keys == rotated


def test_wrong_settings_change_nothing(tmp_path: Path) -> None:
    transport = SealedTransport(sealing(tmp_path), key_file(tmp_path), now=lambda: NOW)
    before = transport.settings, transport.padding
    with pytest.raises(SettingsError):
        transport.configure(sealing(tmp_path, padding="multiple:0"))
    assert (transport.settings, transport.padding) == before


# Rotation at a running gateway


def test_rotation_drops_no_request_and_the_old_key_goes_on_for_its_time(tmp_path: Path) -> None:
    gate, clock = Gate(), Clock()
    ids = final("One two")
    engine = StepEngine(ids[:-2], gate, ids[-2:])
    with Gateway(engine, sealing(tmp_path), clock=clock, log=LogLines().log) as gateway:

        def now() -> float:
            return clock.now().timestamp()

        def dated(**how: Any) -> Any:
            body = {"model": "m", "messages": [{"role": "user", "content": "Hi"}], **how}
            return message("/v1/chat/completions", body, date=now())

        old = only_key(gateway)
        body, secret = seal_chunks(old, dated(stream=True))
        connection = gateway.connect()
        connection.request("POST", "/.well-known/ohttp-gateway", body,
                           {"content-type": CHUNKED_REQUEST})  # fmt: skip
        response = connection.getresponse()
        assert engine.began.acquire(timeout=20)
        key_file(tmp_path).rotate(SealSettings(), now(), grace=3600)
        clock.time += 2
        new, still = keys_of(gateway.port)
        assert still == old
        assert new != old
        gate.open()
        assert b"[DONE]" in b"".join(open_chunks(secret, response.read()))
        connection.close()
        for config in (new, old):
            assert ask(gateway.port, config, dated()).inner.status == 200
        aging = post(gateway.port, b"", path="/ohttp-keys", method="GET")
        assert aging.headers["cache-control"] == "public, max-age=3600"
        clock.date += dt.timedelta(seconds=3601)
        assert keys_of(gateway.port) == (new,)
        late, _ = seal_chunks(old, dated())
        assert json.loads(post(gateway.port, late).body)["type"] == KEY_PROBLEM
        assert ask(gateway.port, new, dated()).inner.status == 200


# Replay, over one store


@contextmanager
def worker(folder: Path, settings: Settings) -> Iterator[Gateway]:
    """One of several gateways over one SQLite file."""
    stores = open_stores(settings, {})
    with answering("Hello.", settings, stores=stores) as gateway:
        yield gateway


@pytest.mark.parametrize("chunked", [True, False], ids=["chunked", "whole"])
def test_a_copy_is_refused_by_every_worker_over_the_same_store(
    tmp_path: Path, chunked: bool
) -> None:
    store = StoreSettings(
        url=f"sqlite:{tmp_path / 'a.db'}", seal_file=str(tmp_path / "carried.json")
    )
    settings = sealing(tmp_path, Settings(store=store))
    kind = CHUNKED_REQUEST if chunked else REQUEST
    seal = seal_chunks if chunked else seal_whole
    with worker(tmp_path, settings) as one, worker(tmp_path, settings) as other:
        config = only_key(one)
        assert only_key(other) == config
        for first, second in ((one, other), (other, one)):
            body, _ = seal(config, chat())
            assert post(first.port, body, kind).status == 200
            for gateway in (second, first, second):
                assert post(gateway.port, body, kind).status == 400
    with worker(tmp_path, settings) as again:  # A restart forgets nothing.
        assert post(again.port, body, kind).status == 400
        assert ask(again.port, config, chat(), chunked=chunked).inner.status == 200


def test_of_many_copies_at_a_time_one_is_answered(tmp_path: Path) -> None:
    from concurrent.futures import ThreadPoolExecutor

    engine = StepEngine(final("Hello."))
    with Gateway(engine, sealing(tmp_path), log=LogLines().log) as gateway:
        body, _ = seal_chunks(only_key(gateway), chat())
        with ThreadPoolExecutor(8) as pool:
            outers = list(pool.map(lambda _: post(gateway.port, body), range(16)))
    assert sorted(outer.status for outer in outers) == [200] + [400] * 15
    assert len(engine.requests) == 1


def test_a_store_that_cannot_be_used_refuses_sealed_requests(tmp_path: Path) -> None:
    from antiphon.errors import StoreError
    from antiphon.store.open import memory_stores

    settings = sealing(tmp_path)
    stores = memory_stores(settings)

    async def broken(*_: Any, **__: Any) -> bool:
        raise StoreError("the disk is gone")

    stores.state.claim = broken  # type: ignore[method-assign]
    with answering(settings=settings, stores=stores) as gateway:
        body, _ = seal_chunks(only_key(gateway), chat())
        assert post(gateway.port, body).status == 503


# The commands


def run(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    inherited = {k: v for k, v in os.environ.items() if not k.startswith("ANTIPHON_")}
    return subprocess.run(
        [sys.executable, "-m", "antiphon.cli", *arguments],
        capture_output=True, encoding="utf-8", timeout=60, cwd=folder,
        env={**inherited, "HOME": str(folder), "XDG_CONFIG_HOME": str(folder),
             "XDG_DATA_HOME": str(folder)},
    )  # fmt: skip


def test_keys_are_shown_rotated_and_revoked_at_the_command_line(tmp_path: Path) -> None:
    file = str(tmp_path / "ohttp-keys.json")
    none = run(tmp_path, "keys", "seal", "show", "--file", file)
    assert none.stdout == ""
    assert "There are no keys" in none.stderr
    first = run(tmp_path, "keys", "seal", "rotate", "--file", file).stdout.strip()
    second = run(tmp_path, "keys", "seal", "rotate", "--grace", "1h", "--file", file)
    assert "1 old key is good until" in second.stderr
    assert fingerprints(tmp_path) == [second.stdout.strip(), first]
    rows = json.loads(run(tmp_path, "keys", "seal", "show", "--json", "--file", file).stdout)
    assert [row["fingerprint"] for row in rows] == fingerprints(tmp_path)
    assert KeyConfig.decode(bytes.fromhex(rows[0]["config"])).fingerprint == rows[0]["fingerprint"]
    shown = run(tmp_path, "keys", "seal", "show", "--config-hex", "--file", file).stdout
    assert "current" in shown
    assert rows[1]["config"] in shown
    secret = json.loads(Path(file).read_text())["keys"][0]["secret"]
    assert secret not in shown + json.dumps(rows)
    third = run(tmp_path, "keys", "seal", "revoke", second.stdout.strip(), "--file", file)
    assert "is revoked" in third.stderr
    # The first is still good for its hour, but nobody is to begin with it.
    assert fingerprints(tmp_path) == [third.stdout.strip(), first]
    for wrong in (("revoke", "9"), ("rotate", "--grace", "soon"), ("rotate", "--grace", "1y")):
        refused = run(tmp_path, "keys", "seal", *wrong, "--file", file)
        assert refused.returncode in (1, 2)
        assert len(refused.stderr.splitlines()) <= 2


def test_serve_seal_says_the_fingerprint_in_its_first_lines_and_takes_a_rotation_over(
    tmp_path: Path,
) -> None:
    with serving(tmp_path, "--seal", "--engine", "scripted", "--store-url", "memory") as server:
        port = int(server.url.rpartition(":")[2])
        (config,) = keys_of(port)
        server.says(config.fingerprint)
        server.says("ohttp-keys.json")
        request = message("/v1/models")
        assert ask(port, config, request).inner.status == 200
        file = SealKeyFile(tmp_path / "antiphon" / "ohttp-keys.json")
        rotated = file.rotate(SealSettings(), time.time(), grace=60)
        server.process.send_signal(signal.SIGHUP)
        until(lambda: len(keys_of(port)) == 2)
        configs = keys_of(port)
        assert configs[0] == rotated[0].config
        assert ask(port, config, request).inner.status == 200
    checked = run(tmp_path, "serve", "--seal-required", "--check")
    assert configs[0].fingerprint in checked.stdout + checked.stderr


def test_only_so_many_requests_are_remembered(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from antiphon.gateway.sealed import transport

    monkeypatch.setattr(transport, "MAX_REMEMBERED", 2)
    clock = Clock()
    with answering(settings=sealing(tmp_path), clock=clock) as gateway:
        config = only_key(gateway)
        request = message("/v1/models", date=clock.now().timestamp())
        assert [ask(gateway.port, config, request).inner.status for _ in range(2)] == [200, 200]
        body, _ = seal_chunks(config, request)
        full = post(gateway.port, body)
        assert full.status == 503
        assert full.headers["retry-after"] == "1"
        clock.time += 420
        assert post(gateway.port, body).status == 200


@pytest.mark.slow
def test_workers_of_one_server_share_keys_and_refuse_the_same_copy(tmp_path: Path) -> None:
    file = tmp_path / "ohttp-keys.json"
    more = ["--workers", "2", "--seal-keys-file", str(file)]
    more += ["--store-url", f"sqlite:{tmp_path}/a.db"]
    more += ["--store-seal-file", str(tmp_path / "seal.json")]
    with serving(tmp_path, "--seal", "--engine", "scripted", *more) as server:
        port = int(server.url.rpartition(":")[2])
        (config,) = keys_of(port)
        assert server.says(config.fingerprint).count(config.fingerprint) == 1
        for _ in range(4):
            body, _ = seal_chunks(config, message("/v1/models"))
            statuses = [post(port, body).status for _ in range(6)]
            assert statuses == [200] + [400] * 5
    assert fingerprints(tmp_path) == [config.fingerprint]


def test_the_settings_name_what_a_key_may_be() -> None:
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert({"seal": {"kems": ["rsa"]}}, Settings)
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert({"seal": {"kems": []}}, Settings)
