"""``antiphon run`` on the scripted engine: what goes where, exit codes, sessions, a terminal."""

from __future__ import annotations

import io
import json
import os
import pty
import re
import select
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path

import pytest
from tests.cli.conftest import COMMAND, environment
from tests.cli.own_home import own_home

from antiphon.agent.events import EndReason
from antiphon.cli.asking import decision
from antiphon.cli.run import EXIT_CODES

pytestmark = pytest.mark.skipif(os.name != "posix", reason="terminals and signals")

FINAL = "<|channel|>final<|message|>"
THOUGHT = "<|channel|>analysis<|message|>Hm.<|end|><|start|>assistant"
WAIT = 60.0


@pytest.fixture(autouse=True)
def _own_folders(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    own_home(monkeypatch, tmp_path)
    (tmp_path / "work").mkdir()
    (tmp_path / "work" / "notes.md").write_text("buy milk\n", encoding="utf-8")
    monkeypatch.chdir(tmp_path / "work")


def trace(tmp_path: Path, *rules: Mapping[str, object]) -> str:
    path = tmp_path / "trace.jsonl"
    path.write_text("".join([json.dumps(rule) + "\n" for rule in rules]), encoding="utf-8")
    return f"scripted:{path}"


def call(tool: str, **arguments: object) -> str:
    header = f"<|channel|>commentary to=functions.{tool} <|constrain|>json<|message|>"
    return f"{header}{json.dumps(arguments)}<|call|>"


def test_the_answer_is_all_that_goes_to_stdout(antiphon) -> None:
    done = antiphon("run", "--engine", "scripted", "--tools", "none", "What is", "2 + 3?")
    assert (done.code, done.out) == (0, "2 + 3 = 5\n")
    assert done.err.splitlines()[:2] == ["scripted, scripted engine", "thinking: Answer directly."]
    assert done.err.splitlines()[-1].startswith("1 turn, 0 calls, ")
    assert "\x1b" not in done.err


def test_quiet_says_only_the_answer(antiphon) -> None:
    done = antiphon("run", "-q", "--engine", "scripted", "--tools", "none", "What is 2 + 3?")
    assert done == (0, "2 + 3 = 5\n", "")


def test_a_tool_is_called_and_shown_on_stderr(antiphon) -> None:
    done = antiphon("run", "--engine", "scripted", "--tools", "read", "Use read on path notes.md")
    assert done.code == 0
    assert "buy milk" in done.out
    lines = done.err.splitlines()
    assert 'call read {"path":"notes.md"}' in lines
    assert any(line.startswith("result read: notes.md") for line in lines)


def test_without_a_workspace_no_tool_of_the_folder_is_offered(antiphon) -> None:
    done = antiphon("run", "--engine", "scripted", "--json", "Hello")
    first = json.loads(done.out.splitlines()[0])
    assert not {"read", "write"} & set(first["tools"])
    chosen = antiphon("run", "--engine", "scripted", "--tools", "list,read", "--json", "Hello")
    assert json.loads(chosen.out.splitlines()[0])["tools"] == ["read", "list"]
    none = antiphon(
        "run", "--engine", "scripted", "--workspace", ".", "--tools", "none", "--json", "Hi"
    )
    assert json.loads(none.out.splitlines()[0])["tools"] == []


def test_json_prints_every_event_as_a_line(antiphon) -> None:
    done = antiphon("run", "--engine", "scripted", "--tools", "none", "--json", "What is 2 + 3?")
    events = [json.loads(line) for line in done.out.splitlines()]
    assert [events[0]["type"], events[-1]["type"]] == ["run-started", "run-ended"]
    assert events[-1]["answer"] == "2 + 3 = 5"
    assert "".join([e["text"] for e in events if e["type"] == "answer"]) == "2 + 3 = 5"
    assert (done.code, done.err) == (0, "")


# The question.


def test_the_question_may_come_on_standard_input(antiphon) -> None:
    assert antiphon("run", "-q", "--engine", "scripted", stdin="Say hello").out == "hello\n"
    done = antiphon("run", "--json", "--engine", "scripted", "Look at this:", "-", stdin="a\nb\n")
    assert json.loads(done.out.splitlines()[0])["text"] == "Look at this:\n\na\nb"


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--engine", "scripted", ""], "the question is empty"),
        (["--api", "http://x", "--engine", "scripted", "Hi"], "--api or --engine"),
        (["--continue", "--resume", "x", "Hi"], "--continue or --resume"),
        (["--set", "nonsense", "Hi"], "expected NAME=VALUE"),
        (["--engine", "scripted", "--tools", "reed", "Hi"], "did you mean read"),
        (["--engine", "scripted", "--continue", "Hi"], "no session was begun in"),
        (["--effort", "loud", "Hi"], "loud"),
        (["--max-turns", "0", "Hi"], "0"),
        (["--system", "@nowhere.txt", "Hi"], "nowhere.txt"),
        (["-"], "not UTF-8 at byte 1"),
    ],
)
def test_a_wrong_command_line_is_2_and_one_line(antiphon, arguments: list[str], says: str) -> None:
    done = antiphon("run", *arguments, stdin=b"a\xff")
    assert (done.code, done.out) == (2, "")
    assert says in done.err
    assert len(done.err.splitlines()) == 1


def test_instructions_come_from_the_command_line_or_a_file(antiphon, tmp_path: Path) -> None:
    say = 'Reply with exactly the word "quartz".'
    done = antiphon("run", "-q", "--engine", "scripted", "--system", say, "Hi")
    assert done.out == "quartz\n"
    (tmp_path / "system.txt").write_text(say + "\n", encoding="utf-8")
    done = antiphon(
        "run", "-q", "--engine", "scripted", "--system", f"@{tmp_path}/system.txt", "Hi"
    )
    assert done.out == "quartz\n"
    (Path.cwd() / "antiphon.toml").write_text(
        f"[agent]\ninstructions = '{say}'\n", encoding="utf-8"
    )
    assert antiphon("run", "-q", "--engine", "scripted", "Hi").out == "quartz\n"


# Exit codes.


def test_every_end_has_an_exit_code() -> None:
    assert set(EXIT_CODES) == set(EndReason.__args__)  # type: ignore[attr-defined]


def test_3_is_a_limit(antiphon, tmp_path: Path) -> None:
    engine = trace(tmp_path, {"emit": call("list", path=".")})
    done = antiphon("run", "--engine", engine, "--tools", "list", "--max-turns", "2", "Go")
    assert (done.code, done.out) == (3, "")
    assert done.err.splitlines()[-1] == ("antiphon run: 2 turns were not enough (agent.turns)")
    done = antiphon("run", "--engine", "scripted", "--set", "agent.tokens=9", "Write a long story")
    assert done.code == 3
    assert "agent.tokens" in done.err


def test_4_is_an_answer_though_a_call_was_refused(antiphon, tmp_path: Path) -> None:
    rules = (
        {"when": {"step": 0}, "emit": call("write", path="new.txt", content="x")},
        {"emit": f"{FINAL}Done.<|return|>"},
    )
    engine = trace(tmp_path, *rules)
    done = antiphon("run", "--engine", engine, "--tools", "write", "Go")
    assert (done.code, done.out) == (4, "Done.\n")
    assert "refused: nobody can be asked" in done.err
    assert not Path("new.txt").exists()
    done = antiphon("run", "--engine", engine, "--tools", "write", "--yes", "Go")
    assert (done.code, done.out) == (0, "Done.\n")
    assert Path("new.txt").read_text(encoding="utf-8") == "x"


def test_5_is_a_model_that_got_stuck(antiphon, tmp_path: Path) -> None:
    engine = trace(tmp_path, {"emit": call("read", path="nowhere.txt")})
    done = antiphon("run", "--engine", engine, "--tools", "read", "Go")
    assert (done.code, done.out) == (5, "")
    assert "the same call of read failed 3 times" in done.err


def test_1_is_an_engine_that_fails(antiphon, tmp_path: Path) -> None:
    engine = trace(tmp_path, {"status": 503, "body": "no slot is free"})
    done = antiphon("run", "--engine", engine, "Go")
    assert (done.code, done.out) == (1, "")
    assert "no slot is free" in done.err.splitlines()[-1]
    done = antiphon("run", "--engine", "http://127.0.0.1:9", "Go")
    assert (done.code, done.out) == (1, "")
    assert len(done.err.splitlines()) == 1


def test_control_characters_of_a_model_do_not_reach_a_terminal(antiphon, tmp_path: Path) -> None:
    engine = trace(tmp_path, {"emit": f"<|channel|>analysis<|message|>\x1b[2Jx<|end|>"
                                      f"<|start|>assistant{FINAL}ok<|return|>"})  # fmt: skip
    assert "\x1b" not in antiphon("run", "--engine", engine, "Go").err


def test_files_that_tools_make_are_kept_where_that_is_wanted(tmp_path: Path) -> None:
    from antiphon.agent.events import ToolEnded
    from antiphon.cli.run_view import TextView
    from antiphon.cli.running import FileKeeper
    from antiphon.tools.protocol import ToolFile

    err = io.StringIO()
    keeper = FileKeeper(tmp_path / "made", TextView(io.StringIO(), err))
    names = ["plot.png", "plot.png", "../../etc/passwd", ".hidden", "a\nb", "", "c:\\x\\y.txt"]
    files = tuple([ToolFile(name, bytes([at])) for at, name in enumerate(names)])
    keeper.event(ToolEnded(call_id="1", tool="t", text="", failed=False, files=files))
    made = {path.name: path.read_bytes() for path in (tmp_path / "made").iterdir()}
    assert made == {
        "plot.png": b"\0",
        "plot-2.png": b"\1",
        "passwd": b"\2",
        "hidden": b"\3",
        "a_b": b"\4",
        "file": b"\5",
        "y.txt": b"\6",
    }
    assert [path.name for path in tmp_path.iterdir() if path.name not in ("made", "work")] == []
    (tmp_path / "plain").touch()
    FileKeeper(tmp_path / "plain", TextView(io.StringIO(), err)).event(
        ToolEnded(call_id="1", tool="t", text="", failed=False, files=files[:1])
    )
    assert "cannot keep plot.png" in err.getvalue()


# Sessions.


def test_a_session_is_kept_only_if_that_is_wanted_and_can_be_gone_on_with(antiphon) -> None:
    antiphon("run", "-q", "--engine", "scripted", "My name is Bob.")
    assert antiphon("sessions", "list").out == ""
    antiphon("run", "-q", "--save", "--engine", "scripted", "My name is Bob.")
    done = antiphon(
        "run", "-q", "--continue", "--engine", "scripted", "--tools", "none", "What is my name?"
    )
    assert (done.code, done.out) == (0, "Bob\n") or "Bob" in done.out
    (line,) = antiphon("sessions", "list", "--json").out.splitlines()
    id = json.loads(line)["id"]
    done = antiphon(
        "run",
        "-q",
        "--resume",
        id[-4:],
        "--engine",
        "scripted",
        "--tools",
        "none",
        "What is my name?",
    )
    assert "Bob" in done.out
    shown = antiphon("sessions", "show", id).out
    assert shown.count("## User") == 3


def test_the_state_folder_holds_sessions_and_a_setting_moves_them(antiphon, tmp_path: Path) -> None:
    antiphon("run", "-q", "--save", "--engine", "scripted", "Hi")
    assert len(list((tmp_path / "home" / "antiphon" / "sessions").glob("*.jsonl"))) == 1
    other = tmp_path / "other"
    antiphon(
        "run", "-q", "--save", "--set", f"agent.sessions={other}", "--engine", "scripted", "Hi"
    )
    assert len(list(other.glob("*.jsonl"))) == 1


def test_sessions_are_listed_exported_and_removed(antiphon, tmp_path: Path) -> None:
    antiphon("run", "-q", "--save", "--engine", "scripted", "--tools", "none", "What is 2 + 3?")
    listed = antiphon("sessions", "list", "--here")
    assert re.fullmatch(r"\S+  \d{4}-\d\d-\d\d \d\d:\d\d  scripted  What is 2 \+ 3\?\n", listed.out)
    id = listed.out.split()[0]
    told = json.loads(antiphon("sessions", "export", id).out)
    assert [m["role"] for m in told["messages"]] == ["system", "user", "assistant", "assistant"]
    assert (
        "<|channel|>final<|message|>2 + 3 = 5"
        in antiphon("sessions", "export", id, "--format", "text").out
    )
    page = tmp_path / "page.html"
    assert antiphon("sessions", "export", id, "--format", "html", "-o", str(page)).code == 0
    assert page.read_text(encoding="utf-8").startswith("<!doctype html>")
    assert antiphon("sessions", "export", id, "--format", "html", "-o", str(page)).code == 2
    assert antiphon("sessions", "rm", "nothing").code == 1
    assert antiphon("sessions", "rm", id).out == f"removed {id}\n"
    assert antiphon("sessions", "list").out == ""


# A real process.


def test_ctrl_c_ends_it_cleanly_and_the_session_is_whole(antiphon, tmp_path: Path) -> None:
    engine = trace(tmp_path, {"emit": f"{FINAL}{'word ' * 5000}<|return|>", "delay_ms": 5})
    run = subprocess.Popen(
        [*COMMAND, "run", "--json", "--save", "--engine", engine, "Go"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment(),
    )
    assert run.stdout is not None
    while '"answer"' not in run.stdout.readline():
        assert run.poll() is None
    run.send_signal(signal.SIGINT)
    out, err = run.communicate(timeout=WAIT)
    assert (run.returncode, err) == (130, "antiphon run: interrupted\n")
    assert json.loads(out.splitlines()[-1])["reason"] == "cancelled"
    id = antiphon("sessions", "list").out.split()[0]
    assert "\nword" in antiphon("sessions", "show", id).out


class OnTerminal:
    """The command on a terminal of its own."""

    def __init__(self, *arguments: str) -> None:
        self.shown = ""
        leader, follower = pty.openpty()
        self._leader = leader
        self.process = subprocess.Popen(
            [*COMMAND, "run", *arguments],
            stdin=follower,
            stdout=follower,
            stderr=follower,
            env=environment(COLUMNS="80", LINES="24"),
            start_new_session=True,
        )
        os.close(follower)

    def until(self, text: str) -> str:
        end = time.monotonic() + WAIT
        while text not in self.plain:
            assert time.monotonic() < end, self.shown
            if select.select([self._leader], [], [], 0.1)[0]:
                try:
                    self.shown += os.read(self._leader, 65536).decode()
                except OSError:  # Linux says EIO when the other end has closed.
                    assert text in self.plain, self.shown
        return self.plain

    def type(self, text: str) -> None:
        os.write(self._leader, text.encode())

    def end(self) -> int:
        end = time.monotonic() + WAIT
        while time.monotonic() < end:
            try:
                piece = os.read(self._leader, 65536)
            except OSError:
                break
            if not piece:
                break
            self.shown += piece.decode()
        os.close(self._leader)
        return self.process.wait(WAIT)

    @property
    def plain(self) -> str:
        return re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", self.shown).replace("\r\n", "\n")


def test_on_a_terminal_a_person_is_asked_and_the_answer_comes_as_it_is_written(
    tmp_path: Path,
) -> None:
    rules = (
        {"when": {"step": 0}, "emit": THOUGHT + call("write", path="new.txt", content="x")},
        {"emit": f"{FINAL}Done.<|return|>"},
    )
    terminal = OnTerminal("--engine", trace(tmp_path, *rules), "--tools", "write", "Go")
    terminal.until("or why not:")
    assert not Path("new.txt").exists()
    terminal.type("y\n")
    assert terminal.end() == 0
    assert Path("new.txt").read_text(encoding="utf-8") == "x"
    assert "\nDone.\n" in terminal.plain
    assert terminal.plain.count("Done.") == 1
    assert "\x1b[2mHm" in terminal.shown


def test_on_a_terminal_a_reason_to_refuse_reaches_the_model(tmp_path: Path) -> None:
    rules = (
        {"when": {"step": 0}, "emit": call("write", path="new.txt", content="x")},
        {"emit": f"{FINAL}Done.<|return|>"},
    )
    terminal = OnTerminal("--engine", trace(tmp_path, *rules), "--tools", "write", "Go")
    terminal.until("or why not:")
    terminal.type("not there\n")
    assert terminal.end() == 4
    assert "refused: not there" in terminal.plain


def test_ctrl_c_at_the_question_ends_it(tmp_path: Path) -> None:
    engine = trace(tmp_path, {"emit": call("write", path="new.txt", content="x")})
    terminal = OnTerminal("--engine", engine, "--tools", "write", "Go")
    terminal.until("or why not:")
    terminal.process.send_signal(signal.SIGINT)
    assert terminal.end() == 130
    assert "Traceback" not in terminal.plain


@pytest.mark.parametrize(
    ("line", "meant"),
    [
        ("y\n", (True, False, "")),
        (" YES \n", (True, False, "")),
        ("a\n", (True, True, "")),
        ("\n", (False, False, "")),
        ("", (False, False, "")),
        ("n\n", (False, False, "")),
        ("not there\n", (False, False, "not there")),
    ],
)
def test_what_a_line_means(line: str, meant: tuple[bool, bool, str]) -> None:
    found = decision(line)
    assert (found.allowed, found.remember, found.reason) == meant


def test_help_imports_nothing_heavy() -> None:
    code = (
        "import sys; from antiphon.cli.main import main; main(['run', '--help']);"
        "print(*sorted(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = set(done.stdout.splitlines()[-1].split())
    assert not {"asyncio", "msgspec", "aiohttp", "rich", "antiphon.settings.model"} & loaded


def test_a_tool_that_needs_a_sandbox_is_left_out_where_there_is_none(
    antiphon, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    done = antiphon("run", "--engine", "scripted", "--workspace", ".", "--json", "Hello")
    tools = json.loads(done.out.splitlines()[0])["tools"]
    assert (done.code, "read" in tools, "shell" in tools) == (0, True, False)
    assert done.err.startswith("without the tool shell: ")
    done = antiphon("run", "--engine", "scripted", "--tools", "shell", "Hello")
    assert done.code == 2
    assert "shell cannot be offered here" in done.err
