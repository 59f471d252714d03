"""Code in the terminal's own colours, row by row."""

from __future__ import annotations

from functools import cache, lru_cache
from typing import Any, Final

from rich.segment import Segment
from rich.style import Style

from antiphon.cli.chat.wrapping import fold_at

__all__ = ["Row", "cut_runs", "highlighted"]

Row = list[Segment]

MAX_LANGUAGE: Final = 40

_PLAIN: Final = Style(color="cyan")
_STYLES: Final = {
    "Comment": Style(dim=True, italic=True),
    "Keyword": Style(color="magenta"),
    "Literal.String": Style(color="green"),
    "Literal.Number": Style(color="cyan"),
    "Name.Function": Style(color="blue"),
    "Name.Class": Style(color="yellow"),
    "Name.Tag": Style(color="blue"),
    "Name.Builtin": Style(color="cyan"),
    "Name.Attribute": Style(color="cyan"),
    "Name.Decorator": Style(color="yellow"),
    "Generic.Deleted": Style(color="red"),
    "Generic.Inserted": Style(color="green"),
    "Generic.Heading": Style(bold=True),
    "Generic.Prompt": Style(dim=True),
}
"""Kinds of words, as pygments names them."""


def highlighted(code: str, language: str, width: int) -> list[Row]:
    """Code as rows. A language that nobody knows is shown without colours of its own."""
    lexer = _lexer(language[:MAX_LANGUAGE].lower())
    if lexer is None:
        runs: list[tuple[str, Style | None]] = [(code, _PLAIN)]
    else:
        runs = [(text, _style(str(kind))) for kind, text in lexer.get_tokens(code)]
    return cut_runs(runs, width)


def cut_runs(runs: list[tuple[str, Style | None]], width: int) -> list[Row]:
    """Texts with their styles as rows of at most ``width`` cells; line feeds begin a row."""
    rows: list[Row] = []
    line: list[tuple[str, Style | None]] = []
    for text, style in runs:
        head, *rest = text.split("\n")
        line.append((head, style))
        for part in rest:
            rows += _folded(line, width)
            line = [(part, style)]
    return rows + _folded(line, width)


def _folded(line: list[tuple[str, Style | None]], width: int) -> list[Row]:
    text = "".join([part for part, _ in line])
    spans = fold_at(text, width)
    if len(spans) == 1:
        return [[Segment(part, style) for part, style in line if part]]
    rows: list[Row] = []
    pieces = iter(line)
    part, style = next(pieces)
    at = 0
    for start, end in spans:
        row: Row = []
        while True:
            if at + len(part) > start and (piece := part[max(0, start - at) : end - at]):
                row.append(Segment(piece, style))
            if at + len(part) >= end:
                break
            at += len(part)
            part, style = next(pieces)
        rows.append(row)
    return rows


@lru_cache(32)
def _lexer(language: str) -> Any:
    if not language or language not in _languages():
        return None
    from pygments.lexers import get_lexer_by_name

    return get_lexer_by_name(language, stripnl=False, ensurenl=False)


@cache
def _languages() -> frozenset[str]:
    """Those that come with pygments: looking for plugins takes long."""
    from pygments.lexers import get_all_lexers

    return frozenset(name for entry in get_all_lexers(plugins=False) for name in entry[1])


@cache
def _style(kind: str) -> Style | None:
    """The style of a kind, or of what it is a kind of."""
    kind = kind.removeprefix("Token.").removeprefix("Token")
    while kind:
        if kind in _STYLES:
            return _STYLES[kind]
        kind = kind.rpartition(".")[0]
    return None
