"""Names that match a pattern with ``*``, ``?``, ``[…]`` and ``**``, in time linear in both."""

from __future__ import annotations

from functools import lru_cache
from typing import Any, Final

from antiphon.tools.workspace.pattern import PatternError, compile_pattern

__all__ = ["matcher"]

MAX_GLOB_CHARS: Final = 512


@lru_cache(maxsize=64)
def matcher(glob: str) -> Any:
    """A compiled pattern whose ``search`` takes a path's bytes.

    ``*.py`` is any such file at any depth; with a slash the whole path is meant, and ``**`` is any
    number of folders. ``{a,b}`` is either. Raises PatternError.
    """
    if len(glob) > MAX_GLOB_CHARS:
        raise PatternError(f"A glob may have {MAX_GLOB_CHARS} characters")
    body = _translated(glob.lstrip("/"))
    anchor = "^" if "/" in glob else "(?:^|/)"
    return compile_pattern(f"{anchor}{body}$")


def _translated(glob: str) -> str:
    out: list[str] = []
    at = 0
    braces = 0
    while at < len(glob):
        char = glob[at]
        at += 1
        if char == "*":
            if glob.startswith("*", at):
                while at < len(glob) and glob[at] == "*":
                    at += 1
                if glob.startswith("/", at):
                    at += 1
                    out.append("(?:.*/)?")
                else:
                    out.append(".*")
            else:
                out.append("[^/]*")
        elif char == "?":
            out.append("[^/]")
        elif char == "[" and (end := glob.find("]", at + 1)) > 0:
            inside = glob[at:end]
            negated = inside[:1] in ("!", "^")
            inside = inside[1:] if negated else inside
            escaped = inside.replace("\\", "\\\\").replace("[", "\\[").replace("^", "\\^")
            out.append(f"[{'^/' if negated else ''}{escaped}]")
            at = end + 1
        elif char == "{" and "}" in glob[at:]:
            braces += 1
            out.append("(?:")
        elif char == "}" and braces:
            braces -= 1
            out.append(")")
        elif char == "," and braces:
            out.append("|")
        elif char.isalnum() or char in "_/" or ord(char) > 127:
            out.append(char)
        else:
            out.append("\\" + char)
    return "".join(out) + ")" * braces
