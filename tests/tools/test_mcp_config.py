"""mcp.json: what stands in it, what is put in for variables, and what is wrong with it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from antiphon.errors import SettingsError
from antiphon.settings.tools import McpSettings
from antiphon.tools.mcp.config import MAX_CONFIG_BYTES, parse_config, read_config


def one(**entry: Any) -> Any:
    config = parse_config(json.dumps({"mcpServers": {"s": entry}}), "mcp.json")
    return config.find("s")


def test_processes_and_addresses_are_read() -> None:
    server = one(command="npx", args=["-y", "x"], env={"A": "1"}, cwd="/srv", type="stdio")
    assert (server.command, server.args, server.env, server.cwd) == (
        "npx",
        ("-y", "x"),
        {"A": "1"},
        "/srv",
    )
    assert not server.trust
    for kind in ({}, {"type": "http"}, {"type": "streamable-http"}, {"transport": "http"}):
        server = one(url="https://a.example/mcp", headers={"X": "y"}, **kind)
        assert (server.url, server.headers) == ("https://a.example/mcp", {"X": "y"})


def test_what_has_no_effect_is_told_and_disabled_servers_are_left_out() -> None:
    server = one(command="x", alwaysAllow=["f"], timeout=60, headers={})
    assert server.remarks == (
        "alwaysAllow has no effect",
        "timeout has no effect",
        "headers has no effect",
    )
    assert one(disabled=True, command=7) is None


def test_variables_are_put_in_everywhere_and_only_once() -> None:
    environ = {"TOKEN": "t ${HOME}", "EMPTY": ""}
    server = one(
        command="${BIN:-run}",
        args=["--key=${TOKEN}", "${EMPTY}", "${EMPTY:-full}", "$TOKEN", "${1}"],
        env={"T": "${TOKEN}"},
        cwd="/${EMPTY}x",
    ).expanded(environ)
    assert server.command == "run"
    assert server.args == ("--key=t ${HOME}", "", "full", "$TOKEN", "${1}")
    assert (server.env, server.cwd) == ({"T": "t ${HOME}"}, "/x")
    server = one(url="${URL}", headers={"Authorization": "Bearer ${TOKEN}"})
    assert server.expanded({**environ, "URL": "http://h/m"}).url == "http://h/m"
    with pytest.raises(SettingsError, match=r"s\.url: the variable URL is not set"):
        server.expanded(environ)
    with pytest.raises(SettingsError, match=r"s\.url: expected http:// or https://"):
        server.expanded({**environ, "URL": "file:///etc/passwd"})


@pytest.mark.parametrize(
    ("entry", "why"),
    [
        ({}, "expected command, for a process, or url"),
        ({"command": "x", "url": "http://x"}, "expected command, for a process, or url"),
        ({"command": ["x"]}, "s.command: expected a text"),
        ({"command": ""}, "s.command: expected a text"),
        ({"command": "x\0"}, "s.command: expected a text"),
        ({"command": "x", "args": "y"}, "s.args: expected a list of texts"),
        ({"command": "x", "args": [1]}, "s.args: expected a list of texts"),
        ({"command": "x", "env": {"A": 1}}, "s.env.A: expected a text of one line"),
        ({"command": "x", "env": ["A"]}, "s.env: expected an object of texts"),
        ({"url": "http://x", "headers": {"A": "b\r\nC: d"}}, "s.headers.A: expected a text"),
        ({"command": "x", "trust": "yes"}, "s.trust: expected true or false"),
        ({"url": "http://x", "type": "sse"}, "s.type: the old transport sse"),
        ({"url": "http://x", "type": "ws"}, "s.type: expected stdio or http, got 'ws'"),
        ({"url": "http://x", "type": "stdio"}, "type stdio needs command"),
        ({"command": "x", "type": "http"}, "type http needs url"),
        ("x", "s: expected a server, an object"),
    ],
)
def test_what_is_wrong_is_named(entry: Any, why: str) -> None:
    with pytest.raises(SettingsError) as caught:
        parse_config(json.dumps({"mcpServers": {"s": entry}}), "mcp.json")
    assert str(caught.value).startswith("mcp.json: ")
    assert why in str(caught.value)


@pytest.mark.parametrize(
    "text",
    ["", "[]", "{", '{"servers": {}}', '{"mcpServers": []}', '{"mcpServers": {"\\n": {}}}', "\xff"],
)
def test_what_is_no_such_file_is_refused(text: str, tmp_path: Path) -> None:
    path = tmp_path / "mcp.json"
    path.write_bytes(text.encode("latin-1"))
    with pytest.raises(SettingsError, match=r"mcp\.json: "):
        read_config(path)


def test_deep_and_large_files_are_refused(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="not valid JSON"):
        parse_config('{"mcpServers":' + "[" * 100_000, "x")
    many = {f"s{n}": {"command": "x"} for n in range(101)}
    with pytest.raises(SettingsError, match="more than 100 servers"):
        parse_config(json.dumps({"mcpServers": many}), "x")
    path = tmp_path / "large.json"
    path.write_bytes(b" " * (MAX_CONFIG_BYTES + 1))
    with pytest.raises(SettingsError, match="more than 1,048,576 bytes"):
        read_config(path)
    with pytest.raises(SettingsError, match="No such file"):
        read_config(tmp_path / "none.json")


def test_without_a_setting_there_is_no_server(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from antiphon.tools.mcp.servers import find_config

    monkeypatch.chdir(tmp_path)
    Path("mcp.json").write_text('{"mcpServers": {"s": {"command": "x"}}}')
    assert find_config(McpSettings()).servers == ()
    assert len(find_config(McpSettings(config="mcp.json")).servers) == 1
