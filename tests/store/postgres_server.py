"""A real PostgreSQL server for tests: Debian's package, on a socket in a folder of its own."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest


def find_server() -> Path | None:
    """The folder of initdb and pg_ctl, the newest release's."""
    found = sorted(
        Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda path: int(path.parts[-3])
    )
    if found:
        return found[-1].parent
    on_path = shutil.which("initdb")
    return None if on_path is None else Path(on_path).resolve().parent


class PostgresServer:
    """A server that can be stopped, killed and started again."""

    def __init__(self, programs: Path, folder: Path, user: dict[str, Any]) -> None:
        self._programs = programs
        self._folder = folder
        self._user = user
        self._databases = 0

    def start(self) -> None:
        options = (
            f"-c unix_socket_directories={self._folder} -c listen_addresses="
            " -c fsync=off -c max_connections=200"
        )
        self._control("start", "-w", "-o", options, "-l", str(self._folder / "log"))

    def stop(self) -> None:
        self._control("stop", "-w", "-m", "immediate")

    def new_database(self) -> str:
        """The URL of an empty database."""
        self._databases += 1
        name = f"test_{self._databases}"
        self._run("createdb", "-h", str(self._folder), "-U", "antiphon", name)
        return f"postgresql://antiphon@/{name}?host={quote(str(self._folder), safe='')}"

    def initialise(self) -> None:
        self._run(
            "initdb", "--pgdata", str(self._folder / "data"), "--username", "antiphon",
            "--auth", "trust", "--encoding", "UTF8", "--locale", "C", "--no-sync",
        )  # fmt: skip

    def _control(self, *arguments: str) -> None:
        self._run("pg_ctl", "-D", str(self._folder / "data"), *arguments)

    def _run(self, program: str, *arguments: str) -> None:
        # pg_ctl leaves a server behind that holds what it inherited: no pipes, then.
        with tempfile.TemporaryFile() as output:
            done = subprocess.run(
                [self._programs / program, *arguments],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                cwd=self._folder,
                timeout=120,
                check=False,
                **self._user,
            )
            output.seek(0)
            assert done.returncode == 0, output.read().decode(errors="replace")


@contextmanager
def postgres_server() -> Iterator[PostgresServer]:
    """Run a server. Without one to run, the test is skipped, or fails where all must run."""
    programs = find_server()
    if programs is None:
        message = "PostgreSQL's server is not installed (Debian's package: postgresql)"
        if os.environ.get("ANTIPHON_TEST_EVERYTHING"):
            pytest.fail(message)
        pytest.skip(message)
    pytest.importorskip("asyncpg")
    # Not pytest's folder: its parents are closed to the user that the server runs as.
    folder = Path(tempfile.mkdtemp(prefix="antiphon-pg-"))
    try:
        server = PostgresServer(programs, folder, _unprivileged(folder))
        server.initialise()
        server.start()
        try:
            yield server
        finally:
            server.stop()
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _unprivileged(folder: Path) -> dict[str, Any]:
    """Who runs the server: it refuses to be root's."""
    if os.geteuid() != 0:
        return {}
    import pwd

    try:
        entry = pwd.getpwnam("postgres")
    except KeyError:
        entry = pwd.getpwnam("nobody")
    os.chown(folder, entry.pw_uid, entry.pw_gid)
    return {"user": entry.pw_uid, "group": entry.pw_gid, "extra_groups": []}
