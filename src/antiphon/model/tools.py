"""Tools and namespaces as the prompt shows them, and the two built-ins gpt-oss was trained on."""

from __future__ import annotations

from typing import Any, Final

import msgspec

__all__ = ["BROWSER", "FUNCTIONS", "PYTHON", "Tool", "ToolNamespace", "functions"]

FUNCTIONS: Final = "functions"
"""The namespace that holds a user's function tools."""


class Tool(msgspec.Struct, frozen=True, omit_defaults=True):
    """One function. ``parameters`` is its JSON Schema; None renders as ``() => any``."""

    name: str
    description: str = ""
    parameters: dict[str, Any] | None = None


class ToolNamespace(msgspec.Struct, frozen=True, omit_defaults=True):
    """A named group of tools with an optional description (format rule 2.5)."""

    name: str
    description: str | None = None
    tools: tuple[Tool, ...] = ()


def functions(*tools: Tool) -> dict[str, ToolNamespace]:
    """The ``tools`` mapping of a developer message that offers these functions."""
    return {FUNCTIONS: ToolNamespace(FUNCTIONS, None, tools)}


def _browser() -> ToolNamespace:
    def integer(default: int) -> dict[str, Any]:
        return {"type": "number", "default": default}

    string = {"type": "string"}
    search = {
        "type": "object",
        "properties": {"query": string, "topn": integer(10), "source": string},
        "required": ["query"],
    }
    open_ = {
        "type": "object",
        "properties": {
            "id": {"type": ["number", "string"], "default": -1},
            "cursor": integer(-1),
            "loc": integer(-1),
            "num_lines": integer(-1),
            "view_source": {"type": "boolean", "default": False},
            "source": string,
        },
    }
    find = {
        "type": "object",
        "properties": {"pattern": string, "cursor": integer(-1)},
        "required": ["pattern"],
    }
    return ToolNamespace(
        "browser",
        "Tool for browsing.\n"
        "The `cursor` appears in brackets before each browsing display: `[{cursor}]`.\n"
        "Cite information from the tool using the following format:\n"
        "`【{cursor}†L{line_start}(-L{line_end})?】`, for example: `【6†L9-L11】` or `【8†L3】`.\n"
        "Do not quote more than 10 words directly from the tool output.\n"
        "sources=web (default: web)",
        (
            Tool(
                "search",
                "Searches for information related to `query` and displays `topn` results.",
                search,
            ),
            Tool(
                "open",
                "Opens the link `id` from the page indicated by `cursor` starting at line number"
                " `loc`, showing `num_lines` lines.\n"
                "Valid link ids are displayed with the formatting: `【{id}†.*】`.\n"
                "If `cursor` is not provided, the most recent page is implied.\n"
                "If `id` is a string, it is treated as a fully qualified URL associated with"
                " `source`.\n"
                "If `loc` is not provided, the viewport will be positioned at the beginning of the"
                " document or centered on the most relevant passage, if available.\n"
                "Use this function without `id` to scroll to a new location of an opened page.",
                open_,
            ),
            Tool(
                "find",
                "Finds exact matches of `pattern` in the current page, or the page given by"
                " `cursor`.",
                find,
            ),
        ),
    )


BROWSER: Final = _browser()
"""The built-in browser namespace: search, open, find."""

PYTHON: Final = ToolNamespace(
    "python",
    "Use this tool to execute Python code in your chain of thought. The code will not be shown to"
    " the user. This tool should be used for internal reasoning, but not for code that is intended"
    " to be visible to the user (e.g. when creating plots, tables, or files).\n\n"
    "When you send a message containing Python code to python, it will be executed in a stateful"
    " Jupyter notebook environment. python will respond with the output of the execution or time"
    " out after 120.0 seconds. The drive at '/mnt/data' can be used to save and persist user files."
    " Internet access for this session is UNKNOWN. Depends on the cluster.",
)
"""The built-in python namespace: a description only, the message body is the code."""
