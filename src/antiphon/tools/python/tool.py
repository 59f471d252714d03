"""The python tool, as gpt-oss was trained on it: code as text in, what it printed out."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from antiphon.model.tools import PYTHON
from antiphon.tools.protocol import Approval, Emit, Need, ToolOutput
from antiphon.tools.python.interpreter import Interpreter
from antiphon.tools.text import counted, one_line

__all__ = ["PythonTool"]

MAX_CODE_CHARS: Final = 1 << 20
_INTERNET: Final = "Internet access for this session is UNKNOWN. Depends on the cluster."


class PythonTool:
    """The tool. The namespace `python` of the system message has its description; calls come on the
    analysis channel and their body is the code.

    `check` says why it cannot run here; then it must not be offered.
    """

    def __init__(self, interpreter: Interpreter, *, approval: Approval = "always") -> None:
        self._interpreter = interpreter
        self._approval: Approval = approval

    async def check(self) -> str | None:
        """Why it cannot be offered here; None: it can."""
        return await self._interpreter.check()

    @property
    def name(self) -> str:
        return "python"

    @property
    def description(self) -> str:
        return (PYTHON.description or "").replace(_INTERNET, self._interpreter.notes)

    @property
    def parameters(self) -> None:
        return None

    def need(self, arguments: Mapping[str, Any] | str) -> Need:
        code = _code(arguments)
        if code is None:
            return Need("always", "python with wrong arguments")
        first = next((line.strip() for line in code.splitlines() if line.strip()), "")
        lines = counted(code.count("\n") + 1, "line")
        return Need(self._approval, f"python ({lines}): {one_line(first, 80)}")

    async def call(self, arguments: Mapping[str, Any] | str, *, emit: Emit) -> ToolOutput:
        code = _code(arguments)
        if code is None:
            return ToolOutput("Expected the code as text", failed=True)
        if len(code) > MAX_CODE_CHARS:
            return ToolOutput(f"The code has more than {MAX_CODE_CHARS:,} characters", failed=True)
        try:
            code.encode()
        except UnicodeEncodeError:
            return ToolOutput("The code holds half a surrogate pair", failed=True)
        ran = await self._interpreter.run(code, emit=emit)
        return ToolOutput(ran.text, ran.failed, ran.files, {"state_lost": ran.state_lost})

    async def aclose(self) -> None:
        await self._interpreter.aclose()


def _code(arguments: Mapping[str, Any] | str) -> str | None:
    """The code. As a function's argument, which models fall back to, it is the one string."""
    if isinstance(arguments, str):
        return arguments
    texts = [value for value in arguments.values() if isinstance(value, str)]
    code = arguments.get("code", arguments.get("input", texts[0] if len(texts) == 1 else None))
    return code if isinstance(code, str) else None
