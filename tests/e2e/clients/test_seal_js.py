"""clients/seal-js, the module for browsers and Node: in Node, and in Chromium on its page."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator

import pytest
from tests.e2e.clients.node_packages import NODE_FOLDER, node
from tests.e2e.serving import Serving, serving
from tests.ports import free_port

pytestmark = [pytest.mark.clients, pytest.mark.filterwarnings("default")]

MODULE = NODE_FOLDER.parents[2] / "clients" / "seal-js" / "dist" / "antiphon-seal.min.js"
BROWSERS = ("chromium", "chromium-browser", "google-chrome")


@pytest.fixture(scope="module")
def page_url() -> str:
    """Where the example page will be: the gateway lets only pages in that it knows."""
    return f"http://127.0.0.1:{free_port()}"


@pytest.fixture(scope="module")
def sealed(tmp_path_factory: pytest.TempPathFactory, page_url: str) -> Iterator[Serving]:
    """A gateway that takes sealed requests only, over a scripted engine with slow answers."""
    folder = tmp_path_factory.mktemp("sealed")
    trace = folder / "trace.jsonl"
    trace.write_text('{"when": {"user": "ever so slowly"}, "delay_ms": 20}', encoding="utf-8")
    pages = ("--set", f"cors.origins={page_url}")
    kems = ("--set", "seal.kems=x25519,p256,mlkem768-x25519")
    engine = ("--engine", f"scripted:{trace}")
    with serving(folder, *engine, "--seal-required", *kems, *pages) as running:
        yield running


def run(file: str, sealed: Serving, **env: str) -> str:
    assert MODULE.exists(), "clients/seal-js is not built: make test-clients"
    done = subprocess.run(
        [node(), "--test", "--test-reporter=tap", file],
        cwd=NODE_FOLDER,
        env=os.environ | {"BASE_URL": sealed.base_url} | env,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        encoding="utf-8",
        timeout=120,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "# skipped 0" in done.stdout
    return done.stdout


def test_the_module_seals_in_node(sealed: Serving) -> None:
    assert "# pass 11" in run("seal.test.mjs", sealed)


def test_the_example_page_streams_a_sealed_answer_in_chromium(
    sealed: Serving, page_url: str
) -> None:
    found = next(filter(None, map(shutil.which, BROWSERS)), None)
    if found is None:
        assert not os.environ.get("ANTIPHON_TEST_EVERYTHING"), "Chromium is not installed"
        pytest.skip("Chromium is not installed")
    assert "# pass 2" in run("seal-page.test.mjs", sealed, PAGE_URL=page_url, CHROMIUM=found)
