"""Making the calls of one turn: is the call one, is it allowed, what does it come to.

Whatever is wrong with a call becomes its result, in words that the model can act on. Calls run side
by side; people are asked about one after the other. Only a cancelled task ends them early.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import msgspec

from antiphon.agent.approval import Ask, Decision, Policy
from antiphon.agent.events import (
    AgentEvent,
    ApprovalAsked,
    ApprovalGiven,
    By,
    ToolEnded,
    ToolPiece,
    ToolStarted,
)
from antiphon.agent.reading import Call
from antiphon.agent.toolset import AgentTools
from antiphon.codec.arguments import parse_arguments
from antiphon.errors import MissingExtraError, SchemaError
from antiphon.settings.model import AgentSettings
from antiphon.tools.protocol import Need, Tool, ToolOutput

__all__ = ["CallRunner", "Done", "Pause", "cut", "whole"]

MAX_NAMES: Final = 40
"""Tools that a message to the model lists."""
MAX_QUOTED: Final = 200
"""Characters of the model's own that a message to it repeats."""
MAX_PIECE_CHARS: Final = 1_000_000
"""What one call may show while it works; its result is bounded by the settings."""

_log = logging.getLogger(__name__)

Pause = Callable[[bool], None]
"""Told True when a person begins to think, False when that is over: their time is not counted."""


class Done(msgspec.Struct, frozen=True):
    """A call and what it came to."""

    call: Call
    output: ToolOutput
    refused: bool = False

    @property
    def look(self) -> tuple[str, str]:
        """Equal for calls of the same tool with the same arguments, however they are written."""
        try:
            value = msgspec.json.decode(self.call.text)
            return self.call.tool, msgspec.json.encode(value, order="sorted").decode()
        except (ValueError, RecursionError):
            return self.call.tool, self.call.text


class CallRunner:
    """Makes calls. ``ask`` is None where there is nobody to ask."""

    def __init__(
        self,
        tools: AgentTools,
        policy: Policy,
        ask: Ask | None,
        settings: AgentSettings,
        *,
        emit: Callable[[AgentEvent], None],
        clock: Callable[[], float],
        pause: Pause,
    ) -> None:
        self._tools = tools
        self._policy = policy
        self._ask = ask
        self._settings = settings
        self._emit = emit
        self._clock = clock
        self._pause = pause
        self._asking = asyncio.Lock()
        self._places = asyncio.Semaphore(settings.parallel)

    async def run(self, calls: Sequence[Call], finished: Callable[[Done], None]) -> list[Done]:
        """Make the calls; their outcomes in the order of the calls. ``finished`` is told each as it
        comes. If this is cancelled, so are they.
        """

        async def one(call: Call) -> Done:
            done = await self._one(call)
            finished(done)
            return done

        tasks = [asyncio.ensure_future(one(call)) for call in calls]
        try:
            return list(await asyncio.gather(*tasks))
        except BaseException:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            raise

    async def _one(self, call: Call) -> Done:
        tool = self._tools.find(call.entry.message.recipient or "")
        if tool is None:
            return self._ended(call, ToolOutput(self._unknown(call.tool), failed=True))
        given, wrong = await _arguments(tool, call)
        if wrong is not None:
            return self._ended(call, ToolOutput(wrong, failed=True))
        need = _need(tool, given)
        refusal = await self._refused(call, tool, need)
        if refusal is not None:
            return self._ended(call, ToolOutput(refusal, failed=True), refused=True)
        async with self._places:
            self._emit(ToolStarted(call.call_id, tool.name, need.summary))
            began = self._clock()
            output = await self._call(call, tool, given)
            return self._ended(call, output, seconds=self._clock() - began)

    def _ended(
        self, call: Call, output: ToolOutput, *, refused: bool = False, seconds: float = 0.0
    ) -> Done:
        text = cut(whole(output.text), self._settings.result_chars)
        if text is not output.text:
            output = msgspec.structs.replace(output, text=text)
        self._emit(
            ToolEnded(
                call_id=call.call_id,
                tool=call.tool,
                text=output.text,
                failed=output.failed,
                refused=refused,
                seconds=round(seconds, 3),
                files=output.files,
                details=output.details,
            )
        )
        return Done(call, output, refused)

    async def _call(self, call: Call, tool: Tool, given: Mapping[str, Any] | str) -> ToolOutput:
        shown = 0

        def emit(text: str) -> None:
            nonlocal shown
            if text and shown < MAX_PIECE_CHARS:
                shown += len(text)
                self._emit(ToolPiece(call.call_id, whole(text)))

        try:
            return await tool.call(given, emit=emit)
        except Exception as error:  # noqa: BLE001 - a tool at fault ends no conversation
            _log.debug("the tool %s raised", tool.name, exc_info=True)
            why = f"{type(error).__name__}: {error}"[:MAX_QUOTED]
            return ToolOutput(f"The tool {tool.name} failed: {why}", failed=True)

    # Approval.

    async def _refused(self, call: Call, tool: Tool, need: Need) -> str | None:
        """What the model is told of a call that is not made; None if it is."""
        approval = self._policy.decide(tool.name, need)
        if approval == "always":
            self._given(call, allowed=True, by="policy")
            return None
        if approval == "never":
            why = need.summary if need.approval == "never" else "the settings do not allow it"
            self._given(call, allowed=False, by="policy", reason=why)
            return f"The call was refused: {why}. Do not try it again; find another way."
        if self._ask is None:
            self._given(call, allowed=False, by="nobody", reason="nobody can be asked")
            return (
                "The call was refused: it needs a person's approval and nobody can be asked."
                " Go on without it."
            )
        async with self._asking:
            decided = self._policy.of_tool(tool.name)  # may be remembered since
            if decided == "always" and need.approval != "never":
                self._given(call, allowed=True, by="person")
                return None
            asked = ApprovalAsked(
                call_id=call.call_id,
                tool=tool.name,
                summary=need.summary,
                arguments=call.text,
            )
            self._emit(asked)
            self._pause(True)
            try:
                decision = await self._ask(asked)
            finally:
                self._pause(False)
        return self._answered(call, tool, decision)

    def _answered(self, call: Call, tool: Tool, decision: Decision) -> str | None:
        if decision.remember:
            self._policy.remember(tool.name, "always" if decision.allowed else "never")
        self._given(call, allowed=decision.allowed, by="person", reason=decision.reason)
        if decision.allowed:
            return None
        said = f": {decision.reason}" if decision.reason else "."
        return f"The user refused the call{said}"

    def _given(self, call: Call, *, allowed: bool, by: By, reason: str = "") -> None:
        self._emit(ApprovalGiven(call_id=call.call_id, allowed=allowed, by=by, reason=reason))

    def _unknown(self, name: str) -> str:
        offered = [tool.name for tool in self._tools.tools]
        if not offered:
            return f"There is no tool {name[:MAX_QUOTED]!r}: no tools are offered. Answer the user."
        listed = ", ".join(offered[:MAX_NAMES])
        more = f" and {len(offered) - MAX_NAMES} more" if len(offered) > MAX_NAMES else ""
        return f"There is no tool {name[:MAX_QUOTED]!r}. The tools are: {listed}{more}."


async def _arguments(tool: Tool, call: Call) -> tuple[Mapping[str, Any] | str, str | None]:
    """What the tool is called with, or what is wrong, for the model to read."""
    if not call.complete:
        return {}, "The call was cut off before its arguments were complete. Write it again."
    schema = tool.parameters
    if schema is None:
        return call.text, None
    arguments = call.arguments
    if arguments is None:
        arguments = await asyncio.to_thread(parse_arguments, call.text, schema=schema)
    if arguments.value is None:
        return {}, (
            f"The arguments of {tool.name} are not a JSON object"
            f" ({', '.join(arguments.repairs) or 'not JSON'}). Nothing was done. Write the call"
            f" again with arguments that match this schema: {_shown(schema)}"
        )
    why = await _misfit(schema, arguments.value)
    if why is not None:
        return {}, (
            f"The arguments of {tool.name} do not match its schema: {why}. Nothing was done. The"
            f" schema: {_shown(schema)}"
        )
    return arguments.value, None


async def _misfit(schema: Mapping[str, Any], value: Mapping[str, Any]) -> str | None:
    from antiphon.turn.validation import misfit

    try:
        return await asyncio.to_thread(misfit, schema, value)
    except SchemaError:
        return None  # The schema is at fault, not the model: the tool has the last word.
    except ModuleNotFoundError as missing:
        raise MissingExtraError(missing.name or "jsonschema_rs", "agent") from missing


def _need(tool: Tool, given: Mapping[str, Any] | str) -> Need:
    try:
        return tool.need(given)
    except Exception:  # noqa: BLE001 - a tool at fault is looked at by a person
        _log.debug("need of the tool %s raised", tool.name, exc_info=True)
        return Need("ask", tool.name)


def _shown(schema: Mapping[str, Any]) -> str:
    return cut(msgspec.json.encode(schema).decode(), 4_000)


def whole(text: str) -> str:
    """Text that can be encoded: half characters, as in names of files that are no text, are not."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-8", "replace").decode()
    return text


def cut(text: str, limit: int) -> str:
    """The text, without its middle if it is too long."""
    if len(text) <= limit:
        return text
    left_out = len(text) - limit
    head = limit * 2 // 3
    tail = limit - head
    end = text[-tail:] if tail else ""
    return f"{text[:head]}\n[… {left_out} characters are left out …]\n{end}"
