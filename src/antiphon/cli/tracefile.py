"""Trace files of `antiphon serve --trace`: picking one turn, as a transcript to inspect."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from itertools import chain
from typing import TYPE_CHECKING, Final, NamedTuple

import msgspec

from antiphon.cli.errors import CommandLineError, DataError
from antiphon.cli.feeding import InputKind
from antiphon.cli.source import Source

if TYPE_CHECKING:
    from antiphon.gateway.trace import Completion, TraceEntry

__all__ = ["Opened", "TextSource", "open_trace"]

_BEGIN: Final = '{"antiphon_trace":'


class TextSource:
    """Text that was read already, and what is still to come."""

    def __init__(self, name: str, texts: Iterator[str]) -> None:
        self.name: Final = name
        self._texts = texts

    def text(self) -> Iterator[str]:
        return self._texts


class Opened(NamedTuple):
    """What is to be inspected. ``kind`` and ``about`` are None if it was no trace file."""

    source: TextSource
    kind: InputKind | None = None
    about: str | None = None
    """The entry in one line."""


def open_trace(source: Source, entry: int | None) -> Opened:
    """The entry of a trace file (1 is the first, -1 or None the last), or other input as it is.

    A turn of several completions is shown by the last, whose prompt holds what was before. Where an
    engine strips control tokens, only its output is shown. Raises CommandLineError if there is no
    such entry, DataError for a line that is none.
    """
    texts = source.text()
    seen = ""
    for text in texts:
        seen += text
        if len(seen) >= len(_BEGIN):
            break
    texts = chain((seen,), texts)
    if not seen.startswith(_BEGIN):
        if entry is not None:
            raise CommandLineError(f"--entry: {source.name} is not a trace file")
        return Opened(TextSource(source.name, texts))
    number, count, line = _pick(texts, -1 if entry is None else entry, source.name)
    turn = _decode(line, f"{source.name}: entry {number}")
    if not turn.completions:
        raise DataError(f"{source.name}: entry {number} ended before anything was asked")
    kind, text = _transcript(turn.completions[-1])
    return Opened(
        TextSource(f"{source.name}: entry {number}", iter((text,))),
        kind,
        f"entry {number} of {count}: {_about(turn)}",
    )


def _pick(texts: Iterator[str], wanted: int, name: str) -> tuple[int, int, str]:
    """Number, number of entries, and the line; only as many lines are held as must be."""
    if wanted == 0:
        raise CommandLineError("--entry counts from 1, or from -1 at the end")
    last: deque[str] = deque(maxlen=max(1, -wanted))
    found: str | None = None
    count = 0
    for line in _lines(texts):
        count += 1
        if wanted < 0:
            last.append(line)
        elif count == wanted:
            found = line
    if wanted < 0 and count >= -wanted:
        found = last[0]
    if found is None:
        plural = "entry" if count == 1 else "entries"
        raise CommandLineError(f"--entry {wanted}: {name} has {count} {plural}")
    return (wanted if wanted > 0 else count + 1 + wanted), count, found


def _lines(texts: Iterator[str]) -> Iterator[str]:
    parts: list[str] = []
    for text in texts:
        *whole, rest = text.split("\n")
        for line in whole:
            parts.append(line)
            joined = "".join(parts)
            parts.clear()
            if joined.strip():
                yield joined
        parts.append(rest)
    joined = "".join(parts)
    if joined.strip():
        yield joined


def _decode(line: str, where: str) -> TraceEntry:
    from antiphon.gateway.trace import TRACE_VERSION, TraceEntry

    try:
        entry = msgspec.json.decode(line, type=TraceEntry)
    except (msgspec.MsgspecError, RecursionError) as error:
        raise DataError(f"{where}: {error}") from error
    if entry.antiphon_trace != TRACE_VERSION:
        raise DataError(f"{where}: version {entry.antiphon_trace} of the format is not known here")
    return entry


def _transcript(completion: Completion) -> tuple[InputKind, str]:
    if completion.reading == "stripped":
        return "stripped", "".join([str(part) for part in completion.output])
    return "ids", msgspec.json.encode([*completion.prompt, *_ids(completion)]).decode()


def _ids(completion: Completion) -> Iterator[int]:
    from antiphon.cli.counting import encode_marked
    from antiphon.vocab.tokenizer import default_tokenizer

    for part in completion.output:
        if isinstance(part, int):
            yield part
        elif completion.reading == "marked":
            yield from encode_marked(part)
        else:
            yield from default_tokenizer().encode(part)


def _about(turn: TraceEntry) -> str:
    facts = [turn.time, turn.request_id, f"model {turn.model}", f"engine {turn.engine}"]
    if turn.choice:
        facts.append(f"choice {turn.choice}")
    if len(turn.completions) > 1:
        facts.append(f"the last of {len(turn.completions)} completions")
    if turn.recovered:
        facts.append(f"mended: {', '.join(turn.recovered)}")
    facts.append(turn.error or turn.finish_reason or "not finished")
    return "; ".join(facts)
