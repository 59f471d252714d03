"""The reasoning memory: thoughts that a client drops between a call and its result are put back.

gpt-oss needs the analysis of the turn it is in; many clients do not send it (docs/recovery.md). So
what the model thought and said before each call is remembered under the call's id, per tenant, and
put back while the turn is open: after the next final answer the history policy drops it anyway.
Reasoning that the client did send wins. A client that changes ids is recognised by what stands
before the call, and the call itself; if two calls look the same so, neither is used.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from hashlib import blake2b
from typing import Final

import msgspec

from antiphon.model.message import Conversation, Message, Role
from antiphon.settings.model import MemorySettings
from antiphon.store.protocol import StateStore
from antiphon.turn.prompt import off_loop, size

__all__ = ["SPACE", "ReasoningMemory"]

SPACE: Final = "reasoning"
"""The store's space."""
_AMBIGUOUS: Final = b"[]"
"""Stands where two different thoughts belong to what looks like one call."""


class _Said(msgspec.Struct, frozen=True, array_like=True):
    """A message before a call: reasoning, or a preamble."""

    thought: bool
    text: str


_ENCODE: Final = msgspec.json.Encoder().encode
_DECODE: Final = msgspec.json.Decoder(tuple[_Said, ...]).decode


class ReasoningMemory:
    """Remembers and restores, in a shared store."""

    def __init__(self, store: StateStore, settings: MemorySettings) -> None:
        self._store = store
        self._settings = settings

    async def restore(
        self, conversation: Conversation, ids: Mapping[int, str | None], tenant: str
    ) -> tuple[Conversation, int]:
        """The conversation with dropped reasoning put back, and before how many calls it was.

        ``ids`` maps the index of each call message to the client's id for it.
        """
        messages = conversation.messages
        runs = _open_runs(messages)
        if not self._settings.enabled or not runs:
            return conversation, 0
        out = list(messages)
        restored = 0
        prefixes: dict[int, bytes] = {}
        for start, end in reversed(runs):
            before: dict[int, tuple[_Said, ...]] = {}
            for at in range(start, end):
                if messages[at].recipient is None:
                    continue
                data = None
                if (call_id := ids.get(at)) is not None:
                    data = await self._store.get(SPACE, _by_id(tenant, call_id))
                if data is None:
                    prefixes = prefixes or await off_loop(
                        size(messages), lambda: _prefixes(messages, [run[0] for run in runs])
                    )
                    key = _by_look(tenant, prefixes[start], messages[at])
                    data = await self._store.get(SPACE, key)
                if found := _read(data):
                    before[at] = found
            if before:
                run = list(messages[start:end])
                rebuilt = _rebuilt(run, start, before)
                if rebuilt != run:
                    out[start:end] = rebuilt
                    restored += len(before)
        return (Conversation(tuple(out)), restored) if restored else (conversation, 0)

    async def remember(
        self,
        prompt: Sequence[Message],
        said: Sequence[Message],
        call_ids: Iterable[tuple[int, str]],
        tenant: str,
    ) -> int:
        """Keep what was said before each call. ``call_ids`` are indices into ``said``.

        Returns how many calls were remembered. ``prompt`` is the conversation as the client sent
        it.
        """
        if not self._settings.enabled:
            return 0
        done = kept = 0
        prefix: bytes | None = None
        end = len(prompt)
        for at, call_id in call_ids:
            entry = tuple(
                [
                    _Said(message.channel == "analysis", message.text)
                    for message in said[done:at]
                    if message.recipient is None and message.channel in ("analysis", "commentary")
                ]
            )
            done = at + 1
            if not entry:
                continue
            data = _ENCODE(entry)
            if len(data) > self._settings.entry_bytes:
                continue
            await self._put(_by_id(tenant, call_id), data)
            if prefix is None:
                prefixes = await off_loop(size(prompt), lambda: _prefixes(prompt, [end]))
                prefix = prefixes[end]
            await self._put_unless_other(_by_look(tenant, prefix, said[at]), data)
            kept += 1
        return kept

    async def _put(self, key: str, data: bytes) -> None:
        await self._store.put(SPACE, key, data, ttl=self._settings.seconds)

    async def _put_unless_other(self, key: str, data: bytes) -> None:
        known = await self._store.get(SPACE, key)
        await self._put(key, data if known is None or known == data else _AMBIGUOUS)


def _open_runs(messages: Sequence[Message]) -> list[tuple[int, int]]:
    """The assistant's messages in a row that hold a call and no reasoning, in the open turn."""
    runs: list[tuple[int, int]] = []
    end = len(messages)
    while end:
        if messages[end - 1].role != Role.ASSISTANT:
            end -= 1
            continue
        start = end
        called = thought = closed = False
        while start and messages[start - 1].role == Role.ASSISTANT and not closed:
            start -= 1
            message = messages[start]
            called = called or message.recipient is not None
            thought = thought or (message.channel == "analysis" and message.recipient is None)
            closed = message.channel == "final"
        if called and not thought and not closed:
            runs.append((start, end))
        if closed:
            break
        end = start
    runs.reverse()
    return runs


def _rebuilt(
    run: Sequence[Message], start: int, before: Mapping[int, tuple[_Said, ...]]
) -> list[Message]:
    """The run with what was said before its calls, in the order it was said."""
    preambles = [m.text for m in run if m.recipient is None]
    known = [said.text for entry in before.values() for said in entry if not said.thought]
    as_said = not preambles or _bare(preambles) == _bare(known)
    out: list[Message] = []
    waiting: list[Message] = []
    for at, message in enumerate(run, start):
        if message.recipient is None:
            if not as_said:
                waiting.append(message)
            continue
        for said in before.get(at, ()):
            if said.thought:
                out.append(Message.analysis(said.text))
            elif as_said:
                out.append(Message.preamble(said.text))
        out += waiting
        waiting = []
        out.append(message)
    return out + waiting


def _bare(texts: Iterable[str]) -> str:
    return "".join("".join(texts).split())


def _by_id(tenant: str, call_id: str) -> str:
    return f"{tenant}:id:{_digest(call_id.encode('utf-8', 'surrogatepass'))}"


def _by_look(tenant: str, prefix: bytes, call: Message) -> str:
    name = (call.recipient or "").encode("utf-8", "surrogatepass")
    return f"{tenant}:look:{_digest(prefix, name, _arguments(call.text))}"


def _arguments(text: str) -> bytes:
    """The arguments, however a client writes the same JSON."""
    try:
        return msgspec.json.encode(msgspec.json.decode(text), order="sorted")
    except (msgspec.DecodeError, RecursionError, UnicodeError):
        return text.encode("utf-8", "surrogatepass")


def _prefixes(messages: Sequence[Message], ends: Sequence[int]) -> dict[int, bytes]:
    """For each end, what a client is sure to send again: no reasoning, settings, tool names."""
    digest = blake2b(digest_size=16)
    found: dict[int, bytes] = {}
    wanted = frozenset(ends)
    for at, message in enumerate(messages):
        if at in wanted:
            found[at] = digest.digest()
        if message.role == Role.ASSISTANT:
            if message.recipient is None:
                continue
            data = _arguments(message.text)
        elif message.role in (Role.USER, Role.TOOL):
            data = message.text.encode("utf-8", "surrogatepass")
        else:
            continue
        digest.update(f"{message.role.value}:{len(data)}:".encode())
        digest.update(data)
    found[len(messages)] = digest.digest()
    return found


def _read(data: bytes | None) -> tuple[_Said, ...]:
    if data is None:
        return ()
    try:
        return _DECODE(data)
    except msgspec.MsgspecError:  # written by another version of ours
        return ()


def _digest(*parts: bytes) -> str:
    digest = blake2b(digest_size=16)
    for part in parts:
        digest.update(len(part).to_bytes(8, "big"))
        digest.update(part)
    return digest.hexdigest()
