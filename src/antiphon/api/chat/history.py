"""A chat's messages → the conversation, as the gateway reads them.

Over what `conversation` does: tools' names get aliases, calls are listed with their ids, files
become text, markup that clients send back is read, a line of a system message may set the effort.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

from antiphon.api.chat.conversation import ASSISTANT, MAX_NAME_CHARS, Translation
from antiphon.api.chat.markup import read_answer, read_instructions, split_think, take_effort
from antiphon.api.chat.media import PLACEHOLDERS, part_text, refused
from antiphon.api.chat.wire import Assistant, Developer, System, WireContent, WireMessage
from antiphon.api.policy import PromptPolicy
from antiphon.api.toolnames import ToolNames
from antiphon.api.turn import PastCall
from antiphon.errors import MessageError
from antiphon.model.content import DeveloperContent, ReasoningEffort, TextContent
from antiphon.model.message import Author, Message, Role
from antiphon.model.tools import FUNCTIONS

__all__ = ["History"]


_DEVELOPER: Final = Author(Role.DEVELOPER)
_NOT_NAME: Final = re.compile(r"\W+", re.ASCII)


class History(Translation):
    """Reads one request's messages. `effort` is what a system message asked for."""

    __slots__ = ("_names", "_policy", "calls", "effort")

    def __init__(self, out: list[Message], names: ToolNames, policy: PromptPolicy) -> None:
        super().__init__(out)
        self._names = names
        self._policy = policy
        self.calls: Final[list[PastCall]] = []
        self.effort: ReasoningEffort | None = None

    def leading(self, wire: Sequence[WireMessage]) -> tuple[list[str], int]:
        """The instructions at the start, and how many messages they are."""
        instructions: list[str] = []
        for at, message in enumerate(wire):
            if not isinstance(message, System | Developer):
                return instructions, at
            text = self._instructed(message, at)
            if text or not isinstance(message, System):
                instructions.append(text)
        return instructions, len(wire)

    def instructions(self, message: System | Developer, at: int) -> None:
        if text := self._instructed(message, at):
            self.out.append(Message(_DEVELOPER, (DeveloperContent(text),)))

    def _instructed(self, message: System | Developer, at: int) -> str:
        parts = self.contents(message.content, at)
        text = parts[0].text if len(parts) == 1 else "".join([part.text for part in parts])
        if "<|" in text:
            read = read_instructions(text)
            text = text if read is None else read
        if self._policy.effort_line:
            text, effort = take_effort(text)
            self.effort = effort or self.effort
        return text

    def assistant(self, message: Assistant, at: int) -> None:
        if message.audio is not None and not message.content:
            if self._policy.on_media == "refuse":
                raise refused("audio", f"messages[{at}].audio")
            message.content = PLACEHOLDERS["audio"]
        content = message.content
        if isinstance(content, list) and len(content) == 1:
            content = content[0].text
        if isinstance(content, str) and "<" in content:
            if "<|" in content:
                read = read_answer(content)
                if read is not None:
                    self._marked(message, read, at)
                    return
            thought = split_think(content)
            if thought is not None:
                if not (message.reasoning or message.reasoning_content or message.thinking):
                    message.reasoning = thought[0]
                message.content = thought[1]
        super().assistant(message, at)

    def _marked(self, message: Assistant, read: Sequence[Message], at: int) -> None:
        """A turn whose content is markup. Fields beside it say the same better."""
        out = self.out
        reasoning = message.reasoning or message.reasoning_content or message.thinking
        if reasoning:
            out.append(Message.analysis(reasoning))
        calls = bool(message.tool_calls) or message.function_call is not None
        for part in read:
            if part.recipient is not None:
                if not calls:
                    self.add_call(self._readdressed(part.recipient), part.text, None)
            elif part.channel == "analysis":
                if not reasoning:
                    out.append(Message.analysis(part.text))
            elif part.channel == "commentary":
                out.append(Message.preamble(part.text))
            else:
                channel = "commentary" if calls else "final"
                out.append(Message(ASSISTANT, part.content, channel))
        for j, call in enumerate(message.tool_calls or ()):
            self.call(call, f"messages[{at}].tool_calls[{j}]")
        if message.function_call is not None:
            self.function_call(message.function_call, f"messages[{at}].function_call", None)

    def _readdressed(self, recipient: str) -> str:
        """Whom markup calls: an alias of ours as it is, a client's own name by its alias."""
        name = recipient.removeprefix(f"{FUNCTIONS}.")
        if name in self._names.aliases.values():
            return f"{FUNCTIONS}.{name}"
        return self._names.recipient(name)

    def add_call(self, recipient: str, arguments: str, call_id: str | None) -> None:
        self.calls.append(PastCall(call_id, len(self.out)))
        super().add_call(recipient, arguments, call_id)

    def unknown_call(self, call_id: str) -> str:
        made = _NOT_NAME.sub("_", call_id[:MAX_NAME_CHARS]).strip("_")
        return self._names.recipient(made or "unknown")

    def qualified(self, name: str, where: str) -> str:
        if not name or len(name) > MAX_NAME_CHARS:
            what = f"has {len(name)} characters, the limit is {MAX_NAME_CHARS}"
            raise MessageError(f"{where}: {what if name else 'must not be empty'}", field=where)
        return self._names.recipient(name)

    def contents(self, content: WireContent | None, at: int) -> tuple[TextContent, ...]:
        if isinstance(content, str):
            return (TextContent(content),)
        on_media = self._policy.on_media
        return tuple(
            [
                TextContent(part_text(part, f"messages[{at}].content[{j}]", on_media))
                for j, part in enumerate(content or ())
            ]
        ) or (TextContent(""),)
