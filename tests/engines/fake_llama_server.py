"""A program that behaves like ``llama-server`` as far as starting and stopping go.

What it does is in the environment: FAKE_MODE is one of ready, slow, exit, deaf, port-taken.
"""

from __future__ import annotations

import json
import os
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

HELP = "usage: llama-server\n--no-jinja\n--jinja\n--slots\n--metrics\n"


def main() -> None:
    mode = os.environ.get("FAKE_MODE", "ready")
    if "--help" in sys.argv:
        print(HELP)
        return
    if (record := os.environ.get("FAKE_RECORD")) is not None:
        with Path(record).open("a", encoding="utf-8") as file:
            file.write(json.dumps({"pid": os.getpid(), "args": sys.argv[1:]}) + "\n")
    if mode == "exit":
        print("loading model\nerror: tensor 'x' is not there\nbye", file=sys.stderr)
        sys.exit(3)
    asked = 0

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            nonlocal asked
            asked += 1
            loading = mode == "deaf" or (mode == "slow" and asked < 3)
            body = b'{"error":{"message":"Loading model"}}' if loading else b'{"status":"ok"}'
            self.send_response(503 if loading else 200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    port = int(sys.argv[sys.argv.index("--port") + 1])
    ThreadingHTTPServer(("127.0.0.1", port), Handler).serve_forever()


main()
