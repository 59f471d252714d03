"""``antiphon chat`` in a real terminal: tmux at the keys, the tiny model in real llama.cpp."""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.e2e.serving import command
from tests.e2e.tmux import COLOUR, Pane, pane, plain_environment

pytest.importorskip("textual")

FINAL = "<|channel|>final<|message|>"
ASK = ("--set", "agent.ask=get_current_weather")


@pytest.fixture
def tiny(tiny_model_path: Path, tmp_path: Path) -> Callable[..., object]:
    def run(*arguments: str, **more: str) -> object:
        env = plain_environment(tmp_path, ANTIPHON_CACHE=str(tiny_model_path.parent), **more)
        return pane(tmp_path, "chat", "--engine", "tiny", *arguments, env=env)

    return run


def trace(tmp_path: Path, *rules: object) -> str:
    path = tmp_path / "trace.jsonl"
    path.write_text("".join([json.dumps(rule) + "\n" for rule in rules]), encoding="utf-8")
    return f"scripted:{path}"


@pytest.mark.slow
def test_ask_call_approve_interrupt_resize_and_resume(tiny) -> None:
    chat: Pane
    with tiny(*ASK) as chat:
        chat.until("this is a test model that knows a few dozen questions by heart")
        chat.ask("What is the weather like in Paris?")
        chat.until("get_current_weather wants to: make up the weather of Paris")
        chat.resize(56, 18)
        chat.until(lambda shown: "[y]es" in shown and "asks you" in shown)
        assert len(chat.screen.splitlines()) == 18
        chat.press("y")
        chat.until("It is 20 degrees in Paris.")
        chat.resize(100, 30)
        chat.until(lambda _: len(chat.screen.splitlines()) == 30)
        chat.until("It is 20 degrees in Paris.")
        chat.ask("And in London?")
        chat.until("make up the weather of London")
        chat.press("C-c")
        chat.until("stopped")
        chat.ask("/effort high")
        chat.until("tiny-gpt-oss │ high")
        chat.press("C-c")
        chat.until("Ctrl+C again leaves")
        chat.press("C-c")
        assert chat.ended() == 0
        chat.until("go on with: antiphon chat --resume")
    with tiny("--continue", *ASK) as chat:
        chat.until("goes on")
        chat.until("It is 20 degrees in Paris.")
        chat.ask("/raw")
        chat.until("<|start|>user<|message|>And in London?<|end|>")
        chat.until("The call was interrupted before it had a result.")
        chat.ask("Go on!")
        chat.until("make up the weather of London")
        chat.press("a")
        chat.until("tokens read")
        chat.press("C-d")
        assert chat.ended() == 0


def test_ctrl_c_stops_what_is_being_written(tmp_path: Path) -> None:
    words = " ".join([f"word{n}" for n in range(2_000)])
    engine = trace(tmp_path, {"emit": f"{FINAL}{words}<|return|>", "chunk": 4, "delay_ms": 20})
    env = plain_environment(tmp_path)
    with pane(tmp_path, "chat", "--engine", engine, env=env) as chat:
        chat.until("/help lists")
        chat.ask("Go on")
        chat.until("word12")
        chat.type("typed meanwhile")
        chat.until("typed meanwhile")
        chat.press("C-c")
        chat.until("stopped")
        chat.until("typed meanwhile")
        chat.press("C-c", "C-d")
        assert chat.ended() == 0
        assert "word1999" not in chat.screen


@pytest.mark.slow
@pytest.mark.parametrize("more", [{"NO_COLOR": "1"}, {"TERM": "vt100"}])
def test_without_colour_there_is_none(tmp_path: Path, more: dict[str, str]) -> None:
    engine = trace(tmp_path, {"emit": f"{FINAL}**Bold** and `code`<|return|>"})
    env = plain_environment(tmp_path, **more)
    with pane(tmp_path, "chat", "--engine", engine, env=env) as chat:
        chat.until("/help lists")
        chat.ask("Hi")
        chat.until("Bold and code")
        chat.until("1 turn, 0 calls")
        assert not COLOUR.search(chat.coloured), chat.coloured
        chat.press("C-d")
        assert chat.ended() == 0


@pytest.mark.slow
def test_the_terminal_is_put_in_order_when_a_signal_ends_it(tmp_path: Path) -> None:
    with pane(tmp_path, "chat", "--engine", "scripted", env=plain_environment(tmp_path)) as chat:
        chat.until("/help lists")
        os.kill(chat.pid, signal.SIGTERM)
        chat.ended()
        assert chat.about("#{alternate_on}") == "0"
        assert "Traceback" not in chat.screen


@pytest.mark.slow
def test_it_ends_with_its_terminal_also_without_a_signal(tmp_path: Path) -> None:
    import pty

    master, slave = pty.openpty()
    # Not its controlling terminal: then nobody sends SIGHUP.
    chat = subprocess.Popen(
        [*command(), "chat", "--engine", "scripted"],
        env=plain_environment(tmp_path, TERM="xterm-256color"),
        stdin=slave,
        stdout=slave,
        stderr=slave,
        start_new_session=True,
    )
    os.close(slave)
    shown = b""
    try:
        while b"lists keys" not in shown:
            assert select.select([master], [], [], 60)[0], shown
            shown += os.read(master, 65536)
        os.close(master)
        assert chat.wait(60) is not None
    finally:
        chat.kill()
        chat.wait()
