"""Opening what the settings name, and saying what is wrong with it."""

from __future__ import annotations

import asyncio
import os
import sqlite3
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from antiphon.api.errors import as_api_error
from antiphon.errors import MissingExtraError, SettingsError, StoreError
from antiphon.settings.load import describe, load
from antiphon.settings.model import Settings, StoreSettings
from antiphon.store.open import Stores, open_stores
from antiphon.store.records import Item, Record

pytest.importorskip("cryptography")


def chosen(**store) -> Settings:
    return Settings(store=StoreSettings(**store))


def environ(home: Path) -> dict[str, str]:
    return {"HOME": str(home), "XDG_DATA_HOME": str(home / "data")}


def use(settings: Settings, home: Path, scenario) -> None:
    async def opened() -> None:
        stores = open_stores(settings, environ(home))
        try:
            await stores.start()
            await scenario(stores)
        finally:
            await stores.aclose()

    asyncio.run(opened())


def record(id: str = "resp_1", created: int = 1, body: bytes = b"{}") -> Record:
    return Record(kind="response", id=id, created=created, body=body)


async def put_one(stores: Stores) -> None:
    await stores.records.put("t", record(), [Item("i", b"{}")])


posix = pytest.mark.skipif(os.name != "posix", reason="file modes are POSIX's")


@posix
def test_by_default_a_file_in_the_data_folder_is_for_nobody_else(tmp_path: Path) -> None:
    modes: dict[str, int] = {}

    async def scenario(stores: Stores) -> None:
        await put_one(stores)
        for path in (tmp_path / "data" / "antiphon").iterdir():
            modes[path.name] = stat.S_IMODE(path.stat().st_mode)

    before = os.umask(0)
    try:
        use(Settings(), tmp_path, scenario)
    finally:
        os.umask(before)
    assert {"antiphon.db", "antiphon.db-wal", "antiphon.db-shm", "seal-keys.json"} <= set(modes)
    assert set(modes.values()) == {0o600}
    assert stat.S_IMODE((tmp_path / "data" / "antiphon").stat().st_mode) == 0o700


@posix
def test_a_file_that_others_could_read_is_closed_to_them(tmp_path: Path) -> None:
    path = tmp_path / "s.db"
    sqlite3.connect(path).close()
    path.touch()
    path.chmod(0o644)
    use(chosen(url=f"sqlite:{path}"), tmp_path, put_one)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_a_file_can_be_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    use(chosen(url="sqlite:sub/own # file?.db"), tmp_path, put_one)
    assert (tmp_path / "sub" / "own # file?.db").exists()
    assert not (tmp_path / "data" / "antiphon" / "antiphon.db").exists()


def test_memory_leaves_nothing_on_disk(tmp_path: Path) -> None:
    async def scenario(stores: Stores) -> None:
        await put_one(stores)
        assert stores.sealer.open("t", stores.sealer.seal("t", b"x")) == b"x"

    use(chosen(url="memory"), tmp_path, scenario)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("url", ["", "sqlite:", "mysql://u:secret@h/d", "SQLITE", "file:x", "x"])
def test_a_url_that_is_none_is_said(tmp_path: Path, url: str) -> None:
    with pytest.raises(SettingsError, match=r"store\.url: expected memory, sqlite") as caught:
        open_stores(chosen(url=url), environ(tmp_path))
    assert "secret" not in str(caught.value)


def test_a_file_that_is_no_database_is_said(tmp_path: Path) -> None:
    path = tmp_path / "notes.txt"
    path.write_text("not a database at all, but long enough to be looked at " * 50)
    with pytest.raises(StoreError, match=r"notes\.txt: file is not a database"):
        open_stores(chosen(url=f"sqlite:{path}"), environ(tmp_path))
    assert path.read_text().startswith("not a database")


def test_a_folder_that_cannot_be_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(StoreError, match=r"file/s\.db"):
        open_stores(chosen(url=f"sqlite:{tmp_path}/file/s.db"), environ(tmp_path))


def test_a_store_of_a_newer_release_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "s.db"
    use(chosen(url=f"sqlite:{path}"), tmp_path, put_one)
    db = sqlite3.connect(path)
    with db:
        db.execute("INSERT INTO migrations VALUES ('from-the-future', 0)")
    db.close()
    with pytest.raises(StoreError, match=r"newer release of antiphon.*from-the-future"):
        open_stores(chosen(url=f"sqlite:{path}"), environ(tmp_path))


def test_without_its_package_postgresql_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "asyncpg", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'antiphon\[postgres\]'"):
        open_stores(chosen(url="postgresql://h/d"), environ(tmp_path))


def test_a_server_that_is_not_there_is_said_without_its_password(tmp_path: Path) -> None:
    pytest.importorskip("asyncpg")
    settings = chosen(url="postgresql://me:secret@127.0.0.1:1/base?sslmode=disable")

    async def scenario() -> None:
        stores = open_stores(settings, environ(tmp_path))
        with pytest.raises(StoreError, match=r"postgresql://127\.0\.0\.1:1/base: ") as caught:
            await stores.start()
        assert "secret" not in str(caught.value)
        await stores.aclose()

    asyncio.run(scenario())
    assert "secret" not in str(describe(settings))
    assert ("store.url", '"postgresql://me:***@127.0.0.1:1/base?sslmode=disable"') in describe(
        settings
    )


def test_many_processes_open_a_new_file_at_once(tmp_path: Path) -> None:
    code = (
        "import asyncio, sys\n"
        "from antiphon.settings.load import load\n"
        "from antiphon.store.open import open_stores\n"
        "from antiphon.store.records import Record\n"
        "async def main():\n"
        "    stores = open_stores(load(), dict(__import__('os').environ))\n"
        "    record = Record(kind='response', id=sys.argv[1], created=1, body=b'{}')\n"
        "    await stores.records.put('t', record)\n"
        "    await stores.aclose()\n"
        "asyncio.run(main())\n"
    )
    env = {**os.environ, **environ(tmp_path), "ANTIPHON_STORE_KEY_FILE": str(tmp_path / "k.json")}
    running = [
        subprocess.Popen([sys.executable, "-c", code, f"r{n}"], cwd=tmp_path, env=env)
        for n in range(6)
    ]
    assert [child.wait(60) for child in running] == [0] * 6

    async def scenario(stores: Stores) -> None:
        for n in range(6):
            assert await stores.records.get("t", "response", f"r{n}") is not None

    use(chosen(key_file=str(tmp_path / "k.json")), tmp_path, scenario)


@pytest.mark.parametrize("url", ["memory", "sqlite"])
def test_old_records_are_pruned_by_their_days(tmp_path: Path, url: str) -> None:
    async def scenario(stores: Stores) -> None:
        now = 1_790_000_000
        stores._now = lambda: now
        for name, age in (("young", 6.9), ("old", 7.1)):
            await stores.records.put("t", record(name, int(now - age * 86_400)))
        assert await stores.prune() == 1
        assert await stores.records.get("t", "response", "young") is not None
        assert await stores.records.get("t", "response", "old") is None

    use(chosen(url=url, ttl=7), tmp_path, scenario)


def test_a_ttl_of_0_keeps_for_ever(tmp_path: Path) -> None:
    async def scenario(stores: Stores) -> None:
        await stores.records.put("t", record(created=0))
        assert await stores.prune() == 0

    use(chosen(ttl=0), tmp_path, scenario)


def test_tending_goes_on_after_the_store_was_away(tmp_path: Path, monkeypatch) -> None:
    async def scenario(stores: Stores) -> None:
        calls: list[int] = []
        enough = asyncio.Event()

        async def expire(before: int) -> int:
            calls.append(before)
            if len(calls) == 1:
                raise StoreError("away")
            enough.set()
            return 0

        monkeypatch.setattr(stores.records, "expire", expire)
        monkeypatch.setattr("antiphon.store.open.PRUNE_SECONDS", 0)
        failures: list[StoreError] = []
        task = asyncio.create_task(stores.tend(failures.append))
        await enough.wait()
        task.cancel()
        assert [str(error) for error in failures] == ["away"]

    use(chosen(url="memory"), tmp_path, scenario)


def test_the_environment_names_the_store(tmp_path: Path) -> None:
    settings = load(
        environ={
            "HOME": str(tmp_path),
            "ANTIPHON_STORE_URL": "memory",
            "ANTIPHON_STORE_SYNC": "full",
        }
    )
    assert (settings.store.url, settings.store.sync) == ("memory", "full")


def test_clients_are_told_that_it_fails_and_not_where() -> None:
    for status in (503, 507):
        told = as_api_error(StoreError("/secret/antiphon.db: I/O error", status=status))
        assert (told.status, told.type, told.code) == (status, "server_error", "store_unavailable")
        assert "secret" not in told.body().decode()
