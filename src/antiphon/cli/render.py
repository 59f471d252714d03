"""``antiphon render``: a conversation in, tokens or marked text out."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import groupby
from typing import Any, Literal

import click

from antiphon.cli.errors import CommandLineError, DataError
from antiphon.cli.progress import progress
from antiphon.cli.source import open_source
from antiphon.cli.terminal import Terminal, printable
from antiphon.model.message import Conversation, Role

__all__ = ["render"]


@click.command()
@click.argument("file", metavar="CONVERSATION.json|-", type=click.Path(allow_dash=True))
@click.option(
    "--output",
    "-o",
    type=click.Choice(["tokens", "text", "both"]),
    default="tokens",
    show_default=True,
    help="Token ids as a JSON array; marked text; or the one line and then the other.",
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@click.option(
    "--format",
    "form",
    type=click.Choice(["auto", "harmony", "chat"]),
    default="auto",
    show_default=True,
    help="What the JSON is: messages in Harmony's own form, or a Chat Completions request.",
)
@click.option(
    "--dialect",
    type=click.Choice(["reference", "emission"]),
    default="emission",
    show_default=True,
    help="Token-identical with openai-harmony, or as the model itself writes.",
)
@click.option(
    "--effort",
    type=click.Choice(["low", "medium", "high"]),
    help="Set the reasoning effort in the system message. Without a system message the default one"
    " is added.",
)
@click.option(
    "--history",
    type=click.Choice(["reference", "guide", "keep"]),
    help="Which reasoning to drop: as openai-harmony does; as OpenAI's guide asks; or none."
    "  [default: the dialect's own: reference for reference, guide for emission]",
)
@click.option(
    "--role",
    type=click.Choice([role.value for role in Role]),
    help="Who speaks next, at the end of the prompt.  [default: assistant]",
)
@click.option("--whole", is_flag=True, help="Only the messages, without the start of the next.")
@click.option(
    "--training",
    is_flag=True,
    help="A training sample: adds the loss mask, 1 for each token that the assistant writes.",
)
def render(
    file: str,
    output: Literal["tokens", "text", "both"],
    as_json: bool,
    form: Literal["auto", "harmony", "chat"],
    dialect: Literal["reference", "emission"],
    effort: str | None,
    history: Literal["reference", "guide", "keep"] | None,
    role: str | None,
    whole: bool,
    training: bool,
) -> None:
    """Turn a conversation into tokens or text.

    Reads an object with "messages", a list of messages, or a Chat Completions request, from a JSON
    file or "-" for standard input. The result is a prompt ready for completion, unless --whole or
    --training is given.

    \b
    Examples:
      antiphon render conversation.json
      antiphon render --output text --effort high conversation.json
      antiphon render --dialect reference --whole --json conversation.json
      antiphon render --format chat --output text request.json
      antiphon render --training --json - < sample.json
      echo '[{"role": "user", "content": "Hi"}]' | antiphon render -o text -
    """
    if whole + training + (role is not None) > 1:
        raise CommandLineError("only one of --whole, --training and --role can be given")
    with open_source(file) as source, progress(source):
        text = "".join(source.text())
        if not text.strip():
            raise DataError(f"{source.name}: the input holds nothing but white space")
        conversation = _read(text, source.name, form, effort)

    from antiphon.codec.render import Renderer
    from antiphon.errors import AntiphonError

    renderer = Renderer(dialect=dialect)
    mask: Sequence[int] | None = None
    try:
        if training:
            sample = renderer.for_training(conversation, history=history)
            tokens, mask = sample.tokens, sample.mask
        elif whole:
            tokens = renderer.conversation(conversation, history=history)
        else:
            tokens = renderer.for_completion(conversation, role or Role.ASSISTANT, history=history)
    except AntiphonError as error:
        raise DataError(f"{source.name}: {error}") from error
    terminal = Terminal()
    if as_json:
        _write_json(terminal, tokens, mask, output)
    else:
        _write_plain(terminal, tokens, mask, output)


def _read(
    text: str, name: str, form: Literal["auto", "harmony", "chat"], effort: str | None
) -> Conversation:
    from antiphon.cli.conversation import conversation_from_json, with_effort
    from antiphon.model.content import ReasoningEffort

    conversation = conversation_from_json(text, name, form)
    return (
        conversation if effort is None else with_effort(conversation, ReasoningEffort(effort), name)
    )


def _write_json(
    terminal: Terminal, tokens: list[int], mask: Sequence[int] | None, output: str
) -> None:
    import msgspec

    result: dict[str, Any] = {"count": len(tokens)}
    if output != "text":
        result["tokens"] = tokens
        if mask is not None:
            result["mask"] = list(mask)
    if output != "tokens":
        result["text"] = "".join([text for _, _, text in _runs(tokens, None)])
    terminal.write(msgspec.json.encode(result).decode() + "\n")


def _write_plain(
    terminal: Terminal, tokens: list[int], mask: Sequence[int] | None, output: str
) -> None:
    if output != "text":
        terminal.write(f"{tokens}\n")
        if mask is not None:
            terminal.write(f"{list(mask)}\n")
    if output == "tokens":
        return
    for is_control, learned, text in _runs(tokens, mask if terminal.color else None):
        styles = [s for s, on in (("dim", is_control), ("green", learned)) if on]
        terminal.write(terminal.style(printable(text) if terminal.is_tty else text, *styles))
    terminal.write("\n")


def _runs(tokens: list[int], mask: Sequence[int] | None) -> Iterator[tuple[bool, bool, str]]:
    """Neighbouring tokens of one kind: (control tokens?, learned?, their text)."""
    from antiphon.vocab.control import is_control
    from antiphon.vocab.table import token_bytes

    at = mask or bytes(len(tokens))
    marked = [(is_control(token), bool(m), token) for token, m in zip(tokens, at, strict=True)]
    for (control, learned), run in groupby(marked, key=lambda item: item[:2]):
        data = b"".join([token_bytes(token) or b"" for _, _, token in run])
        yield control, learned, data.decode("utf-8", "replace")
