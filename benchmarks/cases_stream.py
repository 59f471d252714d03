"""Streaming: one token, a few tokens, or a piece of marked text at a time."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final

from bench import FORMAT_TOKENS, Bench, Case, Row, inner_encoding, ratio_row
from timing import Comparison, Work, compare, seconds

from antiphon.codec.events import TextDelta
from antiphon.codec.stream import Parser
from antiphon.model.message import Role
from antiphon.vocab.table import token_bytes

__all__ = ["CASES"]

GROUP: Final = "Streaming"
NAMES: Final = {
    "ascii": "ASCII", "mixed": "mixed", "cjk": "CJK and emoji",
}  # fmt: skip


class _Empty:
    """The least a streaming API can do: be called, and be asked for a result."""

    __slots__ = ("last",)

    def __init__(self) -> None:
        self.last: str | None = None

    def take(self, chunk: object) -> None:
        return None


def _completion(bench: Bench, kind: str) -> list[int]:
    from workloads import text

    size = 300 if bench.settings.quick else 2500
    return bench.completion(
        [
            {"role": "assistant", "content": text(kind, size, 1), "channel": "analysis"},
            {"role": "assistant", "content": text(kind, size, 2), "channel": "final"},
        ]
    )


def _split_characters(ids: Sequence[int]) -> str:
    """How many tokens hold a part of a character, for the note."""
    parts = 0
    for token in ids:
        try:
            (token_bytes(token) or b"").decode()
        except UnicodeDecodeError:
            parts += 1
    return f"{parts / len(ids):.0%} of the tokens are parts of characters"


def _reference_stream(bench: Bench, ids: Sequence[int]) -> Callable[[], None]:
    make, encoding = bench.library.StreamableParser, bench.encoding
    role = bench.library.Role.ASSISTANT

    def run() -> None:
        parser = make(encoding, role)
        for token in ids:
            parser.process(token)
            parser.last_content_delta  # noqa: B018 - reading it is the work

    return run


def _reference_text(bench: Bench, ids: Sequence[int]) -> str:
    parser = bench.library.StreamableParser(bench.encoding, bench.library.Role.ASSISTANT)
    text = []
    for token in ids:
        parser.process(token)
        text.append(parser.last_content_delta or "")
    return "".join(text)


def _own_text(chunks: Sequence[Any]) -> str:
    parser = Parser(role=Role.ASSISTANT)
    events = [event for chunk in chunks for event in parser.feed(chunk)]
    events += parser.eof()
    return "".join([event.text for event in events if isinstance(event, TextDelta)])


def _empty_calls(chunks: Sequence[object], units: int, *, attribute: bool = False) -> Work:
    def calls() -> None:
        take = _Empty().take
        for chunk in chunks:
            take(chunk)

    def calls_and_attributes() -> None:
        empty = _Empty()
        for chunk in chunks:
            empty.take(chunk)
            empty.last  # noqa: B018 - reading it is the work

    return Work(calls_and_attributes if attribute else calls, units)


def _drop_in(kind: str, target: float | None) -> Any:
    def run(bench: Bench, work: str) -> Row:
        make, encoding = bench.drop_in.StreamableParser, bench.drop_in_encoding
        role = bench.drop_in.Role.ASSISTANT
        ids = _completion(bench, kind)

        def deltas() -> list[str | None]:
            parser = make(encoding, role)
            out = []
            for token in ids:
                parser.process(token)
                out.append(parser.last_content_delta)
            return out

        def ours() -> None:
            parser = make(encoding, role)
            for token in ids:
                parser.process(token)
                parser.last_content_delta  # noqa: B018 - reading it is the work

        got = "".join([delta or "" for delta in deltas()])
        assert got == _reference_text(bench, ids), "the outputs differ"
        measured = compare(
            bench.settings,
            Work(ours, len(ids)),
            Work(_reference_stream(bench, ids), len(ids)),
            _empty_calls(ids, len(ids), attribute=True),
        )
        return ratio_row(
            work,
            measured,
            at_least=target,
            limit="empty method and attribute",
            note=_split_characters(ids),
        )

    return run


def _own(kind: str, target: float | None, size: int = 1) -> Any:
    def run(bench: Bench, work: str) -> Row:
        ids = _completion(bench, kind)
        chunks: list[Any] = (
            list(ids) if size == 1 else [ids[i : i + size] for i in range(0, len(ids), size)]
        )
        assert _own_text(chunks) == _reference_text(bench, ids), "the outputs differ"

        def ours() -> None:
            feed = Parser(role=Role.ASSISTANT).feed
            for chunk in chunks:
                feed(chunk)

        limit = _empty_calls(chunks, len(ids)) if size == 1 else bench.join_limit(*chunks)
        measured = compare(
            bench.settings,
            Work(ours, len(ids)),
            Work(_reference_stream(bench, ids), len(ids)),
            limit,
        )
        return ratio_row(
            work,
            measured,
            at_least=target,
            limit="empty call" if size == 1 else "join over the byte table, chunk by chunk",
            note=_split_characters(ids) if size == 1 else "",
        )

    return run


def _own_unseen(bench: Bench, work: str) -> Row:
    """No target: what the tables filled by earlier streams are worth. Every text comes once."""
    from workloads import text

    size, passes = (200, 4) if bench.settings.quick else (2500, 24)
    completions = [
        bench.completion([{"role": "assistant", "content": text("cjk", size, 100 + i)}])
        for i in range(passes)
    ]
    for ids in completions[: passes // 4]:
        assert _own_text(ids) == _reference_text(bench, ids), "the outputs differ"
    unseen = iter(completions[passes // 4 :])
    ours_pairs, reference_pairs = [], []
    for ids in unseen:

        def ours(ids: Sequence[int] = ids) -> None:
            feed = Parser(role=Role.ASSISTANT).feed
            for token in ids:
                feed(token)

        ours_pairs.append(seconds(ours, 1) / len(ids))
        reference_pairs.append(seconds(_reference_stream(bench, ids), 1) / len(ids))
    return ratio_row(
        work,
        Comparison(tuple(ours_pairs), tuple(reference_pairs), ()),
        at_least=None,
        note=f"each text once, after {passes // 4} others of {size:,} tokens; a fifth of the pieces"
        " are characters drawn from all 20,902 of CJK",
    )


def _own_consumed(bench: Bench, work: str) -> Row:
    """No target: the text is taken out of the events and kept, on both sides."""
    ids = _completion(bench, "ascii")
    make, encoding = bench.library.StreamableParser, bench.encoding
    role = bench.library.Role.ASSISTANT

    def ours() -> str:
        feed = Parser(role=Role.ASSISTANT).feed
        text: list[str] = []
        keep = text.append
        for token in ids:
            for event in feed(token):
                if type(event) is TextDelta:
                    keep(event.text)
        return "".join(text)

    def reference() -> str:
        parser, text = make(encoding, role), []
        for token in ids:
            parser.process(token)
            if delta := parser.last_content_delta:
                text.append(delta)
        return "".join(text)

    assert ours() == reference(), "the outputs differ"
    measured = compare(
        bench.settings,
        Work(ours, len(ids)),
        Work(reference, len(ids)),
        _empty_calls(ids, len(ids)),
    )
    return ratio_row(work, measured, at_least=None, limit="empty call")


def _marked(how: str, target: float | None) -> Any:
    def run(bench: Bench, work: str) -> Row:
        ids = _completion(bench, "ascii")
        if how == "all":
            ids = ids[:600]
        chunks = [(token_bytes(token) or b"").decode() for token in ids]
        make, encoding, role = (
            bench.library.StreamableParser,
            bench.encoding,
            bench.library.Role.ASSISTANT,
        )
        inner, allowed = inner_encoding(bench), set(FORMAT_TOKENS)
        encoders: dict[str, Callable[[str], list[int]]] = {
            "format": lambda chunk: encoding.encode(
                chunk, allowed_special=allowed, disallowed_special=()
            ),
            "all": lambda chunk: encoding.encode(chunk, allowed_special="all"),
            "inner": lambda chunk: inner.encode(chunk, FORMAT_TOKENS if "<" in chunk else ()),
        }
        encode = encoders[how]

        def reference() -> None:
            parser = make(encoding, role)
            for chunk in chunks:
                for token in encode(chunk):
                    parser.process(token)
                    parser.last_content_delta  # noqa: B018 - reading it is the work

        def ours() -> None:
            feed = Parser(role=Role.ASSISTANT).feed
            for chunk in chunks:
                feed(chunk)

        encoded = [token for chunk in chunks for token in encode(chunk)]
        assert encoded == list(ids), "the reference's encoder splits these chunks otherwise"
        assert _own_text(chunks) == _reference_text(bench, ids), "the outputs differ"
        measured = compare(
            bench.settings,
            Work(ours, len(chunks)),
            Work(reference, len(chunks)),
            _empty_calls(chunks, len(chunks)),
        )
        return ratio_row(work, measured, at_least=target, unit="ns/chunk", limit="empty call")

    return run


def _cases() -> list[Case]:
    out = []
    for kind, target in (("ascii", 8), ("mixed", 6), ("cjk", None)):
        work = f"drop-in, process + last_content_delta, {NAMES[kind]}"
        out.append(Case(GROUP, work, _drop_in(kind, target)))
    for kind, target in (("ascii", 12), ("mixed", 9), ("cjk", 5)):
        out.append(Case(GROUP, f"own feed, {NAMES[kind]}", _own(kind, target)))
    out.append(Case(GROUP, "own feed, CJK and emoji, text never seen before", _own_unseen))
    out.append(Case(GROUP, "own feed, the text taken out of the events, ASCII", _own_consumed))
    out += [
        Case(GROUP, f"own feed, {size} tokens a chunk, ASCII", _own("ascii", None, size))
        for size in (8, 128)
    ]
    for how, target, name in (
        ("format", 25, "encode(the seven format tokens allowed) + process"),
        ("all", None, 'encode(allowed_special="all") + process'),
        ("inner", None, "its private inner encode + process"),
    ):
        work = f"marked text, one token a chunk, against {name}"
        out.append(Case(GROUP, work, _marked(how, target)))
    return out


CASES: Final = _cases()
