"""Saved sessions: each line as it happens, whole after any crash, found, resumed, removed."""

from __future__ import annotations

import asyncio
import datetime as dt
import os
import re
import signal
import stat
import subprocess
import sys
from pathlib import Path

import pytest
from tests.agent.agenting import CALL, FINAL, OSLO, RAIN, THOUGHT, Made, agent_of, of, ran, said

from antiphon.agent.agent import Agent
from antiphon.agent.approval import Decision
from antiphon.agent.events import AgentEvent, Answer, ApprovalAsked, RunStarted
from antiphon.agent.sessions.folder import SessionFolder, sessions_folder
from antiphon.agent.sessions.log import SessionLog
from antiphon.agent.transcript import INTERRUPTED, settled
from antiphon.errors import StoreError
from antiphon.settings.model import AgentSettings
from antiphon.tools.protocol import Emit

BOTH = CALL + '{"city":"Oslo"}{"city":"Rome"}<|call|>'


class Now:
    """Time that goes on by a second each time it is asked for."""

    def __init__(self) -> None:
        self.at = dt.datetime(2026, 11, 21, 14, 30, 5, tzinfo=dt.UTC)

    def __call__(self) -> dt.datetime:
        self.at += dt.timedelta(seconds=1)
        return self.at


@pytest.fixture
def folder(tmp_path: Path) -> SessionFolder:
    return SessionFolder(tmp_path / "sessions", now=Now())


def resumed(folder: SessionFolder, id: str, *scripts: str) -> tuple[Agent, SessionLog]:
    saved, log = folder.resume(id)
    return agent_of(*scripts, tools=[Made()], journal=log, entries=saved.entries), log


def test_a_session_is_read_as_it_was_said(folder: SessionFolder) -> None:
    with folder.begin("/users/me") as log:
        agent = agent_of(THOUGHT + BOTH, THOUGHT + RAIN, tools=[Made()], journal=log)
        _, events = ran(agent)
        assert of(events, RunStarted)[0].session == log.id
    saved = folder.read(log.id)
    assert saved.entries == agent.dialogue.entries
    assert saved.setup == agent.dialogue.setup
    assert (saved.folder, saved.turns, saved.end, saved.damaged) == ("/users/me", 2, "answer", 0)
    assert saved.usage.completion_tokens > 0
    assert sorted(path.name for path in folder.path.iterdir()) == [f"{log.id}.jsonl"]


def test_only_its_owner_can_read_it(folder: SessionFolder) -> None:
    with folder.begin("") as log:
        log.piece(1, "answer", "x")
        for path in folder.path.iterdir():
            assert stat.S_IMODE(path.stat().st_mode) == 0o600
        assert stat.S_IMODE(folder.path.stat().st_mode) == 0o700


def test_it_goes_on_where_it_was(folder: SessionFolder) -> None:
    with folder.begin("") as log:
        ran(agent_of(OSLO, RAIN, tools=[Made()], journal=log), "One?")
    agent, log = resumed(folder, log.id, FINAL + "Two.<|return|>")
    with log:
        ran(agent, "Two?")
    assert [text for _, text in said(agent)] == [
        "One?",
        '{"city":"Oslo"}',
        "wet",
        "Rain.",
        "Two?",
        "Two.",
    ]
    assert folder.read(log.id).entries == agent.dialogue.entries


def test_decisions_are_kept(folder: SessionFolder) -> None:
    async def no(asked: ApprovalAsked) -> Decision:
        return Decision(allowed=False, reason="no")

    with folder.begin("") as log:
        ran(agent_of(OSLO, RAIN, tools=[Made(approval="ask")], ask=no, journal=log))
    (decision,) = folder.read(log.id).decisions.values()
    assert (decision.tool, decision.allowed, decision.by) == ("weather", False, "person")


@pytest.mark.parametrize(
    "torn", [b'{"type":"said","li', b"\xff\xfe", b'{"type":"end","reason":"answer"}']
)
def test_a_torn_last_line_is_repaired(folder: SessionFolder, torn: bytes) -> None:
    with folder.begin("") as log:
        ran(agent_of(RAIN, journal=log), "One?")
    with log.path.open("ab") as file:
        file.write(torn)
    agent, log = resumed(folder, log.id, RAIN)
    with log:
        ran(agent, "Two?")
    saved = folder.read(log.id)
    assert saved.damaged == 0
    assert [e.message.text for e in saved.entries] == ["One?", "Rain.", "Two?", "Rain."]


@pytest.mark.parametrize("share", [0.1, 0.35, 0.5, 0.77, 0.9, 0.99])
def test_a_file_cut_anywhere_can_be_gone_on_with(folder: SessionFolder, share: float) -> None:
    with folder.begin("") as log:
        ran(agent_of(THOUGHT + BOTH, RAIN, OSLO, RAIN, tools=[Made()], journal=log))
    size = log.path.stat().st_size
    os.truncate(log.path, int(size * share))
    agent, log = resumed(folder, log.id, RAIN)
    with log:
        end, _ = ran(agent, "And now?")
    assert end.reason == "answer"
    saved = folder.read(log.id)
    assert (saved.damaged, list(saved.entries)) == (0, settled(saved.entries))
    assert saved.entries == agent.dialogue.entries


def test_a_damaged_line_costs_only_itself(folder: SessionFolder) -> None:
    with folder.begin("") as log:
        ran(agent_of(RAIN, journal=log), "One?")
    lines = log.path.read_bytes().splitlines(keepends=True)
    lines.insert(2, b'{"type":"said","line":{"message":{"role":"queen","content":"x"}}}\n')
    lines.insert(2, b"garbage\n")
    lines.insert(2, b'{"type":"from the future"}\n')
    log.path.write_bytes(b"".join(lines))
    saved = folder.read(log.id)
    assert saved.damaged == 3
    assert [e.message.text for e in saved.entries] == ["One?", "Rain."]


def test_what_a_process_that_died_was_saying_is_kept(folder: SessionFolder) -> None:
    log = folder.begin("")
    log.said(_user("One?"))
    log.piece(1, "thinking", "Hm")
    log.piece(1, "thinking", "mm")
    log.piece(2, "answer", "It ra")
    shown = folder.read(log.id)
    assert [e.message.text for e in shown.entries] == ["One?", "Hmmm", "It ra"]
    with log.path.with_suffix(".partial").open("ab") as file:
        file.write(b'[0,2,"answ')
    _dies(log)
    agent, log = resumed(folder, log.id, RAIN)
    assert not log.path.with_suffix(".partial").exists()
    with log:
        ran(agent, "Go on")
    texts = [e.message.text for e in folder.read(log.id).entries]
    assert texts == ["One?", "Hmmm", "It ra", "Go on", "Rain."]


def test_pieces_of_a_turn_that_was_written_are_not_told_twice(folder: SessionFolder) -> None:
    with folder.begin("") as log:
        ran(agent_of(RAIN, journal=log), "One?")
    partial = log.path.with_suffix(".partial")
    partial.write_bytes(b'[0,1,"answer","Rain."]\n')  # it died before it could forget them
    assert [e.message.text for e in folder.read(log.id).entries] == ["One?", "Rain."]
    _, log = resumed(folder, log.id)
    log.close()
    assert [e.message.text for e in folder.read(log.id).entries] == ["One?", "Rain."]


def test_calls_without_results_are_settled_once(folder: SessionFolder) -> None:
    with folder.begin("") as log:
        agent = agent_of(BOTH, RAIN, tools=[Made()], journal=log)
        ran(agent)
    lines = log.path.read_bytes().splitlines(keepends=True)
    results = [at for at, line in enumerate(lines) if b'"role":"tool"' in line]
    log.path.write_bytes(b"".join(lines[: results[0]]))
    for _ in range(2):
        agent, log = resumed(folder, log.id)
        log.close()
        assert [text for _, text in said(agent)][-2:] == [INTERRUPTED, INTERRUPTED]
    assert folder.read(log.id).entries == agent.dialogue.entries


def test_results_that_came_in_another_order_stand_in_the_order_of_the_calls(
    folder: SessionFolder,
) -> None:
    async def second_first(given: dict[str, str], emit: Emit) -> str:
        if given["city"] == "Oslo":
            for _ in range(5):
                await asyncio.sleep(0)
        return given["city"]

    with folder.begin("") as log:
        ran(agent_of(BOTH, RAIN, tools=[Made(does=second_first)], journal=log))
    saved = folder.read(log.id)
    told = [e.message.text for e in settled(saved.entries) if e.is_result]
    assert told == ["Oslo", "Rome"]


def test_a_session_is_open_in_one_process_at_a_time(folder: SessionFolder) -> None:
    with folder.begin("") as log:
        with pytest.raises(StoreError, match="open in another process"):
            folder.resume(log.id)
        with pytest.raises(StoreError, match="open in another process"):
            folder.remove(log.id)
    folder.resume(log.id)[1].close()


def test_a_file_that_cannot_be_written_ends_the_run(folder: SessionFolder) -> None:
    log = folder.begin("")
    agent = agent_of(RAIN, RAIN, journal=log)
    reader, writer = os.pipe()
    os.close(reader)
    before = signal.signal(signal.SIGPIPE, signal.SIG_IGN)
    try:
        os.dup2(writer, log._file)  # writes fail from now on
        end, _ = ran(agent)
    finally:
        signal.signal(signal.SIGPIPE, before)
        os.close(writer)
        log.close()
    assert end.reason == "error"
    assert "cannot write the session file" in end.detail


def test_a_result_that_cannot_be_written_ends_the_other_calls(folder: SessionFolder) -> None:
    ended: list[str] = []
    log = folder.begin("")

    async def work(given: dict[str, str], emit: Emit) -> str:
        if given["city"] == "Oslo":
            log.said = full  # type: ignore[method-assign]
            return "cold"
        try:
            await asyncio.Event().wait()
        finally:
            ended.append(given["city"])
        return ""

    def full(entry: object) -> None:
        raise StoreError("the disk is full")

    twice = BOTH.replace("Oslo", "x").replace("Rome", "Oslo").replace('"x"', '"Rome"')
    agent = agent_of(twice, tools=[Made(does=work)], journal=log)
    with log:
        end, _ = ran(agent)
    assert (end.reason, end.detail) == ("error", "the disk is full")
    assert ended == ["Rome"]
    calls = [e.call_id for e in agent.dialogue.entries if e.is_call]
    assert [e.call_id for e in agent.dialogue.entries if e.is_result] == calls


def test_everything_is_flushed_to_the_disk_if_that_is_wanted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    flushed: list[int] = []
    monkeypatch.setattr(os, "fsync", flushed.append)
    for sync, times in (("normal", 0), ("full", 5)):
        folder = SessionFolder(tmp_path / sync, now=Now(), sync=sync)  # type: ignore[arg-type]
        with folder.begin("") as log:
            ran(agent_of(RAIN, journal=log))
        # begin, setup, question, turn, end
        assert len(flushed) == times


def test_sessions_are_listed_the_last_first_and_found_by_parts_of_their_ids(
    folder: SessionFolder,
) -> None:
    ids = []
    for at, text in enumerate(("First question", "Second\n question " + "x" * 100)):
        with folder.begin(f"/{at}") as log:
            ran(agent_of(RAIN, journal=log), text)
            ids.append(log.id)
        os.utime(log.path, (at, at))
    (folder.path / "notes.jsonl").write_text("no session", encoding="utf-8")
    (folder.path / f"{ids[0][:-4]}zzzz.jsonl").write_text("no session", encoding="utf-8")
    second, first = folder.list()
    assert (first.id, first.title, first.model, first.folder) == (
        ids[0],
        "First question",
        "gpt-oss",
        "/0",
    )
    assert second.title.startswith("Second question xxx")
    assert second.title.endswith("…")
    assert folder.latest() == ids[1]
    assert folder.latest("/0") == ids[0]
    assert folder.latest("/nowhere") is None
    assert folder.find(ids[0][-4:]) == ids[0]
    assert re.fullmatch(r"20261121-1430\d\d-[0-9a-f]{4}", ids[0])
    with pytest.raises(StoreError, match="2 sessions"):
        folder.find("20261121")
    for wrong in ("", "../../etc/passwd", "nothing"):
        with pytest.raises(StoreError, match="no session"):
            folder.find(wrong)
    assert folder.remove(ids[0]) == ids[0]
    assert [summary.id for summary in folder.list()] == [ids[1]]


def test_the_folder_is_in_the_users_state_folder_unless_the_settings_say_otherwise() -> None:
    if sys.platform == "linux":
        environ = {"HOME": "/users/me"}
        assert sessions_folder(AgentSettings(), environ) == Path(
            "/users/me/.local/state/antiphon/sessions"
        )
        environ["XDG_STATE_HOME"] = "/state"
        assert sessions_folder(AgentSettings(), environ) == Path("/state/antiphon/sessions")
    assert sessions_folder(AgentSettings(sessions="/x"), {}) == Path("/x")


KILLED = """
import asyncio, datetime, os, signal, sys
from pathlib import Path
from tests.agent.agenting import FINAL, OSLO, Made, agent_of
from antiphon.agent.events import Answer
from antiphon.agent.sessions.folder import SessionFolder

folder = SessionFolder(Path(sys.argv[1]), now=lambda: datetime.datetime.now(datetime.UTC))
log = folder.begin("")
agent = agent_of(OSLO, FINAL + "One two three four.<|return|>", tools=[Made()], journal=log)
def emit(event):
    if isinstance(event, Answer) and "three" in event.text:
        os.kill(os.getpid(), signal.SIGKILL)
asyncio.run(agent.run("How is it?", emit))
"""


@pytest.mark.skipif(os.name != "posix", reason="kills by signal")
def test_a_process_that_is_killed_loses_nothing(folder: SessionFolder) -> None:
    root = Path(__file__).parents[2]
    env = {**os.environ, "PYTHONPATH": os.pathsep.join([str(root), *sys.path])}
    done = subprocess.run(
        [sys.executable, "-c", KILLED, folder.path], env=env, check=False, timeout=60
    )
    assert done.returncode == -signal.SIGKILL
    (summary,) = folder.list()
    agent, log = resumed(folder, summary.id, RAIN)
    with log:
        end, _ = ran(agent, "Go on")
    assert end.reason == "answer"
    assert [text for _, text in said(agent)] == [
        "How is it?",
        '{"city":"Oslo"}',
        "wet",
        "One two three",
        "Go on",
        "Rain.",
    ]


def test_a_run_that_is_cancelled_is_saved_as_far_as_it_came(folder: SessionFolder) -> None:
    log = folder.begin("")
    agent = agent_of(FINAL + "One two three.<|return|>", journal=log)

    async def run() -> None:
        def emit(event: AgentEvent) -> None:
            if isinstance(event, Answer) and "two" in event.text:
                task.cancel()

        task = asyncio.ensure_future(agent.run("How is it?", emit))
        with pytest.raises(asyncio.CancelledError):
            await task

    with log:
        asyncio.run(run())
    saved = folder.read(log.id)
    assert saved.end == "cancelled"
    assert saved.entries == agent.dialogue.entries
    assert saved.entries[-1].message.text == "One two"


def _user(text: str):
    from antiphon.agent.transcript import Entry
    from antiphon.model.message import Message

    return Entry(Message.user(text))


def _dies(log: SessionLog) -> None:
    """As if the process were gone: the files are closed and nothing else is done."""
    os.close(log._file)
    assert log._pieces is not None
    os.close(log._pieces)
    log._file, log._pieces = -1, None
