"""The python tool: a stateful interpreter in a sandbox."""

from __future__ import annotations

from antiphon.tools.python.interpreter import Interpreter, Ran
from antiphon.tools.python.sandboxed import SandboxedPython
from antiphon.tools.python.tool import PythonTool

__all__ = ["Interpreter", "PythonTool", "Ran", "SandboxedPython"]
