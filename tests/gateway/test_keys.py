"""API keys: what is kept of them, how their file changes, who may be told what."""

from __future__ import annotations

import datetime as dt
import multiprocessing
import os
import tomllib
from pathlib import Path

import msgspec
import pytest
from tests.gateway.governing import add_key

from antiphon.errors import SettingsError
from antiphon.gateway.keyfile import KeyFile, key_file_path
from antiphon.gateway.keys import KEY_PREFIX, KeyRing, digest, new_key, new_secret

TODAY = dt.date(2026, 11, 21)


def test_a_secret_has_256_random_bits_and_is_found_by_its_digest_only() -> None:
    secrets = {new_secret() for _ in range(100)}
    assert len(secrets) == 100
    assert all(s.startswith(KEY_PREFIX) and len(s) == len(KEY_PREFIX) + 43 for s in secrets)
    secret = secrets.pop()
    ring = KeyRing([new_key(secret, TODAY, name="a")])
    found = ring.find(secret)
    assert found is not None
    assert found.name == "a"
    assert ring.find(digest(secret)) is None
    assert ring.find(found.sha256) is None
    assert ring.find(secret[:-1]) is None
    assert ring.find(KEY_PREFIX + "x" * 100_000) is None
    assert ring.find("\udc80") is None


def test_the_file_never_holds_a_secret(tmp_path: Path) -> None:
    path = tmp_path / "keys.toml"
    secret = add_key(path, "laptop", operator=True)
    text = path.read_text("utf-8")
    assert secret not in text
    assert secret.removeprefix(KEY_PREFIX) not in text
    assert digest(secret) in text


def test_the_file_and_its_folder_are_for_their_owner_only(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "folder" / "keys.toml"
    old = os.umask(0)
    try:
        add_key(path)
    finally:
        os.umask(old)
    assert path.stat().st_mode & 0o777 == 0o600
    assert path.parent.stat().st_mode & 0o777 == 0o700
    assert not KeyFile(path).open_to_others()
    path.chmod(0o644)
    assert KeyFile(path).open_to_others()


def test_all_settings_of_a_key_survive_the_file(tmp_path: Path) -> None:
    path = tmp_path / "keys.toml"
    settings = {
        "expires": dt.date(2027, 1, 2),
        "operator": True,
        "models": ("a", 'b "quoted" \\ \x7f ü'),
        "requests_per_minute": 0,
        "tokens_per_minute": 7,
        "concurrent": 3,
        "effort": "low",
        "mode": "standard",
        "harmony_percent": 12.5,
        "show_reasoning": False,
        "preambles": "hidden",
    }
    add_key(path, "all of it", **settings)
    (key,) = KeyFile(path).load().keys
    assert {name: getattr(key, name) for name in settings} == settings
    assert set(settings) | {"id", "name", "sha256", "created"} == set(key.__struct_fields__)


def test_dates_written_by_hand_as_toml_dates_are_read(tmp_path: Path) -> None:
    path = tmp_path / "keys.toml"
    add_key(path)
    path.write_text(path.read_text("utf-8") + "expires = 2030-01-01\n", "utf-8")
    assert KeyFile(path).load().keys[0].expires == dt.date(2030, 1, 1)


def test_a_key_is_good_until_the_end_of_its_last_day_in_utc() -> None:
    key = msgspec.structs.replace(new_key(new_secret(), TODAY), expires=TODAY)
    ahead = dt.timezone(dt.timedelta(hours=5))
    assert not key.expired(dt.datetime(2026, 11, 21, 23, 59, 59, tzinfo=dt.UTC))
    assert not key.expired(dt.datetime(2026, 11, 22, 4, 59, tzinfo=ahead))
    assert key.expired(dt.datetime(2026, 11, 22, 5, 0, tzinfo=ahead))


@pytest.mark.parametrize("name", ["", "a\nb", "\x1b[31m", "x" * 65, "a\u2028b"])
def test_names_that_would_break_a_line_are_refused(name: str) -> None:
    with pytest.raises(ValueError, match="64 characters"):
        new_key(new_secret(), TODAY, name=name)


def test_a_name_is_given_once(tmp_path: Path) -> None:
    path = tmp_path / "keys.toml"
    add_key(path, "a")
    with pytest.raises(SettingsError, match="named 'a' already"):
        add_key(path, "a")
    assert len(KeyFile(path).load().keys) == 1


def test_a_key_is_revoked_by_name_or_id(tmp_path: Path) -> None:
    path = tmp_path / "keys.toml"
    file = KeyFile(path)
    for name in ("a", "b", "c"):
        add_key(path, name)
    second = file.load().keys[1]
    assert file.revoke(second.id) == second
    assert file.revoke("a").name == "a"
    assert [key.name for key in file.load().keys] == ["c"]
    with pytest.raises(SettingsError, match="there is no key 'a'"):
        file.revoke("a")


def test_no_file_is_no_keys(tmp_path: Path) -> None:
    file = KeyFile(tmp_path / "none" / "keys.toml")
    assert not file.load()
    assert file.stamp() is None


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[[keys", "Expected"),
        ("\xff", "utf-8"),
        ("[key]\nid = 1", "only"),
        ("keys = 3", "only"),
        ("[[keys]]\nid = 'a'", "key 1: Object missing required field `name`"),
        ("[[keys]]\nid = 'a/b'\nname='n'\nsha256='x'\ncreated=2026-01-01", "key 1: .*id"),
    ],
)
def test_a_damaged_file_is_an_error_that_says_where(
    tmp_path: Path, text: str, message: str
) -> None:
    path = tmp_path / "keys.toml"
    path.write_bytes(text.encode("latin-1"))
    with pytest.raises(SettingsError, match=message):
        KeyFile(path).load()


def test_misspelt_settings_and_doubled_keys_are_errors(tmp_path: Path) -> None:
    path = tmp_path / "keys.toml"
    add_key(path)
    good = path.read_text("utf-8")
    path.write_text(good + "operater = true\n", "utf-8")
    with pytest.raises(SettingsError, match="operater"):
        KeyFile(path).load()
    path.write_text(good + good, "utf-8")
    with pytest.raises(SettingsError, match="the same id"):
        KeyFile(path).load()


def test_a_failed_change_leaves_the_file_and_no_rubbish(tmp_path: Path) -> None:
    path = tmp_path / "keys.toml"
    add_key(path, "a")
    before = path.read_bytes()
    with pytest.raises(SettingsError):
        KeyFile(path).revoke("b")
    assert path.read_bytes() == before
    assert {p.name for p in tmp_path.iterdir()} == {"keys.toml", "keys.toml.lock"}


def test_a_symbolic_link_to_the_file_stays_one(tmp_path: Path) -> None:
    real, link = tmp_path / "real.toml", tmp_path / "keys.toml"
    real.write_text("", "utf-8")
    link.symlink_to(real)
    add_key(link)
    assert link.is_symlink()
    assert len(tomllib.loads(real.read_text("utf-8"))["keys"]) == 1


def _add_many(path: str, names: list[str]) -> None:
    for name in names:
        add_key(Path(path), name)


@pytest.mark.slow
def test_processes_that_add_keys_at_once_lose_none(tmp_path: Path) -> None:
    path = tmp_path / "keys.toml"
    context = multiprocessing.get_context("spawn")
    workers = [
        context.Process(target=_add_many, args=(str(path), [f"{w}-{n}" for n in range(10)]))
        for w in range(3)
    ]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(60)
        assert worker.exitcode == 0
    assert len(KeyFile(path).load().keys) == 30


def test_the_default_place_is_the_users_configuration(tmp_path: Path) -> None:
    assert key_file_path(None, {"XDG_CONFIG_HOME": str(tmp_path)}) in (
        tmp_path / "antiphon" / "keys.toml",
        key_file_path(None, {}),  # a platform with another place for settings
    )
    assert key_file_path("/x/y.toml", {}) == Path("/x/y.toml")
