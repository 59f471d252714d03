"""Batch parsing: whole completions in, messages out."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

from bench import FORMAT_TOKENS, Bench, Case, Row, inner_encoding, ratio_row
from timing import Work, compare

from antiphon.codec.parse import parse
from antiphon.model.message import Message, Role

__all__ = ["CASES", "plain"]

GROUP: Final = "Batch parse"
LIMIT: Final = "join over the byte table"


def plain(message: Any) -> tuple[Any, ...]:
    """A message of ours, the drop-in's or the reference's, for comparison."""
    role = message.author.role
    return (
        str(getattr(role, "value", role)),
        message.author.name,
        message.channel,
        message.recipient,
        message.content_type,
        "".join([part.text for part in message.content]),
    )


def _same(a: Iterable[Any], b: Iterable[Any]) -> None:
    assert [plain(m) for m in a] == [plain(m) for m in b], "the outputs differ"


def _completions(bench: Bench, count: int, messages: int, tokens: int) -> list[list[int]]:
    from workloads import completion_messages

    if bench.settings.quick:
        count, tokens = min(count, 20), min(tokens, 500)
    return [bench.completion(completion_messages(messages, tokens, i)) for i in range(count)]


def _own(count: int, messages: int, tokens: int, target: float) -> Any:
    def run(bench: Bench, work: str) -> Row:
        completions = _completions(bench, count, messages, tokens)
        encoding, role = bench.encoding, bench.library.Role.ASSISTANT
        reference_parse = encoding.parse_messages_from_completion_tokens
        for ids in completions:
            _same(parse(ids, role=Role.ASSISTANT), reference_parse(ids, role))

        def ours() -> None:
            for ids in completions:
                parse(ids, role=Role.ASSISTANT)

        def reference() -> None:
            for ids in completions:
                reference_parse(ids, role)

        units = sum(len(ids) for ids in completions)
        measured = compare(
            bench.settings,
            Work(ours, units),
            Work(reference, units),
            bench.join_limit(*completions),
        )
        return ratio_row(work, measured, at_least=target, limit=LIMIT)

    return run


def _drop_in(messages: int, tokens: int, target: float) -> Any:
    def run(bench: Bench, work: str) -> Row:
        ours_role = bench.drop_in.Role.ASSISTANT
        (ids,) = _completions(bench, 1, messages, tokens)
        role = bench.library.Role.ASSISTANT
        ours_parse = bench.drop_in_encoding.parse_messages_from_completion_tokens
        reference_parse = bench.encoding.parse_messages_from_completion_tokens
        _same(ours_parse(ids, ours_role), reference_parse(ids, role))
        measured = compare(
            bench.settings,
            Work(lambda: ours_parse(ids, ours_role), len(ids)),
            Work(lambda: reference_parse(ids, role), len(ids)),
            bench.join_limit(ids),
        )
        return ratio_row(work, measured, at_least=target, limit=LIMIT)

    return run


def _marked(bench: Bench, work: str) -> Row:
    """No target: whole marked text, which the reference has to encode first."""
    from workloads import completion_messages

    values = completion_messages(50, 60 if bench.settings.quick else 400, 1)
    ids = bench.completion(values)
    text = bench.encoding.decode(ids)
    inner, role = inner_encoding(bench), bench.library.Role.ASSISTANT
    reference_parse = bench.encoding.parse_messages_from_completion_tokens

    def reference() -> list[Any]:
        parsed: list[Any] = reference_parse(inner.encode(text, FORMAT_TOKENS), role)
        return parsed

    def ours() -> list[Message]:
        return parse(text, role=Role.ASSISTANT, input="marked").messages

    _same(ours(), reference())
    measured = compare(
        bench.settings,
        Work(ours, len(ids)),
        Work(reference, len(ids)),
        Work(lambda: text.split("<|"), len(ids)),
    )
    return ratio_row(work, measured, at_least=None, limit="str.split at each `<|`")


CASES: Final = [
    Case(GROUP, "own API, messages of 10k tokens", _own(1, 5, 10_000, 30)),
    Case(GROUP, "own API, messages of 400 tokens", _own(1, 50, 400, 30)),
    Case(GROUP, "own API, messages of 20 tokens", _own(1, 50, 20, 80)),
    Case(GROUP, "own API, 2,000 completions of two 20-token messages", _own(2000, 2, 20, 80)),
    Case(GROUP, "drop-in, messages of 10k tokens", _drop_in(5, 10_000, 25)),
    Case(GROUP, "drop-in, messages of 400 tokens", _drop_in(50, 400, 25)),
    Case(GROUP, "drop-in, messages of 20 tokens", _drop_in(50, 20, 20)),
    Case(GROUP, "own API, whole marked text, messages of 400 tokens", _marked),
]
