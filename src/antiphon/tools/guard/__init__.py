"""The one guard between a model's wishes and the network: browser, fetch and MCP go through it."""

from __future__ import annotations

from antiphon.tools.guard.fetch import Fetched, Guard
from antiphon.tools.guard.policy import GuardError, GuardPolicy

__all__ = ["Fetched", "Guard", "GuardError", "GuardPolicy"]
