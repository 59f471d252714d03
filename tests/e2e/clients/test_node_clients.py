"""openai-node, the Agents SDK and the Vercel AI SDK, in Node's own test runner."""

from __future__ import annotations

import os
import subprocess

import pytest
from tests.e2e.clients.node_packages import NODE_FOLDER, node
from tests.e2e.serving import Serving

pytestmark = [pytest.mark.clients, pytest.mark.filterwarnings("default")]


@pytest.mark.parametrize(
    ("file", "tests"),
    [
        ("openai.test.mjs", 6),
        ("responses.test.mjs", 7),
        ("agents.test.mjs", 5),
        ("vercel.test.mjs", 15),
    ],
)
def test_a_node_client_gets_on_with_the_gateway(server: Serving, file: str, tests: int) -> None:
    done = subprocess.run(
        [node(), "--test", "--test-reporter=tap", file],
        cwd=NODE_FOLDER,
        env=os.environ | {"BASE_URL": server.base_url},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        encoding="utf-8",
        timeout=120,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"# pass {tests}" in done.stdout, done.stdout
    assert "# skipped 0" in done.stdout
