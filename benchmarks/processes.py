"""CPU time and peak memory of whole processes, started cold.

Linux counts the memory of a process's parent into its own peak when it is started by fork or spawn.
So the commands are started by this file running as a small process of its own, which imports next
to nothing: ``python -S processes.py ROUNDS < commands.json``.
"""

import os
import sys

__all__ = ["Usage", "cold"]

Usage = tuple[float, float]
"""CPU seconds and peak megabytes."""


def cold(commands: list[list[str]], rounds: int, environment: dict[str, str]) -> list[Usage]:
    """The smallest CPU time and peak memory of each command, run in turn ``rounds`` times.

    Raises RuntimeError if a command fails.
    """
    import json
    import subprocess

    done = subprocess.run(
        [sys.executable, "-S", __file__, str(rounds)],
        input=repr(commands),
        capture_output=True,
        text=True,
        env={**os.environ, **environment},
        check=False,
    )
    if done.returncode:
        raise RuntimeError(done.stderr.strip() or f"the launcher exited with {done.returncode}")
    return [(cpu, memory) for cpu, memory in json.loads(done.stdout)]


def _launch() -> None:
    from ast import literal_eval

    commands = literal_eval(sys.stdin.read())
    rounds = int(sys.argv[1])
    nowhere = [(os.POSIX_SPAWN_OPEN, fd, os.devnull, os.O_RDWR, 0) for fd in (0, 1)]
    best = [[1e9, 1e9] for _ in commands]
    for _ in range(rounds):
        for i, command in enumerate(commands):
            pid = os.posix_spawn(command[0], command, os.environ, file_actions=nowhere)
            _, status, usage = os.wait4(pid, 0)
            if status:
                sys.exit(f"{command} exited with {os.waitstatus_to_exitcode(status)}")
            cpu = usage.ru_utime + usage.ru_stime
            unit = 1 << 20 if sys.platform == "darwin" else 1 << 10
            best[i] = [min(best[i][0], cpu), min(best[i][1], usage.ru_maxrss / unit)]
    print(best)


if __name__ == "__main__":
    _launch()
