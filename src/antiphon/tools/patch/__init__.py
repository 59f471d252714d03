"""Patches as gpt-oss was trained to write them."""

from __future__ import annotations

from antiphon.tools.patch.apply import Applied, apply_patch
from antiphon.tools.patch.parse import PatchError, parse_patch
from antiphon.tools.patch.tool import ApplyPatch

__all__ = ["Applied", "ApplyPatch", "PatchError", "apply_patch", "parse_patch"]
