"""A long conversation made short: what stays as it is, and what a summary stands for.

The instructions at the start stay, and everything from the last user message on, so that an open
tool loop stays whole. What is between is told to the model once more, with the task to sum it up.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import msgspec

from antiphon.api.errors import as_api_error
from antiphon.api.output import TEXT
from antiphon.api.policy import PromptPolicy
from antiphon.api.prompt import developer_message, system_message
from antiphon.api.responses.conversation import ItemTranslation, Unseal
from antiphon.api.responses.items import PlacedItem
from antiphon.api.responses.request import Past, References, for_responses, placed_items
from antiphon.api.responses.sealed import pack_compaction
from antiphon.api.responses.stored import StoredItem, id_prefix, stored_items
from antiphon.api.responses.wire import MessageItem
from antiphon.api.toolnames import ToolNames
from antiphon.api.toolset import Toolset
from antiphon.api.turn import TurnRequest
from antiphon.codec.grammar.plan import NONE
from antiphon.errors import MessageError
from antiphon.model.content import ReasoningEffort
from antiphon.model.message import Conversation, Message

__all__ = ["SUMMARY_TASK", "SUMMARY_TOKENS", "Compaction", "plan_compaction"]

SUMMARY_TASK: Final = (
    "The conversation above gets too long and is about to be cut off. Write down everything from it"
    " that is needed to go on without it: what the user wants and has decided, names, numbers,"
    " dates, paths, identifiers and other facts word for word, what was done and what came of it,"
    " what is still open. Leave out small talk. Write notes, not an answer to the user."
)
"""What the model is asked for."""
SUMMARY_TOKENS: Final = 4096
"""Most tokens of a summary, its reasoning included."""

_NO_TOOLS: Final = Toolset()


class Compaction(msgspec.Struct, frozen=True, kw_only=True):
    """What is to be done. ``turn`` asks for the summary; None if nothing is left to sum up."""

    before: tuple[bytes, ...]
    """The JSON of the items that stay, before the summary."""
    after: tuple[bytes, ...]
    """And after it."""
    turn: TurnRequest | None

    def output(
        self, summary: str, *, new_id: Callable[[], str], seal: Callable[[bytes], str]
    ) -> list[StoredItem]:
        """The items that stand for the conversation."""
        id = f"{id_prefix('compaction')}_{new_id()}"
        sealed = seal(pack_compaction(summary))
        item = msgspec.json.encode({"type": "compaction", "id": id, "encrypted_content": sealed})
        return stored_items([*self.before, item, *self.after], new_id)


def plan_compaction(
    first: References,
    *,
    policy: PromptPolicy,
    date: str | None = None,
    tenant: str = "",
    past: Past = Past(),  # noqa: B008 - frozen
    unseal: Unseal | None = None,
) -> Compaction:
    """Raises ApiError naming the parameter that is wrong."""
    policy = for_responses(policy)
    try:
        if first.model is None:
            raise MessageError("model: is missing", field="model")
        _, items = placed_items(first, past)
        if not items:
            what = "is missing" if first.items is None else "must not be empty"
            raise MessageError(f"input: {what}", field="input")
        start, end = _cut(items)
        turn = None
        if start < end:
            turn = _summary_turn(first, items[:end], policy, date, tenant, unseal)
        return Compaction(
            before=tuple([item.raw for item in items[:start]]),
            after=tuple([item.raw for item in items[end:]]),
            turn=turn,
        )
    except MessageError as error:
        raise as_api_error(error) from error


def _cut(items: list[PlacedItem]) -> tuple[int, int]:
    """Where what is summed up begins and ends."""
    start = 0
    while start < len(items) and _role(items[start]) in ("system", "developer"):
        start += 1
    end = len(items)
    while end > start and _role(items[end - 1]) != "user":
        end -= 1
    return start, max(start, end - 1)


def _role(placed: PlacedItem) -> str | None:
    item = placed.read.item
    return item.role if isinstance(item, MessageItem) else None


def _summary_turn(
    first: References,
    items: list[PlacedItem],
    policy: PromptPolicy,
    date: str | None,
    tenant: str,
    unseal: Unseal | None,
) -> TurnRequest:
    out: list[Message] = []
    names = ToolNames()
    translation = ItemTranslation(out, names, policy, unseal, [])
    given = [translation.instruction(first.body.instructions)] if first.body.instructions else []
    leading, start = translation.leading_items(items)
    given += leading
    out.append(system_message(policy.identity, policy.knowledge_cutoff, ReasoningEffort.LOW, date))
    developer = developer_message("\n\n".join(given) if given else None, _NO_TOOLS, TEXT)
    if developer is not None:
        out.append(developer)
    translation.translate_items(items, start, len(items))
    out.append(Message.user(SUMMARY_TASK))
    return TurnRequest(
        conversation=Conversation(tuple(out)),
        model=first.model or "",
        tenant=tenant,
        names=names,
        past_calls=tuple(translation.calls),
        choice=NONE,
        max_tokens=SUMMARY_TOKENS,
        conversation_key=first.body.prompt_cache_key,
    )
