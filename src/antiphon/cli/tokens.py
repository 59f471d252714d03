"""``antiphon tokens``: how many tokens a text has, and which."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Final, Literal

import click

from antiphon.cli.errors import DataError
from antiphon.cli.ids import read_ids
from antiphon.cli.progress import progress
from antiphon.cli.source import STDIN, Source, open_source
from antiphon.cli.terminal import Terminal, printable

__all__ = ["tokens"]

_ARGUMENT: Final = "TEXT"
Kind = Literal["text", "marked", "ids"]


@click.command()
@click.argument("text", metavar="TEXT|-")
@click.option("--count", "only_count", is_flag=True, help="Print the number of tokens only.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@click.option(
    "--input",
    "kind",
    type=click.Choice(["text", "marked", "ids"]),
    default="text",
    show_default=True,
    help="What TEXT is: plain text; marked text, where <|start|> and the like are one token each;"
    " or token ids.",
)
def tokens(text: str, only_count: bool, as_json: bool, kind: Kind) -> None:
    """Count and show the tokens of a text.

    TEXT is encoded as the body of a message would be: control tokens in it are ordinary text unless
    --input marked is given. "-" reads standard input.

    \b
    Examples:
      antiphon tokens "Hello, world"
      antiphon tokens --count - < essay.txt
      antiphon tokens --input marked "<|start|>user<|message|>hi<|end|>"
      antiphon tokens --input ids "200006 1428 200008"
    """
    terminal = Terminal()
    if text == STDIN:
        with open_source(STDIN) as source, progress(source):
            _show(_encode_source(source, kind), terminal, only_count=only_count, as_json=as_json)
    else:
        _show(_encode_argument(text, kind), terminal, only_count=only_count, as_json=as_json)


def _encode_argument(text: str, kind: Kind) -> Iterable[int]:
    if not text:
        raise DataError(f"{_ARGUMENT}: the text is empty")
    if any("\ud800" <= c <= "\udfff" for c in text):
        raise DataError(f"{_ARGUMENT}: not UTF-8 text")
    return _encode([text], kind, _ARGUMENT)


def _encode_source(source: Source, kind: Kind) -> Iterator[int]:
    return _encode(source.text(), kind, source.name)


def _encode(chunks: Iterable[str], kind: Kind, name: str) -> Iterator[int]:
    if kind == "ids":
        for ids in read_ids(chunks, name, checked=True):
            yield from ids
        return
    from antiphon.cli.counting import TextEncoder, encode_marked

    if kind == "marked":
        yield from encode_marked("".join(chunks))
        return
    encoder = TextEncoder()
    for chunk in chunks:
        yield from encoder.feed(chunk)
    yield from encoder.finish()


def _show(ids: Iterable[int], terminal: Terminal, *, only_count: bool, as_json: bool) -> None:
    if only_count:
        count = sum(1 for _ in ids)
        terminal.write(f'{{"count":{count}}}\n' if as_json else f"{count}\n")
    elif as_json:
        _write_json(ids, terminal)
    else:
        _write_table(ids, terminal)


def _write_table(ids: Iterable[int], terminal: Terminal) -> None:
    from antiphon.vocab.control import is_control
    from antiphon.vocab.table import token_bytes

    count = size = 0
    for token in ids:
        data = token_bytes(token) or b""
        shown = _quoted(data)
        count += 1
        size += len(data)
        if is_control(token):
            shown = terminal.style(data.decode(), "dim")
        terminal.write(f"{terminal.style(f'{token:>6}', 'cyan')}  {shown}\n")
    total = f"{count} token{'' if count == 1 else 's'}, {size} byte{'' if size == 1 else 's'}"
    terminal.write(f"{terminal.style(total, 'bold')}\n")


def _quoted(data: bytes) -> str:
    """``"text"``, or ``b"…"`` for a token that is not whole characters."""
    try:
        text = data.decode()
    except UnicodeDecodeError:
        return 'b"' + "".join([f"\\x{byte:02x}" for byte in data]) + '"'
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return '"' + printable(escaped.replace("\n", "\\n").replace("\t", "\\t")) + '"'


def _write_json(ids: Iterable[int], terminal: Terminal) -> None:
    import msgspec

    from antiphon.vocab.table import token_bytes

    encode = msgspec.json.Encoder().encode
    count = 0
    terminal.write('{"tokens":[')
    for token in ids:
        data = token_bytes(token) or b""
        row: dict[str, int | str] = {"id": token}
        try:
            row["text"] = data.decode()
        except UnicodeDecodeError:
            row["bytes"] = data.hex()
        terminal.write(("," if count else "") + encode(row).decode())
        count += 1
    terminal.write(f'],"count":{count}}}\n')
