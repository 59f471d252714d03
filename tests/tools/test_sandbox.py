"""Escapes from the sandbox, tried as root and as a plain user, with cgroups and without."""

from __future__ import annotations

import asyncio
import os
import shutil
import socket
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from tests.tools.confined import PLAIN_UID, needs_sandbox, run_as, starters

from antiphon.tools.sandbox import Bubblewrap, Finished, Folder, Limits, SandboxError
from antiphon.tools.sandbox import running as watching
from antiphon.tools.sandbox.seccomp import filter_program
from antiphon.tools.sandbox.watch import tree

pytestmark = [needs_sandbox, pytest.mark.slow]

LIMITS = Limits(wall_s=20, memory_bytes=192 << 20, processes=24, scratch_bytes=32 << 20)


@pytest.fixture(params=starters())
def who(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def folder() -> Iterator[Path]:
    """A workspace that belongs to a plain user, beside a secret that does not."""
    top = Path(tempfile.mkdtemp(prefix="antiphon-sandbox-"))
    top.chmod(0o755)
    (top / "secret").write_text("the secret\n")
    (top / "secret").chmod(0o644)
    inside = top / "work"
    inside.mkdir()
    if os.geteuid() == 0:
        os.chown(inside, PLAIN_UID, PLAIN_UID)
    yield inside
    shutil.rmtree(top)


def inside(
    who: str, folder: Path | None, script: str, *, cgroups: bool = True, **limits: Any
) -> Finished:
    """Run a shell script in the sandbox."""

    async def work() -> Any:
        folders = [Folder(folder, writable=True)] if folder else []
        box = Bubblewrap(
            folders,
            cwd=str(folder or "/tmp"),
            limits=msgspec.structs.replace(LIMITS, **limits),
            cgroups=cgroups,
        )
        done = await box.run(["bash", "-c", script])
        again = await box.run(["echo", "on we go"])
        assert again.output == "on we go\n", again
        return msgspec.to_builtins(done)

    return msgspec.convert(run_as(who, work), Finished)


def python(code: str) -> str:
    return f"python3 - <<'END'\n{code}\nEND"


# Network


def test_no_network_not_even_this_machines(who):
    with socket.create_server(("127.0.0.1", 0)) as server, socket.socket(socket.AF_UNIX) as local:
        local.bind("\0antiphon-sandbox-test")
        local.listen()
        port = server.getsockname()[1]
        done = inside(
            who,
            None,
            python(
                f"""
import socket
for family, address in [
    (socket.AF_INET, ("127.0.0.1", {port})),
    (socket.AF_INET, ("192.0.2.1", 80)),
    (socket.AF_UNIX, "\\0antiphon-sandbox-test"),
]:
    try:
        socket.socket(family).connect(address)
        print("CONNECTED", address)
    except OSError as error:
        print(error.errno)
for family in (16, 17, 38, 40):
    try:
        socket.socket(family, socket.SOCK_DGRAM)
        print("SOCKET", family)
    except OSError as error:
        print(error.errno)
try:
    socket.getaddrinfo("example.com", 80)
except OSError as error:
    print("no names")
"""
            ),
        )
    assert done.output.split("\n")[:-1] == ["111", "101", "111", "97", "97", "97", "97", "no names"]


# Files


def test_other_peoples_files_are_not_there(who, folder):
    done = inside(
        who,
        folder,
        f"cat /etc/shadow {folder}/../secret; ls -A {folder}/.. /home /root /var /etc/ssh; cat"
        " /etc/passwd",
    )
    assert "the secret" not in done.output
    assert "root:" not in done.output
    assert done.output.count("No such file") >= 5
    assert "work\n" in done.output


def test_links_and_dots_lead_nowhere(who, folder):
    (folder / "out").symlink_to(folder.parent)
    (folder / "up").symlink_to("../secret")
    (folder / "proc").symlink_to("/proc/1/root")
    done = inside(
        who, folder, "cat out/secret up ../secret ../../etc/shadow proc/etc/shadow; echo done"
    )
    assert "the secret" not in done.output
    assert "root:" not in done.output
    assert done.output.endswith("done\n")


def test_only_the_folder_and_scratch_can_be_written_to(who, folder):
    done = inside(
        who,
        folder,
        f"for f in /x /usr/x /etc/x /etc/passwd /dev/x /proc/x /bin/x /usr/bin/env; do"
        " (echo x >> $f) 2>/dev/null && echo WROTE $f; done;"
        f" echo x > {folder.parent}/secret; echo a > /tmp/a && echo b > /dev/shm/b && echo c > c"
        " && cat /tmp/a /dev/shm/b c",
    )
    assert done.output == "a\nb\nc\n"
    assert (folder / "c").read_text() == "c\n"
    assert (folder.parent / "secret").read_text() == "the secret\n"
    assert (folder / "c").stat().st_uid == (PLAIN_UID if os.geteuid() == 0 else os.getuid())


def test_scratch_does_not_outlive_the_command(who):
    assert inside(who, None, "echo x > /tmp/left").exit_code == 0
    assert "No such file" in inside(who, None, "cat /tmp/left").output


def test_what_git_would_run_outside_cannot_be_changed(who, folder):
    (folder / ".git" / "hooks").mkdir(parents=True)
    if os.geteuid() == 0:
        for path in (folder / ".git", folder / ".git" / "hooks"):
            os.chown(path, PLAIN_UID, PLAIN_UID)
    done = inside(
        who, folder, "echo x > .git/hooks/post-commit; mv .git git; rm -r .git; echo done"
    )
    assert "Read-only file system" in done.output
    assert "done" in done.output
    assert not (folder / "git").exists()
    assert list((folder / ".git" / "hooks").iterdir()) == []


def test_a_folder_may_be_read_only_and_elsewhere(who, folder):
    (folder / "a").write_text("content\n")
    (folder / "a").chmod(0o644)

    async def work() -> Any:
        box = Bubblewrap([Folder(folder, at="/mnt/data")], limits=LIMITS)
        done = await box.run(["bash", "-c", "cat /mnt/data/a; touch /mnt/data/b"])
        return [done.output, done.exit_code]

    output, code = run_as(who, work)
    assert output.startswith("content\n")
    assert "Read-only" in output
    assert code == 1


# What a process may be and do


def test_it_runs_as_nobody_with_no_rights(who, folder):
    done = inside(
        who,
        folder,
        "id -u; grep -E '^(CapEff|CapBnd|CapPrm|NoNewPrivs|Seccomp):' /proc/self/status; hostname",
    )
    zero = "0000000000000000"
    assert done.output.split() == [
        "1000",
        *("CapPrm:", zero, "CapEff:", zero, "CapBnd:", zero),
        *("NoNewPrivs:", "1", "Seccomp:", "2"),
        "sandbox",
    ]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root drops")
@pytest.mark.parametrize("own", [True, False])
def test_started_as_root_it_is_not_root_outside_either(folder, own):
    async def work() -> tuple[int, int, int]:
        box = Bubblewrap([Folder(folder, writable=True)] if own else [], limits=LIMITS)
        running = await box.start(["sleep", "100"])
        try:
            status = Path(f"/proc/{running.process.pid}/status").read_text()  # noqa: ASYNC240
            fields = {line.split(":")[0]: line.split()[1:] for line in status.splitlines()}
            return int(fields["Uid"][0]), int(fields["Gid"][0]), len(fields["Groups"])
        finally:
            await running.aclose()

    uid, gid, groups = asyncio.run(work())
    assert (uid, gid, groups) == (PLAIN_UID, PLAIN_UID, 0) if own else (uid > 60000, True, 0)
    assert uid
    assert gid


@pytest.mark.skipif(os.geteuid() != 0, reason="only root drops")
def test_started_as_root_a_folder_of_roots_is_refused(tmp_path):
    box = Bubblewrap([Folder(tmp_path, writable=True)])
    assert "belongs to root" in str(asyncio.run(box.check()))
    with pytest.raises(SandboxError, match="belongs to root"):
        asyncio.run(box.run(["true"]))


def test_dangerous_system_calls_are_refused(who):
    done = inside(
        who,
        None,
        python(
            """
import ctypes, platform
libc = ctypes.CDLL(None, use_errno=True)
numbers = {
    "x86_64": [101, 165, 166, 250, 272, 298, 308, 319, 321, 323, 425, 29, 161, 0x40000000 + 39],
    "aarch64": [117, 40, 39, 219, 97, 241, 268, 279, 280, 282, 425, 194, 51],
}[platform.machine()]
for number in numbers:
    ctypes.set_errno(0)
    result = libc.syscall(number, 0x10000000, 0, 0, 0, 0)
    print(result, ctypes.get_errno())
import fcntl
try:
    fcntl.ioctl(0, 0x5412, b"x")
except OSError as error:
    print("ioctl", error.errno)
"""
        ),
    )
    lines = done.output.splitlines()
    assert set(lines[:-1]) == {"-1 1"}
    assert lines[-1] == "ioctl 1"


def test_no_namespaces_within(who):
    done = inside(who, None, "unshare --user true; unshare --net true; bwrap --bind / / true")
    assert done.exit_code != 0
    assert done.output.count("failed") == 3


def test_filters_for_unknown_machines_are_not_guessed():
    assert filter_program("vax") is None
    assert filter_program("aarch64") != filter_program("x86_64")
    for machine in ("aarch64", "x86_64"):
        program = filter_program(machine)
        assert program is not None
        assert len(program) % 8 == 0


def test_nothing_of_ours_is_inherited(who, monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", "sk-secret")
    with tempfile.TemporaryFile() as file:
        os.set_inheritable(file.fileno(), True)
        done = inside(who, None, "env; ls /proc/self/fd; ls -l /proc/self/fd; cat /proc/*/environ")
    assert "sk-secret" not in done.output
    # 3 is the folder that ls itself reads.
    assert "\n0\n1\n2\n3\n" in done.output
    assert "\n4\n" not in done.output


# Other processes


def test_no_other_process_is_seen(who):
    done = inside(who, None, "cat /proc/[0-9]*/cmdline | tr '\\0' ' '; ls -d /proc/[0-9]*")
    assert "pytest" not in done.output
    assert len([line for line in done.output.splitlines() if line.startswith("/proc/")]) <= 5


def test_proc_gives_no_power(who):
    done = inside(
        who,
        None,
        "for f in /proc/sysrq-trigger /proc/sys/kernel/core_pattern /proc/sys/vm/drop_caches"
        " /proc/1/mem /proc/1/oom_score_adj /proc/sys/kernel/hostname; do"
        " (echo x > $f) 2>/dev/null && echo WROTE $f; done; cat /proc/kcore /proc/1/root/etc/shadow"
        " | head -c 10; ls /sys; echo done",
    )
    assert "WROTE" not in done.output.replace("WROTE /proc/1/mem", "")
    assert "No such file or directory\ndone" in done.output


def test_signals_reach_nobody_else(who):
    done = inside(who, None, "kill -9 -1; kill -9 1; kill -TERM $PPID; echo still here")
    assert done.output.endswith("still here\n")
    inside(who, None, "kill -9 $$; true")


@pytest.mark.parametrize("cgroups", [True, False])
def test_what_is_left_in_the_background_ends_with_the_command(who, cgroups):
    mark = f"31415{os.getpid()}"
    done = inside(
        who,
        None,
        f"setsid nohup sleep {mark} >/dev/null 2>&1 & (trap '' TERM HUP; sleep {mark} &) ; echo x",
        cgroups=cgroups,
    )
    assert done.output == "x\n"
    assert not _processes_with(mark)


def _processes_with(mark: str) -> list[str]:
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            said = path.read_bytes()
        except OSError:
            continue
        if mark.encode() in said and b"sleep" in said:
            found.append(str(path))
    return found


# Bombs


@pytest.mark.parametrize("cgroups", [True, False])
def test_a_fork_bomb_is_held_and_everything_goes_on(who, cgroups):
    done = inside(
        who, None, "bomb() { bomb | bomb & }; bomb; sleep 2; echo over", cgroups=cgroups, wall_s=3
    )
    assert done.ended in ("exit", "wall")
    assert "Resource temporarily unavailable" in done.output


@pytest.mark.parametrize("cgroups", [True, False])
def test_a_process_that_takes_all_memory_is_held(who, cgroups):
    done = inside(
        who,
        None,
        python("x = []\nwhile True:\n    x.append(bytearray(4 << 20))"),
        cgroups=cgroups,
    )
    assert done.ended == "memory" or "MemoryError" in done.output


@pytest.mark.parametrize("cgroups", [True, False])
def test_many_processes_that_take_memory_together_are_held(who, cgroups):
    one = "import signal; x = b'x' * 60000000; signal.pause()"
    script = f'for i in 1 2 3 4 5 6; do python3 -c "{one}" & done; wait'
    done = inside(who, None, script, cgroups=cgroups)
    assert done.ended == "memory"


def test_files_in_memory_are_held(who):
    done = inside(
        who,
        None,
        "for at in /tmp /dev/shm; do for i in 1 2 3 4; do"
        " dd if=/dev/zero of=$at/$i bs=1M count=16 2>&1 | grep -o 'No space left'; done; done",
    )
    assert done.ended == "exit"
    assert done.output.count("No space left") >= 4


def test_a_file_that_grows_without_end_is_held(who, folder):
    done = inside(who, folder, "cat /dev/zero > big; ls -s big", file_bytes=1 << 20)
    assert (folder / "big").stat().st_size <= 1 << 20
    assert done.ended == "exit"


def test_a_disk_that_fills_up_ends_the_command(who, folder):
    done = inside_disk(who, folder)
    assert done == "disk"


def inside_disk(who: str, folder: Path) -> Any:
    async def work() -> Any:
        limits = Limits(wall_s=20, free_disk_bytes=1 << 60)
        box = Bubblewrap([Folder(folder, writable=True)], limits=limits)
        return (await box.run(["sleep", "100"])).ended

    return run_as(who, work)


def test_output_without_end_is_ended_and_its_beginning_and_end_are_kept(who):
    done = inside(who, None, "echo first; yes", output_bytes=3000, flood_bytes=4 << 20)
    assert done.ended == "output"
    assert done.output.startswith("first\ny\ny\n")
    assert "bytes left out" in done.output
    assert len(done.output) < 3100


def test_long_output_keeps_its_end(who):
    done = inside(who, None, "seq 100000; echo last", output_bytes=3000)
    assert done.ended == "exit"
    assert done.output.startswith("1\n2\n3\n")
    assert done.output.endswith("100000\nlast\n")


def test_a_command_that_takes_too_long_is_ended(who):
    done = inside(who, None, "trap '' TERM INT HUP; sleep 1000 & sleep 1000", wall_s=0.2)
    assert (done.ended, done.exit_code) == ("wall", None)


def test_a_cancelled_command_ends_with_all_that_it_started(who):
    mark = f"27182{os.getpid()}"

    async def work() -> None:
        box = Bubblewrap(limits=LIMITS)
        started = asyncio.Event()
        task = asyncio.create_task(
            box.run(
                ["bash", "-c", f"setsid sleep {mark} & echo on; sleep {mark}"],
                emit=lambda text: started.set(),
            )
        )
        await started.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    run_as(who, work)
    assert not _processes_with(mark)


# The ordinary


def test_output_is_shown_as_it_comes_and_streams_keep_their_order(who):
    async def work() -> Any:
        shown: list[str] = []
        box = Bubblewrap(limits=LIMITS)
        done = await box.run(
            [
                "bash",
                "-c",
                "echo out; echo err >&2; printf 'Gr\\xc3'; printf '\\xb6\\xc3\\x9fe'; exit 3",
            ],
            emit=shown.append,
        )
        return ["".join(shown), done.output, done.exit_code]

    shown, output, code = run_as(who, work)
    assert shown == output == "out\nerr\nGröße"
    assert code == 3


def test_commands_may_run_side_by_side(who):
    async def work() -> Any:
        box = Bubblewrap(limits=LIMITS)
        done = await asyncio.gather(*(box.run(["echo", str(n)]) for n in range(6)))
        return [one.output for one in done]

    assert run_as(who, work) == [f"{n}\n" for n in range(6)]


def test_a_signal_is_an_exit_status(who):
    assert inside(who, None, "kill -SEGV $$").exit_code == 128 + 11
    assert inside(who, None, "no-such-command").exit_code == 127


def test_without_bubblewrap_there_is_no_sandbox(tmp_path):
    box = Bubblewrap(program="no-such-bwrap")
    assert asyncio.run(box.check()) == "no-such-bwrap is not installed (package bubblewrap)"
    with pytest.raises(SandboxError):
        asyncio.run(box.run(["true"]))


def test_a_bubblewrap_that_fails_is_no_sandbox(tmp_path):
    program = tmp_path / "bwrap"
    program.write_text("#!/bin/sh\necho 'bwrap: No permissions to create new namespace'\nexit 1\n")
    program.chmod(0o755)
    tmp_path.chmod(0o755)
    for parent in tmp_path.parents:
        if parent.owner() == "root" and parent.name.startswith(("pytest", "popen")):
            parent.chmod(0o755)
    reason = asyncio.run(Bubblewrap(program=str(program)).check())
    assert reason == "bubblewrap does not work here: No permissions to create new namespace"


@pytest.mark.parametrize("path", ["/", "/home", "/usr", "/etc"])
def test_the_systems_folders_are_not_handed_in_to_be_written_to(path):
    with pytest.raises(SandboxError, match="not handed in"):
        asyncio.run(Bubblewrap([Folder(Path(path), writable=True)]).run(["true"]))


def test_the_watch_sees_every_descendant(monkeypatch):
    async def work() -> int:
        running = await Bubblewrap(limits=LIMITS, cgroups=False).start(
            ["bash", "-c", "for i in 1 2 3; do (setsid sleep 100 &) ; done; echo on; sleep 100"]
        )
        try:
            assert running.process.stdout is not None
            assert await running.process.stdout.readline() == b"on\n"
            return len(tree(running._inner))
        finally:
            await running.aclose()

    assert asyncio.run(work()) >= 5
    assert watching._LOOK_S < 0.2
