"""The server that the clients talk to.

These tests run in an environment of their own, without antiphon: `make test-clients`.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from tests.e2e.serving import Serving, serving


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Serving]:
    """A gateway over the scripted engine, which takes images as placeholders."""
    folder = tmp_path_factory.mktemp("server")
    with serving(folder, "--engine", "scripted", "--set", "prompt.on_media=placeholder") as running:
        yield running
