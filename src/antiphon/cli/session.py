"""One run of the parser over one input: the loop that ``parse`` and ``inspect`` share."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from antiphon.cli.errors import DataError
from antiphon.cli.feeding import Chunk, InputKind, open_feed
from antiphon.cli.source import TextInput
from antiphon.codec.events import Event
from antiphon.codec.stream import Parser
from antiphon.errors import ParseError
from antiphon.model.message import Role

__all__ = ["ParserSettings", "Session"]


class ParserSettings(NamedTuple):
    """What the command line says about the input. ``kind`` may be ``auto``."""

    kind: str
    role: Role | None = None
    tools: tuple[str, ...] | None = None
    strict: bool = False


class Session:
    """Iterates over (raw chunk, its events); the last pair has an empty chunk.

    Raises DataError for an input that cannot be read as what it should be, and for what the
    strict parser refuses.
    """

    def __init__(self, source: TextInput, settings: ParserSettings) -> None:
        feed = open_feed(source, settings.kind)
        role = settings.role
        if role is None and settings.strict and not feed.begins_with_start:
            # The strict parser does not guess where its input begins.
            role = Role.ASSISTANT
        self.kind: InputKind = feed.kind
        self._name = source.name
        self._chunks = feed.chunks
        self._parser = Parser(
            role=role, tools=settings.tools, strict=settings.strict, input=feed.kind
        )

    def __iter__(self) -> Iterator[tuple[Chunk, Sequence[Event]]]:
        try:
            for chunk in self._chunks:
                yield chunk, self._parser.feed(chunk)
            yield ([] if self.kind == "ids" else ""), self._parser.eof()
        except ParseError as error:
            where = "the end" if error.position is None else f"token {error.position}"
            raise DataError(f"{self._name}: {where}: {error}") from error
