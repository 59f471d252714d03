"""A megabyte of the worst: one character over and over, or text without any break.

Only our own time is held against the target, and whether it grows linearly. The reference is shown
on a hundredth of it, where it still finishes.
"""

from __future__ import annotations

from functools import partial
from random import Random
from typing import Any, Final

from bench import Bench, Case, Row, Verdict
from timing import fastest, seconds

from antiphon.codec.parse import parse
from antiphon.codec.render import Renderer
from antiphon.model.message import Message, Role
from antiphon.vocab import control

__all__ = ["CASES"]

GROUP: Final = "1 MB adversarial"
MEGABYTE: Final = 1 << 20
LINEAR: Final = 6.0
"""Four times the input may take at most this many times as long; quadratic would be 16."""

_EMOJI: Final = [chr(i) for i in (*range(0x1F300, 0x1F650), *range(0x1F680, 0x1F6C6))]
_CJK: Final = [chr(i) for i in range(0x4E00, 0x9FA6)]
NAMES: Final = {
    "a": "of `a`", "spaces": "of spaces", "newlines": "of newlines",
    "emoji": "of random emoji", "cjk": "of random CJK without a break",
    "one emoji": "of one emoji", "one cjk": "of one CJK character",
}  # fmt: skip


def _text(kind: str, size: int) -> str:
    """``size`` bytes of UTF-8."""
    rng = Random(f"worst {kind}")
    single = {"a": "a", "spaces": " ", "newlines": "\n", "one emoji": "🙂", "one cjk": "好"}
    if character := single.get(kind):
        return character * (size // len(character.encode()))
    if kind == "emoji":
        return "".join(rng.choices(_EMOJI, k=size // 4))
    return "".join(rng.choices(_CJK, k=size // 3))


def _sizes(bench: Bench) -> list[int]:
    top = MEGABYTE // 16 if bench.settings.quick else MEGABYTE
    return [top // 4, top // 2, top]


def _row(work: str, spent: list[float], reference: str, limit: str, note: str = "") -> Row:
    growth = spent[-1] / max(spent[0], 1e-9)
    verdict: Verdict = "ok" if spent[-1] < 1 and growth <= LINEAR else "short"
    return Row(
        work,
        "under 1 s, linear",
        f"{spent[-1]:.3f} s; 4 times the input takes {growth:.1f} times as long",
        " / ".join([f"{s * 1e3:.1f}" for s in spent]) + " ms at ¼ / ½ / 1 MB",
        reference,
        limit,
        verdict,
        note,
    )


def _render(kind: str) -> Any:
    def run(bench: Bench, work: str) -> Row:
        library, encoding = bench.library, bench.encoding

        def ours(text: str) -> list[int]:
            return Renderer(dialect="reference").message(Message.user(text))

        def reference(text: str) -> list[int]:
            message = library.Message.from_role_and_content(library.Role.USER, text)
            ids: list[int] = encoding.render(message)
            return ids

        texts = [_text(kind, size) for size in _sizes(bench)]
        spent = fastest([partial(ours, text) for text in texts], before=bench.forget_words)
        small = [_text(kind, size) for size in (1 << 13, 1 << 14)]
        for text in small:
            assert ours(text) == reference(text), "the outputs differ"
        took = [seconds(partial(reference, text), 1) for text in small]
        encode = bench.tokenizer.encode
        text = texts[-1]
        (alone,) = fastest([partial(encode, text)], before=bench.forget_words)
        tokens = len(encode(text))
        return _row(
            work,
            spent,
            f"{took[0] * 1e3:.0f} / {took[1] * 1e3:.0f} ms at 8 / 16 KB",
            f"{alone:.3f} s: the tokenizer alone, {alone / spent[-1]:.0%} of ours",
            f"{tokens:,} tokens",
        )

    return run


def _parse(kind: str, *, marked: bool) -> Any:
    def run(bench: Bench, work: str) -> Row:
        encode = bench.tokenizer.encode
        head = bench.completion([{"role": "assistant", "content": "", "channel": "final"}])[:-1]
        sources: list[Any] = []
        for size in _sizes(bench):
            text = _text(kind, size)
            ids = [*head, *encode(text), control.RETURN]
            source: Any = ids
            if marked:
                source = f"<|channel|>final<|message|>{text}<|return|>"
            (message,) = parse(source, role=Role.ASSISTANT)
            assert message.text == text, "text was lost"
            sources.append(source)
        spent = fastest([partial(parse, source, role=Role.ASSISTANT) for source in sources])
        alone = partial(str.split, sources[-1], "<|") if marked else bench.join_limit(ids).call
        (limit,) = fastest([alone])
        reference_parse, role = (
            bench.encoding.parse_messages_from_completion_tokens,
            bench.library.Role.ASSISTANT,
        )
        took = seconds(partial(reference_parse, ids, role), 1)
        return _row(
            work,
            spent,
            f"{took:.3f} s at {_sizes(bench)[-1] / MEGABYTE:g} MB, from ids",
            f"{limit * 1e3:.1f} ms: {'str.split at each `<|`' if marked else 'join'}",
            f"{len(ids):,} tokens",
        )

    return run


def _cases() -> list[Case]:
    out = [Case(GROUP, f"render 1 MB {name}", _render(kind)) for kind, name in NAMES.items()]
    for how, marked in (("ids", False), ("marked text", True)):
        for kind, name in NAMES.items():
            work = f"parse 1 MB {name}, {how}"
            out.append(Case(GROUP, work, _parse(kind, marked=marked)))
    return out


CASES: Final = _cases()
