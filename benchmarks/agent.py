"""What the agent costs: the terminal's latency, the start of a command, its tools.

    python benchmarks/agent.py            every row, two minutes
    python benchmarks/agent.py --quick    small and inexact, to see that it works
    python benchmarks/agent.py --write    the same as the first, into RESULTS.md

The chat runs as people run it: a process of its own in a pseudo-terminal of 80 by 24, connected to
a wire fake of llama.cpp's server that answers with as many tokens a second as it is told to. A key
is a byte written to the terminal. Keys and bytes are timed by one clock.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os
import pty
import re
import select
import signal
import statistics
import struct
import subprocess
import sys
import tempfile
import termios
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from rows import Row, conclude, options_of, parser_for, row

TOKENS_PER_SECOND = 500
WAIT = 60.0
_ESCAPES = re.compile(rb"\x1b(\[[0-9;?]*[A-Za-z]|\][^\x07\x1b]*(\x07|\x1b\\)|[()][A-Z0-9]|[=>78])")


class Upstream:
    """A server with llama.cpp's native completion route, which writes words for ever."""

    def __init__(self) -> None:
        self.asked: list[float] = []
        """When the first byte of each request came."""
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def parse_request(self) -> bool:
                # Its first line has been read just now.
                if b"/completion" in self.raw_requestline:
                    outer.asked.append(time.monotonic())
                return super().parse_request()

            def log_message(self, *_: object) -> None:
                pass

            def do_GET(self) -> None:
                outer._get(self)

            def do_POST(self) -> None:
                length = int(self.headers.get("Content-Length", 0))
                self.rfile.read(length)
                with contextlib.suppress(OSError):
                    outer._complete(self)

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        self.endless = False
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()

    def _get(self, handler: BaseHTTPRequestHandler) -> None:
        body = b'{"object":"list","data":[{"id":"gpt-oss-20b","object":"model"}]}'
        found = handler.path == "/v1/models"
        handler.send_response(200 if found else 404)
        handler.send_header("Content-Type", "application/json")
        handler.send_header("Content-Length", str(len(body)))
        handler.end_headers()
        handler.wfile.write(body)

    def _complete(self, handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(200)
        handler.send_header("Content-Type", "text/event-stream")
        handler.send_header("Connection", "close")
        handler.end_headers()
        begun = time.monotonic()
        number = 0
        while self.endless or number < 5:
            word = PROSE[number % len(PROSE)]
            delta = f'{{"content":"{word}"}}'
            self._event(handler, f'{{"index":0,"delta":{delta},"finish_reason":null}}')
            number += 1
            ahead = begun + number / TOKENS_PER_SECOND - time.monotonic()
            if ahead > 0:
                time.sleep(ahead)
        self._event(handler, '{"index":0,"delta":{},"finish_reason":"stop"}')
        handler.wfile.write(b"data: [DONE]\n\n")
        handler.close_connection = True

    def _event(self, handler: BaseHTTPRequestHandler, choice: str) -> None:
        handler.wfile.write(
            b'data: {"id":"c","object":"chat.completion.chunk","created":1,"model":"m","choices":['
            + choice.encode()
            + b"]}\n\n"
        )


PROSE = [
    f"{word} " if n % 40 else f"{word}.\\n\\n- **{word}** `code` "
    for n, word in enumerate(["lorem", "ipsum", "dolor", "sit", "amet", "consectetur"] * 40, 1)
]


class Terminal:
    """A chat in a pseudo-terminal."""

    def __init__(self, *arguments: str, folder: Path) -> None:
        self._leader, follower = pty.openpty()
        fcntl.ioctl(follower, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
        env = {k: v for k, v in os.environ.items() if not k.startswith(("ANTIPHON_", "XDG_"))}
        env |= {"HOME": str(folder), "TERM": "xterm-256color", "LANG": "C.UTF-8"}
        self.process = subprocess.Popen(
            [sys.executable, "-m", "antiphon.cli", "chat", *arguments],
            stdin=follower,
            stdout=follower,
            stderr=follower,
            cwd=folder,
            env=env,
            start_new_session=True,
        )
        os.close(follower)
        self.seen = b""

    def close(self) -> None:
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()
        os.close(self._leader)

    def write(self, keys: str) -> float:
        """Press keys; when that was."""
        at = time.monotonic()
        os.write(self._leader, keys.encode())
        return at

    def read(self, seconds: float) -> bytes:
        """What is written within this time, escapes left out."""
        if not select.select([self._leader], [], [], seconds)[0]:
            return b""
        data = _ESCAPES.sub(b"", os.read(self._leader, 1 << 20))
        self.seen = (self.seen + data)[-65536:]
        return data

    def until(self, found: Callable[[], bool]) -> float:
        """Read until something is so; when that was."""
        end = time.monotonic() + WAIT
        while not found():
            self.read(0.001)
            if time.monotonic() > end:
                raise TimeoutError(self.seen[-2000:].decode(errors="replace"))
        return time.monotonic()

    def until_text(self, text: str) -> float:
        return self.until(lambda: text.encode() in self.seen)


@contextlib.contextmanager
def chatting(upstream: Upstream) -> Iterator[Terminal]:
    with tempfile.TemporaryDirectory() as name:
        terminal = Terminal("--api", upstream.url, folder=Path(name))
        try:
            terminal.until_text("/help lists")
            yield terminal
        finally:
            terminal.close()


def first_byte(upstream: Upstream, times: int) -> Row:
    """From Enter to the first byte of the request."""
    taken = []
    with chatting(upstream) as terminal:
        for number in range(times):
            terminal.write(f"question {number}")
            terminal.until_text(f"question {number}")
            before = len(upstream.asked)
            terminal.seen = b""
            pressed = terminal.write("\r")
            terminal.until(lambda before=before: len(upstream.asked) > before)
            taken.append((upstream.asked[before] - pressed) * 1000)
            terminal.until_text("session 2")  # The status of a chat that waits for a question.
    found = statistics.median(taken[1:])
    return row(
        "chat: from Enter to the first byte of the request at the engine, p50",
        "under 30 ms",
        f"{found:.1f} ms",
        f"the first question {taken[0]:.1f}, the slowest after it {max(taken[1:]):.1f} ms",
        ok=found < 30,
    )


def typing(upstream: Upstream, times: int) -> list[Row]:
    """From a key to its letter on the screen, idle and while a model writes."""

    def pressed(terminal: Terminal) -> list[float]:
        taken = []
        for number in range(times):
            letter = "ZQXJKVWY"[number % 8]
            terminal.seen = b""
            begun = terminal.write(letter)
            # The prose has none of these letters in capitals.
            taken.append((terminal.until_text(letter) - begun) * 1000)
            pause_until = time.monotonic() + 0.03
            while (left := pause_until - time.monotonic()) > 0:
                terminal.read(left)
            if number % 8 == 7:
                terminal.write("\x15")
                terminal.read(0.05)
        return sorted(taken)

    with chatting(upstream) as terminal:
        idle = pressed(terminal)
        upstream.endless = True
        terminal.write("\x15go\r")
        terminal.until_text("answering")
        begun, cpu = time.monotonic(), _cpu(terminal.process.pid)
        busy = pressed(terminal)
        used = (_cpu(terminal.process.pid) - cpu) / (time.monotonic() - begun)
        upstream.endless = False
    at = min(len(busy) - 1, int(len(busy) * 0.99))
    return [
        row(
            f"chat: a key on the screen while {TOKENS_PER_SECOND} tokens/s stream, p99",
            "under 50 ms",
            f"{busy[at]:.1f} ms",
            f"p50 {statistics.median(busy):.1f}; with nothing streaming"
            f" {statistics.median(idle):.1f} ms; {used:.0%} of a core",
            ok=busy[at] < 50,
        )
    ]


def _cpu(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text("utf-8").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def help_rows(times: int) -> list[Row]:
    """CPU of ``--help`` over bare Python."""

    def cpu(*command: str) -> float:
        before = os.times()
        subprocess.run([sys.executable, *command], stdout=subprocess.DEVNULL, check=True)
        after = os.times()
        spent = after.children_user + after.children_system
        return spent - before.children_user - before.children_system

    rows = []
    for name in ("run", "chat"):
        command = ("-m", "antiphon.cli", name, "--help")
        cpu(*command)
        taken = [cpu(*command) - cpu("-c", "") for _ in range(times)]
        found = statistics.median(taken)
        rows.append(
            row(
                f"antiphon {name} --help: CPU over bare Python",
                "at most 0.12 s" if name == "run" else "",
                f"{found:.3f} s",
                f"{min(taken):.3f} to {max(taken):.3f} s",
                ok=found <= 0.12 if name == "run" else None,
            )
        )
    return rows


def tool_rows(*, quick: bool) -> list[Row]:
    """The python tool, warm, and the browser."""
    from tools import browser_rows, python_rows

    return [*asyncio.run(python_rows(quick=quick)), *browser_rows(quick=quick)]


def main() -> int:
    options = options_of(parser_for(__doc__))
    begin = time.monotonic()
    rows: list[Row] = []
    upstream = Upstream()
    try:
        rows.append(first_byte(upstream, 5 if options.quick else 40))
        rows += typing(upstream, 16 if options.quick else 200)
    finally:
        upstream.close()
    rows += help_rows(3 if options.quick else 15)
    rows += tool_rows(quick=options.quick)
    conclude(
        rows,
        options,
        time.monotonic() - begin,
        heading="# The agent",
        script="agent.py",
        packages=PACKAGES,
        method=METHOD,
    )
    return 0


PACKAGES: Sequence[str] = ("antiphon", "textual", "aiohttp", "lxml")
METHOD = (
    "The chat runs in a pseudo-terminal of 80 by 24, against an endpoint on the loopback device"
    " that shares the two cores with it. A key is a byte written to the terminal, its letter is on"
    " the screen when the terminal can read it; the screen is drawn at most 60 times a second."
    " Pages are served from the loopback device through the guard. CPU of a command is its own and"
    " the kernel's for it."
)

if __name__ == "__main__":
    sys.exit(main())
