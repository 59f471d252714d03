"""The server that the clients talk to.

These tests run in an environment of their own, without antiphon: `make test-clients`.
"""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest
from tests.e2e.serving import Serving, serving

MEDIA = ("--set", "prompt.on_media=placeholder")
SLOWLY = {"when": {"user": "ever so slowly"}, "delay_ms": 20}
"""The built-in rules' answer, at a pace at which there is time to interrupt it."""


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Serving]:
    """A gateway over the scripted engine, which takes images as placeholders."""
    folder = tmp_path_factory.mktemp("server")
    trace = folder / "trace.jsonl"
    trace.write_text(json.dumps(SLOWLY), encoding="utf-8")
    with serving(folder, "--engine", f"scripted:{trace}", *MEDIA) as running:
        yield running


@pytest.fixture(scope="session")
def open_responses(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Serving]:
    """A gateway that names the events of reasoning as Open Responses does."""
    folder = tmp_path_factory.mktemp("open-responses")
    with serving(
        folder, "--engine", "scripted", *MEDIA, "--reasoning-events", "reasoning"
    ) as running:
        yield running
