"""Rendering: cold, again and again, and many small conversations."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import count
from statistics import median
from typing import Any, Final

from bench import Bench, Case, Row, ratio_row
from timing import Settings, Work, compare
from workloads import agent_chat, dialogue, short_chat, tools

from antiphon.codec.parse import parse
from antiphon.codec.render import Renderer
from antiphon.model.content import TextContent
from antiphon.model.message import Conversation

__all__ = ["CASES"]

GROUP: Final = "Render"
COLD_NOTE: Final = "a fresh renderer and an emptied tokenizer cache for every call"


def _encode_limit(bench: Bench, values: Sequence[dict[str, Any]], units: int) -> Work:
    """The tokenizer alone, on the same texts; as in a prompt, all its tokens live at once."""
    encode = bench.tokenizer.encode
    texts = [
        part.text
        for message in bench.ours(values)
        for part in message.content
        if isinstance(part, TextContent)
    ]

    def run() -> list[list[int]]:
        return [encode(text) for text in texts]

    return Work(run, units, bench.forget_words)


def _cold(messages: int, tokens: int, target: float | None, *, keep_words: bool = False) -> Any:
    def run(bench: Bench, work: str) -> Row:
        values = dialogue(messages, min(tokens, 500) if bench.settings.quick else tokens, 1)
        conversation = Conversation.from_messages(bench.ours(values))
        theirs = bench.conversation(values)
        encoding, role = bench.encoding, bench.library.Role.ASSISTANT

        def ours() -> list[int]:
            return Renderer(dialect="reference").for_completion(conversation)

        def reference() -> list[int]:
            ids: list[int] = encoding.render_conversation_for_completion(theirs, role)
            return ids

        expected = reference()
        assert ours() == expected, "the outputs differ"
        units = len(expected)
        before = None if keep_words else bench.forget_words
        limit = _encode_limit(bench, values, units)
        measured = compare(
            bench.settings,
            Work(ours, units, before),
            Work(reference, units),
            Work(limit.call, units, before),
        )
        return ratio_row(
            work,
            measured,
            at_least=target,
            limit="the tokenizer alone",
            inside=None if target is None else 0.85,
            note="a fresh renderer, the tokenizer knows the words" if keep_words else COLD_NOTE,
        )

    return run


def _drop_in_cold(messages: int, tokens: int, target: float) -> Any:
    """The drop-in's memo outlives its encodings, so each call gets texts it has never seen."""

    def run(bench: Bench, work: str) -> Row:
        values = dialogue(messages, min(tokens, 500) if bench.settings.quick else tokens, 1)
        ours_render = bench.drop_in_encoding.render_conversation_for_completion
        reference_render = bench.encoding.render_conversation_for_completion
        ours_role, role = bench.drop_in.Role.ASSISTANT, bench.library.Role.ASSISTANT
        numbers = count(100_000)
        conversation: Any = None

        def new_texts() -> None:
            nonlocal conversation
            conversation = bench.drop_in_conversation(_numbered(values, next(numbers)))
            bench.forget_words()

        def ours() -> list[int]:
            ids: list[int] = ours_render(conversation, ours_role)
            return ids

        new_texts()
        theirs = bench.conversation(_numbered(values, 100_000))
        expected = reference_render(theirs, role)
        assert ours() == expected, "the outputs differ"
        units = len(expected)
        measured = compare(
            bench.settings,
            Work(ours, units, new_texts),
            Work(lambda: reference_render(theirs, role), units),
            _encode_limit(bench, values, units),
        )
        return ratio_row(
            work,
            measured,
            at_least=target,
            limit="the tokenizer alone",
            note="new texts and an emptied tokenizer cache for every call",
        )

    return run


def _numbered(values: Sequence[dict[str, Any]], number: int) -> list[dict[str, Any]]:
    """The same messages with a six-digit number before each text: new, and as long."""
    return [
        {**value, "content": [{"type": "text", "text": f"{number} {value['content'][0]['text']}"}]}
        for value in values
    ]


def _agent(bench: Bench, work: str) -> Row:
    turns, every = (20, 5) if bench.settings.quick else (200, 10)
    values, prompts = agent_chat(turns, 1)
    messages = bench.ours(values)
    histories = [messages[:n] for n in prompts]
    encoding, role = bench.encoding, bench.library.Role.ASSISTANT
    sampled = range(every // 2, turns, every)
    theirs = {turn: bench.conversation(values[: prompts[turn]]) for turn in sampled}

    def ours() -> list[list[int]]:
        renderer = Renderer(dialect="reference")
        return [renderer.for_completion(history) for history in histories]

    def ours_one_at_a_time() -> None:
        renderer = Renderer(dialect="reference")
        for history in histories:
            renderer.for_completion(history)

    def reference() -> None:
        for conversation in theirs.values():
            encoding.render_conversation_for_completion(conversation, role)

    rendered = ours()
    for turn, conversation in theirs.items():
        expected = encoding.render_conversation_for_completion(conversation, role)
        assert rendered[turn] == expected, f"turn {turn} differs"
    units = sum(map(len, rendered))
    sample = sum(len(rendered[turn]) for turn in sampled)
    del rendered
    measured = compare(
        bench.settings,
        Work(ours_one_at_a_time, units, bench.forget_words),
        Work(reference, sample),
        _extend_limit(units // turns, turns),
    )
    whole = median(measured.reference) * units
    note = (
        f"{turns} prompts of {units:,} tokens in all, from a cold renderer on. The"
        f" reference renders every {every}th turn ({sample:,} tokens); at that rate all of them"
        f" take it {whole:.1f} s, us {median(measured.ours) * units:.3f} s"
    )
    return ratio_row(work, measured, at_least=100, limit="list.extend", note=note)


def _drop_in_agent(bench: Bench, work: str) -> Row:
    """No target: the same chat as pydantic objects, which can change between two turns."""
    turns, every = (20, 5) if bench.settings.quick else (200, 10)
    values, prompts = agent_chat(turns, 1)
    sampled = range(every // 2, turns, every)
    theirs = [bench.conversation(values[: prompts[turn]]) for turn in sampled]
    ours_render = bench.drop_in_encoding.render_conversation_for_completion
    reference_render = bench.encoding.render_conversation_for_completion
    ours_role, role = bench.drop_in.Role.ASSISTANT, bench.library.Role.ASSISTANT
    make = bench.drop_in.Conversation.from_messages
    numbers = count(100_000)
    histories: list[Any] = []

    def new_texts() -> None:
        number = next(numbers)
        changed = [*values[:2], *_numbered(values[2:], number)]
        everything = bench.drop_in_conversation(changed).messages
        histories[:] = [make(everything[:n]) for n in prompts]
        bench.forget_words()

    def ours() -> None:
        for history in histories:
            ours_render(history, ours_role)

    def reference() -> None:
        for conversation in theirs:
            reference_render(conversation, role)

    for turn, conversation in zip(sampled, theirs, strict=True):
        mine = bench.drop_in_conversation(values[: prompts[turn]])
        expected = reference_render(conversation, role)
        assert ours_render(mine, ours_role) == expected, f"turn {turn} differs"
    sample = sum(len(reference_render(conversation, role)) for conversation in theirs)
    new_texts()
    units = sum(len(ours_render(history, ours_role)) for history in histories)
    settings = Settings(bench.settings.quick, min(bench.settings.pairs, 5), 0.001)
    measured = compare(
        settings, Work(ours, units, new_texts), Work(reference, sample), _extend_limit(1000, 100)
    )
    return ratio_row(
        work,
        measured,
        at_least=None,
        limit="list.extend",
        note=f"new texts in every pass; the reference renders every {every}th turn;"
        f" {settings.pairs} pairs",
    )


def _extend_limit(size: int, times: int) -> Work:
    part = list(range(100_000, 100_000 + min(size, 500)))
    parts = max(1, size // len(part))

    def run() -> None:
        for _ in range(times):
            out: list[int] = []
            for _ in range(parts):
                out += part

    return Work(run, times * parts * len(part))


def _tools(memo: str) -> Any:
    def run(bench: Bench, work: str) -> Row:
        content = {"type": "developer_content", "instructions": "Be brief.", "tools": tools(50, 1)}
        values = [{"role": "developer", "content": [content]}]
        (message,) = bench.ours(values)
        copies = [bench.ours(values)[0] for _ in range(500)] if memo == "content" else []
        theirs = bench.conversation(values).messages[0]
        encoding = bench.encoding
        expected = encoding.render(theirs)
        renderer = Renderer(dialect="reference")
        assert renderer.message(message) == expected, "the outputs differ"
        turn = 0

        def cold() -> None:
            Renderer(dialect="reference").message(message)

        def by_content() -> None:
            nonlocal turn
            turn += 1
            renderer.message(copies[turn % 500])

        def by_identity() -> None:
            renderer.message(message)

        call: dict[str, Callable[[], None]] = {
            "cold": cold, "content": by_content, "identity": by_identity,
        }  # fmt: skip
        text = bench.encoding.decode(expected[3:-1])
        encode = bench.tokenizer.encode
        measured = compare(
            bench.settings,
            Work(call[memo], 1, bench.forget_words if memo == "cold" else None),
            Work(lambda: encoding.render(theirs), 1),
            Work(lambda: encode(text), 1, bench.forget_words)
            if memo == "cold"
            else Work(expected.copy, 1),
        )
        return ratio_row(
            work,
            measured,
            at_least=None,
            unit="ms",
            limit="the tokenizer alone" if memo == "cold" else "list.copy",
            note=f"{len(expected):,} tokens",
        )

    return run


def _short(bench: Bench, work: str) -> Row:
    sample = 100 if bench.settings.quick else 2_000
    values = [short_chat(i) for i in range(sample)]
    conversations = [Conversation.from_messages(bench.ours(v)) for v in values]
    theirs = [bench.conversation(v) for v in values]
    encoding, role = bench.encoding, bench.library.Role.ASSISTANT

    def ours() -> None:
        renderer = Renderer(dialect="reference")
        for conversation in conversations:
            renderer.for_completion(conversation)

    def reference() -> None:
        for conversation in theirs:
            encoding.render_conversation_for_completion(conversation, role)

    renderer = Renderer(dialect="reference")
    units = 0
    for mine, other in zip(conversations, theirs, strict=True):
        expected = encoding.render_conversation_for_completion(other, role)
        assert renderer.for_completion(mine) == expected, "the outputs differ"
        units += len(expected)
    fresh = [text for v in values for text in v[1:]]
    measured = compare(
        bench.settings,
        Work(ours, units, bench.forget_words),
        Work(reference, units),
        _encode_limit(bench, fresh, units),
    )
    note = (
        f"{sample:,} conversations a pair, {units / sample:.0f} tokens each, by a fresh renderer;"
        f" at these rates 100,000 take us {median(measured.ours) * units / sample * 1e5:.1f} s and"
        f" the reference {median(measured.reference) * units / sample * 1e5:.0f} s"
    )
    return ratio_row(
        work,
        measured,
        at_least=25,
        limit="the tokenizer alone, without the system message",
        note=note,
    )


def _short_whole(bench: Bench, work: str) -> Row:
    """No target: all of them by us, with messages made, rendered and parsed again."""
    count = 500 if bench.settings.quick else 100_000
    texts = [short_chat(i) for i in range(min(count, 5_000))]
    messages = [bench.ours(v) for v in texts]
    renderer = Renderer(dialect="reference", memo_tokens=0)
    turns = range(count)

    def render() -> None:
        for i in turns:
            renderer.conversation(messages[i % len(messages)])

    ids = [renderer.conversation(m) for m in messages]
    for m, i in zip(messages, ids, strict=True):
        assert [x.text for x in parse(i)][1:] == [x.text for x in m[1:]], "the round trip differs"

    def read() -> None:
        for i in turns:
            parse(ids[i % len(ids)], role=None)

    from timing import seconds

    spent, parsed = seconds(render, 1), seconds(read, 1)
    tokens = sum(len(ids[i % len(ids)]) for i in turns)
    return Row(
        work,
        "",
        f"{spent:.2f} s render, {parsed:.2f} s parse",
        f"{spent / tokens * 1e9:.0f} and {parsed / tokens * 1e9:.0f} ns/token",
        "",
        "",
        "",
        f"{count:,} conversations ({len(messages):,} different ones), {tokens:,} tokens, no memo,"
        " one pass, ours only",
    )


CASES: Final = [
    Case(GROUP, "own API, cold, 50 messages of 20 tokens", _cold(50, 20, 20)),
    Case(GROUP, "own API, cold, 50 messages of 400 tokens", _cold(50, 400, 8)),
    Case(GROUP, "own API, cold, 10 messages of 10k tokens", _cold(10, 10_000, 7)),
    Case(
        GROUP,
        "own API, fresh renderer but known words, 50 messages of 20 tokens",
        _cold(50, 20, None, keep_words=True),
    ),
    Case(GROUP, "drop-in, cold, 50 messages of 20 tokens", _drop_in_cold(50, 20, 12)),
    Case(GROUP, "drop-in, cold, 50 messages of 400 tokens", _drop_in_cold(50, 400, 7)),
    Case(GROUP, "drop-in, cold, 10 messages of 10k tokens", _drop_in_cold(10, 10_000, 6.5)),
    Case(GROUP, "200-turn agent chat, every turn re-rendered", _agent),
    Case(GROUP, "200-turn agent chat, every turn re-rendered, drop-in", _drop_in_agent),
    Case(GROUP, "developer message with 50 tools, cold", _tools("cold")),
    Case(GROUP, "developer message with 50 tools, an equal one again", _tools("content")),
    Case(GROUP, "developer message with 50 tools, the same one again", _tools("identity")),
    Case(GROUP, "1e5 short conversations", _short),
    Case(GROUP, "1e5 short conversations, ours in full", _short_whole),
]
