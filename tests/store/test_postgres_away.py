"""PostgreSQL that comes and goes."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from tests.store.postgres_server import PostgresServer, postgres_server

from antiphon.errors import StoreError
from antiphon.settings.model import Settings, StoreSettings
from antiphon.store.open import Stores, open_stores
from antiphon.store.records import Item, Record

pytestmark = pytest.mark.slow
pytest.importorskip("cryptography")
pytest.importorskip("asyncpg")


@pytest.fixture
def server():
    with postgres_server() as running:
        yield running


def opened(url: str, home: Path) -> Stores:
    return open_stores(Settings(store=StoreSettings(url=url)), {"HOME": str(home)})


def record(id: str, body: bytes = b"{}", **fields) -> Record:
    return Record(kind="response", id=id, created=1, body=body, **fields)


def test_a_server_that_was_away_is_found_again(server: PostgresServer, tmp_path: Path) -> None:
    url = server.new_database()

    async def scenario() -> None:
        stores = opened(url, tmp_path)
        await stores.start()
        await stores.records.put("t", record("before"))
        server.stop()
        for _ in range(3):
            with pytest.raises(StoreError) as caught:
                await stores.records.put("t", record("lost"))
            assert caught.value.status_hint == 503
            with pytest.raises(StoreError):
                await stores.state.get("s", "k")
        server.start()
        assert await stores.records.get("t", "response", "before") == record("before")
        await stores.records.put("t", record("after"))
        assert await stores.records.get("t", "response", "lost") is None
        await stores.aclose()

    asyncio.run(scenario())


def test_a_gateway_may_start_before_its_server(server: PostgresServer, tmp_path: Path) -> None:
    url = server.new_database()
    server.stop()

    async def scenario() -> None:
        stores = opened(url, tmp_path)
        with pytest.raises(StoreError, match="postgresql://"):
            await stores.start()
        server.start()
        await stores.records.put("t", record("r"))
        await stores.aclose()

    asyncio.run(scenario())


def test_what_was_acknowledged_survives_a_crash_of_the_server(
    server: PostgresServer, tmp_path: Path
) -> None:
    url = server.new_database()

    async def scenario() -> None:
        stores = opened(url, tmp_path)
        acknowledged: list[str] = []
        enough = asyncio.Event()

        async def write(writer: int) -> None:
            for number in range(10_000):
                name = f"r{writer}_{number}"
                try:
                    await stores.records.put("t", record(name, bytes(3_000)), [Item("i", b"1")])
                except StoreError:
                    return
                acknowledged.append(name)
                if len(acknowledged) == 200:
                    enough.set()

        tasks = [asyncio.create_task(write(writer)) for writer in range(6)]
        await enough.wait()
        await asyncio.to_thread(server.stop)
        await asyncio.gather(*tasks)
        await asyncio.to_thread(server.start)
        for name in acknowledged:
            found = await stores.records.get("t", "response", name)
            assert found == record(name, bytes(3_000))
            assert await stores.records.item("t", "response", name, "i") == Item("i", b"1")
        await stores.aclose()

    asyncio.run(scenario())


def test_many_gateways_make_the_tables_at_once(server: PostgresServer, tmp_path: Path) -> None:
    url = server.new_database()

    async def scenario() -> None:
        gateways = [opened(url, tmp_path) for _ in range(8)]
        await asyncio.gather(*(each.start() for each in gateways))
        await gateways[0].records.put("t", record("r", status="in_progress"))
        kept = await asyncio.gather(
            *(
                each.records.put("t", record("r", status="completed"), over=("in_progress",))
                for each in gateways
            )
        )
        assert kept.count(True) == 1
        await asyncio.gather(
            *(
                each.records.add_items("t", "response", "r", [Item(f"{n}", b"")])
                for n, each in enumerate(gateways)
            )
        )
        found = await gateways[1].records.items(
            "t", "response", "r", after=None, limit=99, order="asc"
        )
        assert sorted(item.id for item in found) == [f"{n}" for n in range(8)]
        for each in gateways:
            await each.aclose()

    asyncio.run(scenario())


def test_tables_of_a_newer_release_are_left_alone(server: PostgresServer, tmp_path: Path) -> None:
    import asyncpg

    url = server.new_database()

    async def scenario() -> None:
        stores = opened(url, tmp_path)
        await stores.start()
        await stores.aclose()
        db = await asyncpg.connect(url)
        await db.execute("INSERT INTO antiphon_migrations (name) VALUES ('from-the-future')")
        await db.close()
        stores = opened(url, tmp_path)
        with pytest.raises(StoreError, match=r"newer release.*from-the-future"):
            await stores.start()
        await stores.aclose()

    asyncio.run(scenario())


def test_no_frequent_query_reads_a_whole_table(server: PostgresServer, tmp_path: Path) -> None:
    import asyncpg

    url = server.new_database()

    async def scenario() -> None:
        stores = opened(url, tmp_path)
        for n in range(30):
            await stores.records.put("t", record(f"r{n}"), [Item("i", b"")])
            await stores.records.add_events("t", f"r{n}", 0, [b""])
            await stores.state.put("s", f"k{n}", b"", ttl=9)
        await stores.aclose()
        db = await asyncpg.connect(url)
        await db.execute("SET enable_seqscan = off")
        for sql in _HOT.strip().split(";"):
            plan = "\n".join(row[0] for row in await db.fetch(f"EXPLAIN {sql}"))
            assert "Seq Scan" not in plan, plan
        await db.close()

    asyncio.run(scenario())


_HOT = """
SELECT body FROM antiphon_records WHERE tenant = 't' AND kind = 'response' AND id = 'r1';
SELECT body FROM antiphon_records WHERE tenant = 't' AND kind = 'response'
    ORDER BY created DESC, seq DESC LIMIT 5;
SELECT seq FROM antiphon_records WHERE used < 5 LIMIT 5;
SELECT body FROM antiphon_records WHERE kind = 'response'
    AND status IN ('queued', 'in_progress') AND owner = 'o';
SELECT max(position) FROM antiphon_items WHERE record = 1;
SELECT body FROM antiphon_items WHERE record = 1 AND left(id, 64) = left('i', 64) AND id = 'i';
SELECT behind FROM antiphon_events WHERE record = 1 AND first < 9 ORDER BY first DESC LIMIT 1;
SELECT value FROM antiphon_state WHERE space = 's' AND name = 'k1' AND ends > 5
"""
