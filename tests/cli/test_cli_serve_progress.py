"""What ``antiphon serve`` says while it waits for an engine, and of engines once it runs."""

from __future__ import annotations

import io

import pytest

pytest.importorskip("starlette")

from antiphon.cli.serve_view import ServeView
from antiphon.gateway.logs import Log
from antiphon.settings.model import LogSettings


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def wait(view: ServeView, clock: Clock, seconds: int) -> None:
    for _ in range(seconds):
        clock.now += 1.0
        view.progress(f"loading m: {clock.now:.0f} s")


def test_in_a_pipe_a_long_wait_is_told_now_and_then() -> None:
    stream, clock = io.StringIO(), Clock()
    wait(ServeView(stream, clock=clock), clock, 25)
    assert stream.getvalue().splitlines() == [
        "loading m: 2 s", "loading m: 12 s", "loading m: 22 s",
    ]  # fmt: skip


def test_on_a_terminal_one_line_is_written_anew() -> None:
    stream, clock = Terminal(), Clock()
    wait(ServeView(stream, clock=clock), clock, 3)
    assert stream.getvalue().count("loading m") == 3
    assert "\n" not in stream.getvalue()


@pytest.mark.parametrize("stream", [io.StringIO(), Terminal()])
def test_a_running_servers_engines_are_the_logs_affair(stream: io.StringIO) -> None:
    lines, clock = io.StringIO(), Clock()
    view = ServeView(stream, clock=clock)
    view.log_to(Log(LogSettings(format="json"), lines))
    view.progress("the engine at http://h:1 is down: refused")
    view.progress("the engine at http://h:1 is up")
    wait(view, clock, 15)
    said = lines.getvalue().splitlines()
    assert '"event":"engine"' in said[0]
    assert '"why":"the engine at http://h:1 is down: refused"' in said[0]
    assert [line.rpartition('"why":')[2] for line in said[1:]] == [
        '"the engine at http://h:1 is up"}', '"loading m: 10 s"}',
    ]  # fmt: skip
    assert stream.getvalue() == ""
