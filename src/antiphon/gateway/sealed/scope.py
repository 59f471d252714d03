"""How a request that came inside a seal is told from one in the clear. Knows no cryptography."""

from __future__ import annotations

from collections.abc import MutableMapping
from typing import Any, Final

__all__ = ["SEALED", "is_sealed"]

SEALED: Final = "antiphon.sealed"
"""The extension in the ASGI scope; nobody can send it."""


def is_sealed(scope: MutableMapping[str, Any]) -> bool:
    """Whether a request came inside a seal."""
    return SEALED in (scope.get("extensions") or ())
