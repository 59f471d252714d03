"""The items of a Responses request → the conversation that is rendered as its prompt.

- Instructions, and the developer's and system's messages at the start, are one developer message,
  which also offers the tools.
- Reasoning becomes analysis. Nothing here decides what of it survives: the renderer's history
  policy keeps it inside an open tool loop and drops it after the final answer.
- A message of the assistant is a preamble (phase ``commentary``) or the answer (``final_answer``).
  Without a phase it is a preamble if a call follows in the same turn.
- A call inside a namespace is one of the function ``NAMESPACE.NAME``.
- What tools did that are not offered here is told as calls and results where a model could use it,
  else left out. Either way `ignored` names it.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from typing import Any, Final

import msgspec

from antiphon.api.chat.conversation import decode_field
from antiphon.api.chat.history import History
from antiphon.api.chat.markup import read_answer
from antiphon.api.chat.media import PLACEHOLDERS, file_text, part_text
from antiphon.api.chat.wire import Assistant, Developer, File, Part, System
from antiphon.api.errors import ApiError
from antiphon.api.policy import PromptPolicy
from antiphon.api.responses.items import LEFT_OUT, TOLD, PlacedItem
from antiphon.api.responses.sealed import compaction_text, reasoning_text
from antiphon.api.responses.seen import Seen, read_seen, unpack_seen
from antiphon.api.responses.wire import (
    ApprovalItem,
    CallItem,
    CustomCallItem,
    Head,
    MessageItem,
    OtherItem,
    OutputItem,
    ReasoningItem,
    SealedItem,
    WireContent,
    WirePart,
)
from antiphon.api.toolnames import ToolNames
from antiphon.api.turn import PastCall
from antiphon.errors import MessageError
from antiphon.model.content import DeveloperContent, TextContent
from antiphon.model.json import decode_as
from antiphon.model.message import Author, Message, Role
from antiphon.model.tools import BROWSER, PYTHON

__all__ = ["COMPACTED", "ItemTranslation", "Unseal", "flat_name"]

Unseal = Callable[[str], bytes | None]
"""Opens ``encrypted_content``; None for what was not sealed here."""

COMPACTED: Final = "[Summary of the conversation before this point]\n{}\n[End of summary]"
"""How a compaction is told to the model."""

NOT_KEPT: Final = "[The result of this call is not kept any more.]"
"""What the model is told where a client sends a call without its result."""

REFUSED: Final = "The user refused the call"
"""What the model is told of a call that was not approved."""

_ENCODE: Final = msgspec.json.Encoder().encode
_OUTPUT: Final = msgspec.json.Decoder(list[WirePart])
_TEXT: Final = msgspec.json.Decoder(str)
_INSTRUCTORS: Final = frozenset({"system", "developer"})
_ASSISTANT: Final = Author(Role.ASSISTANT)
_USER: Final = Author(Role.USER)
_DEVELOPER: Final = Author(Role.DEVELOPER)
_CALLS: Final = frozenset({"function_call", "custom_tool_call"})
_APPROVALS: Final = frozenset({"mcp_approval_request", "mcp_approval_response"})
_BETWEEN: Final = frozenset({"reasoning"}) | _APPROVALS | LEFT_OUT
_NOTHING: Final = (TextContent(""),)


def flat_name(name: str, namespace: str | None) -> str:
    """The one name of a tool in a namespace."""
    return f"{namespace}.{name}" if namespace else name


class ItemTranslation(History):
    """Reads one request's items. `ignored` gets the paths of what is passed over."""

    __slots__ = ("_asked", "_built_ins", "_ignored", "_unseal")

    def __init__(
        self,
        out: list[Message],
        names: ToolNames,
        policy: PromptPolicy,
        unseal: Unseal | None,
        ignored: list[str],
        built_ins: Collection[str] = (),
    ) -> None:
        """``built_ins`` are the namespaces of gpt-oss's own that are offered."""
        super().__init__(out, names, policy)
        self._built_ins = built_ins
        self._asked: dict[str, ApprovalItem] = {}
        """Calls that wait for an approval, by id."""
        self._unseal = unseal
        self._ignored = ignored

    def leading_items(self, items: Sequence[PlacedItem]) -> tuple[list[str], int]:
        """The instructions at the start, and how many items they are."""
        instructions: list[str] = []
        for at, placed in enumerate(items):
            item = placed.read.item
            if not isinstance(item, MessageItem) or item.role not in _INSTRUCTORS:
                return instructions, at
            text = self._instruction(item, placed.where)
            if text or item.role == "developer":
                instructions.append(text)
        return instructions, len(items)

    def instruction(self, text: str) -> str:
        """The parameter ``instructions``, as the prompt has it."""
        return self._instructed(Developer(text), 0)

    def _instruction(self, item: MessageItem, where: str) -> str:
        parts = self.parts(item.content, f"{where}.content")
        text = parts[0].text if len(parts) == 1 else "".join([part.text for part in parts])
        return self._instructed(System(text), 0)

    def translate_items(self, items: Sequence[PlacedItem], start: int, end: int) -> None:
        """Append the messages that those from ``start`` to ``end`` make."""
        out = self.out
        calling: list[bool] | None = None
        for at in range(start, end):
            placed = items[at]
            made = placed.read.made
            if made is not None:
                out.extend(made)
                continue
            item, where = placed.read.item, placed.where
            if isinstance(item, MessageItem):
                if item.role == "user":
                    out.append(Message(_USER, self.parts(item.content, f"{where}.content")))
                elif item.role == "assistant":
                    if calling is None:
                        calling = _before_calls(items)
                    self._said(item, where, calling=calling[at])
                elif item.role in _INSTRUCTORS:
                    if text := self._instruction(item, where):
                        out.append(Message(_DEVELOPER, (DeveloperContent(text),)))
                else:
                    raise MessageError(
                        f"{where}.role: expected user, assistant, system or developer, got"
                        f" {item.role[:60]!r}",
                        field=f"{where}.role",
                    )
            elif isinstance(item, ReasoningItem):
                self._reasoning(item, where)
            elif isinstance(item, CallItem):
                arguments = item.arguments
                if not isinstance(arguments, str):
                    arguments = _ENCODE(arguments or {}).decode()
                recipient = self._recipient(item.name, item.namespace, where)
                self.add_call(recipient, arguments, item.call_id)
            elif isinstance(item, OutputItem):
                self._result(item, where)
            elif isinstance(item, CustomCallItem):
                arguments = _ENCODE({"input": item.input or ""}).decode()
                recipient = self._recipient(item.name, item.namespace, where)
                self.add_call(recipient, arguments, item.call_id)
            elif isinstance(item, SealedItem):
                self._compaction(item, where)
            elif isinstance(item, ApprovalItem):
                self._approval(item, placed)
            elif isinstance(item, OtherItem):
                if not self._seen(item, placed.type):
                    self._ignored.append(f"{where}.type={placed.type}")
                    self._told(item, placed.type)
            elif isinstance(item, Head):
                self._ignored.append(f"{where}.type={placed.type}")

    def parts(self, content: WireContent | None, where: str) -> tuple[TextContent, ...]:
        """The text of each part. Raises MessageError, and ApiError for media that are refused."""
        if isinstance(content, str):
            return (TextContent(content),)
        if not content:
            return _NOTHING
        on_media = self._policy.on_media
        made = []
        for j, part in enumerate(content):
            text = part.text
            if text is None or part.type not in ("input_text", "output_text", "text"):
                text = _other_part(part, f"{where}[{j}]", on_media)
            made.append(TextContent(text))
        return tuple(made)

    def _said(self, item: MessageItem, where: str, *, calling: bool) -> None:
        """A message of the assistant. ``calling``: a call follows in the same turn."""
        phase = item.phase
        if phase not in (None, "commentary", "final_answer"):
            raise MessageError(
                f"{where}.phase: expected commentary or final_answer, got {phase[:60]!r}",
                field=f"{where}.phase",
            )
        parts = self.parts(item.content, f"{where}.content")
        if not any(part.text for part in parts):
            return
        text = parts[0].text if len(parts) == 1 else None
        if text is not None and "<" in text and phase != "commentary":
            read = read_answer(text) if "<|" in text else None
            if read is not None or "<think>" in text:
                self.assistant(Assistant(text), 0)
                return
        preamble = phase == "commentary" or (phase is None and calling)
        self.out.append(Message(_ASSISTANT, parts, "commentary" if preamble else "final"))

    def _reasoning(self, item: ReasoningItem, where: str) -> None:
        texts = [part.text for part in item.content or () if part.text]
        if not texts and item.encrypted_content:
            opened = self._open(item.encrypted_content)
            text = reasoning_text(opened)
            if text is None:
                self._ignored.append(f"{where}.encrypted_content")
            elif text:
                texts = [text]
        if not texts:
            texts = [part.text for part in item.summary or () if part.text]
        if texts:
            content = tuple([TextContent(text) for text in texts])
            self.out.append(Message(_ASSISTANT, content, "analysis"))

    def _compaction(self, item: SealedItem, where: str) -> None:
        text = compaction_text(self._open(item.encrypted_content))
        if text is None:
            field = f"{where}.encrypted_content"
            raise ApiError(
                f"{field}: cannot be opened here; it was not sealed by this server for this key,"
                " or too long ago",
                param=field,
                code="invalid_encrypted_content",
            )
        self.out.append(Message(_USER, (TextContent(COMPACTED.format(text)),)))

    def _open(self, sealed: str) -> bytes | None:
        return self._unseal(sealed) if self._unseal is not None else None

    def _result(self, item: OutputItem, where: str) -> None:
        recipient = self.recipients.get(item.call_id or "")
        if recipient is None:
            if item.name:
                recipient = self._recipient(item.name, item.namespace, where)
            else:
                recipient = self.unknown_call(item.call_id or "")
        self._add_result(recipient, self._output(bytes(item.output), f"{where}.output"))

    def _output(self, raw: bytes, where: str) -> tuple[TextContent, ...]:
        """Text, or parts; what is neither is told as its JSON."""
        first = raw[:1]
        if first == b'"':
            return (TextContent(decode_field(_TEXT, raw, where)),)
        if first == b"[":
            try:
                parts = decode_as(_OUTPUT, raw)
            except MessageError:
                parts = None
            if parts is not None:
                return self.parts(parts, where)
        return _NOTHING if raw == b"null" else (TextContent(raw.decode("utf-8", "replace")),)

    def _add_result(self, recipient: str, content: tuple[TextContent, ...]) -> None:
        author = Author(Role.TOOL, recipient)
        self.out.append(Message(author, content, "commentary", "assistant"))

    def _recipient(self, name: str, namespace: str | None, where: str) -> str:
        return self.qualified(flat_name(name, namespace), f"{where}.name")

    def _approval(self, item: ApprovalItem, placed: PlacedItem) -> None:
        """A call that was approved has an item of its own; one that was refused only has this."""
        if placed.type == "mcp_approval_request":
            if item.id:
                self._asked[item.id] = item
            return
        asked = self._asked.pop(item.approval_request_id or "", None)
        name = (
            None
            if asked is None or asked.name is None
            else flat_name(asked.name, asked.server_label)
        )
        if item.approve:
            if name not in self._names.aliases:
                self._ignored.append(f"{placed.where}.type={placed.type}")
        elif asked is not None and name is not None:
            recipient = self._recipient(asked.name or "", asked.server_label, placed.where)
            self.add_call(recipient, asked.arguments or "{}", asked.id)
            why = f": {item.reason}" if item.reason else "."
            self._add_result(recipient, (TextContent(f"{REFUSED}{why}"),))

    def _seen(self, item: OtherItem, kind: str) -> bool:
        """What a tool of this server did, as the model saw it; False if that is not known."""
        seen = read_seen(item.antiphon_seen)
        if seen is None and item.encrypted_content:
            seen = unpack_seen(self._open(item.encrypted_content))
        if seen is None:
            seen = self._remade(item, kind)
        if seen is None:
            return False
        self.calls.append(PastCall(None, len(self.out)))
        self.out.extend(seen.messages())
        return True

    def _remade(self, item: OtherItem, kind: str) -> Seen | None:
        """As near as the item itself tells, where the tool is offered again."""
        if kind == "code_interpreter_call" and PYTHON.name in self._built_ins:
            return Seen(PYTHON.name, item.code or "", _logs(item.outputs) or NOT_KEPT)
        query = item.action.get("query") if isinstance(item.action, dict) else None
        if kind == "web_search_call" and isinstance(query, str) and BROWSER.name in self._built_ins:
            return Seen(f"{BROWSER.name}.search", _json({"query": query}), NOT_KEPT)
        return None

    def _told(self, item: OtherItem, kind: str) -> None:
        """What another tool did, as far as there is something to tell."""
        if kind == "web_search_call":
            return  # Its results are not in it.
        name = TOLD[kind]
        if kind == "mcp_call":
            name = flat_name(item.name or name, item.server_label)
        recipient = self._names.recipient(name)
        call_id = item.call_id or item.id
        if kind.endswith("_output"):
            said = item.output if item.output is not None else item.result
            known = self.recipients.get(call_id or "", recipient)
            self._add_result(known, (TextContent(_shown(said)),))
            return
        result: Any = None
        asked: Any
        if kind == "code_interpreter_call":
            asked, result = {"code": item.code or ""}, item.outputs
        elif kind == "file_search_call":
            asked, result = {"queries": item.queries or []}, item.results
        elif kind == "mcp_call":
            asked, result = item.arguments, item.output if item.error is None else item.error
        elif kind == "program":
            asked = {"code": item.code or ""}
        else:
            asked = item.action if item.action is not None else item.operation
        self.add_call(recipient, asked if isinstance(asked, str) else _json(asked), call_id)
        if kind.endswith("_call") and result is not None:
            self._add_result(recipient, (TextContent(_shown(result)),))


def _before_calls(items: Sequence[PlacedItem]) -> list[bool]:
    """For each item, whether the assistant goes on to call something in the same turn."""
    found = [False] * len(items)
    calling = False
    for at in range(len(items) - 1, -1, -1):
        found[at] = calling
        kind, item = items[at].type, items[at].read.item
        if kind in _CALLS:
            calling = True
        elif not (isinstance(item, MessageItem) and item.role == "assistant"):
            calling = calling and kind in _BETWEEN
    return found


def _other_part(part: WirePart, where: str, on_media: Any) -> str:
    if part.type in ("summary_text", "reasoning_text") and part.text is not None:
        return part.text
    if part.type == "computer_screenshot":
        part = WirePart("input_image")
    elif part.type in ("input_file", "file") and part.file_data is not None:
        text = file_text(File(part.file_data, part.filename), where)
        if text is not None:
            return text
    return part_text(Part(part.type, part.text, part.refusal), where, on_media)


def _json(value: Any) -> str:
    return _ENCODE(value if value is not None else {}).decode()


def _shown(value: Any) -> str:
    """A result as text. Pictures are said to have been there."""
    if value is None:
        return ""
    if isinstance(value, str):
        return value
    if isinstance(value, dict) and value.get("type") == "computer_screenshot":
        return PLACEHOLDERS["image"]
    return _json(value)


def _logs(outputs: Any) -> str:
    """What code printed."""
    given = outputs if isinstance(outputs, list) else []
    logs = [output.get("logs") for output in given if isinstance(output, dict)]
    return "\n".join([text for text in logs if isinstance(text, str)])
