"""A process under measurement: pinned, watched from /proc, its event loop timed from inside.

    python benchmarks/gateway_child.py plain -- serve --engine URL --port 0        the gateway
    python benchmarks/gateway_child.py lag FILE -- serve --engine URL --port 0     and timed
    python benchmarks/gateway_child.py idle FILE                                   a control loop

What is timed writes to FILE how late (seconds) a timer of 5 ms fired, each time, once it is told
to stop. The timer costs CPU of its own, so where CPU is measured there is none.
"""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import time
from array import array
from pathlib import Path

__all__ = ["INTERVAL", "Child", "cpu_seconds", "rss_bytes"]

INTERVAL = 0.005


def cpu_seconds(pid: int) -> float:
    """CPU time of the process and its children that live, in seconds (from /proc/*/schedstat)."""
    total = 0
    for member in [pid, *_descendants(pid)]:
        for task in Path(f"/proc/{member}/task").glob("*/schedstat"):
            try:
                total += int(task.read_text().split()[0])
            except (OSError, IndexError):
                continue
    return total / 1e9


def rss_bytes(pid: int) -> int:
    """Resident memory of the process and its children that live."""
    total = 0
    for member in [pid, *_descendants(pid)]:
        try:
            total += int(Path(f"/proc/{member}/statm").read_text().split()[1])
        except (OSError, IndexError):
            continue
    return total * os.sysconf("SC_PAGE_SIZE")


def _descendants(pid: int) -> list[int]:
    found = []
    for children in Path(f"/proc/{pid}/task").glob("*/children"):
        try:
            direct = [int(child) for child in children.read_text().split()]
        except OSError:
            continue
        for child in direct:
            found += [child, *_descendants(child)]
    return found


class Child:
    """A process, on one core if told so; stopped at the end of the ``with`` block."""

    def __init__(
        self, *command: str, core: int | None, log: Path, env: dict[str, str] | None = None
    ) -> None:
        self.command, self.core, self.log = command, core, log
        self.env = {**os.environ, **(env or {})}

    def __enter__(self) -> Child:
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                self.command, stdout=log, stderr=log, env=self.env, start_new_session=True
            )
        every = set(range(os.cpu_count() or 1))
        os.sched_setaffinity(self.process.pid, every if self.core is None else {self.core})
        return self

    def __exit__(self, *_: object) -> None:
        self.process.terminate()
        try:
            self.process.wait(20)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()

    @property
    def pid(self) -> int:
        return self.process.pid

    def wait_for(self, text: str, seconds: float = 120.0) -> str:
        """The log, once it holds ``text``."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            log = self.log.read_text("utf-8", "replace")
            if text in log:
                return log
            if self.process.poll() is not None:
                break
            time.sleep(0.05)
        raise RuntimeError(f"{self.command} did not say {text!r}:\n{self.log.read_text()[-2000:]}")


async def _sample(late: array[float]) -> None:
    loop = asyncio.get_running_loop()
    while True:
        begin = loop.time()
        await asyncio.sleep(INTERVAL)
        late.append(loop.time() - begin - INTERVAL)


def _gateway(file: Path, arguments: list[str]) -> None:
    """`antiphon serve` with the sampler on its loop, which uvicorn starts with the application."""
    import uvicorn

    from antiphon.cli.main import main

    late: array[float] = array("d")
    serve = uvicorn.Server.serve

    async def with_sampler(self: uvicorn.Server, *args: object, **kwargs: object) -> None:
        sampler = asyncio.ensure_future(_sample(late))
        try:
            await serve(self, *args, **kwargs)  # type: ignore[arg-type]
        finally:
            sampler.cancel()
            file.write_bytes(late.tobytes())  # noqa: ASYNC240 - nothing runs any more

    uvicorn.Server.serve = with_sampler  # type: ignore[method-assign, assignment]
    sys.exit(main(arguments))


def _idle(file: Path) -> None:
    import signal

    import uvloop

    late: array[float] = array("d")

    async def run() -> None:
        done = asyncio.Event()
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, done.set)
        sampler = asyncio.ensure_future(_sample(late))
        print("sampling", flush=True)
        await done.wait()
        sampler.cancel()
        file.write_bytes(late.tobytes())  # noqa: ASYNC240 - nothing runs any more

    uvloop.run(run())


if __name__ == "__main__":
    if sys.argv[1] == "plain":
        from antiphon.cli.main import main

        sys.exit(main(sys.argv[3:]))
    if sys.argv[1] == "lag":
        _gateway(Path(sys.argv[2]), sys.argv[4:])
    else:
        _idle(Path(sys.argv[2]))
