"""Fixtures shared by all tests."""

from __future__ import annotations

import json
import os
import signal
from binascii import b2a_base64
from pathlib import Path
from typing import Any

import hypothesis
import pytest

from antiphon.vocab.table import ordinary_bytes

GOLDEN = Path(__file__).parent / "golden"

# A runner started in the background has Ctrl-C ignored, and every process it starts inherits that.
signal.signal(signal.SIGINT, signal.default_int_handler)

# How long an example takes says more about what else the machine does than about the code.
hypothesis.settings.register_profile(
    "antiphon", deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow]
)
hypothesis.settings.load_profile("antiphon")


@pytest.fixture(scope="session")
def golden() -> Any:
    """Read a JSON file of tests/golden by name."""

    def read(name: str) -> Any:
        return json.loads((GOLDEN / name).read_text(encoding="utf-8"))

    return read


@pytest.fixture(scope="session")
def reference_vocabulary(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with the packaged vocabulary in the file format the reference library reads."""
    directory = tmp_path_factory.mktemp("vocabulary")
    lines = [
        b"%b %d\n" % (b2a_base64(token, newline=False), rank)
        for rank, token in enumerate(ordinary_bytes())
    ]
    (directory / "o200k_base.tiktoken").write_bytes(b"".join(lines))
    return directory


@pytest.fixture(scope="session")
def reference_encoding(reference_vocabulary: Path) -> Any:
    """The reference library's encoding, the oracle of the differential tests."""
    library = pytest.importorskip("openai_harmony")
    before = os.environ.get("TIKTOKEN_ENCODINGS_BASE")
    os.environ["TIKTOKEN_ENCODINGS_BASE"] = str(reference_vocabulary)
    try:
        return library.load_harmony_encoding("HarmonyGptOss")
    finally:
        if before is None:
            del os.environ["TIKTOKEN_ENCODINGS_BASE"]
        else:
            os.environ["TIKTOKEN_ENCODINGS_BASE"] = before


@pytest.fixture(scope="session")
def tiny_cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A cache folder for the tiny model, built once a run and shared by its worker processes."""
    base = tmp_path_factory.getbasetemp()
    if os.environ.get("PYTEST_XDIST_WORKER"):
        base = base.parent
    return base / "antiphon-cache"


@pytest.fixture(scope="session")
def tiny_model_path(tiny_cache: Path) -> Path:
    """The tiny model as a GGUF."""
    for package in ("aiohttp", "gguf", "numpy", "xllamacpp"):
        pytest.importorskip(package)
    from antiphon.engines.tiny.model import tiny_model

    return tiny_model(directory=tiny_cache)


@pytest.fixture(scope="session")
def llama_server(tiny_model_path: Path) -> Any:
    """The URL of a running llama.cpp server with the tiny model: two requests of 4096 tokens."""
    from antiphon.engines.llama_server.process import LlamaServer

    with LlamaServer(tiny_model_path, context=4096, parallel=2, threads=1) as server:
        yield server.url


@pytest.fixture(scope="session")
def postgres() -> Any:
    """A running PostgreSQL server: `new_database()` gives the URL of an empty database."""
    from tests.store.postgres_server import postgres_server

    with postgres_server() as server:
        yield server
