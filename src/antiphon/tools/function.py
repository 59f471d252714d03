"""A Python function with type hints and a docstring as a tool.

    def weather(city: str, unit: Literal["celsius", "fahrenheit"] = "celsius") -> str:
        '''Say what the weather is.

        Args:
            city: The city, with its country: "Oslo, Norway".
        '''

    tool = function_tool(weather, approval="always")

A coroutine function is awaited; any other runs in a thread, which a cancelled call leaves behind to
finish by itself.
"""

from __future__ import annotations

import asyncio
import inspect
import re
from collections.abc import Callable, Mapping
from typing import Any, Final

import msgspec

from antiphon.tools.protocol import Approval, Emit, Need, ToolOutput
from antiphon.tools.signature import ArgumentsError, Signature
from antiphon.tools.text import one_line, shorten

__all__ = ["FunctionTool", "function_tool"]

MAX_RESULT_CHARS: Final = 100_000
"""Longest result that goes to the model; the middle of a longer one is left out."""
MAX_NAME_CHARS: Final = 128
_NAME: Final = re.compile(r"\w[\w.\-]*", re.ASCII)


class FunctionTool:
    """A function as a `Tool`. Raises TypeError where its signature has no schema."""

    def __init__(
        self,
        function: Callable[..., Any],
        *,
        name: str | None = None,
        description: str | None = None,
        approval: Approval = "ask",
        need: Callable[[Mapping[str, Any]], Need] | None = None,
    ) -> None:
        """`need` says what a call would do, where one word for all of them is not enough."""
        self._function = function
        self._need = need
        self._name = str(name or getattr(function, "__name__", type(function).__name__))
        if len(self._name) > MAX_NAME_CHARS or not _NAME.fullmatch(self._name):
            raise ValueError(f"{self._name[:40]!r} is not a name for a tool; give it `name=`")
        self._signature = Signature(function)
        self._description = self._signature.description if description is None else description
        self._approval: Approval = approval

    @property
    def name(self) -> str:
        return self._name

    @property
    def description(self) -> str:
        return self._description

    @property
    def parameters(self) -> Mapping[str, Any]:
        return self._signature.schema

    def need(self, arguments: Mapping[str, Any] | str) -> Need:
        if self._need is not None:
            try:
                return self._need(self._signature.read(arguments))
            except ArgumentsError:
                return Need("always", one_line(f"{self._name} with wrong arguments"))
        if isinstance(arguments, str):
            return Need(self._approval, one_line(f"{self._name}({arguments})"))
        shown = ", ".join(f"{key}={value!r}" for key, value in arguments.items())
        return Need(self._approval, one_line(f"{self._name}({shown})"))

    async def call(self, arguments: Mapping[str, Any] | str, *, emit: Emit) -> ToolOutput:
        try:
            values = self._signature.read(arguments)
        except ArgumentsError as error:
            return ToolOutput(str(error), failed=True)
        try:
            if inspect.iscoroutinefunction(self._function):
                result = await self._signature.call(self._function, values, emit)
            else:
                result = await asyncio.to_thread(self._signature.call, self._function, values, emit)
                if inspect.isawaitable(result):
                    result = await result
        except Exception as error:  # noqa: BLE001 - whatever a tool raises is for the model to read
            return ToolOutput(_failure(error), failed=True)
        return _output(result)

    async def aclose(self) -> None:
        """Nothing is held."""


def function_tool(
    function: Callable[..., Any],
    *,
    name: str | None = None,
    description: str | None = None,
    approval: Approval = "ask",
    need: Callable[[Mapping[str, Any]], Need] | None = None,
) -> FunctionTool:
    """A tool of `function`: schema from its hints, descriptions from its docstring."""
    return FunctionTool(function, name=name, description=description, approval=approval, need=need)


def _output(result: Any) -> ToolOutput:
    if isinstance(result, ToolOutput):
        return msgspec.structs.replace(result, text=shorten(result.text, MAX_RESULT_CHARS))
    if isinstance(result, str):
        text = result
    elif result is None:
        text = "Done."
    else:
        try:
            text = msgspec.json.encode(result).decode()
        except (TypeError, ValueError, RecursionError, msgspec.MsgspecError):
            text = repr(result)
    return ToolOutput(shorten(text, MAX_RESULT_CHARS))


def _failure(error: Exception) -> str:
    try:
        said = str(error)
    except Exception:  # noqa: BLE001 - an exception whose own text fails is still told by its type
        said = ""
    kind = type(error).__name__
    return shorten(f"The tool failed: {kind}: {said}" if said else f"The tool failed: {kind}", 4000)
