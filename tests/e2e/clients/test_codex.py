"""Codex, the command line agent, which speaks the Responses API: `codex exec` against traces."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from tests.e2e.clients.node_packages import NODE_FOLDER, node
from tests.e2e.serving import Serving, command, serving

pytestmark = [pytest.mark.clients, pytest.mark.filterwarnings("default")]

MODEL = "gpt-oss-120b"
LOG_SECONDS = 10.0
CONFIG = """\
model = "{model}"
model_provider = "gw"
approval_policy = "never"
sandbox_mode = "workspace-write"
model_reasoning_effort = "low"
web_search = "disabled"
{more}
[agents]
enabled = false
[features]
goals = false
[model_providers.gw]
name = "gw"
base_url = "{url}"
wire_api = "responses"
env_key = "GW_API_KEY"
request_max_retries = 0
stream_max_retries = {retries}
stream_idle_timeout_ms = 300000
supports_websockets = {sockets}
"""
CATALOG = {
    "models": [
        {
            "slug": MODEL,
            "display_name": MODEL,
            "description": "A gpt-oss",
            "default_reasoning_level": "medium",
            "supported_reasoning_levels": [
                {"effort": effort, "description": effort} for effort in ("low", "medium", "high")
            ],
            "shell_type": "unified_exec",
            "visibility": "list",
            "supported_in_api": True,
            "priority": 1,
            "upgrade": None,
            "base_instructions": "You are a coding agent.",
            "supports_reasoning_summaries": False,
            "support_verbosity": False,
            "default_verbosity": None,
            "apply_patch_tool_type": "freeform",
            "truncation_policy": {"mode": "tokens", "limit": 10000},
            "supports_parallel_tool_calls": False,
            "context_window": 131072,
            "experimental_supported_tools": [],
            "input_modalities": ["text"],
        }
    ]
}


def shell(command: str, *, thought: str = "") -> str:
    """The model's call of Codex's shell, as it writes it."""
    arguments = json.dumps({"cmd": command})
    thinks = f"<|channel|>analysis<|message|>{thought}<|end|><|start|>assistant" if thought else ""
    return (
        f"{thinks}<|channel|>commentary to=functions.exec_command <|constrain|>json"
        f"<|message|>{arguments}<|call|>"
    )


def final(text: str) -> str:
    return f"<|channel|>final<|message|>{text}<|return|>"


def when(user: str, step: int, emit: str) -> dict[str, Any]:
    return {"when": {"user": user, "step": step}, "emit": emit}


PATCH = """\
*** Begin Patch
*** Add File: poem.txt
+A \"quoted\" line, and a \\backslash.
+Ünïcode.
*** End Patch
"""
BROKEN = '{"error": {"message": "the engine broke", "type": "server_error"}}'
LIMITED = '{"error": {"message": "slow down, try again in 1s", "code": "rate_limit_exceeded"}}'
THOUGHT = "The secret is a walrus."
TRACE: list[dict[str, Any]] = [
    when("TEXT", 0, final("Good morning, naïve 🎉 world.")),
    when("SHELL", 0, shell("printf zebra > made.txt && cat made.txt", thought="I write a file.")),
    when("SHELL", 1, final("It says zebra.")),
    when(
        "PARALLEL",
        0,
        shell("echo first-$((40+1))").replace("<|call|>", "<|end|><|start|>assistant")
        + shell("echo second-$((40+2))"),
    ),
    when("PARALLEL", 2, final("Both ran.")),
    when(
        "PREAMBLE",
        0,
        "<|channel|>commentary<|message|>I look around first.<|end|><|start|>assistant"
        + shell("echo around"),
    ),
    when("PREAMBLE", 1, final("There is nothing.")),
    when(
        "PATCH",
        0,
        f"<|channel|>commentary to=functions.apply_patch<|message|>{PATCH}<|call|>",
    ),
    when("PATCH", 1, final("The poem is written.")),
    {"when": {"user": "ALWAYS LIMITED"}, "status": 429, "body": LIMITED},
    {"when": {"user": "ONCE LIMITED", "step": 0}, "status": 429, "body": LIMITED, "times": 1},
    when("ONCE LIMITED", 0, final("There was room in the end.")),
    {"when": {"user": "ALWAYS BROKEN"}, "status": 500, "body": BROKEN},
    {"when": {"user": "ONCE BROKEN", "step": 0}, "status": 500, "body": BROKEN, "times": 1},
    when("ONCE BROKEN", 0, final("It got better.")),
    when("INTERRUPTED", 0, shell("echo step-one", thought=THOUGHT)),
    {"when": {"user": "INTERRUPTED", "step": 1}, "status": 500, "body": BROKEN},
    when("GO ON", 0, final("I went on.")),
    when("AND AGAIN", 0, final("And again.")),
]


class Codex(NamedTuple):
    """A Codex with a home and a working folder of its own."""

    server: Serving
    prompts: Path
    """The server's trace: every prompt that the engine got."""
    home: Path
    work: Path

    def configure(self, *, retries: int = 0, sockets: bool = False, catalog: bool = True) -> None:
        more = ""
        if catalog:
            file = self.home / "catalog.json"
            file.write_text(json.dumps(CATALOG), encoding="utf-8")
            more = f"model_catalog_json = {json.dumps(str(file))}\n"
        config = CONFIG.format(
            model=MODEL,
            url=self.server.base_url,
            more=more,
            retries=retries,
            sockets=str(sockets).lower(),
        )
        (self.home / "config.toml").write_text(config, encoding="utf-8")

    def run(self, prompt: str, *arguments: str | Path, resume: bool = False) -> list[Any]:
        """The events of one headless run."""
        done = subprocess.run(
            [
                *(node(), NODE_FOLDER / "node_modules" / "@openai" / "codex" / "bin" / "codex.js"),
                *("exec", "--strict-config"),
                *(["resume", "--last"] if resume else []),
                *("--skip-git-repo-check", "--json"),
                *("--dangerously-bypass-approvals-and-sandbox", *arguments, "-"),
            ],
            cwd=self.work,
            env=os.environ
            | {"CODEX_HOME": str(self.home), "HOME": str(self.home), "GW_API_KEY": "unused"},
            input=prompt,
            capture_output=True,
            encoding="utf-8",
            timeout=120,
        )
        events = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
        print(*events, done.stderr, sep="\n")  # Shown if the test fails.
        assert events
        assert (done.returncode == 0) is (events[-1]["type"] == "turn.completed")
        return events

    def last_prompt(self) -> str:
        """The last turn as the engine saw it, with what it answered."""
        done = subprocess.run(
            [*command(), "inspect", "--entry", "-1", str(self.prompts)],
            capture_output=True,
            encoding="utf-8",
            timeout=60,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout


def items(events: list[Any], kind: str) -> list[Any]:
    """The items of a kind that were completed."""
    return [
        event["item"]
        for event in events
        if event["type"] == "item.completed" and event["item"]["type"] == kind
    ]


def texts(events: list[Any]) -> list[str]:
    return [item["text"] for item in items(events, "agent_message")]


def complaints(events: list[Any]) -> list[str]:
    return [event["message"] for event in events if event["type"] == "error"]


def logged(server: Serving, seen: int) -> list[Any]:
    """The requests that the server has logged behind so many lines; at least one."""
    deadline = time.monotonic() + LOG_SECONDS
    while time.monotonic() < deadline:
        entries = [json.loads(line) for line in server.log[seen:]]
        requests = [entry for entry in entries if entry["event"] == "request"]
        if requests:
            return requests
        time.sleep(0.02)
    raise AssertionError("the server has logged no request")


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Serving, Path]]:
    """A gateway that remembers no reasoning: what the model knows, Codex has sent back."""
    folder = tmp_path_factory.mktemp("codex")
    trace, prompts = folder / "trace.jsonl", folder / "prompts.jsonl"
    trace.write_text("\n".join(map(json.dumps, TRACE)), encoding="utf-8")
    engine = ("--engine", f"scripted:{trace}", "--set", "memory.enabled=false")
    with serving(folder, *engine, "--trace", str(prompts)) as running:
        yield running, prompts


@pytest.fixture
def codex(
    gateway: tuple[Serving, Path], tmp_path: Path, pytestconfig: pytest.Config
) -> Iterator[Codex]:
    """Its home is in the checkout: Codex puts no helpers into a folder for temporary files."""
    assert pytestconfig.cache is not None
    home = Path(tempfile.mkdtemp(dir=pytestconfig.cache.mkdir("codex")))
    work = tmp_path / "work"
    work.mkdir()
    made = Codex(*gateway, home, work)
    made.configure()
    try:
        yield made
    finally:
        shutil.rmtree(home, ignore_errors=True)


@pytest.mark.parametrize("catalog", [True, False])
@pytest.mark.parametrize("sockets", [False, True])
def test_it_shows_the_answer_and_what_it_cost(codex: Codex, sockets: bool, catalog: bool) -> None:
    codex.configure(sockets=sockets, catalog=catalog)
    seen = len(codex.server.log)
    events = codex.run("TEXT")
    assert texts(events) == ["Good morning, naïve 🎉 world."]
    usage = events[-1]["usage"]
    assert usage["input_tokens"] > 1_000
    assert usage["output_tokens"] > 5
    assert not complaints(events)
    assert {entry["method"] for entry in logged(codex.server, seen)} == (
        {"GET"} if sockets else {"POST"}
    )


@pytest.mark.parametrize("sockets", [False, True])
def test_it_runs_the_models_command_and_sends_its_output_and_the_reasoning_back(
    codex: Codex, sockets: bool
) -> None:
    codex.configure(sockets=sockets)
    events = codex.run("SHELL")
    (ran,) = items(events, "command_execution")
    assert (ran["exit_code"], ran["aggregated_output"]) == (0, "zebra")
    assert (codex.work / "made.txt").read_text("utf-8") == "zebra"
    assert texts(events) == ["It says zebra."]
    assert events[-1]["usage"]["reasoning_output_tokens"] > 0
    prompt = codex.last_prompt()
    assert "I write a file." in prompt
    assert "zebra" in prompt.rpartition("#7 tool  name=functions.exec_command")[2]


def test_two_parallel_calls_are_run_and_both_outputs_come_back(codex: Codex) -> None:
    events = codex.run("PARALLEL")
    outputs = [item["aggregated_output"].strip() for item in items(events, "command_execution")]
    assert sorted(outputs) == ["first-41", "second-42"]
    assert texts(events) == ["Both ran."]
    prompt = codex.last_prompt()
    assert prompt.index("first-$((40+1))") < prompt.index("second-$((40+2))")
    assert "first-41" in prompt
    assert "second-42" in prompt


def test_a_preamble_is_a_message_of_its_own_and_stays_in_the_history(codex: Codex) -> None:
    events = codex.run("PREAMBLE")
    assert texts(events) == ["I look around first.", "There is nothing."]
    (ran,) = items(events, "command_execution")
    assert ran["aggregated_output"] == "around\n"
    assert "assistant  channel=commentary  (" in codex.last_prompt()


def test_a_free_form_patch_is_applied(codex: Codex) -> None:
    events = codex.run("PATCH")
    (change,) = items(events, "file_change")
    assert change["status"] == "completed"
    assert (codex.work / "poem.txt").read_text("utf-8") == (
        'A "quoted" line, and a \\backslash.\nÜnïcode.\n'
    )
    assert texts(events) == ["The poem is written."]


def test_an_output_schema_is_filled_in(codex: Codex, tmp_path: Path) -> None:
    schema, answer = tmp_path / "schema.json", tmp_path / "answer.json"
    properties = {"mood": {"type": "string", "enum": ["<|end|>"]}, "size": {"type": "integer"}}
    schema.write_text(
        json.dumps(
            {
                "type": "object",
                "properties": properties,
                "required": list(properties),
                "additionalProperties": False,
            }
        ),
        encoding="utf-8",
    )
    events = codex.run("Describe an animal.", "--output-schema", schema, "-o", answer)
    said = json.loads(answer.read_text("utf-8"))
    assert [json.loads(text) for text in texts(events)] == [said]
    assert said.keys() == properties.keys()
    assert said["mood"] == "<|end|>"
    assert type(said["size"]) is int


def test_resuming_sends_reasoning_back_which_the_model_sees_until_it_has_answered(
    codex: Codex,
) -> None:
    broken = codex.run("INTERRUPTED")
    assert broken[-1]["type"] == "turn.failed"
    resumed = codex.run("GO ON", resume=True)
    assert texts(resumed) == ["I went on."]
    assert THOUGHT in codex.last_prompt()
    assert "step-one" in codex.last_prompt()
    assert texts(codex.run("AND AGAIN", resume=True)) == ["And again."]
    prompt = codex.last_prompt()
    assert "I went on." in prompt
    assert "step-one" in prompt
    assert THOUGHT not in prompt


def test_a_prompt_that_is_too_long_is_told_as_such_and_not_tried_again(codex: Codex) -> None:
    codex.configure(retries=2)
    seen = len(codex.server.log)
    events = codex.run("word " * 150_000)
    assert events[-1]["type"] == "turn.failed"
    assert "ran out of room in the model's context window" in events[-1]["error"]["message"]
    assert [entry["error"] for entry in logged(codex.server, seen)] == ["context_length_exceeded"]
    assert not [text for text in complaints(events) if text.startswith("Reconnecting")]


@pytest.mark.parametrize(
    ("trouble", "answer"),
    [("LIMITED", "There was room in the end."), ("BROKEN", "It got better.")],
)
def test_trouble_that_passes_is_waited_out(codex: Codex, trouble: str, answer: str) -> None:
    codex.configure(retries=1)
    events = codex.run(f"ONCE {trouble}")
    assert texts(events) == [answer]
    (complaint,) = complaints(events)
    assert complaint.startswith("Reconnecting... 1/1")


@pytest.mark.parametrize(
    ("trouble", "told"),
    [("LIMITED", "rate limit exceeded: .*slow down"), ("BROKEN", "the engine broke")],
)
def test_trouble_that_stays_is_told_after_the_last_try(
    codex: Codex, trouble: str, told: str
) -> None:
    codex.configure(retries=1)
    events = codex.run(f"ALWAYS {trouble}")
    assert events[-1]["type"] == "turn.failed"
    assert re.search(told, events[-1]["error"]["message"])
    assert [text.startswith("Reconnecting") for text in complaints(events)] == [True, False]
