"""What ``antiphon mcp`` offers other agents: render, parse and inspect, with bounded work."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from typing import Annotated, Any, Final, Literal, NamedTuple, TypeVar

import msgspec
from msgspec import Meta

from antiphon.cli.annotate import Annotator
from antiphon.cli.blocks import BlockWriter
from antiphon.cli.errors import CommandLineError, DataError
from antiphon.cli.jsonout import JsonWriter
from antiphon.cli.session import ParserSettings, Session
from antiphon.cli.terminal import Terminal
from antiphon.cli.tooltable import qualified
from antiphon.errors import AntiphonError
from antiphon.model.message import Role
from antiphon.vocab.table import token_bytes

__all__ = [
    "MAX_INPUT_CHARS",
    "MAX_OUTPUT_CHARS",
    "MAX_TOKENS",
    "OFFERED",
    "Offered",
    "RefusedError",
]

MAX_INPUT_CHARS: Final = 1_000_000
MAX_TOKENS: Final = 262_144
MAX_OUTPUT_CHARS: Final = 400_000
"""More is refused where it is JSON, and cut where people read it."""

RoleName = Literal["system", "developer", "user", "assistant", "tool"]
_T = TypeVar("_T")


class RefusedError(Exception):
    """Arguments or input that cannot be used. The message is for the agent that called."""


class Render(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The arguments of render."""

    conversation: Annotated[
        dict[str, Any] | list[Any],
        Meta(
            description="An object with `messages`, or a list of messages: in Harmony's own form"
            " (role, channel, recipient, content), or a Chat Completions request with its tools."
        ),
    ]
    output: Annotated[
        Literal["text", "tokens", "both"],
        Meta(description="Text with control tokens spelled out, token ids, or both."),
    ] = "text"
    format: Annotated[
        Literal["auto", "harmony", "chat"], Meta(description="What `conversation` is.")
    ] = "auto"
    dialect: Annotated[
        Literal["emission", "reference"],
        Meta(
            description="As the model itself writes, or token-identical with OpenAI's"
            " openai-harmony library."
        ),
    ] = "emission"
    effort: Annotated[
        Literal["low", "medium", "high"] | None,
        Meta(description="Set the reasoning effort in the system message."),
    ] = None
    history: Annotated[
        Literal["reference", "guide", "keep"] | None,
        Meta(
            description="Which reasoning of earlier turns to drop: as openai-harmony does, as"
            " OpenAI's guide asks, or none. Default: the dialect's own."
        ),
    ] = None
    whole: Annotated[
        bool,
        Meta(description="Only the messages, without `<|start|>assistant` at the end."),
    ] = False


class Parse(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The arguments of parse."""

    input: Annotated[
        str | list[int],
        Meta(
            description="What a gpt-oss model wrote, or a whole transcript: text, or a list of"
            " token ids."
        ),
    ]
    kind: Annotated[
        Literal["auto", "marked", "stripped"],
        Meta(
            description="What a text is: `marked` has control tokens spelled out, as <|channel|>;"
            " `stripped` has lost them."
        ),
    ] = "auto"
    role: Annotated[
        RoleName | None,
        Meta(
            description="The role of the first message, where the prompt named it and the input"
            " begins after it. Default: assistant."
        ),
    ] = None
    tools: Annotated[
        list[str] | None,
        Meta(
            description="Names of the tools that were on offer, as `get_weather` or"
            " `browser.search`. An empty list: none. Without it every recipient is believed."
        ),
    ] = None
    strict: Annotated[
        bool, Meta(description="Fail where openai-harmony's strict mode does, instead of mending.")
    ] = False


class Inspect(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The arguments of inspect: those of parse, which always mends."""

    input: Annotated[
        str | list[int],
        Meta(description="A transcript or a completion: text, or a list of token ids."),
    ]
    kind: Annotated[
        Literal["auto", "marked", "stripped"], Meta(description="What a text is; see parse.")
    ] = "auto"
    role: Annotated[
        RoleName | None,
        Meta(description="The role of the first message, where the input begins after it."),
    ] = None
    tools: Annotated[
        list[str] | None, Meta(description="Names of the tools that were on offer.")
    ] = None


class Offered(NamedTuple):
    """One tool: what agents are told, and what is done. ``work`` raises RefusedError."""

    name: str
    title: str
    description: str
    schema: dict[str, Any]
    work: Callable[[dict[str, Any]], str]


def render(arguments: dict[str, Any]) -> str:
    from antiphon.cli.conversation import conversation_from_json, with_effort
    from antiphon.codec.render import Renderer
    from antiphon.model.content import ReasoningEffort

    given = _read(arguments, Render)
    text = msgspec.json.encode(given.conversation).decode()
    _check_length(len(text), "conversation")
    try:
        conversation = conversation_from_json(text, "conversation", given.format)
        if given.effort is not None:
            effort = ReasoningEffort(given.effort)
            conversation = with_effort(conversation, effort, "conversation")
        renderer = Renderer(dialect=given.dialect)
        make = renderer.conversation if given.whole else renderer.for_completion
        tokens = make(conversation, history=given.history)
    except (DataError, AntiphonError) as error:
        raise RefusedError(str(error)) from error
    if given.output == "text":
        return _fitting(_spelled(tokens))
    result: dict[str, Any] = {"count": len(tokens), "tokens": tokens}
    if given.output == "both":
        result["text"] = _spelled(tokens)
    return _fitting(msgspec.json.encode(result).decode())


def parse(arguments: dict[str, Any]) -> str:
    given = _read(arguments, Parse)
    paper, terminal = _paper()
    writer = JsonWriter(terminal, lines=False)
    try:
        for _, events in Session(_Given(given.input), _settings(given, strict=given.strict)):
            for event in events:
                writer.event(event)
    except (DataError, CommandLineError) as error:
        raise RefusedError(str(error).removeprefix("--")) from error
    writer.finish()
    return _fitting(paper.getvalue())


def inspect(arguments: dict[str, Any]) -> str:
    given = _read(arguments, Inspect)
    paper, terminal = _paper()
    try:
        session = Session(_Given(given.input), _settings(given))
        annotator = Annotator(session.kind)
        writer = BlockWriter(terminal, full=True, exact=annotator.exact)
        for chunk, events in session:
            annotator.saw(chunk)
            for event in annotator.annotate(events):
                writer.event(event)
    except (DataError, CommandLineError) as error:
        raise RefusedError(str(error).removeprefix("--")) from error
    writer.finish(annotator.totals)
    shown = paper.getvalue()
    if len(shown) > MAX_OUTPUT_CHARS:
        missing = len(shown) - MAX_OUTPUT_CHARS
        shown = f"{shown[:MAX_OUTPUT_CHARS]}\n[{missing:,} characters are left out]\n"
    return shown


class _Given:
    """An argument as an input that the parser reads."""

    name = "input"

    def __init__(self, value: str | list[int]) -> None:
        if isinstance(value, str):
            _check_length(len(value), "input")
            self._text = value
        elif len(value) > MAX_TOKENS:
            raise RefusedError(f"input: {len(value):,} token ids; at most {MAX_TOKENS:,} are taken")
        else:
            self._text = f"{value}"

    def text(self) -> Iterator[str]:
        yield self._text


def _settings(given: Parse | Inspect, *, strict: bool = False) -> ParserSettings:
    kind = given.kind if isinstance(given.input, str) else "ids"
    role = None if given.role is None else Role(given.role)
    tools = None if given.tools is None else qualified(given.tools)
    return ParserSettings(kind, role, tools, strict=strict)


def _read(arguments: dict[str, Any], kind: type[_T]) -> _T:
    try:
        return msgspec.convert(arguments, kind)
    except msgspec.ValidationError as error:
        raise RefusedError(f"the arguments are wrong: {error}") from error


def _check_length(length: int, what: str) -> None:
    if length > MAX_INPUT_CHARS:
        raise RefusedError(
            f"{what}: {length:,} characters; at most {MAX_INPUT_CHARS:,} are taken. The command"
            " line has no such limit."
        )


def _fitting(text: str) -> str:
    if len(text) > MAX_OUTPUT_CHARS:
        raise RefusedError(
            f"the result has {len(text):,} characters; at most {MAX_OUTPUT_CHARS:,} are given."
            " Send a part, or use the command line."
        )
    return text


def _spelled(tokens: list[int]) -> str:
    return b"".join([token_bytes(token) or b"" for token in tokens]).decode("utf-8", "replace")


def _paper() -> tuple[io.StringIO, Terminal]:
    stream = io.StringIO()
    terminal = Terminal(stream)
    terminal.color = False
    return stream, terminal


def _schema(kind: type[msgspec.Struct]) -> dict[str, Any]:
    schema: dict[str, Any] = msgspec.json.schema(kind)["$defs"][kind.__name__]
    schema.pop("title", None)
    schema.pop("description", None)
    return schema


OFFERED: Final = (
    Offered(
        "render",
        "Render a conversation for gpt-oss",
        "Turn a conversation into the prompt that a gpt-oss model sees, in OpenAI's Harmony format:"
        " exact text with its control tokens, or token ids. Use it to check what a chat template or"
        " a gateway should have sent, or to count the tokens of a prompt.",
        _schema(Render),
        render,
    ),
    Offered(
        "parse",
        "Parse what gpt-oss wrote",
        "Turn the raw output of a gpt-oss model, or a Harmony transcript, into messages as JSON:"
        " reasoning, tool calls and answers with role, channel, recipient and content type."
        " Malformed output is mended, and each mend is reported under `diagnostics`; nothing that"
        " the model wrote is lost.",
        _schema(Parse),
        parse,
    ),
    Offered(
        "inspect",
        "Show a Harmony transcript, annotated",
        "Show raw gpt-oss output or a Harmony transcript for people: one block a message, with its"
        " header, channel, recipient, token counts, and a note wherever malformed output was"
        " mended. Use it to find out why a tool call or an answer was lost.",
        _schema(Inspect),
        inspect,
    ),
)
