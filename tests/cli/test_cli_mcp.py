"""``antiphon mcp``: another agent's view, over real pipes and over HTTP."""

from __future__ import annotations

import asyncio
import io
import json
import subprocess
import sys
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("mcp")

import aiohttp
from mcp import Client, StdioServerParameters, stdio_client
from tests.cli.conftest import environment

from antiphon.cli.mcp_tools import MAX_INPUT_CHARS, MAX_TOKENS
from antiphon.settings.tools import McpSettings
from antiphon.tools.mcp.config import parse_config
from antiphon.tools.mcp.servers import McpServers

pytestmark = pytest.mark.slow

COMMAND = (sys.executable, "-m", "antiphon.cli", "mcp")
CHAT = {
    "model": "gpt-oss",
    "messages": [{"role": "user", "content": "Hi <|end|>"}],
    "tools": [{"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}],
}
OUTPUT = '<|channel|>commentary to=functions.f <|constrain|>json<|message|>{"a": 1}<|call|>'


def ask(work: Callable[[Client], Awaitable[None]], *, mode: str = "auto") -> None:
    """Work with the command as the library's own client has it."""

    async def main() -> None:
        started = StdioServerParameters(command=COMMAND[0], args=[*COMMAND[1:]], env=environment())
        problem: BaseException | None = None
        async with Client(stdio_client(started), mode=mode) as client:
            try:
                await work(client)
            except AssertionError as error:
                problem = error  # a task group would wrap it, and hide what pytest has to say
        if problem is not None:
            raise problem

    asyncio.run(main())


async def said(client: Client, tool: str, **arguments: Any) -> tuple[str, bool]:
    result = await client.call_tool(tool, arguments)
    (content,) = result.content
    assert content.type == "text"
    return content.text, bool(result.is_error)


@asynccontextmanager
async def over_http() -> AsyncGenerator[str, None]:
    process = await asyncio.create_subprocess_exec(
        *COMMAND, "--http", "0", env=environment(), stderr=subprocess.PIPE
    )
    assert process.stderr is not None
    try:
        line = (await process.stderr.readline()).decode()
        yield line.split()[-1]
    finally:
        process.terminate()
        _, rest = await process.communicate()
        assert b"Traceback" not in rest


@pytest.mark.parametrize("mode", ["auto", "legacy"])
def test_agents_see_three_tools_with_schemas_and_hints(mode: str) -> None:
    async def work(client: Client) -> None:
        listed = (await client.list_tools()).tools
        assert [tool.name for tool in listed] == ["render", "parse", "inspect"]
        for tool in listed:
            assert tool.description
            assert tool.annotations is not None
            assert tool.annotations.read_only_hint
            assert tool.input_schema["additionalProperties"] is False
            assert all("description" in field for field in tool.input_schema["properties"].values())
        assert client.instructions

    ask(work, mode=mode)


def test_the_three_tools_work_and_say_what_is_wrong() -> None:
    async def work(client: Client) -> None:
        text, failed = await said(client, "render", conversation=CHAT, effort="high")
        assert not failed
        assert "Reasoning: high" in text
        assert "type f = (_: {" in text
        assert text.endswith("<|start|>user<|message|>Hi <|end|><|end|><|start|>assistant")
        text, failed = await said(client, "render", conversation=CHAT, output="tokens")
        rendered = json.loads(text)
        assert rendered["count"] == len(rendered["tokens"])
        # The user's text is text: one <|end|> for each message and no more.
        assert rendered["tokens"].count(200007) == 3

        text, failed = await said(client, "parse", input=OUTPUT)
        (message,) = json.loads(text)["messages"]
        assert (message["recipient"], message["channel"]) == ("functions.f", "commentary")
        text, failed = await said(client, "parse", input=[200005, 35644, 200008, 12194, 200002])
        assert json.loads(text)["messages"][0]["channel"] == "analysis"

        text, failed = await said(client, "inspect", input=OUTPUT, tools=["g"])
        assert not failed
        assert "#1 assistant" in text
        assert "\x1b" not in text

        for tool, arguments, why in (
            ("parse", {}, "missing required field `input`"),
            ("parse", {"input": "x", "typo": 1}, "unknown field `typo`"),
            ("parse", {"input": "x" * (MAX_INPUT_CHARS + 1)}, "at most 1,000,000 are taken"),
            ("parse", {"input": [200005] * (MAX_TOKENS + 1)}, "at most 262,144 are taken"),
            ("parse", {"input": OUTPUT, "tools": ["a b"]}, "nor a tool name"),
            ("parse", {"input": "<|end|>", "strict": True}, "input: "),
            ("inspect", {"input": " "}, "nothing but white space"),
            ("render", {"conversation": {"messages": 1}}, "conversation: "),
            ("render", {"conversation": CHAT, "effort": "huge"}, "effort"),
            ("remove", {}, "there are: render, parse, inspect"),
        ):
            text, failed = await said(client, tool, **arguments)
            assert failed, (tool, text)
            assert why in text
        assert (await said(client, "parse", input="still here"))[1] is False

    ask(work)


def test_it_ends_when_its_input_ends_and_prints_nothing_else() -> None:
    done = subprocess.run(
        COMMAND, input=b"\n{broken\n", capture_output=True, env=environment(), timeout=60
    )
    assert done.returncode == 0, done.stderr
    assert all(json.loads(line) for line in done.stdout.splitlines())


def test_our_own_tools_call_it_over_http() -> None:
    async def main() -> None:
        async with over_http() as url:
            config = parse_config(
                json.dumps({"mcpServers": {"antiphon": {"url": url, "trust": True}}}), "test"
            )
            async with McpServers(config, McpSettings(start_seconds=60)) as servers:
                tools = {tool.name: tool for tool in await servers.tools()}
                assert servers.problems == {}
                assert set(tools) == {"antiphon_render", "antiphon_parse", "antiphon_inspect"}
                parse = tools["antiphon_parse"]
                assert parse.need({}).approval == "always"
                calls = [parse.call({"input": OUTPUT}, emit=print) for _ in range(5)]
                for output in await asyncio.gather(*calls):
                    assert json.loads(output.text)["messages"][0]["recipient"] == "functions.f"

    asyncio.run(main())


def test_over_http_web_pages_and_large_bodies_are_refused() -> None:
    async def main() -> None:
        async with over_http() as url, aiohttp.ClientSession() as web:
            ping = {"jsonrpc": "2.0", "id": 1, "method": "ping"}
            accept = {"Accept": "application/json, text/event-stream"}
            for headers, status in (
                ({"Origin": "https://evil.example"}, 403),
                ({"Host": "evil.example"}, 421),
            ):
                async with web.post(url, json=ping, headers={**accept, **headers}) as answer:
                    assert answer.status == status
            body = io.BytesIO(json.dumps({**ping, "params": {"x": "y" * 9_000_000}}).encode())
            kind = {**accept, "Content-Type": "application/json"}
            async with web.post(url, data=body, headers=kind) as answer:
                assert answer.status == 413

    asyncio.run(main())


@pytest.mark.parametrize("address", ["0.0.0.0:1", "192.0.2.1:80", "x", "70000", "example.com:1"])
def test_it_listens_on_this_computer_only(address: str) -> None:
    done = subprocess.run(
        [*COMMAND, "--http", address], capture_output=True, env=environment(), text=True, timeout=60
    )
    assert done.returncode == 2
    assert done.stderr.startswith("antiphon mcp: --http: ")
    assert done.stderr.count("\n") == 1


def test_without_the_extra_it_says_what_to_install(tmp_path: Path) -> None:
    (tmp_path / "mcp.py").write_text("raise ModuleNotFoundError(name='mcp')")
    env = {**environment(), "PYTHONPATH": f"{tmp_path}:{environment().get('PYTHONPATH', '')}"}
    done = subprocess.run(COMMAND, capture_output=True, env=env, text=True, timeout=60)
    assert done.returncode == 2
    assert "pip install 'antiphon[mcp]'" in done.stderr
