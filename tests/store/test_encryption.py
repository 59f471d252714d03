"""What a thief of the disk or a stranger with write access finds."""

from __future__ import annotations

import asyncio
import sqlite3
from pathlib import Path

import pytest
from tests.store.opening import KINDS, SHARED, Open, Opener, opener

from antiphon.errors import StoreError
from antiphon.store.encryption import RowCipher
from antiphon.store.keyring import FileKeyRing
from antiphon.store.records import Item, Record
from antiphon.store.sqlite.database import Database
from antiphon.store.sqlite.maintenance import SqliteMaintenance
from antiphon.store.sqlite.records import SqliteRecords
from antiphon.store.sqlite.state import SqliteState

pytest.importorskip("cryptography")

ENCRYPTED = [kind for kind in KINDS if "encrypted" in str(getattr(kind, "values", kind))]
SECRET = b"the launch code is 0000"


@pytest.fixture(params=ENCRYPTED)
def encrypted(request: pytest.FixtureRequest, tmp_path: Path) -> Opener:
    return opener(request, tmp_path)


def response(id: str = "resp_1", body: bytes = SECRET, **fields) -> Record:
    return Record(kind="response", id=id, created=1, body=body, extra=SECRET, **fields)


async def fill(s: Open) -> None:
    await s.records.put("t", response(), [Item("i1", SECRET), Item("i2", SECRET)])
    await s.records.put("u", response("resp_2"))
    await s.records.add_events("t", "resp_1", 0, [SECRET, SECRET])
    await s.state.put("reasoning", "k", SECRET, ttl=1_000)


async def check(s: Open) -> None:
    assert await s.records.get("t", "response", "resp_1") == response()
    assert await s.records.get("u", "response", "resp_2") == response("resp_2")
    items = await s.records.items("t", "response", "resp_1", after=None, limit=9, order="asc")
    assert list(items) == [Item("i1", SECRET), Item("i2", SECRET)]
    assert await s.records.events("t", "resp_1", after=-1, limit=9) == [SECRET, SECRET]
    assert await s.state.get("reasoning", "k") == SECRET


def on_disk(folder: Path) -> bytes:
    return b"".join(path.read_bytes() for path in folder.glob("store.db*"))


@pytest.mark.parametrize("kind", ["sqlite", "sqlite encrypted"])
def test_content_is_on_disk_only_without_encryption(tmp_path: Path, kind: str) -> None:
    store = Opener(kind, tmp_path, None)
    store.run(fill)
    assert (SECRET in on_disk(tmp_path)) == (kind == "sqlite")
    store.run(check)


def test_without_the_key_file_the_store_does_not_open(encrypted: Opener) -> None:
    encrypted.run(fill)
    plain = Opener(encrypted.kind.split()[0], encrypted.folder, encrypted.url)
    with pytest.raises(StoreError, match=r"encrypted, and store\.key_file is not set"):
        plain.run(check)


def test_with_another_key_file_the_store_does_not_open(encrypted: Opener) -> None:
    encrypted.run(fill)
    encrypted.key_file = encrypted.folder / "other.json"
    with pytest.raises(StoreError, match=r"encrypted with key [0-9a-f]{8}, which store\.key_file"):
        encrypted.run(check)


@pytest.mark.parametrize(
    "change",
    [
        "UPDATE records SET body = (SELECT body FROM records WHERE id = 'resp_2')",
        "UPDATE records SET body = extra",
        "UPDATE records SET tenant = 'v' WHERE id = 'resp_1'",
        "UPDATE records SET body = substr(body, 1, length(body) - 1)",
        "UPDATE records SET body = x''",
        "UPDATE records SET id = 'resp_1', tenant = 'v' WHERE id = 'resp_2'",
    ],
)
def test_a_row_that_was_moved_or_changed_does_not_open(tmp_path: Path, change: str) -> None:
    store = Opener("sqlite encrypted", tmp_path, None)
    store.run(fill)
    db = sqlite3.connect(store.file)
    with db:
        db.execute(change)
    db.close()

    async def scenario(s: Open) -> None:
        for tenant in ("t", "u", "v"):
            for name in ("resp_1", "resp_2"):
                found = await s.records.get(tenant, "response", name)
                assert found is None or (tenant, name) in (("t", "resp_1"), ("u", "resp_2"))

    with pytest.raises(StoreError, match="changed by another hand") as caught:
        store.run(scenario)
    assert caught.value.status_hint == 503
    assert "launch" not in str(caught.value)


def test_items_and_events_of_one_record_do_not_open_in_another(tmp_path: Path) -> None:
    store = Opener("sqlite encrypted", tmp_path, None)
    store.run(fill)
    db = sqlite3.connect(store.file)
    with db:
        db.execute("UPDATE items SET record = (SELECT seq FROM records WHERE id = 'resp_2')")
        db.execute("UPDATE events SET record = (SELECT seq FROM records WHERE id = 'resp_2')")
        db.execute("UPDATE state SET name = 'other'")
    db.close()

    async def items(s: Open) -> None:
        await s.records.items("u", "response", "resp_2", after=None, limit=9, order="asc")

    async def events(s: Open) -> None:
        await s.records.events("u", "resp_2", after=-1, limit=9)

    async def state(s: Open) -> None:
        await s.state.get("reasoning", "other")

    for scenario in (items, events, state):
        with pytest.raises(StoreError, match="changed by another hand"):
            store.run(scenario)


def maintained(store: Opener, scenario) -> None:
    """Run a scenario with the store's maintenance, its records and state, and its key ring."""

    async def run() -> None:
        cipher = RowCipher(FileKeyRing(store.key_file))
        if store.kind.startswith("sqlite"):
            keeper = Database(store.file, cipher=cipher)
            maintenance = SqliteMaintenance(keeper, cipher=cipher)
            try:
                await scenario(maintenance, cipher.ring)
            finally:
                await keeper.aclose()
            return
        from antiphon.store.postgres.maintenance import PostgresMaintenance
        from antiphon.store.postgres.pool import Postgres

        assert store.url is not None
        pool = Postgres(store.url, cipher=cipher)
        try:
            await scenario(PostgresMaintenance(pool, cipher=cipher), cipher.ring)
        finally:
            await pool.aclose()

    asyncio.run(run())


@pytest.mark.parametrize("kind", ENCRYPTED, indirect=False)
def test_everything_is_encrypted_anew_and_the_old_key_can_go(
    request: pytest.FixtureRequest, tmp_path: Path, kind: str
) -> None:
    url = request.getfixturevalue("postgres").new_database() if "postgres" in kind else None
    store = Opener(kind, tmp_path, url)
    store.run(fill)

    async def rekey(maintenance, ring: FileKeyRing) -> None:
        old = ring.newest().id
        assert (await maintenance.info()).rows_by_key == {old: 6}
        new = ring.add().id
        assert await maintenance.rekey(new) == 6
        assert await maintenance.rekey(new) == 0
        assert (await maintenance.info()).rows_by_key == {new: 6}
        ring.drop([old])

    maintained(store, rekey)
    store.run(check)


@pytest.mark.parametrize("kind", SHARED[::2], indirect=False)
def test_a_plain_store_is_encrypted_and_made_plain_again(
    request: pytest.FixtureRequest, tmp_path: Path, kind: str
) -> None:
    url = request.getfixturevalue("postgres").new_database() if "postgres" in kind else None
    plain = Opener(kind, tmp_path, url)
    plain.run(fill)
    sealed = Opener(f"{kind} encrypted", tmp_path, url)
    sealed.run(check)

    async def encrypt(maintenance, ring: FileKeyRing) -> None:
        assert (await maintenance.info()).rows_by_key == {"": 6}
        assert await maintenance.rekey(ring.newest().id) == 6

    async def decrypt(maintenance, ring: FileKeyRing) -> None:
        assert await maintenance.rekey("") == 6

    maintained(sealed, encrypt)
    sealed.run(check)
    if kind == "sqlite":
        assert SECRET not in on_disk(tmp_path)
    maintained(sealed, decrypt)
    plain.run(check)


def test_more_rows_than_one_transaction_takes_are_encrypted_anew(tmp_path: Path) -> None:
    store = Opener("sqlite", tmp_path, None)

    async def many(s: Open) -> None:
        await s.records.put("t", response(), [Item(f"i{n}", SECRET) for n in range(250)])
        for n in range(250):
            await s.state.put("s", f"k{n}", SECRET, ttl=1_000)

    store.run(many)

    async def encrypt(maintenance, ring: FileKeyRing) -> None:
        assert await maintenance.rekey(ring.newest().id) == 501

    sealed = Opener("sqlite encrypted", tmp_path, None)
    maintained(sealed, encrypt)

    async def read(s: Open) -> None:
        items = await s.records.items("t", "response", "resp_1", after=None, limit=999, order="asc")
        assert [item.body for item in items] == [SECRET] * 250
        assert await s.state.get("s", "k249") == SECRET

    sealed.run(read)


def test_a_server_that_runs_reads_what_was_encrypted_anew(tmp_path: Path) -> None:
    store = Opener("sqlite encrypted", tmp_path, None)

    async def scenario() -> None:
        async with store.open() as s:
            await fill(s)
            other = RowCipher(FileKeyRing(store.key_file))
            database = Database(store.file, cipher=other)
            assert other.ring is not None
            await SqliteMaintenance(database, cipher=other).rekey(other.ring.add().id)
            await check(s)
            records = SqliteRecords(database, max_bytes=1 << 30, cipher=other)
            state = SqliteState(database, max_bytes=1 << 20, cipher=other, now=store.clock)
            await fill(s)
            await check(Open(records, state))
            await database.aclose()

    asyncio.run(scenario())
