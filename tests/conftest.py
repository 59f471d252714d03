"""Fixtures shared by all tests."""

from __future__ import annotations

import json
import os
from binascii import b2a_base64
from pathlib import Path
from typing import Any

import pytest

from antiphon.vocab.table import ordinary_bytes

GOLDEN = Path(__file__).parent / "golden"


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
