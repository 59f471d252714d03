"""Node and the packages of tests/e2e/node, as `make test-clients` installs them."""

from __future__ import annotations

from pathlib import Path

NODE_FOLDER = Path(__file__).parents[1] / "node"


def node() -> Path:
    """The Node that the packages ask for, which is a package itself."""
    program = NODE_FOLDER / "node_modules" / "node" / "bin" / "node"
    assert program.exists(), "Node's packages are not installed: make test-clients"
    return program
