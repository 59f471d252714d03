"""The interpreter's side, which runs in the sandbox with nothing but the standard library.

Requests are JSON lines on standard input: ``{"n": 1, "code": …}``, ``{"interrupt": 1}``. Answers
are JSON lines on what was standard output: ``{"n": 1, "out": text}``, or ``result`` or ``error``,
in pieces, then ``{"n": 1, "done": true}``. What the code itself, its threads and its children print
is read from a pipe and passed on as ``out``. The other side trusts none of it: the code may write
there as well.
"""

from __future__ import annotations

import ast
import asyncio
import builtins
import contextlib
import inspect
import json
import linecache
import os
import queue
import re
import signal
import sys
import threading
import traceback
import types
from typing import Any

MAX_TEXT = 200_000
PIECE = 4096
DRAIN_S = 2.0
ASYNC = ast.PyCF_ALLOW_TOP_LEVEL_AWAIT


class Channel:
    """Where answers go."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._lock = threading.Lock()
        self._torn = False
        self.number = 0

    def say(self, kind: str, value: Any) -> None:
        line = json.dumps({"n": self.number, kind: value}).encode() + b"\n"
        with self._lock:
            if self._torn:  # an interrupt came in the midst of a line
                line = b"\n" + line
            self._torn = True
            while line:
                line = line[os.write(self._descriptor, line) :]
            self._torn = False

    def text(self, kind: str, text: str) -> None:
        if len(text) > MAX_TEXT:
            text = f"{text[: MAX_TEXT // 2]}\n[…]\n{text[-MAX_TEXT // 2 :]}"
        for at in range(0, len(text), PIECE):
            self.say(kind, text[at : at + PIECE])


class Printed:
    """What is printed, by whatever means: descriptors 1 and 2 lead into a pipe read here."""

    def __init__(self, channel: Channel) -> None:
        self._channel = channel
        self._mark = b"\0end of output " + os.urandom(16).hex().encode()
        self._seen = threading.Event()
        read, write = os.pipe()
        os.dup2(write, 1)
        os.dup2(write, 2)
        self._write = write
        threading.Thread(target=self._pass_on, args=(read,), daemon=True).start()

    def settle(self) -> None:
        """Wait until all that has been printed so far has been passed on."""
        for stream in (sys.stdout, sys.stderr):
            with contextlib.suppress(Exception):  # the code may have closed or replaced it
                stream.flush()
        self._seen.clear()
        os.write(self._write, self._mark)
        self._seen.wait(DRAIN_S)

    def _pass_on(self, read: int) -> None:
        held = b""
        while data := os.read(read, 65536):
            held += data
            while self._mark in held:
                before, held = held.split(self._mark, 1)
                self._say(before)
                self._seen.set()
            keep = held.rfind(b"\0")
            if keep < 0 or not self._mark.startswith(held[keep:]):
                keep = len(held)
            keep -= self._cut_character(held[:keep])
            self._say(held[:keep])
            held = held[keep:]

    def _say(self, data: bytes) -> None:
        if data:
            self._channel.text("out", data.decode(errors="replace"))

    @staticmethod
    def _cut_character(data: bytes) -> int:
        """How many bytes at the end are the beginning of a character."""
        for back in range(1, min(4, len(data) + 1)):
            byte = data[-back]
            if byte >= 0xC0:
                return back if back < (2 if byte < 0xE0 else 3 if byte < 0xF0 else 4) else 0
            if byte < 0x80:
                return 0
        return 0


class Session:
    """The code's own module, and how code runs in it."""

    def __init__(self, channel: Channel, printed: Printed) -> None:
        self._channel = channel
        self._printed = printed
        self._count = 0
        self._loop: asyncio.AbstractEventLoop | None = None
        self.module = types.ModuleType("__main__")
        self.module.__dict__.update(display=display, __builtins__=builtins)
        sys.modules["__main__"] = self.module

    def run(self, code: str) -> None:
        self._count += 1
        name = f"<cell {self._count}>"
        linecache.cache[name] = (len(code), None, code.splitlines(keepends=True), name)
        try:
            value = self._run(code, name)
            if value is not None:
                self.module.__dict__["_"] = value
                said = repr(value)
                self._printed.settle()
                self._channel.text("result", said)
            self._figures()
        except BaseException as error:  # noqa: BLE001 - SystemExit and interrupts are the code's
            self._printed.settle()
            self._channel.text("error", told(error))
        self._printed.settle()

    def _run(self, code: str, name: str) -> Any:
        tree = parsed(code, name)
        last: ast.Expression | None = None
        if tree.body and isinstance(tree.body[-1], ast.Expr):
            last = ast.Expression(tree.body.pop().value)  # type: ignore[attr-defined]
        if tree.body:
            self._evaluate(compile(tree, name, "exec", flags=ASYNC))
        if last is not None:
            return self._evaluate(compile(last, name, "eval", flags=ASYNC))
        return None

    def _evaluate(self, code: types.CodeType) -> Any:
        value = eval(code, self.module.__dict__)  # noqa: S307 - what this is for
        if code.co_flags & inspect.CO_COROUTINE:
            if self._loop is None:
                self._loop = asyncio.new_event_loop()
            return self._loop.run_until_complete(value)
        return value

    def _figures(self) -> None:
        """Figures that were left open become files."""
        plots = sys.modules.get("matplotlib.pyplot")
        if plots is None:
            return
        for number in plots.get_fignums():
            at = 1
            while os.path.exists(f"figure-{at}.png"):  # noqa: PTH110 - as little as can be
                at += 1
            plots.figure(number).savefig(f"figure-{at}.png")
        plots.close("all")


def parsed(code: str, name: str) -> ast.Module:
    """The code's tree. Jupyter's ``!command`` and ``%magic`` lines are taken where Python's own
    grammar refuses them.
    """
    try:
        return ast.parse(code, name)
    except SyntaxError:

        def command(match: re.Match[str]) -> str:
            return f"{match[1]}__import__('os').system({match[2]!r})"

        plain = re.sub(r"(?m)^(\s*)%.*$", r"\1pass", code)
        plain = re.sub(r"(?m)^(\s*)!(.*)$", command, plain)
        if plain == code:
            raise
        return ast.parse(plain, name)


def told(error: BaseException) -> str:
    """A traceback that begins with the code's own first line."""
    if isinstance(error, SystemExit):
        return f"SystemExit: {error.code}\n"
    tb = error.__traceback__
    while tb is not None and not tb.tb_frame.f_code.co_filename.startswith("<cell"):
        tb = tb.tb_next
    try:
        return "".join(traceback.format_exception(type(error), error, tb, limit=-20))
    except Exception:  # noqa: BLE001 - its own text may fail
        return f"{type(error).__name__}\n"


def display(*values: Any) -> None:
    """Jupyter's: show values."""
    for value in values:
        print(repr(value))  # noqa: T201


def listen(
    requests: int, waiting: queue.SimpleQueue[Any], channel: Channel, dropped: set[int]
) -> None:
    """Take requests as they come, interrupts at once, and those that come before the code began
    into ``dropped``.
    """
    main = threading.main_thread().ident
    with os.fdopen(requests, "rb") as lines:
        for line in lines:
            request = json.loads(line)
            if "interrupt" not in request:
                waiting.put(request)
                continue
            dropped.add(request["interrupt"])  # First: the code may be about to begin.
            if request["interrupt"] == channel.number and main is not None:
                signal.pthread_kill(main, signal.SIGINT)
    os._exit(0)


def main() -> None:
    requests, answers = os.dup(0), os.dup(1)
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    channel = Channel(answers)
    printed = Printed(channel)
    sys.stdout = open(1, "w", buffering=1, encoding="utf-8", errors="replace", closefd=False)  # noqa: SIM115
    sys.stderr = open(2, "w", buffering=1, encoding="utf-8", errors="replace", closefd=False)  # noqa: SIM115
    sys.path.insert(0, os.getcwd())  # noqa: PTH109
    session = Session(channel, printed)
    waiting: queue.SimpleQueue[Any] = queue.SimpleQueue()
    dropped: set[int] = set()
    threading.Thread(target=listen, args=(requests, waiting, channel, dropped), daemon=True).start()
    channel.say("ready", True)
    while True:
        try:
            request = waiting.get()
            channel.number = request["n"]
            if channel.number not in dropped:
                session.run(request["code"])
        except KeyboardInterrupt:
            pass  # it came when the code had just ended
        try:
            channel.say("done", True)
        except KeyboardInterrupt:
            channel.say("done", True)


if __name__ == "__main__":
    main()
