"""Ports for servers that must know theirs before they start, and ports at which nobody listens."""

from __future__ import annotations

import contextlib
import random
import socket
from collections.abc import Iterator

_RANGE = range(15_000, 30_000)
"""Below those that connections and port 0 take, so that nobody gets one in the meantime."""


def free_port() -> int:
    """A port that a server may take soon."""
    while True:
        port = random.choice(_RANGE)
        with contextlib.suppress(OSError), socket.create_server(("127.0.0.1", port)):
            return port


@contextlib.contextmanager
def closed_port() -> Iterator[int]:
    """A port at which nobody listens, and nobody else will."""
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        yield bound.getsockname()[1]
