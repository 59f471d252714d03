"""Trace files and raw transcripts: everything that was said, for those who may see it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from tests.gateway.governing import LogLines, chat
from tests.gateway.serving import Gateway, StepEngine, final

from antiphon.engines.protocol import Chunk, Finish, FinishReason, Reading, Usage
from antiphon.errors import EngineError, SettingsError
from antiphon.gateway.trace import Completion, TraceEntry, TraceFile
from antiphon.gateway.transcript import as_text
from antiphon.settings.model import LogSettings, Settings, VisibilitySettings
from antiphon.vocab.control import CHANNEL, MESSAGE, RETURN
from antiphon.vocab.tokenizer import default_tokenizer

encode = default_tokenizer().encode


def traced(path: Path, engine: StepEngine | None = None) -> Gateway:
    settings = Settings(log=LogSettings(trace=str(path)))
    return Gateway(engine or StepEngine(final("Hi ü.")), settings, log=LogLines().log)


def entries(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text("utf-8").splitlines()]


def inspect(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "antiphon.cli", "inspect", *arguments],
        capture_output=True,
        encoding="utf-8",
        timeout=60,
        check=False,
    )


def test_every_turn_is_a_line_with_its_prompt_and_raw_output(tmp_path: Path) -> None:
    path = tmp_path / "trace.jsonl"
    with traced(path) as gateway:
        first = chat(gateway)
        chat(gateway, stream=True, n=2)
        prompt = list(gateway.engine.requests[0].prompt)
    found = entries(path)
    assert [entry["choice"] for entry in found] == [0, 0, 1]
    assert found[0]["request_id"] == first.headers["x-request-id"]
    assert found[0]["model"] == "m"
    assert found[0]["finish_reason"] == "stop"
    (completion,) = found[0]["completions"]
    assert completion["prompt"] == prompt
    assert completion["output"] == final("Hi ü.")
    assert completion["reading"] == "ids"
    assert completion["finish"] == "stop"


def test_the_file_is_for_its_owner_only_even_if_it_was_there(tmp_path: Path) -> None:
    path = tmp_path / "trace.jsonl"
    path.write_text("", "utf-8")
    path.chmod(0o666)
    TraceFile(str(path)).close()
    assert path.stat().st_mode & 0o777 == 0o600
    old = os.umask(0)
    try:
        TraceFile(str(tmp_path / "new.jsonl")).close()
    finally:
        os.umask(old)
    assert (tmp_path / "new.jsonl").stat().st_mode & 0o777 == 0o600


def test_new_turns_are_added_at_the_end(tmp_path: Path) -> None:
    path = tmp_path / "trace.jsonl"
    for _ in range(2):
        with traced(path) as gateway:
            chat(gateway)
    assert len(entries(path)) == 2


def test_a_turn_that_broke_off_is_traced_with_its_error(tmp_path: Path) -> None:
    path = tmp_path / "trace.jsonl"
    begun = [CHANNEL, *encode("final"), MESSAGE, *encode("Hel")]
    with traced(path, StepEngine(begun, EngineError("gone"))) as gateway:
        chat(gateway, stream=True)
    (entry,) = entries(path)
    assert entry["error"] == "engine_error"
    assert entry["completions"][0]["output"] == begun
    assert entry["finish_reason"] is None


def test_mends_are_in_the_trace_by_code(tmp_path: Path) -> None:
    path = tmp_path / "trace.jsonl"
    engine = StepEngine([CHANNEL, *encode("final"), CHANNEL, *final("Hi.")])
    with traced(path, engine) as gateway:
        chat(gateway)
    assert entries(path)[0]["recovered"] == ["repeated-channel"]


def test_a_file_that_cannot_be_written_is_an_error_at_the_start(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"log\.trace"):
        TraceFile(str(tmp_path / "none" / "trace.jsonl"))


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no full device here")
def test_a_full_disk_ends_no_request(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lines = LogLines()
    path = tmp_path / "trace.jsonl"
    settings = Settings(log=LogSettings(trace=str(path)))

    def full(self: TraceFile, entry: TraceEntry) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(TraceFile, "write", full)
    with Gateway(StepEngine(final("Hi.")), settings, log=lines.log) as gateway:
        assert chat(gateway).status == 200
    (line,) = lines.lines("trace")
    assert "No space left" in line["why"]


def output(reading: Reading, *chunks: Chunk) -> list[int | str]:
    completion = Completion(reading=reading, output=[])
    for chunk in chunks:
        completion.add((chunk,))
    return completion.joined()


def test_what_the_parser_was_fed_is_recorded_in_every_reading() -> None:
    ids = output("ids", Chunk((1, 2)), Chunk((3,), "x"))
    assert ids == [1, 2, 3]
    marked = output("marked", Chunk(text="<|channel|>fi"), Chunk((5,), "nal"), Chunk())
    assert marked == ["<|channel|>final"]
    stripped = output("stripped", Chunk(text="ana"), Chunk(text="lysis"))
    assert stripped == ["analysis"]
    hybrid = output(
        "hybrid",
        Chunk((CHANNEL,), ""),
        Chunk((7,), "a"),
        Chunk((8,), ""),  # The beginning of a character: its text comes with the next chunk.
        Chunk((9,), "ü", exact=False),
        Chunk((RETURN,), ""),
    )
    assert hybrid == [CHANNEL, 7, "ü", RETURN]
    usage = Usage(prompt_tokens=1, completion_tokens=1)
    completion = Completion(reading="ids", output=[])
    completion.add((Chunk((1,)), Chunk(finish=Finish(FinishReason.LENGTH, None, usage))))
    assert completion.finish == "length"


def test_ids_and_text_read_as_one_text() -> None:
    assert as_text([CHANNEL, *encode("final"), MESSAGE, *encode("€🙂"), " and ", RETURN]) == (
        "<|channel|>final<|message|>€🙂 and <|return|>"
    )


def test_inspect_shows_the_last_turn_or_the_one_asked_for(tmp_path: Path) -> None:
    path = tmp_path / "trace.jsonl"
    with traced(path) as gateway:
        for question in ("First question", "Second question", "Third question"):
            gateway.chat(question)
    last = inspect(str(path))
    assert last.returncode == 0
    assert "Third question" in last.stdout
    assert "Hi ü." in last.stdout
    assert "entry 3 of 3" in last.stderr
    for entry, question in (("1", "First"), ("-2", "Second"), ("3", "Third")):
        shown = inspect("--entry", entry, str(path))
        assert f"{question} question" in shown.stdout
    html = inspect("--html", str(path))
    assert "<html" in html.stdout
    assert "Third question" in html.stdout


def entry(*completions: Completion, **fields: Any) -> TraceEntry:
    return TraceEntry(
        time="2026-11-21T00:00:00+00:00",
        request_id="req_1",
        model="m",
        engine="e",
        completions=list(completions),
        **fields,
    )


@pytest.mark.parametrize(
    ("completion", "shown"),
    [
        (
            Completion(
                reading="marked",
                prompt=[200006, *encode("user"), MESSAGE, *encode("<|call|> is text"), 200007],
                output=["<|start|>assistant<|channel|>final<|message|>Hi.", "<|return|>"],
            ),
            ["<|call|> is text", "channel=final", "Hi."],
        ),
        (
            Completion(
                reading="stripped", prompt=[200006], output=["analysisHm.assistantfinalHi."]
            ),
            ["channel=analysis", "channel=final", "Hi."],
        ),
        (
            Completion(
                reading="hybrid",
                prompt=[200006, *encode("assistant")],
                output=[CHANNEL, "final", MESSAGE, "Hi.", RETURN],
            ),
            ["channel=final", "Hi."],
        ),
    ],
)
def test_inspect_reads_traces_of_every_reading(
    tmp_path: Path, completion: Completion, shown: list[str]
) -> None:
    path = tmp_path / "trace.jsonl"
    file = TraceFile(str(path))
    file.write(entry(completion, finish_reason="stop"))
    file.close()
    done = inspect(str(path))
    assert done.returncode == 0, done.stderr
    for text in shown:
        assert text in done.stdout


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["--entry", "9"], 2, "has 1 entry"),
        (["--entry", "-2"], 2, "has 1 entry"),
        (["--entry", "0"], 2, "counts from 1"),
    ],
)
def test_an_entry_that_is_not_there_is_an_error(
    tmp_path: Path, arguments: list[str], code: int, message: str
) -> None:
    path = tmp_path / "trace.jsonl"
    file = TraceFile(str(path))
    file.write(entry(Completion(reading="ids", prompt=[1], output=[2])))
    file.close()
    done = inspect(*arguments, str(path))
    assert (done.returncode, done.stdout) == (code, "")
    assert message in done.stderr


def test_damaged_traces_and_other_files_are_clear_errors(tmp_path: Path) -> None:
    path = tmp_path / "trace.jsonl"
    empty = '"time":"","request_id":"","model":"","engine":"","completions":[]}'
    for text, message in (
        ('{"antiphon_trace":1,"time":"x"}\n', "missing required field"),
        ('{"antiphon_trace":1,', "entry 1"),
        ('{"antiphon_trace":99,' + empty, "version 99"),
        ('{"antiphon_trace":1,' + empty, "before anything was asked"),
    ):
        path.write_text(text, "utf-8")
        done = inspect(str(path))
        assert done.returncode == 1
        assert message in done.stderr
    path.write_text("<|start|>user<|message|>Hi<|end|>", "utf-8")
    done = inspect("--entry", "1", str(path))
    assert (done.returncode, "is not a trace file" in done.stderr) == (2, True)
    assert inspect(str(path)).returncode == 0


def raw_gateway() -> Gateway:
    settings = Settings(visibility=VisibilitySettings(raw=True))
    return Gateway(StepEngine(final("Hi.")), settings, log=LogLines().log)


RAW = {"antiphon-raw": "1"}


def test_the_raw_transcript_comes_with_an_answer() -> None:
    with raw_gateway() as gateway:
        answer = chat(gateway, RAW).json
        assert "antiphon_raw" not in chat(gateway).json
        assert "antiphon_raw" not in chat(gateway, {"antiphon-raw": "0"}).json
    (choice,) = answer.pop("antiphon_raw")
    (completion,) = choice["completions"]
    assert completion["prompt"].startswith("<|start|>system<|message|>")
    assert completion["prompt"].endswith("<|start|>assistant")
    assert completion["output"] == "<|channel|>final<|message|>Hi.<|return|>"
    assert answer["choices"][0]["message"]["content"] == "Hi."


def test_in_a_stream_the_raw_transcript_is_a_comment() -> None:
    with raw_gateway() as gateway:
        answer = chat(gateway, RAW, stream=True)
    (comment,) = [
        line for line in answer.body.decode().splitlines() if line.startswith(": antiphon-raw ")
    ]
    transcript = json.loads(comment.removeprefix(": antiphon-raw "))
    output = transcript[0]["completions"][0]["output"]
    assert output == "<|channel|>final<|message|>Hi.<|return|>"
    assert answer.text == "Hi."
    assert answer.events[-1] == "data: [DONE]"


def test_the_raw_transcript_is_a_setting_that_is_off() -> None:
    with Gateway(StepEngine(final("Hi.")), log=LogLines().log) as gateway:
        answer = chat(gateway, RAW)
    assert (answer.status, answer.error["code"]) == (403, "raw_not_enabled")


def test_what_is_passed_through_has_no_raw_transcript() -> None:
    from tests.gateway.governing import Model
    from tests.gateway.test_modes import Route

    from antiphon.settings.model import ModelSettings

    engine = StepEngine()
    settings = Settings(visibility=VisibilitySettings(raw=True))
    catalog = Model(engine, ModelSettings(mode="standard"), passthrough=Route())
    with Gateway(engine, settings, catalog=catalog, log=LogLines().log) as gateway:
        answer = chat(gateway, RAW)
    assert (answer.status, answer.error["code"]) == (400, "raw_not_possible")
