"""``antiphon keys``: what it prints where, and what it leaves behind."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from antiphon.gateway.keyfile import KeyFile


@pytest.fixture
def keys(tmp_path: Path):
    """``antiphon keys …`` in a home of its own."""

    def run(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
        inherited = {k: v for k, v in os.environ.items() if not k.startswith("ANTIPHON_")}
        return subprocess.run(
            [sys.executable, "-m", "antiphon.cli", "keys", *arguments],
            capture_output=True,
            encoding="utf-8",
            timeout=60,
            check=False,
            cwd=tmp_path,
            env={
                **inherited,
                "HOME": str(tmp_path),
                "XDG_CONFIG_HOME": str(tmp_path / "config"),
                **environment,
            },
        )

    return run


def test_a_new_key_is_all_there_is_on_standard_output(keys, tmp_path: Path) -> None:
    done = keys("add", "laptop", "--file", "k.toml")
    assert done.returncode == 0
    (secret,) = done.stdout.splitlines()
    assert secret.startswith("ak-")
    assert "laptop" in done.stderr
    assert secret not in done.stderr
    found = KeyFile(tmp_path / "k.toml").load().find(secret)
    assert found is not None
    assert found.name == "laptop"


def test_every_option_is_kept(keys, tmp_path: Path) -> None:
    done = keys(
        "add", "all", "--file", "k.toml", "--operator", "--requests-per-minute", "0",
        "--tokens-per-minute", "9", "--concurrent", "2", "--effort", "low", "--mode", "harmony",
        "--harmony-percent", "12.5", "--hide-reasoning", "--preambles", "hidden",
        "--models", "a, b", "--expires", "2099-12-31", "--json",
    )  # fmt: skip
    shown = json.loads(done.stdout)
    (key,) = KeyFile(tmp_path / "k.toml").load().keys
    assert shown.pop("key").startswith("ak-")
    assert "sha256" not in shown
    assert shown == {
        "id": key.id,
        "name": "all",
        "created": str(key.created),
        "expires": "2099-12-31",
        "operator": True,
        "models": ["a", "b"],
        "requests_per_minute": 0,
        "tokens_per_minute": 9,
        "concurrent": 2,
        "effort": "low",
        "mode": "harmony",
        "harmony_percent": 12.5,
        "show_reasoning": False,
        "preambles": "hidden",
    }


def test_the_file_is_the_one_that_serve_reads(keys, tmp_path: Path) -> None:
    keys("add")
    keys("add", ANTIPHON_KEYS_FILE=str(tmp_path / "other.toml"))
    (tmp_path / "antiphon.toml").write_text(f"[keys]\nfile = '{tmp_path}/third.toml'\n", "utf-8")
    keys("add")
    for name in ("other.toml", "third.toml"):
        assert len(KeyFile(tmp_path / name).load().keys) == 1, name
    found = list(tmp_path.rglob("keys.toml"))
    assert len(found) == 1
    assert found[0].stat().st_mode & 0o777 == 0o600


def test_listing_shows_no_hash_and_no_key(keys, tmp_path: Path) -> None:
    secret = keys("add", "a", "--operator", "--models", "x,y", "--file", "k.toml").stdout.strip()
    keys("add", "b", "--file", "k.toml")
    (first, _) = KeyFile(tmp_path / "k.toml").load().keys
    for arguments in ((), ("--json",)):
        done = keys("list", "--file", "k.toml", *arguments)
        assert done.returncode == 0
        assert secret not in done.stdout
        assert first.sha256 not in done.stdout
        assert first.id in done.stdout
    assert "operator true, models x+y" in keys("list", "--file", "k.toml").stdout
    assert keys("list", "--file", "none.toml").stdout == ""


def test_a_file_that_others_can_read_is_told_of(keys, tmp_path: Path) -> None:
    keys("add", "--file", "k.toml")
    (tmp_path / "k.toml").chmod(0o644)
    assert "chmod 600" in keys("list", "--file", "k.toml").stderr


def test_a_revoked_key_is_gone(keys, tmp_path: Path) -> None:
    keys("add", "a", "--file", "k.toml")
    keys("add", "b", "--file", "k.toml")
    done = keys("revoke", "a", "--file", "k.toml")
    assert (done.returncode, done.stdout) == (0, "")
    assert [key.name for key in KeyFile(tmp_path / "k.toml").load().keys] == ["b"]
    assert "last key" in keys("revoke", "b", "--file", "k.toml").stderr


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["revoke", "nobody", "--file", "k.toml"], 1, "there is no key 'nobody'"),
        (["add", "", "--file", "k.toml"], 2, "1 to 64 characters"),
        (["add", "a\x1bb", "--file", "k.toml"], 2, "control character"),
        (["add", "--expires", "2001-01-01", "--file", "k.toml"], 2, "that day is over"),
        (["add", "--expires", "soon", "--file", "k.toml"], 2, "--expires"),
        (["add", "--models", " , ", "--file", "k.toml"], 2, "--models"),
        (["add", "--requests-per-minute", "-1", "--file", "k.toml"], 2, "-1"),
        (["add", "--harmony-percent", "101", "--file", "k.toml"], 2, "101"),
        (["add", "--file", "/proc/nowhere/k.toml"], 1, "cannot write it"),
        (["add", "--config", "none.toml"], 2, "none.toml"),
        (["forget"], 2, "No such command"),
    ],
)
def test_mistakes_are_one_line(keys, arguments: list[str], code: int, message: str) -> None:
    done = keys(*arguments)
    assert (done.returncode, done.stdout) == (code, "")
    assert message in done.stderr
    assert done.stderr.count("\n") == 1


def test_a_name_that_is_taken_makes_no_key(keys, tmp_path: Path) -> None:
    keys("add", "a", "--file", "k.toml")
    done = keys("add", "a", "--file", "k.toml")
    assert (done.returncode, done.stdout) == (1, "")
    assert len(KeyFile(tmp_path / "k.toml").load().keys) == 1
