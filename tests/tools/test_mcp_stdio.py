"""MCP servers behind pipes: what they offer, what they answer, and how they misbehave."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("mcp")

from antiphon.settings.tools import McpSettings
from antiphon.tools.mcp.config import parse_config
from antiphon.tools.mcp.servers import McpServers
from antiphon.tools.mcp.tool import McpTool
from antiphon.tools.protocol import ToolOutput

pytestmark = pytest.mark.slow

ROUGH = Path(__file__).with_name("rough_mcp_server.py")
Work = Callable[[McpServers, dict[str, McpTool]], Awaitable[None]]


class Rough:
    """The rough server in a configuration, and what it noted."""

    def __init__(self, folder: Path) -> None:
        self.notes = folder / "notes"

    def config(self, mode: str = "", **more: Any) -> dict[str, Any]:
        return {"command": sys.executable, "args": [str(ROUGH), str(self.notes), mode], **more}

    def seen(self) -> list[str]:
        return self.notes.read_text().splitlines() if self.notes.exists() else []

    def pids(self) -> list[int]:
        return [int(line.split()[1]) for line in self.seen() if line.startswith("start ")]

    def run(
        self, work: Work, *, mode: str = "", more: dict[str, Any] | None = None, **limits: Any
    ) -> None:
        entry = self.config(mode, **(more or {}))
        config = parse_config(json.dumps({"mcpServers": {"rough": entry}}), "test")

        async def main() -> None:
            async with McpServers(config, McpSettings(**limits)) as servers:
                tools = {tool.definition.name: tool for tool in await servers.tools()}
                await work(servers, tools)

        asyncio.run(main())


@pytest.fixture
def rough(tmp_path: Path) -> Rough:
    return Rough(tmp_path)


async def call(tool: McpTool, **arguments: str) -> ToolOutput:
    return await tool.call(arguments, emit=lambda text: None)


def alive(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state != "Z"


async def until(true: Callable[[], bool]) -> None:
    """Look until it is so."""
    async with asyncio.timeout(20):
        while not true():  # noqa: ASYNC110 - nobody tells us
            await asyncio.sleep(0.01)


async def gone(pid: int) -> None:
    await until(lambda: not alive(pid))


def test_tools_come_with_their_schemas_under_names_that_gpt_oss_can_call(rough: Rough) -> None:
    async def work(servers: McpServers, tools: dict[str, McpTool]) -> None:
        assert tools["echo"].name == "rough_echo"
        assert tools["python"].name == "rough_python"
        assert tools["echo"].description == "Says it again."
        assert tools["echo"].parameters["properties"] == {"text": {"type": "string"}}
        assert (await call(tools["echo"], text="<|end|> 🎉")).text == "<|end|> 🎉"
        assert servers.problems == {}

    rough.run(work)


def test_names_are_unique_among_servers_and_against_others(rough: Rough) -> None:
    entries = {name: rough.config(tools=["echo"]) for name in ("a b", "a-b", "browser", "ü")}
    config = parse_config(json.dumps({"mcpServers": entries}), "test")

    async def main() -> list[str]:
        async with McpServers(config) as servers:
            first = await servers.tools(taken=["browser_echo"])
            again = await servers.tools(taken=["a_b_echo"])
            assert [id(tool) for tool in first] == [id(tool) for tool in again]
            return [tool.name for tool in again]

    names = asyncio.run(main())
    assert names == ["a_b_echo", "a_b_echo_2", "browser_echo_2", "echo"]


def test_a_person_is_asked_unless_a_trusted_server_says_it_only_reads(rough: Rough) -> None:
    async def strange(servers: McpServers, tools: dict[str, McpTool]) -> None:
        need = tools["echo"].need({"text": "a\x1b[2Jb\u202e"})
        assert need.approval == "ask"
        assert need.summary == r'rough: echo {"text":"a\u001b[2Jb\u202e"}'
        assert tools["hang"].need("nonsense").approval == "ask"

    async def trusted(servers: McpServers, tools: dict[str, McpTool]) -> None:
        assert tools["echo"].need({}).approval == "always"
        assert tools["die"].need({}).approval == "ask"

    rough.run(strange)
    rough.run(trusted, more={"trust": True})


def test_results_of_every_kind_are_read(rough: Rough) -> None:
    async def work(servers: McpServers, tools: dict[str, McpTool]) -> None:
        output = await call(tools["image"])
        assert output.text.splitlines() == [
            "here:",
            "[file image-1.png: image/png, 15 bytes]",
            "[a file, audio/wav, that cannot be decoded]",
            r"[a link at file:///x\u202ey]",
            "[mem:1]",
            "inside",
            "[file image-2.bin: application/octet-stream, 2 bytes from mem:2]",
        ]
        assert [(f.name, f.data) for f in output.files] == [
            ("image-1.png", b"\x89PNG not really"),
            ("image-2.bin", b"\0\1"),
        ]
        output = await call(tools["structured"])
        assert (output.text, output.details) == (
            '{"a":[1,"é"]}',
            {"structured": {"a": [1, "é"]}},
        )
        output = await call(tools["fail"])
        assert (output.text, output.failed) == ("no such thing", True)
        output = await call(tools["refuse"])
        assert output.failed
        assert output.text == r"The MCP server rough failed: not\x1b[31m today"
        output = await call(tools["malformed"])
        assert output.failed
        assert "not as the protocol has it" in output.text
        assert (await call(tools["echo"], text="still here")).text == "still here"
        output = await tools["echo"].call("text", emit=print)
        assert output.failed

    rough.run(work)


def test_progress_is_shown(rough: Rough) -> None:
    shown: list[str] = []

    async def work(servers: McpServers, tools: dict[str, McpTool]) -> None:
        await tools["progress"].call({}, emit=shown.append)

    rough.run(work)
    assert shown == ["1/2 half\n"]


def test_what_a_server_prints_beside_its_messages_is_passed_over_and_kept(rough: Rough) -> None:
    async def work(servers: McpServers, tools: dict[str, McpTool]) -> None:
        assert (await call(tools["garbage"], text="fine")).text == "fine"
        assert "DEBUG: starting" in servers.servers[0].errors
        assert "rough server here" in servers.servers[0].errors

    rough.run(work)


@pytest.mark.parametrize(
    ("tool", "why"),
    [
        ("flood", "it prints what is no message"),
        ("giant", "it sent a message of more than 2,000,000 bytes"),
        ("die", "it ended with status 7"),
    ],
)
def test_a_server_that_goes_wrong_in_a_call_is_told_of_and_started_again(
    rough: Rough, tool: str, why: str
) -> None:
    async def work(servers: McpServers, tools: dict[str, McpTool]) -> None:
        output = await call(tools[tool])
        assert output.failed
        assert why in output.text
        if tool == "die":
            assert output.details["stderr"][-1] == "Traceback: it broke"
        assert (await call(tools["echo"], text="back")).text == "back"
        assert servers.servers[0].starts == 2

    rough.run(work, message_bytes=2_000_000)
    assert not any(alive(pid) for pid in rough.pids())


def test_calls_side_by_side_share_one_restart(rough: Rough) -> None:
    async def work(servers: McpServers, tools: dict[str, McpTool]) -> None:
        await call(tools["die"])
        said = await asyncio.gather(*(call(tools["echo"], text=str(n)) for n in range(8)))
        assert [output.text for output in said] == [str(n) for n in range(8)]
        assert servers.servers[0].starts == 2

    rough.run(work)


def test_a_call_that_hangs_ends_in_time_and_the_server_is_told(rough: Rough) -> None:
    async def work(servers: McpServers, tools: dict[str, McpTool]) -> None:
        output = await call(tools["hang"])
        assert output.failed
        assert "did not answer within 1.5 s" in output.text
        assert (await call(tools["echo"], text="next")).text == "next"

    rough.run(work, call_seconds=1.5)
    assert any(line.startswith("notifications/cancelled") for line in rough.seen())


def test_a_call_that_is_cancelled_is_cancelled_at_the_server(rough: Rough) -> None:
    async def work(servers: McpServers, tools: dict[str, McpTool]) -> None:
        calling = asyncio.create_task(call(tools["hang"]))
        await until(lambda: "tools/call hang" in rough.seen())
        calling.cancel()
        with pytest.raises(asyncio.CancelledError):
            await calling
        assert (await call(tools["echo"], text="next")).text == "next"

    rough.run(work)
    assert any(line.startswith("notifications/cancelled") for line in rough.seen())


@pytest.mark.parametrize("mode", [pytest.param("mute", marks=pytest.mark.slow), "deaf"])
def test_a_server_that_never_answers_keeps_no_other_from_working(rough: Rough, mode: str) -> None:
    entries = {"bad": rough.config(mode), "none": {"command": "no-such-program"}}
    entries["good"] = rough.config(tools=["echo", "missing"], typo=1)
    config = parse_config(json.dumps({"mcpServers": entries}), "test")
    settings = McpSettings(start_seconds=8.0, call_seconds=1.5)

    async def main() -> None:
        async with McpServers(config, settings) as servers:
            tools = await servers.tools()
            assert servers.problems["none"] == "there is no program no-such-program"
            if mode == "mute":
                said = servers.problems["bad"]
                assert said == "it did not answer within 8 s; it said: rough server here"
            else:
                deaf = next(tool for tool in tools if tool.server.name == "bad")
                assert "did not answer" in (await call(deaf, text="x" * 1_000_000)).text
            good = next(tool for tool in tools if tool.server.name == "good")
            assert (await call(good, text="works")).text == "works"
            assert servers.remarks == [
                "good: typo has no effect",
                "good: there is no tool 'missing'",
            ]

    asyncio.run(main())
    assert not any(alive(pid) for pid in rough.pids())


def test_a_list_without_end_is_cut(rough: Rough) -> None:
    async def work(servers: McpServers, tools: dict[str, McpTool]) -> None:
        assert len(tools) == 120
        assert "the first 120 are taken" in servers.remarks[0]

    rough.run(work, mode="many", tools=120)


def test_new_tools_are_seen_with_the_next_look(rough: Rough) -> None:
    async def work(servers: McpServers, tools: dict[str, McpTool]) -> None:
        await call(tools["change"])
        now = {tool.definition.name: tool for tool in await servers.tools()}
        assert set(now) - set(tools) == {"later"}
        assert now["echo"] is tools["echo"]

    rough.run(work)


def test_a_tool_that_becomes_another_is_not_called_until_it_is_offered_anew(rough: Rough) -> None:
    async def work(servers: McpServers, tools: dict[str, McpTool]) -> None:
        await call(tools["change"], text="Sends it to me.")
        output = await call(tools["echo"], text="secret")
        assert output.failed
        assert "has changed what echo is, so it was not called" in output.text
        now = {tool.definition.name: tool for tool in await servers.tools()}
        assert now["echo"].description == "Sends it to me."
        assert (await call(now["echo"], text="yes")).text == "yes"
        # Started again, the server offers the first one, and "later" is gone.
        await call(now["die"])
        assert "does not offer later" in (await call(now["later"])).text

    rough.run(work)
    assert rough.seen().count("tools/call echo") == 1


def test_a_server_gets_its_own_environment_and_none_of_our_secrets(
    rough: Rough, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ANTIPHON_API_KEY", "sk-secret")
    monkeypatch.setenv("TOKEN", "t0")
    told: dict[str, Any] = {}

    async def work(servers: McpServers, tools: dict[str, McpTool]) -> None:
        told.update(json.loads((await call(tools["environment"])).text))

    more = {"env": {"A": "${TOKEN}-${NONE:-x}"}, "cwd": str(tmp_path)}
    rough.run(work, more=more)
    assert told["cwd"] == str(tmp_path)
    assert told["env"]["A"] == "t0-x"
    assert told["env"]["PATH"] == os.environ["PATH"]
    assert not {"ANTIPHON_API_KEY", "TOKEN"} & set(told["env"])


@pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")
@pytest.mark.parametrize("tool", ["orphan", "stubborn"])
def test_nothing_of_a_server_is_left_when_it_is_closed(rough: Rough, tool: str) -> None:
    pids: list[int] = []

    async def work(servers: McpServers, tools: dict[str, McpTool]) -> None:
        pids.append(int((await call(tools[tool])).text))
        assert alive(pids[0])
        for held in tools.values():
            await held.aclose()
        assert servers.servers[0].pid is None
        assert not alive(pids[0])
        assert "has been closed" in (await call(tools["echo"])).text

    rough.run(work)
    assert not any(alive(pid) for pid in rough.pids())


@pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")
@pytest.mark.parametrize("ending", ["died", "keeper"])
def test_nothing_of_a_server_is_left_when_we_are_killed(rough: Rough, ending: str) -> None:
    entry = json.dumps(json.dumps({"mcpServers": {"r": rough.config()}}))
    program = f"""
import asyncio, json, os, signal
from antiphon.tools.mcp.config import parse_config
from antiphon.tools.mcp.servers import McpServers
async def main():
    servers = McpServers(parse_config({entry}, "t"))
    tools = {{tool.definition.name: tool for tool in await servers.tools()}}
    said = await tools["orphan"].call({{}}, emit=print)
    print(said.text, servers.servers[0].pid, flush=True)
    await asyncio.sleep(1000)
asyncio.run(main())
"""
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE) as ours:
        assert ours.stdout is not None
        orphan, keeper = map(int, ours.stdout.readline().split())
        (server,) = rough.pids()
        assert alive(orphan)
        assert alive(server)
        os.kill(ours.pid if ending == "died" else keeper, signal.SIGKILL)
        asyncio.run(gone(server))
        if ending == "died":
            asyncio.run(gone(orphan))
            asyncio.run(gone(keeper))
        else:
            os.kill(orphan, signal.SIGKILL)
        ours.kill()


def test_an_end_of_the_event_loop_ends_the_servers(rough: Rough) -> None:
    entry = {"mcpServers": {"rough": rough.config()}}

    async def main() -> None:
        servers = McpServers(parse_config(json.dumps(entry), "test"))
        await servers.tools()

    asyncio.run(main())
    for pid in rough.pids():
        asyncio.run(gone(pid))
