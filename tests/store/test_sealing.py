"""Keys in files, and what is sealed with them for clients to carry."""

from __future__ import annotations

import json
import os
import stat
import threading
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.store.opening import Clock

from antiphon.errors import StoreError
from antiphon.store.keyring import FileKeyRing, MemoryKeyRing
from antiphon.store.sealing import KEEP_SECONDS, ROTATE_SECONDS, Sealer

pytest.importorskip("cryptography")

DAY = 86_400


@given(tenant=st.text(max_size=20), data=st.binary(max_size=2_000))
def test_what_was_sealed_opens_for_its_tenant_only(tenant: str, data: bytes) -> None:
    sealer = Sealer(MemoryKeyRing())
    text = sealer.seal(tenant, data)
    assert sealer.open(tenant, text) == data
    assert sealer.open(tenant + "x", text) is None
    assert sealer.seal(tenant, data) != text
    assert Sealer(MemoryKeyRing()).open(tenant, text) is None


@given(st.text(max_size=200))
def test_any_other_text_opens_as_nothing(text: str) -> None:
    assert Sealer(MemoryKeyRing()).open("t", text) is None


def test_any_changed_character_opens_as_nothing() -> None:
    sealer = Sealer(MemoryKeyRing())
    text = sealer.seal("t", b"thought")
    for at in range(len(text)):
        other = "A" if text[at] != "A" else "B"
        changed = text[:at] + other + text[at + 1 :]
        # The last character before the padding has bits that mean nothing.
        opened = sealer.open("t", changed)
        assert opened is None or (opened == b"thought" and at == len(text.rstrip("=")) - 1)
        assert sealer.open("t", text[:at]) is None
    assert sealer.open("t", text + "AAAA") is None
    assert sealer.open("t", " " + text) is None


def test_what_one_server_sealed_another_with_its_keys_opens(tmp_path: Path) -> None:
    clock = Clock()
    one = Sealer(FileKeyRing(tmp_path / "k.json", now=clock), now=clock)
    two = Sealer(FileKeyRing(tmp_path / "k.json", now=clock), now=clock)
    assert two.open("t", one.seal("t", b"x")) == b"x"
    clock.now += ROTATE_SECONDS
    rotated = one.seal("t", b"y")
    # Its file was looked at just now; an unknown key makes it look again.
    assert two.open("t", rotated) == b"y"
    assert len(FileKeyRing(tmp_path / "k.json").all()) == 2


def test_keys_are_rotated_each_month_and_forgotten_after_a_year(tmp_path: Path) -> None:
    clock = Clock()
    ring = FileKeyRing(tmp_path / "k.json", now=clock)
    sealer = Sealer(ring, now=clock)
    first = sealer.seal("t", b"first")
    clock.now += ROTATE_SECONDS - 1
    sealer.seal("t", b"")
    assert len(ring.all()) == 1
    clock.now += 1
    sealer.seal("t", b"")
    sealer.seal("t", b"")
    assert len(ring.all()) == 2
    assert sealer.open("t", first) == b"first"
    while clock.now < 1_000_000 + KEEP_SECONDS:
        clock.now += ROTATE_SECONDS
        sealer.seal("t", b"")
    clock.now += ROTATE_SECONDS
    sealer.seal("t", b"")
    assert sealer.open("t", first) is None
    assert 12 <= len(ring.all()) <= 14


def test_servers_that_rotate_at_once_make_one_key(tmp_path: Path) -> None:
    clock = Clock()
    path = tmp_path / "k.json"
    sealers = [Sealer(FileKeyRing(path, now=clock), now=clock) for _ in range(5)]
    clock.now += ROTATE_SECONDS
    texts: list[str] = []
    threads = [
        threading.Thread(target=lambda each=each: texts.append(each.seal("t", b"x")))
        for each in sealers
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(FileKeyRing(path).all()) == 2
    assert all(each.open("t", text) == b"x" for each in sealers for text in texts)


def test_a_key_file_that_cannot_be_written_goes_on_sealing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = Clock()
    sealer = Sealer(FileKeyRing(tmp_path / "k.json", now=clock), now=clock)

    def refuse(path: Path, data: bytes) -> None:
        raise OSError(30, "Read-only file system")

    monkeypatch.setattr("antiphon.settings.private_file.replace", refuse)
    clock.now += 2 * ROTATE_SECONDS
    assert sealer.open("t", sealer.seal("t", b"x")) == b"x"


@pytest.mark.skipif(os.name != "posix", reason="file modes are POSIX's")
def test_a_new_key_file_is_for_its_owner_only(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        FileKeyRing(tmp_path / "sub" / "k.json").add()
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "sub" / "k.json").stat().st_mode) == 0o600
    assert stat.S_IMODE((tmp_path / "sub").stat().st_mode) == 0o700


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{}",
        '{"keys":[]}',
        "[1]",
        '{"keys":[{"id":"zz","created":1,"secret":""}]}',
        '{"keys":[{"id":"00000000","created":1,"secret":"AAAA"}]}',
        '{"keys":[{"id":"00000000","created":"x","secret":"AAAA"}]}',
        '{"keys":[{"id":"00000000","created":1,"secret":"\\u00e9"}]}',
    ],
)
def test_a_file_that_holds_no_keys_is_said_and_left_alone(tmp_path: Path, text: str) -> None:
    path = tmp_path / "k.json"
    path.write_text(text)
    with pytest.raises(StoreError, match=r"k\.json: not a file of keys"):
        FileKeyRing(path)
    assert path.read_text() == text


def test_a_file_with_one_key_twice_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "k.json"
    FileKeyRing(path)
    content = json.loads(path.read_text())
    path.write_text(json.dumps({"keys": content["keys"] * 2}))
    with pytest.raises(StoreError, match="not a file of keys"):
        FileKeyRing(path)


def test_a_file_that_goes_wrong_while_it_is_used_changes_nothing(tmp_path: Path) -> None:
    path = tmp_path / "k.json"
    clock = Clock()
    ring = FileKeyRing(path, clock=clock)
    key = ring.newest()
    path.write_text("gone wrong")
    clock.now += 10
    assert ring.newest() == key
    path.unlink()
    clock.now += 10
    assert ring.newest() == key


def test_the_newest_key_cannot_be_dropped(tmp_path: Path) -> None:
    ring = FileKeyRing(tmp_path / "k.json")
    old, new = ring.newest(), ring.add()
    ring.drop([old.id, new.id])
    assert ring.all() == (new,)
    assert ring.find(old.id) is None


def test_a_key_does_not_show_its_secret(tmp_path: Path) -> None:
    key = FileKeyRing(tmp_path / "k.json").newest()
    assert repr(key) == f"SecretKey(id={key.id!r})"
