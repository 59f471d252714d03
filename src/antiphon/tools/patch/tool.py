"""apply_patch as a tool: a patch as text, however the model wraps it."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any, Final

import msgspec

from antiphon.tools.patch.apply import apply_patch
from antiphon.tools.patch.parse import Add, Delete, Operation, PatchError, parse_patch
from antiphon.tools.protocol import Emit, Need, ToolOutput
from antiphon.tools.text import counted, one_line
from antiphon.tools.workspace.root import Workspace, WorkspaceError

__all__ = ["ApplyPatch"]

MAX_WRAPPING: Final = 4
"""Levels of JSON that are taken off."""

_DESCRIPTION: Final = """\
Edit files of the workspace with a patch. Paths are relative to the workspace.

*** Begin Patch
*** Add File: hello.txt
+Every line of a new file begins with a plus.
*** Update File: src/app.py
*** Move to: src/main.py
@@ def greet():
 a line that stays begins with a space
-a line that goes
+a line that comes
*** Delete File: obsolete.txt
*** End Patch

"*** Move to:" is only for renaming. A hunk begins with @@, which may name a line above it. Give \
three lines that stay before and after each change. "*** End of File" after a hunk ties it to the \
end of the file. All of a patch is applied, or nothing."""


class ApplyPatch:
    """The tool. Its input is text; JSON that wraps one string, as models write it, is taken off."""

    def __init__(self, workspace: Workspace) -> None:
        self._workspace = workspace

    @property
    def name(self) -> str:
        return "apply_patch"

    @property
    def description(self) -> str:
        return _DESCRIPTION

    @property
    def parameters(self) -> None:
        return None

    def need(self, arguments: Mapping[str, Any] | str) -> Need:
        try:
            operations = parse_patch(_patch(arguments))
        except PatchError:
            return Need("always", "apply_patch with a patch that cannot be read")
        shown = ", ".join(_said(operation) for operation in operations)
        return Need("ask", one_line(f"patch {counted(len(operations), 'file')}: {shown}", 400))

    async def call(self, arguments: Mapping[str, Any] | str, *, emit: Emit) -> ToolOutput:
        try:
            return await asyncio.to_thread(self._apply, arguments)
        except (PatchError, WorkspaceError) as error:
            return ToolOutput(f"Nothing was changed. {error}", failed=True)

    async def aclose(self) -> None:
        """Nothing is held."""

    def _apply(self, arguments: Mapping[str, Any] | str) -> ToolOutput:
        applied = apply_patch(self._workspace, parse_patch(_patch(arguments)))
        lines = [f"{kind} {one_line(path, 1000)}" for kind, path in applied.changes]
        return ToolOutput(
            "\n".join(["Done.", *lines, *applied.remarks]),
            details={"changes": [list(change) for change in applied.changes]},
        )


def _said(operation: Operation) -> str:
    kind = "A" if isinstance(operation, Add) else "D" if isinstance(operation, Delete) else "M"
    return f"{kind} {operation.path}"


def _patch(arguments: Any) -> str:
    """The patch in ``{"input": …}``, ``["apply_patch", …]``, ``{"cmd": [… , …]}`` or plain text."""
    value = arguments
    for _ in range(MAX_WRAPPING):
        if isinstance(value, str):
            if not value.lstrip().startswith(("{", "[", '"')):
                return value
            try:
                value = msgspec.json.decode(value)
            except (msgspec.DecodeError, RecursionError):
                return str(value)
            continue
        inner = list(value.values()) if isinstance(value, Mapping) else value
        texts = [item for item in inner if isinstance(item, (str, list))] if inner else []
        patches = [item for item in texts if "*** Begin Patch" in str(item)]
        if len(patches) != 1:
            raise PatchError("Expected the text of one patch, from *** Begin Patch on")
        value = patches[0]
    if isinstance(value, str):
        return value
    raise PatchError("Expected the text of one patch, from *** Begin Patch on")
