"""Stands between us and an MCP server, so that nothing of it outlives us. Run as a script; imports
nothing ours.

    keeper.py LIFELINE PROGRAM ARGUMENT…

LIFELINE is the reading end of a pipe. A ``T`` in it asks the server to end; its end, which comes
when whoever started us is gone as well, ends the server and everything that it started. So does the
server's own end. On Linux that includes what has left its process group, because orphans below us
become our children, and the server is killed with us should somebody kill us first.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import select
import signal
import sys
import time
from typing import Final, NoReturn

PR_SET_PDEATHSIG: Final = 1
PR_SET_CHILD_SUBREAPER: Final = 36
KILL_TRIES: Final = 400
KILL_PAUSE_S: Final = 0.005
CANNOT_RUN: Final = 127


def main() -> NoReturn:
    lifeline, command = int(sys.argv[1]), sys.argv[2:]
    os.set_inheritable(lifeline, False)
    for number in (signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    woken, wakes = os.pipe()
    os.set_blocking(wakes, False)
    signal.set_wakeup_fd(wakes, warn_on_full_buffer=False)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    _prctl(PR_SET_CHILD_SUBREAPER, 1)
    ourselves = os.getpid()
    server = os.fork()
    if not server:
        _become(command, ourselves)
    with contextlib.suppress(OSError):
        os.setpgid(server, server)
    nothing = os.open(os.devnull, os.O_RDWR)
    for standard in (0, 1, 2):
        os.dup2(nothing, standard)
    status = _watch(server, lifeline, woken)
    _kill_all(server)
    os._exit(status)


def _prctl(option: int, value: int) -> None:
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(option, value, 0, 0, 0)


def _become(command: list[str], parent: int) -> NoReturn:
    try:
        os.setpgid(0, 0)
        for number in (signal.SIGINT, signal.SIGHUP, signal.SIGCHLD):
            signal.signal(number, signal.SIG_DFL)
        signal.signal(signal.SIGPIPE, signal.SIG_DFL)
        _prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() == parent:
            os.execvp(command[0], command)  # noqa: S606 - what the user's mcp.json names
    except OSError as error:
        os.write(2, f"cannot run {command[0]}: {error.strerror}\n".encode())
    finally:
        os._exit(CANNOT_RUN)


def _watch(server: int, lifeline: int, woken: int) -> int:
    """Wait until the server is gone or shall go. Its exit status; 128 + a signal's number."""
    watched = [lifeline, woken]
    while True:
        ready, _, _ = select.select(watched, [], [])
        if woken in ready:
            os.read(woken, 4096)
            status = _reap(server)
            if status is not None:
                return status
        if lifeline in ready:
            asked = os.read(lifeline, 16)
            with contextlib.suppress(OSError):
                os.killpg(server, signal.SIGTERM if asked else signal.SIGKILL)
            if not asked:
                return 128 + signal.SIGKILL


def _reap(server: int) -> int | None:
    """Take note of those who ended; the status of the server if it is among them."""
    found = None
    with contextlib.suppress(ChildProcessError):
        while True:
            pid, status = os.waitpid(-1, os.WNOHANG)
            if not pid:
                break
            if pid == server:
                code = os.waitstatus_to_exitcode(status)
                found = code if code >= 0 else 128 - code
    return found


def _kill_all(server: int) -> None:
    for _ in range(KILL_TRIES):
        if sys.platform != "linux":
            with contextlib.suppress(OSError):
                os.killpg(server, signal.SIGKILL)
        for pid in _below(os.getpid()):
            with contextlib.suppress(OSError):
                os.kill(pid, signal.SIGKILL)
        try:
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass
        except ChildProcessError:
            return
        time.sleep(KILL_PAUSE_S)


def _below(root: int) -> list[int]:
    """Every process that descends from one, where there is a /proc."""
    children: dict[int, list[int]] = {}
    try:
        names = [name for name in os.listdir("/proc") if name.isdigit()]  # noqa: PTH208
    except OSError:
        return []
    for name in names:
        try:
            with open(f"/proc/{name}/stat", "rb") as file:  # noqa: PTH123 - quick to import
                parent = int(file.read().rpartition(b")")[2].split()[1])
        except (OSError, ValueError, IndexError):
            continue
        children.setdefault(parent, []).append(int(name))
    found: list[int] = []
    waiting = [root]
    while waiting:
        below = children.pop(waiting.pop(), [])
        found += below
        waiting += below
    return found


if __name__ == "__main__":
    main()
