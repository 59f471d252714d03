"""``antiphon store``: what it prints where, and what it leaves behind."""

from __future__ import annotations

import asyncio
import json
import os
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.cli.here import Done, run_here

from antiphon.settings.load import load
from antiphon.store.open import open_stores
from antiphon.store.records import Item, Record

pytest.importorskip("cryptography")
DAY = 86_400


@pytest.fixture
def variables(tmp_path: Path) -> dict[str, str]:
    """An environment with a home and a store of its own."""
    inherited = {k: v for k, v in os.environ.items() if not k.startswith("ANTIPHON_")}
    return {
        **inherited,
        "HOME": str(tmp_path),
        "XDG_CONFIG_HOME": str(tmp_path / "config"),
        "XDG_DATA_HOME": str(tmp_path / "data"),
    }


@pytest.fixture
def store(
    tmp_path: Path, variables: dict[str, str], capsys: pytest.CaptureFixture[str]
) -> Callable[..., Done]:
    """``antiphon store …``"""

    def run(*arguments: str, **environment: str) -> Done:
        given = {**variables, **environment}
        return run_here(["store", *arguments], capsys, folder=tmp_path, environment=given)

    return run


@pytest.fixture
def fill(variables: dict[str, str]):
    """Put three responses and a conversation into the store."""

    def put(**environment: str) -> None:
        async def scenario() -> None:
            environ = {**variables, **environment}
            stores = open_stores(load(environ=environ), environ)
            now = int(time.time())
            for days in (1, 10, 20):
                status = "in_progress" if days == 1 else "completed"
                record = Record(
                    kind="response",
                    id=f"r{days}",
                    created=now - days * DAY,
                    status=status,
                    body=b"secret text",
                )
                await stores.records.put("t", record, [Item("i", b"secret text")])
            talk = Record(kind="conversation", id="c", created=now - 50 * DAY, body=b"{}")
            await stores.records.put("t", talk)
            await stores.aclose()

        asyncio.run(scenario())

    return put


def test_info_counts_what_is_kept(store, fill, tmp_path: Path) -> None:
    fill()
    done = store("info", "--json")
    assert done.returncode == 0, done.stderr
    shown = json.loads(done.stdout)
    assert shown["where"] == str(tmp_path / "data" / "antiphon" / "antiphon.db")
    assert shown["records"] == {"response": 3, "conversation": 1}
    assert shown["unfinished"] == 1
    assert shown["rows_by_key"] == {"": 7}
    assert shown["bytes"] > 4_096
    text = store("info").stdout
    assert "responses         3, 1 unfinished\n" in text
    assert "encryption        none\n" in text


def test_prune_forgets_what_is_older_than_the_setting_or_the_option(store, fill) -> None:
    fill()
    assert store("prune").stderr == "1 record is forgotten.\n"
    assert store("prune", "--older-than", "5").stderr == "2 records are forgotten.\n"
    assert json.loads(store("info", "--json").stdout)["records"] == {"response": 1}
    assert store("prune", "--older-than", "0").stderr == "1 record is forgotten.\n"
    refused = store("prune", ANTIPHON_STORE_TTL="0")
    assert refused.returncode == 2
    assert "--older-than" in refused.stderr


@pytest.mark.slow
def test_rekey_encrypts_a_plain_store_and_then_changes_its_key(store, fill, tmp_path: Path) -> None:
    fill()
    folder = tmp_path / "data" / "antiphon"
    assert b"secret text" in (folder / "antiphon.db").read_bytes()
    key_file = {"ANTIPHON_STORE_KEY_FILE": str(tmp_path / "keys.json")}
    first = store("rekey", **key_file)
    assert first.stderr == "7 rows are encrypted anew.\n"
    assert b"secret text" not in (folder / "antiphon.db").read_bytes()
    (old,) = json.loads(store("info", "--json", **key_file).stdout)["rows_by_key"]
    second = store("rekey", "--drop-old", **key_file)
    assert second.stderr == "7 rows are encrypted anew. 1 old key is dropped.\n"
    (new,) = json.loads(store("info", "--json", **key_file).stdout)["rows_by_key"]
    assert new != old
    kept = json.loads((tmp_path / "keys.json").read_text())["keys"]
    assert [key["id"] for key in kept] == [new]
    assert f"7 rows with key {new}" in store("info", **key_file).stdout
    plain = store("rekey", "--decrypt", **key_file)
    assert plain.stderr == "7 rows are plain now.\n"
    assert json.loads(store("info", "--json").stdout)["rows_by_key"] == {"": 7}


def test_a_locked_store_is_said_in_one_line(store, fill, tmp_path: Path) -> None:
    fill(ANTIPHON_STORE_KEY_FILE=str(tmp_path / "keys.json"))
    done = store("info")
    assert done.returncode == 1
    assert "store.key_file is not set" in done.stderr
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize(
    ("arguments", "environment", "said"),
    [
        (["info"], {}, "there is no store yet"),
        (["info"], {"ANTIPHON_STORE_URL": "memory"}, "only the server itself"),
        (["info"], {"ANTIPHON_STORE_URL": "mysql://x"}, "store.url: expected"),
        (["rekey"], {}, "store.key_file is not set"),
        (["rekey", "--decrypt", "--drop-old"], {"ANTIPHON_STORE_KEY_FILE": "k"}, "--drop-old"),
    ],
)
def test_what_cannot_be_done_is_said_and_nothing_is_made(
    store, tmp_path: Path, arguments: list[str], environment: dict[str, str], said: str
) -> None:
    done = store(*arguments, **environment)
    assert done.returncode in (1, 2)
    assert said in done.stderr
    assert done.stdout == ""
    assert done.stderr.count("\n") == 1
    assert list(tmp_path.iterdir()) == []
