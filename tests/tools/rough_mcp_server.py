"""An MCP server over pipes, by hand, that can misbehave in every way. Run as a script.

    rough_mcp_server.py NOTES [MODE]

It writes what it saw to the file NOTES, one line each. MODE: ``mute`` never answers; ``deaf`` stops
reading; ``many`` lists without end.
"""

from __future__ import annotations

import base64
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

NOTES = Path(sys.argv[1])
MODE = sys.argv[2] if len(sys.argv) > 2 else ""
ANY = {"type": "object", "properties": {"text": {"type": "string"}}}
PNG = base64.b64encode(b"\x89PNG not really").decode()
TOOLS = (
    "echo image structured fail refuse malformed garbage flood giant hang die change progress"
    " orphan environment stubborn read python"
).split()
more: list[str] = []
described = "Says it again."


def note(line: str) -> None:
    with NOTES.open("a") as file:
        file.write(f"{line}\n")


def say(**message: object) -> None:
    sys.stdout.write(json.dumps({"jsonrpc": "2.0", **message}) + "\n")
    sys.stdout.flush()


def text(said: str) -> dict[str, object]:
    return {"content": [{"type": "text", "text": said}]}


def tool(name: str) -> dict[str, object]:
    return {
        "name": name,
        "description": described if name == "echo" else f"The tool {name}.",
        "inputSchema": ANY,
        "annotations": {"readOnlyHint": name in ("echo", "read")},
    }


def call(id: object, name: str, arguments: dict[str, str], token: object) -> None:
    global described
    result: object = text(arguments.get("text", ""))
    if name == "image":
        result = {
            "content": [
                {"type": "text", "text": "here:"},
                {"type": "image", "data": PNG, "mimeType": "image/png"},
                {"type": "audio", "data": "not base64!", "mimeType": "audio/wav"},
                {"type": "resource_link", "uri": "file:///x\u202ey", "name": "a link"},
                {"type": "resource", "resource": {"uri": "mem:1", "text": "inside"}},
                {"type": "resource", "resource": {"uri": "mem:2", "blob": "AAE="}},
            ]
        }
    elif name == "structured":
        result = {"content": [], "structuredContent": {"a": [1, "é"]}}
    elif name == "fail":
        result = {**text("no such thing"), "isError": True}
    elif name == "refuse":
        say(id=id, error={"code": -32000, "message": "not\x1b[31m today"})
        return
    elif name == "malformed":
        result = {"content": "a text"}
    elif name == "garbage":
        sys.stdout.write("DEBUG: starting\n\n{not json\n\xff\n[1,2]\n")
    elif name == "flood":
        while True:
            sys.stdout.write("x" * 70_000 + "\n")
    elif name == "giant":
        while True:
            sys.stdout.write("x" * 70_000)
    elif name == "hang":
        return
    elif name == "die":
        sys.stderr.write("Traceback: it broke\n")
        sys.stderr.flush()
        os._exit(7)
    elif name == "change":
        more.append("later")
        described = arguments.get("text", described)
        say(method="notifications/tools/list_changed")
    elif name == "progress":
        say(
            method="notifications/progress",
            params={"progressToken": token, "progress": 1, "total": 2, "message": "half"},
        )
    elif name == "orphan":
        child = subprocess.Popen(["sleep", "1000"], start_new_session=True)
        result = text(str(child.pid))
    elif name == "environment":
        result = text(json.dumps({"env": dict(os.environ), "cwd": str(Path.cwd())}))
    elif name == "stubborn":
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        say(id=id, result=text(str(os.getpid())))
        while True:
            time.sleep(1000)
    say(id=id, result=result)


def main() -> None:
    note(f"start {os.getpid()}")
    sys.stderr.write("rough server here\n")
    sys.stderr.flush()
    pages = 0
    for line in sys.stdin:
        message = json.loads(line)
        method, id, params = message.get("method"), message.get("id"), message.get("params", {})
        note(f"{method} {params.get('name', params.get('requestId', ''))}".strip())
        if MODE == "mute":
            continue
        if method == "initialize":
            say(
                id=id,
                result={
                    "protocolVersion": "2025-06-18",
                    "capabilities": {"tools": {"listChanged": True}},
                    "serverInfo": {"name": "rough", "version": "1"},
                },
            )
        elif method == "tools/list" and MODE == "many":
            pages += 1
            names = [f"t{pages}_{n}" for n in range(50)]
            say(id=id, result={"tools": [tool(n) for n in names], "nextCursor": f"{pages}"})
        elif method == "tools/list":
            say(id=id, result={"tools": [tool(name) for name in (*TOOLS, *more)]})
        elif method == "tools/call":
            meta = params.get("_meta", {})
            call(id, params["name"], params.get("arguments", {}), meta.get("progressToken"))
        elif id is not None:
            say(id=id, error={"code": -32601, "message": "no such method"})
        if MODE == "deaf" and method == "tools/list":
            time.sleep(1000)
    note("end")


main()
