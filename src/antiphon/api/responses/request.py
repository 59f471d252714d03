"""The body of a Responses request → what the turn engine is asked for, in two passes.

`references` tells what has to be fetched first: the previous response, the conversation, items that
are named by their id. `decode_response_request` is then given what was found.

Every parameter is honoured, or has no effect by its nature (`body.NO_EFFECT`), or is refused with
an error that names it. What is passed over is listed in `ResponsesRequest.ignored`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

import msgspec

from antiphon.api.chat.conversation import EFFORTS
from antiphon.api.citations import Citing
from antiphon.api.errors import ApiError, as_api_error
from antiphon.api.output import Output
from antiphon.api.policy import PromptPolicy, Visibility
from antiphon.api.prompt import NO_THOUGHT, developer_message, system_message, verbosity_line
from antiphon.api.reading import decode_body, listed
from antiphon.api.responses.body import REFUSED, ResponsesBody
from antiphon.api.responses.choice import read_choice
from antiphon.api.responses.conversation import ItemTranslation, Unseal
from antiphon.api.responses.echo import echo_of
from antiphon.api.responses.items import PlacedItem, place, split_items
from antiphon.api.responses.metadata import check_metadata
from antiphon.api.responses.served import NO_SERVED_TOOLS, ItemMaker, ServedTools
from antiphon.api.responses.text import read_format
from antiphon.api.responses.tools import ResponseTools, read_tools
from antiphon.api.sampling import read_sampling, read_stop
from antiphon.api.turn import TurnRequest
from antiphon.codec.encoded import NOTHING_ENCODED, EncodedTexts
from antiphon.errors import MessageError
from antiphon.model.content import ReasoningEffort, SystemContent
from antiphon.model.message import Conversation, Message

__all__ = [
    "INCLUDE",
    "SUMMARIES",
    "Past",
    "References",
    "ResponsesRequest",
    "decode_response_request",
    "for_responses",
    "placed_items",
    "references",
]

INCLUDE: Final = frozenset(
    {
        "code_interpreter_call.outputs",
        "computer_call_output.output.image_url",
        "file_search_call.results",
        "message.input_image.image_url",
        "message.output_text.logprobs",
        "reasoning.encrypted_content",
        "web_search_call.action.sources",
        "web_search_call.results",
    }
)
"""What ``include`` may name. What belongs to tools that are not here never occurs."""
SUMMARIES: Final = frozenset({"auto", "concise", "detailed"})

_DECODER: Final = msgspec.json.Decoder(ResponsesBody)
_NOTHING: Final = Message.system(SystemContent())


class References(msgspec.Struct, frozen=True, kw_only=True):
    """What a request names that is kept elsewhere, and the request as far as it was read."""

    previous_response_id: str | None
    conversation: str | None
    item_ids: tuple[str, ...] = ()
    """Of items that are named instead of sent, in the order of the request."""
    model: str | None
    stream: bool
    background: bool
    store: bool
    body: ResponsesBody
    keys: tuple[str, ...]
    items: tuple[PlacedItem, ...] | None
    """The request's own; None where it has no ``input``."""


class Past(msgspec.Struct, frozen=True, kw_only=True):
    """What a request builds on, as it was fetched."""

    items: Sequence[bytes] = ()
    """The JSON of the items before the request's own, in order."""
    referenced: Mapping[str, bytes] = {}
    """The JSON of items by their id, for references."""
    encoded: EncodedTexts = NOTHING_ENCODED
    """Texts of the items whose tokens are known."""
    key: str | None = None
    """What all requests of the conversation share, if the client does not say it."""


_NO_PAST: Final = Past()


class ResponsesRequest(msgspec.Struct, frozen=True, kw_only=True):
    """A request, read."""

    turn: TurnRequest
    model: str
    """As the client named it."""
    stream: bool = False
    background: bool = False
    store: bool = True
    include: frozenset[str] = frozenset()
    previous_response_id: str | None = None
    conversation: str | None = None
    truncation: str = "disabled"
    """``auto``: the beginning of the conversation may be dropped to fit the context."""
    summary: str | None = None
    """``auto``, ``concise`` or ``detailed``: whether summaries of reasoning are wanted."""
    max_tool_calls: int | None = None
    """Most calls of tools that the server itself runs."""
    metadata: Mapping[str, str] = {}
    namespaced: Mapping[str, tuple[str, str]] = {}
    """Names of tools as a turn tells them → namespace and name."""
    served: Mapping[str, ItemMaker] = {}
    """What makes the items of calls that the server makes, by recipient."""
    citing: Citing | None = None
    """What the answer may cite."""
    items: tuple[bytes, ...] = ()
    """The JSON of the request's own items; references are replaced by what they name."""
    own: int = 0
    """Where the messages of these items begin in the turn's conversation."""
    echo: bytes = b""
    """Members of the response object that repeat the request, as JSON without braces."""
    ignored: tuple[str, ...] = ()
    """Paths of what was passed over, for the header ``antiphon-ignored``."""

    @property
    def encrypted(self) -> bool:
        """Whether reasoning is wanted sealed as well."""
        return "reasoning.encrypted_content" in self.include

    def view(self, allowed: Visibility) -> Visibility:
        """What of ``allowed`` this request's answers show.

        Clients parse every message of a structured answer, so that text beside calls would spoil
        it; it goes with the reasoning then.
        """
        if allowed.preambles == "content" and self.turn.output is not None:
            return msgspec.structs.replace(allowed, preambles="reasoning")
        return allowed


def references(body: bytes) -> References:
    """The first pass. Raises ApiError naming the parameter that is wrong, by its path."""
    try:
        wire, keys = decode_body(_DECODER, body)
        if wire.previous_response_id is not None and wire.conversation_id is not None:
            raise ApiError(
                "previous_response_id: cannot be used together with conversation",
                param="previous_response_id",
                code="mutually_exclusive_parameters",
            )
        raw = split_items(bytes(wire.input))
        items = None
        if raw is not None:
            items = tuple([place(item, "input", i) for i, item in enumerate(raw)])
    except MessageError as error:
        raise as_api_error(error) from error
    return References(
        previous_response_id=wire.previous_response_id,
        conversation=wire.conversation_id,
        item_ids=tuple(
            [item.read.id or "" for item in items or () if item.type == "item_reference"]
        ),
        model=wire.model,
        stream=bool(wire.stream),
        background=bool(wire.background),
        store=wire.store is not False,
        body=wire,
        keys=tuple(keys),
        items=items,
    )


def decode_response_request(
    body: bytes | References,
    *,
    policy: PromptPolicy,
    date: str | None = None,
    tenant: str = "",
    past: Past = _NO_PAST,
    unseal: Unseal | None = None,
    counting: bool = False,
    served: ServedTools = NO_SERVED_TOOLS,
) -> ResponsesRequest:
    """Read a request. ``date`` is today's, ISO, for the system message; None leaves it out.

    ``unseal`` opens ``encrypted_content`` for this tenant. ``counting``: the request only asks how
    many tokens it would be, so that model and input may be missing. ``served`` are the tools among
    those of the request that the server itself runs.

    Raises ApiError naming the parameter that is wrong, by its path.
    """
    first = references(body) if isinstance(body, bytes) else body
    try:
        reader = _Reader(first, policy, past, unseal, counting=counting, served=served)
        return reader.read(date, tenant)
    except MessageError as error:
        raise as_api_error(error) from error


def for_responses(policy: PromptPolicy) -> PromptPolicy:
    """The policy with what holds for this API."""
    if policy.on_media == policy.responses_on_media:
        return policy
    return msgspec.structs.replace(policy, on_media=policy.responses_on_media)


def placed_items(first: References, past: Past) -> tuple[list[PlacedItem], list[PlacedItem]]:
    """The request's own items, references followed; and all, with what came before.

    Raises ApiError for a reference to what is not there.
    """
    own = [
        _referenced(item, past) if item.type == "item_reference" else item
        for item in first.items or ()
    ]
    return own, [place(raw, "previous", i) for i, raw in enumerate(past.items)] + own


def _referenced(item: PlacedItem, past: Past) -> PlacedItem:
    name = item.read.id or ""
    raw = past.referenced.get(name)
    if raw is None:
        raise ApiError(
            f"{item.where}.id: there is no item {name[:80]!r} here; only items of stored responses"
            " and conversations are kept",
            status=404,
            param=f"{item.where}.id",
            code="item_not_found",
        )
    return place(raw, item.list, item.at)


class _Reader:
    """The second pass."""

    def __init__(
        self,
        first: References,
        policy: PromptPolicy,
        past: Past,
        unseal: Unseal | None,
        *,
        counting: bool,
        served: ServedTools,
    ) -> None:
        self._first = first
        self._served = served
        self._wire = first.body
        self._policy = for_responses(policy)
        self._past = past
        self._unseal = unseal
        self._counting = counting
        self._ignored = [key for key in first.keys if key not in ResponsesBody.__struct_fields__]

    def read(self, date: str | None, tenant: str) -> ResponsesRequest:
        wire, policy, ignored = self._wire, self._policy, self._ignored
        if wire.model is None and not self._counting:
            raise MessageError("model: is missing", field="model")
        self._refuse_impossible()
        summary = self._summary()
        include = self._include()
        store, background = wire.store is not False, bool(wire.background)
        if background and not store:
            raise ApiError(
                "background: needs store, as the response is fetched later",
                param="background",
                code="invalid_value",
            )
        metadata = check_metadata(wire.metadata)
        served = self._served
        tools = read_tools(bytes(wire.tools), served)
        ignored += [*tools.tools.ignored, *served.ignored]
        choice = read_choice(bytes(wire.tool_choice), tools, ignored, served)
        output, text_format = read_format(bytes(wire.text.format) if wire.text else b"null")
        effort, think = self._effort()
        own, items = self._items()
        out: list[Message] = []
        translation = ItemTranslation(
            out, tools.tools.names, policy, self._unseal, ignored, served.spaces
        )
        given = [translation.instruction(wire.instructions)] if wire.instructions else []
        leading, start = translation.leading_items(items)
        given += leading
        given += [*served.instructions, *self._added_instructions(output)]
        developer = developer_message("\n\n".join(given) if given else None, tools.tools, output)
        out.append(_NOTHING)
        if developer is not None:
            out.append(developer)
        before = max(len(items) - len(own), start)
        translation.translate_items(items, start, before)
        own_messages = len(out)
        translation.translate_items(items, before, len(items))
        shown = wire.reasoning.effort if wire.reasoning and wire.reasoning.effort else None
        if effort is None:
            effort, think = translation.effort, True
        if effort is None:
            shown = policy.effort
            effort, think = EFFORTS[policy.effort], policy.effort not in NO_THOUGHT
        out[0] = system_message(
            policy.identity, policy.knowledge_cutoff, effort, date, served.spaces
        )
        makers = self._makers(tools)
        stop = read_stop(wire, policy.max_stop_strings, ignored)
        turn = TurnRequest(
            conversation=Conversation(tuple(out)),
            model=wire.model or "",
            tenant=tenant,
            encoded=self._past.encoded,
            names=tools.tools.names,
            past_calls=tuple(translation.calls),
            tools={**tools.tools.namespaces, **served.spaces}
            if served.spaces
            else tools.tools.namespaces,
            served=frozenset([name for name in makers if ":" not in name]),
            strict_tools=tools.tools.strict,
            schema_fields=tools.tools.fields,
            custom_tools=tools.tools.custom,
            input_grammars=tools.tools.grammars,
            choice=choice,
            parallel=wire.parallel_tool_calls is not False,
            output=output.structured,
            think=think,
            sampling=read_sampling(wire),
            max_tokens=wire.max_output_tokens,
            truncate=wire.truncation == "auto",
            stop=stop,
            logprobs=self._logprobs(include),
            conversation_key=wire.prompt_cache_key or self._past.key or wire.conversation_id,
        )
        self._list_ignored()
        return ResponsesRequest(
            turn=turn,
            model=wire.model or "",
            stream=bool(wire.stream),
            background=background,
            store=store,
            include=include,
            previous_response_id=wire.previous_response_id,
            conversation=wire.conversation_id,
            truncation=wire.truncation or "disabled",
            summary=summary,
            max_tool_calls=wire.max_tool_calls,
            metadata=metadata,
            namespaced=tools.namespaced,
            served=makers,
            citing=served.citing if output.structured is None else None,
            items=own,
            own=own_messages,
            echo=echo_of(
                wire,
                tools=tools.echo,
                text_format=text_format,
                effort=shown or effort.value,
                store=store,
            ),
            ignored=listed(ignored, policy),
        )

    # The prompt.

    def _makers(self, tools: ResponseTools) -> dict[str, ItemMaker]:
        """By recipient: functions have their alias in it."""
        served = self._served
        made = dict(served.makers)
        for function in served.functions:
            if (name := function.offered.name) in tools.served:
                made[tools.tools.names.recipient(name)] = function.maker
        return made

    def _items(self) -> tuple[tuple[bytes, ...], list[PlacedItem]]:
        """The request's own items as they are kept, and all items with what came before."""
        own, items = placed_items(self._first, self._past)
        if not items and not self._counting:
            what = "is missing" if self._first.items is None else "must not be empty"
            raise MessageError(f"input: {what}", field="input")
        return tuple([item.raw for item in own]), items

    def _added_instructions(self, output: Output) -> list[str]:
        """What other parameters say in words."""
        text = self._wire.text
        verbosity = verbosity_line(text.verbosity if text else None, "text.verbosity")
        return [line for line in (verbosity, output.instruction) if line]

    # Parameters.

    def _refuse_impossible(self) -> None:
        for name, why in REFUSED.items():
            if getattr(self._wire, name) is not None:
                raise ApiError(
                    f"{name}: is not possible; {why}", param=name, code="unsupported_parameter"
                )
        truncation = self._wire.truncation
        if truncation not in (None, "auto", "disabled"):
            raise MessageError(
                f"truncation: expected auto or disabled, got {truncation[:60]!r}",
                field="truncation",
            )

    def _effort(self) -> tuple[ReasoningEffort | None, bool]:
        """What the request's parameter says: the effort, and whether to think at all."""
        value = self._wire.reasoning.effort if self._wire.reasoning else None
        if value is None:
            return None, True
        effort = EFFORTS.get(value)
        if effort is None:
            raise MessageError(
                f"reasoning.effort: expected one of {', '.join(EFFORTS)}, got {value[:60]!r}",
                field="reasoning.effort",
            )
        return effort, value not in NO_THOUGHT

    def _summary(self) -> str | None:
        reasoning = self._wire.reasoning
        if reasoning is None:
            return None
        for field in ("summary", "generate_summary"):
            value: str | None = getattr(reasoning, field)
            if value is None:
                continue
            if value not in SUMMARIES:
                raise MessageError(
                    f"reasoning.{field}: expected auto, concise or detailed, got {value[:60]!r}",
                    field=f"reasoning.{field}",
                )
            if value != "auto" and not self._policy.summaries:
                self._ignored.append(f"reasoning.{field}")
            return value
        return None

    def _include(self) -> frozenset[str]:
        given = self._wire.include or ()
        for i, name in enumerate(given):
            if name not in INCLUDE:
                raise MessageError(
                    f"include[{i}]: expected one of {', '.join(sorted(INCLUDE))}, got"
                    f" {name[:60]!r}",
                    field=f"include[{i}]",
                )
        return frozenset(given)

    def _logprobs(self, include: frozenset[str]) -> int | None:
        wanted = self._wire.top_logprobs
        if wanted or "message.output_text.logprobs" in include:
            return wanted or 0
        return None

    def _list_ignored(self) -> None:
        wire, ignored = self._wire, self._ignored
        for name in ("context_management", "image"):
            if getattr(wire, name) is not None:
                ignored.append(name)
        if wire.reasoning is not None:
            if wire.reasoning.context not in (None, "auto", "current_turn"):
                ignored.append("reasoning.context")
            if wire.reasoning.mode is not None:
                ignored.append("reasoning.mode")
        if wire.stream_options is not None and wire.stream_options.include_obfuscation:
            ignored.append("stream_options.include_obfuscation")
