"""The contract of every record store: `RecordStore` as a test suite."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.store.opening import KINDS, SHARED, Open, Opener, opener

from antiphon.errors import StoreError
from antiphon.store.records import Item, Kind, Record, RecordStore

pytest.importorskip("cryptography")


@pytest.fixture(params=KINDS)
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Opener:
    return opener(request, tmp_path)


@pytest.fixture(params=SHARED)
def shared(request: pytest.FixtureRequest, tmp_path: Path) -> Opener:
    return opener(request, tmp_path)


def response(id: str = "resp_1", created: int = 1, **fields) -> Record:
    fields.setdefault("body", b'{"id":"%s"}' % id.encode("utf-8", "surrogatepass"))
    return Record(kind="response", id=id, created=created, **fields)


async def ids(
    records: RecordStore, kind: Kind = "response", *, tenant="t", after=None, limit=100, order="asc"
) -> list[str]:
    listed = await records.list(tenant, kind, after=after, limit=limit, order=order)
    return [record.id for record in listed]


async def item_ids(records: RecordStore, id="resp_1", *, after=None, limit=100, order="asc"):
    found = await records.items("t", "response", id, after=after, limit=limit, order=order)
    return [item.id for item in found]


def items(*names: str) -> list[Item]:
    return [Item(name, b'{"n":"%s"}' % name.encode()) for name in names]


# Records


def test_a_record_comes_back_as_it_was_put(store: Opener) -> None:
    async def scenario(s: Open) -> None:
        record = Record(
            kind="response",
            id="resp_1",
            created=1_790_000_000,
            status="in_progress",
            owner="host-1/77",
            parent="resp_0",
            body='{"text":"Grüße \\u0000 🙂"}'.encode(),
            extra=bytes(range(256)),
        )
        assert await s.records.put("t", record) is True
        assert await s.records.get("t", "response", "resp_1") == record

    store.run(scenario)


def test_what_is_not_there_is_none(store: Opener) -> None:
    async def scenario(s: Open) -> None:
        assert await s.records.get("t", "response", "resp_1") is None
        assert await s.records.item("t", "response", "resp_1", "i") is None
        assert not await s.records.items("t", "response", "r", after=None, limit=9, order="asc")
        assert not await s.records.events("t", "resp_1", after=-1, limit=9)
        assert not await s.records.delete("t", "response", "resp_1")
        assert not await s.records.delete_item("t", "response", "resp_1", "i")
        assert not await s.records.add_items("t", "response", "resp_1", items("i"))
        await s.records.add_events("t", "resp_1", 0, [b"{}"])
        assert not await s.records.events("t", "resp_1", after=-1, limit=9)
        assert await ids(s.records) == []

    store.run(scenario)


def test_the_lineage_of_a_response_is_told_from_the_newest(store: Opener) -> None:
    async def scenario(s: Open) -> None:
        for number in range(1, 6):
            parent = f"resp_{number - 1}"
            await s.records.put(
                "t", response(f"resp_{number}", parent=parent, extra=b"%d" % number)
            )
        await s.records.put("t", response("resp_side", parent="resp_2"))
        await s.records.put("u", response("resp_6", parent="resp_5"))

        async def line(id: str, limit: int = 100, tenant: str = "t") -> list[str]:
            found = await s.records.lineage(tenant, id, limit=limit)
            for each in found:
                assert each == await s.records.get(tenant, "response", each.id)
            return [each.id for each in found]

        assert await line("resp_5") == ["resp_5", "resp_4", "resp_3", "resp_2", "resp_1"]
        assert await line("resp_5", 2) == ["resp_5", "resp_4"]
        assert await line("resp_side") == ["resp_side", "resp_2", "resp_1"]
        assert await line("resp_6", tenant="u") == ["resp_6"]
        assert await line("resp_6") == await line("resp_5", 0) == []
        await s.records.delete("t", "response", "resp_3")
        assert await line("resp_5") == ["resp_5", "resp_4"]

    store.run(scenario)


def test_a_lineage_that_is_a_circle_is_as_long_as_was_asked(store: Opener) -> None:
    async def scenario(s: Open) -> None:
        await s.records.put("t", response("a", parent="b"))
        await s.records.put("t", response("b", parent="a"))
        found = await s.records.lineage("t", "a", limit=5)
        assert [each.id for each in found] == ["a", "b", "a", "b", "a"]

    store.run(scenario)


def test_a_record_put_again_is_replaced_and_keeps_its_items_and_events(store: Opener) -> None:
    async def scenario(s: Open) -> None:
        await s.records.put("t", response(status="queued", owner="a"), items("i1", "i2"))
        await s.records.add_events("t", "resp_1", 0, [b"0"])
        done = response(status="completed", body=b"done")
        assert await s.records.put("t", done) is True
        assert await s.records.get("t", "response", "resp_1") == done
        assert await item_ids(s.records) == ["i1", "i2"]
        assert await s.records.events("t", "resp_1", after=-1, limit=9) == [b"0"]

    store.run(scenario)


def test_a_record_put_again_with_items_has_these(store: Opener) -> None:
    async def scenario(s: Open) -> None:
        await s.records.put("t", response(), items("i1", "i2", "i3"))
        await s.records.put("t", response(), items("i4"))
        assert await item_ids(s.records) == ["i4"]

    store.run(scenario)


def test_a_write_over_some_statuses_leaves_every_other_record_alone(store: Opener) -> None:
    async def scenario(s: Open) -> None:
        running = ("queued", "in_progress")
        done = response(status="completed", body=b"done")
        assert await s.records.put("t", done, over=running) is False
        assert await s.records.get("t", "response", "resp_1") is None
        await s.records.put("t", response(status="in_progress"), items("i1"))
        assert await s.records.put("t", done, items("i2"), over=running) is True
        assert await item_ids(s.records) == ["i2"]
        late = response(status="cancelled", body=b"late")
        assert await s.records.put("t", late, items("i3"), over=running) is False
        assert await s.records.get("t", "response", "resp_1") == done
        assert await item_ids(s.records) == ["i2"]
        assert await s.records.put("t", late, over=()) is False

    store.run(scenario)


def test_of_many_ways_to_end_at_once_one_wins(store: Opener) -> None:
    async def scenario(s: Open) -> None:
        await s.records.put("t", response(status="in_progress"))
        ends = [response(status="completed", body=b"%d" % n) for n in range(20)]
        kept = await asyncio.gather(
            *(s.records.put("t", end, over=("in_progress",)) for end in ends)
        )
        assert kept.count(True) == 1
        assert await s.records.get("t", "response", "resp_1") == ends[kept.index(True)]

    store.run(scenario)


def test_a_deleted_record_is_gone_with_all_that_is_its(store: Opener) -> None:
    async def scenario(s: Open) -> None:
        await s.records.put("t", response(), items("i1"))
        await s.records.add_events("t", "resp_1", 0, [b"0"])
        assert await s.records.delete("t", "response", "resp_1") is True
        assert await s.records.delete("t", "response", "resp_1") is False
        await s.records.put("t", response())
        assert await item_ids(s.records) == []
        assert await s.records.events("t", "resp_1", after=-1, limit=9) == []

    store.run(scenario)


def test_kinds_and_tenants_do_not_see_each_other(store: Opener) -> None:
    async def scenario(s: Open) -> None:
        mine = response(status="queued", body=b"mine")
        await s.records.put("t", mine, items("i1"))
        await s.records.add_events("t", "resp_1", 0, [b"0"])
        elsewhere: list[tuple[str, Kind]] = [
            ("u", "response"),
            ("t", "conversation"),
            ("", "response"),
        ]
        for tenant, kind in elsewhere:
            assert await s.records.get(tenant, kind, "resp_1") is None
            assert await ids(s.records, kind, tenant=tenant) == []
            assert await s.records.item(tenant, kind, "resp_1", "i1") is None
            page = await s.records.items(tenant, kind, "resp_1", after=None, limit=9, order="asc")
            assert not page
            assert not await s.records.add_items(tenant, kind, "resp_1", items("i2"))
            assert not await s.records.delete_item(tenant, kind, "resp_1", "i1")
            assert not await s.records.delete(tenant, kind, "resp_1")
            assert not await s.records.put(
                tenant, Record(kind=kind, id="resp_1", created=1, body=b""), over=("queued",)
            )
        assert not await s.records.events("u", "resp_1", after=-1, limit=9)
        await s.records.add_events("u", "resp_1", 1, [b"1"])
        assert await s.records.events("t", "resp_1", after=-1, limit=9) == [b"0"]
        theirs = response(body=b"theirs")
        await s.records.put("u", theirs)
        assert await s.records.get("t", "response", "resp_1") == mine
        assert await s.records.get("u", "response", "resp_1") == theirs

    store.run(scenario)


# Lists


def test_a_list_is_by_creation_and_then_by_when_it_was_put(store: Opener) -> None:
    async def scenario(s: Open) -> None:
        for name, created in (("c", 3), ("a", 1), ("z", 2), ("b", 2), ("m", 2)):
            await s.records.put("t", response(name, created))
        await s.records.put("t", response("z", 2, body=b"again"))
        assert await ids(s.records) == ["a", "z", "b", "m", "c"]
        assert await ids(s.records, order="desc") == ["c", "m", "b", "z", "a"]

    store.run(scenario)


@pytest.mark.parametrize("order", ["asc", "desc"])
def test_pages_make_the_whole_list(store: Opener, order) -> None:
    async def scenario(s: Open) -> None:
        for n in range(11):
            await s.records.put("t", response(f"r{n}", n // 3))
        seen: list[str] = []
        while page := await ids(s.records, after=seen[-1] if seen else None, limit=4, order=order):
            assert len(page) <= 4
            seen += page
        assert seen == await ids(s.records, order=order)
        assert len(seen) == 11

    store.run(scenario)


def test_a_list_behind_what_is_not_there_is_empty(store: Opener) -> None:
    async def scenario(s: Open) -> None:
        await s.records.put("t", response("r1"), items("i1"))
        await s.records.put("u", response("r2"))
        assert await ids(s.records, after="r2") == []
        assert await ids(s.records, after="r2", order="desc") == []
        assert await ids(s.records, limit=0) == []
        assert await item_ids(s.records, "r1", after="i2") == []
        assert await item_ids(s.records, "r1", limit=0) == []

    store.run(scenario)


# Items


def test_items_stay_in_the_order_in_which_they_came(store: Opener) -> None:
    async def scenario(s: Open) -> None:
        await s.records.put("t", response(), items("c", "a"))
        assert await s.records.add_items("t", "response", "resp_1", items("b", "0")) is True
        assert await item_ids(s.records) == ["c", "a", "b", "0"]
        assert await item_ids(s.records, order="desc", limit=3) == ["0", "b", "a"]
        assert await item_ids(s.records, after="a") == ["b", "0"]
        assert await item_ids(s.records, after="a", order="desc") == ["c"]
        found = await s.records.item("t", "response", "resp_1", "b")
        assert found == Item("b", b'{"n":"b"}')

    store.run(scenario)


def test_a_deleted_item_leaves_the_others_in_place(store: Opener) -> None:
    async def scenario(s: Open) -> None:
        await s.records.put("t", response(), items("a", "b", "c"))
        assert await s.records.delete_item("t", "response", "resp_1", "b") is True
        assert await s.records.delete_item("t", "response", "resp_1", "b") is False
        await s.records.add_items("t", "response", "resp_1", items("d"))
        assert await item_ids(s.records) == ["a", "c", "d"]
        assert await s.records.item("t", "response", "resp_1", "b") is None

    store.run(scenario)


def test_items_with_one_id_are_all_kept_and_paging_goes_on_behind_them(store: Opener) -> None:
    async def scenario(s: Open) -> None:
        await s.records.put("t", response(), items("a", "x", "b", "x", "c"))
        assert await item_ids(s.records) == ["a", "x", "b", "x", "c"]
        assert await item_ids(s.records, after="x") == ["c"]
        assert await item_ids(s.records, after="x", order="desc") == ["a"]
        assert await s.records.delete_item("t", "response", "resp_1", "x") is True
        assert await item_ids(s.records) == ["a", "b", "c"]

    store.run(scenario)


def test_items_added_at_once_are_all_kept_in_unbroken_runs(store: Opener) -> None:
    async def scenario(s: Open) -> None:
        await s.records.put("t", response())
        await asyncio.gather(
            *(
                s.records.add_items("t", "response", "resp_1", items(f"{n}a", f"{n}b"))
                for n in range(15)
            )
        )
        found = await item_ids(s.records)
        assert len(found) == 30
        assert [name[:-1] + "b" for name in found[::2]] == found[1::2]

    store.run(scenario)


# Events


def test_events_are_read_from_any_number_on(store: Opener) -> None:
    async def scenario(s: Open) -> None:
        await s.records.put("t", response())
        events = [b'{"n":%d}' % n for n in range(10)]
        for first, end in ((0, 1), (1, 5), (5, 10)):
            await s.records.add_events("t", "resp_1", first, events[first:end])
        await s.records.add_events("t", "resp_1", 10, [])
        for after in range(-1, 11):
            for limit in (0, 1, 3, 100):
                found = await s.records.events("t", "resp_1", after=after, limit=limit)
                assert list(found) == events[after + 1 :][:limit], (after, limit)

    store.run(scenario)


def test_numbers_from_clients_may_be_of_any_size(store: Opener) -> None:
    async def scenario(s: Open) -> None:
        await s.records.put("t", response())
        await s.records.add_events("t", "resp_1", 0, [b"0"])
        assert not await s.records.events("t", "resp_1", after=10**30, limit=9)
        assert list(await s.records.events("t", "resp_1", after=-(10**30), limit=9)) == [b"0"]

    store.run(scenario)


def test_events_behind_a_gap_wait_for_what_is_missing(store: Opener) -> None:
    async def scenario(s: Open) -> None:
        await s.records.put("t", response())
        await s.records.add_events("t", "resp_1", 2, [b"2", b"3"])
        assert list(await s.records.events("t", "resp_1", after=-1, limit=9)) == []
        await s.records.add_events("t", "resp_1", 0, [b"0"])
        assert list(await s.records.events("t", "resp_1", after=-1, limit=9)) == [b"0"]
        await s.records.add_events("t", "resp_1", 1, [b"1"])
        found = await s.records.events("t", "resp_1", after=-1, limit=9)
        assert list(found) == [b"0", b"1", b"2", b"3"]

    store.run(scenario)


@settings(
    max_examples=25,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(
    batches=st.lists(st.tuples(st.integers(0, 12), st.integers(0, 5)), max_size=8),
    after=st.integers(-1, 14),
    limit=st.integers(0, 20),
)
def test_however_batches_overlap_each_event_is_there_once(
    store: Opener, batches: Sequence[tuple[int, int]], after: int, limit: int
) -> None:
    async def scenario(s: Open) -> None:
        await s.records.delete("t", "response", "resp_1")
        await s.records.put("t", response())
        known: dict[int, bytes] = {}
        for round_, (first, count) in enumerate(batches):
            events = [b"%d from %d" % (first + n, round_) for n in range(count)]
            await s.records.add_events("t", "resp_1", first, events)
            for number, event in enumerate(events, first):
                known.setdefault(number, event)
        wanted: list[bytes] = []
        while after + 1 + len(wanted) in known and len(wanted) < limit:
            wanted.append(known[after + 1 + len(wanted)])
        assert list(await s.records.events("t", "resp_1", after=after, limit=limit)) == wanted

    store.run(scenario)


# Who works on what, and what is too old


def test_unfinished_responses_are_found_by_their_owner(store: Opener) -> None:
    async def scenario(s: Open) -> None:
        await s.records.put("t", response("r1", status="queued", owner="a", body=b"1"))
        await s.records.put("u", response("r2", status="in_progress", owner="b"))
        await s.records.put("u", response("r3", status="in_progress", owner="a"))
        await s.records.put("t", response("r4", status="completed", owner="a"))
        await s.records.put(
            "t", Record(kind="conversation", id="c", created=1, status="queued", body=b"")
        )
        found = await s.records.unfinished("a")
        assert sorted((tenant, each.id) for tenant, each in found) == [("t", "r1"), ("u", "r3")]
        assert len(await s.records.unfinished(None)) == 3
        assert await s.records.unfinished("nobody") == []
        await s.records.put("u", response("r3", status="failed", owner="a"))
        found = await s.records.unfinished("a")
        assert [each for _, each in found] == [
            response("r1", status="queued", owner="a", body=b"1")
        ]

    store.run(scenario)


def test_what_was_created_before_expires_with_all_that_is_its(store: Opener) -> None:
    async def scenario(s: Open) -> None:
        for n in range(7):
            await s.records.put("t" if n % 2 else "u", response(f"r{n}", 100 + n), items("i"))
        assert await s.records.expire(104) == 4
        assert await s.records.expire(104) == 0
        assert await ids(s.records) == ["r5"]
        assert await ids(s.records, tenant="u") == ["r4", "r6"]
        assert await item_ids(s.records, "r5") == ["i"]
        assert await s.records.item("t", "response", "r3", "i") is None

    store.run(scenario)


def test_more_records_than_one_transaction_takes_expire(store: Opener) -> None:
    async def scenario(s: Open) -> None:
        await asyncio.gather(*(s.records.put("t", response(f"r{n}", n)) for n in range(1_100)))
        assert await s.records.expire(1_050) == 1_050
        assert len(await ids(s.records)) == 50

    store.run(scenario)


def test_a_conversation_that_gets_items_does_not_expire(store: Opener) -> None:
    async def scenario(s: Open) -> None:
        for name in ("old", "alive"):
            await s.records.put("t", Record(kind="conversation", id=name, created=100, body=b"{}"))
        store.clock.now = 5_000.0
        await s.records.add_items("t", "conversation", "alive", items("i"))
        await s.records.put("t", Record(kind="conversation", id="alive", created=100, body=b"{2}"))
        assert await s.records.expire(5_000) == 1
        assert await ids(s.records, "conversation") == ["alive"]
        assert await s.records.expire(5_001) == 1

    store.run(scenario)


# Hostile words, and room


@pytest.mark.parametrize(
    "id",
    ["", "a\x00b", "\ud800", "\x01", "\x01\\x00", "\x02", "'; DROP TABLE records; --", "é" * 5_000],
    ids=ascii,
)
def test_any_text_is_an_id(store: Opener, id: str) -> None:
    async def scenario(s: Open) -> None:
        assert await s.records.get(id, "response", id) is None
        assert await ids(s.records, tenant=id, after=id) == []
        assert await s.records.item("t", "response", id, id) is None
        await s.records.put("t", response(status="queued", owner=id), items(), over=None)
        await s.records.add_items("t", "response", "resp_1", [Item(id, b"{}"), Item("next", b"2")])
        assert await s.records.item("t", "response", "resp_1", id) == Item(id, b"{}")
        assert await item_ids(s.records) == [id, "next"]
        assert await item_ids(s.records, after=id) == ["next"]
        ((_, found),) = await s.records.unfinished(id)
        assert found.owner == id
        assert await s.records.delete_item("t", "response", "resp_1", id) is True

    store.run(scenario)


@pytest.mark.parametrize("name", ["", "a\x00b", "\ud800x", "\x01", "\x02"], ids=ascii)
def test_any_short_text_is_a_tenant_and_a_record(store: Opener, name: str) -> None:
    async def scenario(s: Open) -> None:
        record = response(name, status="queued", parent=name, owner=name)
        await s.records.put(name, record)
        assert await s.records.get(name, "response", name) == record
        assert await s.records.unfinished(None) == [(name, record)]
        assert await ids(s.records, tenant=name) == [name]
        for other in ("\\x00", "\x01\\x00", "\x01\\ud800x", "a\\x00b", "x"):
            assert await s.records.get(other, "response", name) is None

    store.run(scenario)


def test_a_full_store_says_so_and_takes_new_records_after_old_ones_went(shared: Opener) -> None:
    async def scenario(s: Open) -> None:
        body = bytes(100_000)

        async def fill() -> None:
            for n in range(30):
                await s.records.put("t", response(f"r{n}", n, status="in_progress", body=body))

        with pytest.raises(StoreError, match=r"full.*store\.bytes") as caught:
            await fill()
        assert caught.value.status_hint == 507
        kept = await ids(s.records)
        assert 3 <= len(kept) < 20
        # What is running can still end.
        done = response(kept[0], 0, status="completed", body=b"done")
        assert await s.records.put("t", done, over=("in_progress",))
        await s.records.expire(len(kept) - 2)
        assert await s.records.put("t", response("new", 99, body=body))
        assert await s.records.get("t", "response", kept[-1]) is not None

    shared.run(scenario, max_bytes=1_000_000)


def test_memory_forgets_the_finished_record_that_was_not_used_for_longest(tmp_path: Path) -> None:
    async def scenario(s: Open) -> None:
        body = bytes(10_000)
        await s.records.put("t", response("running", status="in_progress", body=body))
        for n in range(8):
            await s.records.put("t", response(f"r{n}", n, status="completed", body=body))
        assert await s.records.get("t", "response", "r0") is not None
        await s.records.put("t", response("r8", 8, body=body))
        await s.records.put("t", response("r9", 9, body=body))
        assert await ids(s.records) == ["r0", "running", *[f"r{n}" for n in range(3, 10)]]
        with pytest.raises(StoreError, match="full") as caught:
            await s.records.put("t", response("huge", body=bytes(200_000)))
        assert caught.value.status_hint == 507
        assert len(await ids(s.records)) == 9

    Opener("memory", tmp_path, None).run(scenario, max_bytes=100_000)


# Several processes


def test_what_one_wrote_another_reads(shared: Opener) -> None:
    async def scenario() -> None:
        async with shared.open() as one, shared.open() as two:
            await one.records.put("t", response(status="in_progress"), items("i1"))
            await one.records.add_events("t", "resp_1", 0, [b"0"])
            assert await two.records.get("t", "response", "resp_1") == response(
                status="in_progress"
            )
            assert await item_ids(two.records) == ["i1"]
            assert await two.records.events("t", "resp_1", after=-1, limit=9) == [b"0"]
            assert await two.records.put("t", response(status="cancelled"), over=("in_progress",))
            assert not await one.records.put(
                "t", response(status="completed"), over=("in_progress",)
            )

    asyncio.run(scenario())


def test_what_was_written_outlives_its_writer(shared: Opener) -> None:
    async def write(s: Open) -> None:
        await s.records.put("t", response(), items("i1"))

    async def read(s: Open) -> None:
        assert await s.records.get("t", "response", "resp_1") == response()
        assert await item_ids(s.records) == ["i1"]

    shared.run(write)
    shared.run(read)


def test_a_closed_store_says_so(shared: Opener) -> None:
    async def scenario() -> None:
        async with shared.open() as s:
            await s.records.put("t", response())
        with pytest.raises(StoreError, match="closed"):
            await s.records.get("t", "response", "resp_1")
        with pytest.raises(StoreError, match="closed"):
            await s.records.put("t", response())

    asyncio.run(scenario())
