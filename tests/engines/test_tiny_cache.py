"""The cache: made once, by one process at a time, whole or not at all."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from antiphon.engines.tiny.cache import cache_directory, cached_file
from antiphon.errors import EngineError

SCRIPT = """
import os, signal, sys
from pathlib import Path
from antiphon.engines.tiny.cache import cached_file

directory, how = Path(sys.argv[1]), sys.argv[2]

def make(path):
    with (directory / "made").open("a") as made:
        made.write("x")
    path.write_bytes(b"half")
    if how == "die":
        os.kill(os.getpid(), signal.SIGKILL)
    if how == "pause":
        print("making", flush=True)
        sys.stdin.read()
    path.write_bytes(b"half and half")

path = cached_file(directory, "key", ".bin", make, waiting=lambda: print("waiting", flush=True))
print(path)
"""


def start(directory: Path, how: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", SCRIPT, str(directory), how],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


def writes(content: bytes) -> Callable[[Path], None]:
    def make(path: Path) -> None:
        path.write_bytes(content)

    return make


def never(path: Path) -> None:
    raise AssertionError(f"made again at {path}")


def no_wait() -> None:
    raise AssertionError("nobody else is making it")


def test_a_file_is_made_once(tmp_path: Path) -> None:
    made = cached_file(tmp_path / "new", "key", ".bin", writes(b"content"), waiting=no_wait)
    assert made.read_bytes() == b"content"
    assert cached_file(tmp_path / "new", "key", ".bin", never, waiting=no_wait) == made


def test_another_key_is_another_file(tmp_path: Path) -> None:
    first = cached_file(tmp_path, "key-1", ".bin", writes(b"one"), waiting=no_wait)
    second = cached_file(tmp_path, "key-2", ".bin", writes(b"two"), waiting=no_wait)
    assert (first.read_bytes(), second.read_bytes()) == (b"one", b"two")


@pytest.mark.parametrize("damage", [b"", b"conten", b"cOntent", b"content and more"])
def test_a_damaged_file_is_made_anew(tmp_path: Path, damage: bytes) -> None:
    made = cached_file(tmp_path, "key", ".bin", writes(b"content"), waiting=no_wait)
    made.write_bytes(damage)
    again = cached_file(tmp_path, "key", ".bin", writes(b"content"), waiting=no_wait)
    assert again.read_bytes() == b"content"
    assert list(tmp_path.glob("*.bin")) == [again]


def test_a_maker_that_fails_leaves_nothing(tmp_path: Path) -> None:
    def make(path: Path) -> None:
        path.write_bytes(b"half")
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        cached_file(tmp_path, "key", ".bin", make, waiting=no_wait)
    assert [path.name for path in tmp_path.iterdir()] == ["key.lock"]


def test_a_process_killed_half_way_leaves_no_lock_and_no_half_file(tmp_path: Path) -> None:
    killed = start(tmp_path, "die")
    killed.communicate()
    assert killed.returncode == -signal.SIGKILL
    assert len(list(tmp_path.glob("*.part"))) == 1

    made = cached_file(tmp_path, "key", ".bin", writes(b"content"), waiting=no_wait)
    assert made.read_bytes() == b"content"
    assert list(tmp_path.glob("*.part")) == []


def test_of_two_processes_at_once_one_makes_and_one_waits(tmp_path: Path) -> None:
    maker = start(tmp_path, "pause")
    assert maker.stdout is not None
    assert maker.stdout.readline() == "making\n"
    waiter = start(tmp_path, "pause")
    assert waiter.stdout is not None
    assert waiter.stdout.readline() == "waiting\n"

    made, _ = maker.communicate()
    waited, _ = waiter.communicate()
    assert made == waited
    assert Path(made.strip()).read_bytes() == b"half and half"
    assert (tmp_path / "made").read_text() == "x"


def test_when_the_maker_is_killed_the_one_who_waits_makes_it(tmp_path: Path) -> None:
    maker = start(tmp_path, "pause")
    assert maker.stdout is not None
    assert maker.stdout.readline() == "making\n"
    waiter = start(tmp_path, "at once")
    assert waiter.stdout is not None
    assert waiter.stdout.readline() == "waiting\n"
    maker.kill()
    maker.communicate()

    waited, _ = waiter.communicate()
    assert waiter.returncode == 0
    assert Path(waited.strip()).read_bytes() == b"half and half"
    assert list(tmp_path.glob("*.part")) == []


def test_a_folder_that_cannot_be_made_is_named_with_what_to_do(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("not a folder")
    with pytest.raises(EngineError, match=r"file.cache.*set ANTIPHON_CACHE to a folder"):
        cached_file(tmp_path / "file" / "cache", "key", ".bin", never, waiting=no_wait)


def test_a_full_disk_is_named_with_what_to_do(tmp_path: Path) -> None:
    def make(path: Path) -> None:
        raise OSError(28, os.strerror(28), str(path))

    with pytest.raises(EngineError, match="No space left on device; set ANTIPHON_CACHE"):
        cached_file(tmp_path, "key", ".bin", make, waiting=no_wait)


@pytest.mark.parametrize(
    ("variables", "expected"),
    [
        ({"ANTIPHON_CACHE": "/chosen", "XDG_CACHE_HOME": "/xdg"}, "/chosen"),
        ({"XDG_CACHE_HOME": "/xdg"}, "/xdg/antiphon"),
        ({"XDG_CACHE_HOME": "relative"}, "/people/me/.cache/antiphon"),
        ({"ANTIPHON_CACHE": "", "XDG_CACHE_HOME": ""}, "/people/me/.cache/antiphon"),
        ({"ANTIPHON_CACHE": "~/here"}, "/people/me/here"),
    ],
)
@pytest.mark.skipif(sys.platform == "darwin", reason="macOS has a place of its own")
def test_the_cache_is_where_the_platform_wants_it(
    monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], expected: str
) -> None:
    for name in ("ANTIPHON_CACHE", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", "/people/me")
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert cache_directory() == Path(expected)
