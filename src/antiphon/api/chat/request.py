"""The body of a Chat Completions request → what the turn engine is asked for.

Every parameter is honoured, or has no effect by its nature (`body.NO_EFFECT`), or is refused with
an error that names it. What is passed over is listed in `ChatRequest.ignored`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import msgspec

from antiphon.api.chat.body import KNOWN, ChatBody
from antiphon.api.chat.choice import read_choice
from antiphon.api.chat.conversation import EFFORTS
from antiphon.api.chat.history import History
from antiphon.api.chat.output import Output, read_output
from antiphon.api.chat.sampling import read_logprobs, read_max_tokens
from antiphon.api.chat.tools import read_tools
from antiphon.api.citations import Citing
from antiphon.api.errors import ApiError, as_api_error
from antiphon.api.policy import PromptPolicy, Visibility
from antiphon.api.prompt import (
    NO_THOUGHT,
    VERBOSITY,
    developer_message,
    system_message,
    verbosity_line,
)
from antiphon.api.reading import decode_body, listed
from antiphon.api.responses.metadata import check_metadata
from antiphon.api.responses.served import NO_SERVED_TOOLS, ServedTools
from antiphon.api.sampling import read_sampling, read_stop
from antiphon.api.turn import TurnRequest
from antiphon.errors import MessageError
from antiphon.model.content import ReasoningEffort, SystemContent
from antiphon.model.message import Conversation, Message

__all__ = ["VERBOSITY", "ChatRequest", "decode_chat"]

_DECODER: Final = msgspec.json.Decoder(ChatBody)


class ChatRequest(msgspec.Struct, frozen=True, kw_only=True):
    """A request, read."""

    turn: TurnRequest
    model: str
    """As the client named it."""
    n: int = 1
    stream: bool = False
    include_usage: bool = False
    include_reasoning: bool = True
    """Whether the client wants to see the reasoning."""
    store: bool = False
    """Whether the completion is kept."""
    metadata: Mapping[str, str] = {}
    """What is kept with it."""
    citing: Citing | None = None
    """What the answer may cite."""
    deprecated_functions: bool = False
    """Whether calls are answered as ``function_call``: the tools came as ``functions``."""
    ignored: tuple[str, ...] = ()
    """Paths of what was passed over, for the header ``antiphon-ignored``."""

    def view(self, allowed: Visibility) -> Visibility:
        """What of ``allowed`` this request's answers show.

        Text beside calls would spoil a structured answer, so it goes with the reasoning then.
        """
        preambles = allowed.preambles
        if preambles == "content" and self.turn.output is not None:
            preambles = "reasoning"
        return Visibility(
            reasoning=allowed.reasoning and self.include_reasoning,
            preambles=preambles,
            reasoning_fields=allowed.reasoning_fields,
        )


def decode_chat(
    body: bytes,
    *,
    policy: PromptPolicy,
    date: str | None = None,
    tenant: str = "",
    served: ServedTools = NO_SERVED_TOOLS,
) -> ChatRequest:
    """Read a request. ``date`` is today's, ISO, for the system message; None leaves it out.
    ``served`` are the tools among those of the request that the server itself runs.

    Raises ApiError naming the parameter that is wrong, by its path.
    """
    try:
        wire, keys = decode_body(_DECODER, body)
        return _read(wire, keys, policy, date, tenant, served)
    except MessageError as error:
        raise as_api_error(error) from error


def _read(
    wire: ChatBody,
    keys: list[str],
    policy: PromptPolicy,
    date: str | None,
    tenant: str,
    served: ServedTools,
) -> ChatRequest:
    if not wire.messages:
        raise MessageError("messages: must not be empty", field="messages")
    _refuse_impossible(wire)
    ignored = [key for key in keys if key not in KNOWN]
    tools = read_tools(bytes(wire.tools), bytes(wire.functions))
    taken = {f"tools[{index}].type" for index in served.taken}
    ignored += [name for name in tools.ignored if name.partition("=")[0] not in taken]
    choice = read_choice(bytes(wire.tool_choice), bytes(wire.function_call), tools, served)
    output = read_output(bytes(wire.response_format))
    effort, think = _effort(wire, policy)
    out: list[Message] = []
    history = History(out, tools.names, policy)
    instructions, start = history.leading(wire.messages)
    instructions += [*served.instructions, *_added_instructions(wire, output)]
    developer = developer_message(
        "\n\n".join(instructions) if instructions else None, tools, output
    )
    out.append(_NOTHING)
    if developer is not None:
        out.append(developer)
    history.translate(wire.messages, start)
    if effort is None:
        effort, think = history.effort, True
    if effort is None:
        effort, think = EFFORTS[policy.effort], policy.effort not in NO_THOUGHT
    out[0] = system_message(
        _identity(wire) or policy.identity,
        policy.knowledge_cutoff,
        effort,
        date,
        served.spaces,
    )
    max_tokens = read_max_tokens(wire, ignored)
    stop = read_stop(wire, policy.max_stop_strings, ignored)
    n = _choices(wire, policy)
    if n > 1 and served.spaces:
        raise MessageError("n: only one choice is possible with tools of the server's", field="n")
    turn = TurnRequest(
        conversation=Conversation(tuple(out)),
        model=wire.model,
        tenant=tenant,
        names=tools.names,
        past_calls=tuple(history.calls),
        tools={**tools.namespaces, **served.spaces} if served.spaces else tools.namespaces,
        served=frozenset([name for name in served.makers if ":" not in name]),
        strict_tools=tools.strict,
        schema_fields=tools.fields,
        custom_tools=tools.custom,
        input_grammars=tools.grammars,
        choice=choice,
        parallel=wire.parallel_tool_calls is not False and not tools.deprecated,
        output=output.structured,
        think=think,
        sampling=read_sampling(wire),
        max_tokens=max_tokens,
        stop=stop,
        logprobs=read_logprobs(wire),
        conversation_key=wire.prompt_cache_key,
    )
    _list_ignored(wire, ignored, searches=-1 in served.taken)
    passed_over = listed(ignored, policy)
    options = wire.stream_options
    return ChatRequest(
        turn=turn,
        model=wire.model,
        n=n,
        stream=bool(wire.stream),
        include_usage=bool(options and options.include_usage),
        include_reasoning=_include_reasoning(wire),
        store=bool(wire.store),
        metadata=_metadata(wire.metadata) if wire.store else {},
        deprecated_functions=tools.deprecated,
        citing=served.citing if output.structured is None else None,
        ignored=passed_over,
    )


_NOTHING: Final = Message.system(SystemContent())


def _refuse_impossible(wire: ChatBody) -> None:
    """What is known and cannot be done here (docs/chat-completions.md)."""
    for i, modality in enumerate(wire.modalities or ()):
        if modality != "text":
            raise ApiError(
                f"modalities[{i}]: {modality[:60]!r} is not possible; gpt-oss writes text only",
                param=f"modalities[{i}]",
                code="unsupported_parameter",
            )
    for name in ("audio", "moderation"):
        if getattr(wire, name) is not None:
            why = "gpt-oss writes text only" if name == "audio" else "there is no moderation here"
            raise ApiError(
                f"{name}: is not possible; {why}", param=name, code="unsupported_parameter"
            )


def _list_ignored(wire: ChatBody, ignored: list[str], *, searches: bool) -> None:
    if wire.web_search_options is not None and not searches:
        ignored.append("web_search_options")
    if wire.reasoning is not None and wire.reasoning.max_tokens is not None:
        ignored.append("reasoning.max_tokens")
    if wire.stream_options is not None and wire.stream_options.include_obfuscation:
        ignored.append("stream_options.include_obfuscation")


def _effort(wire: ChatBody, policy: PromptPolicy) -> tuple[ReasoningEffort | None, bool]:
    """What the request's parameters say: the effort, and whether to think at all."""
    reasoning, template = wire.reasoning, wire.chat_template_kwargs
    for field, value in (
        ("reasoning_effort", wire.reasoning_effort),
        ("reasoning.effort", reasoning.effort if reasoning else None),
        ("chat_template_kwargs.reasoning_effort", template.reasoning_effort if template else None),
    ):
        if value is not None:
            effort = EFFORTS.get(value)
            if effort is None:
                raise MessageError(
                    f"{field}: expected one of {', '.join(EFFORTS)}, got {value[:60]!r}",
                    field=field,
                )
            return effort, value not in NO_THOUGHT
    wanted = None
    if reasoning is not None and reasoning.enabled is not None:
        wanted = reasoning.enabled
    elif template is not None:
        wanted = template.enable_thinking
    if wanted is False:
        return ReasoningEffort.LOW, False
    if wanted and policy.effort in NO_THOUGHT:
        return ReasoningEffort.MEDIUM, True
    return None, True


def _include_reasoning(wire: ChatBody) -> bool:
    if wire.include_reasoning is not None:
        return wire.include_reasoning
    return not (wire.reasoning is not None and wire.reasoning.exclude)


def _identity(wire: ChatBody) -> str | None:
    template = wire.chat_template_kwargs
    return template.model_identity if template is not None else None


def _added_instructions(wire: ChatBody, output: Output) -> list[str]:
    added = [verbosity_line(wire.verbosity, "verbosity"), output.instruction]
    return [line for line in added if line]


def _choices(wire: ChatBody, policy: PromptPolicy) -> int:
    n = wire.n or 1
    if n > policy.max_choices:
        raise MessageError(f"n: at most {policy.max_choices} choices, got {n}", field="n")
    return n


def _metadata(given: Mapping[str, Any] | None) -> Mapping[str, str]:
    """What is kept with a completion. Where none is kept, its values may be anything."""
    for name, value in (given or {}).items():
        if not isinstance(value, str):
            field = f"metadata.{name}"
            raise MessageError(
                f"{field}: Expected `str`, got `{type(value).__name__}`", field=field
            )
    return check_metadata(given)
