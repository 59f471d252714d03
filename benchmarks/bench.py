"""What every case works with: settings, the reference library, the drop-in, and how rows look."""

from __future__ import annotations

import importlib
import json
import os
import tempfile
from binascii import b2a_base64
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Final, Literal

from timing import Comparison, Settings, Work

from antiphon.codec.render import Renderer
from antiphon.model.json import message_from_builtins
from antiphon.model.message import Message
from antiphon.vocab import spellings
from antiphon.vocab.table import ordinary_bytes
from antiphon.vocab.tokenizer import Tokenizer, default_tokenizer

__all__ = [
    "FORMAT_TOKENS",
    "Bench",
    "Case",
    "Row",
    "Verdict",
    "inner_encoding",
    "ratio_row",
]

FORMAT_TOKENS: Final = [
    "<|start|>", "<|channel|>", "<|message|>", "<|constrain|>", "<|end|>", "<|return|>", "<|call|>",
]  # fmt: skip
"""What a program that reads marked text has to let the reference's encoder see."""

Verdict = Literal["ok", "short", ""]
"""Against the target; empty for a row that has none and is there to be compared."""


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the table. The texts are ready to print."""

    work: str
    target: str
    measured: str
    ours: str
    reference: str
    limit: str
    verdict: Verdict
    note: str = ""


@dataclass(frozen=True, slots=True)
class Case:
    """A row that can be measured."""

    group: str
    work: str
    run: Callable[[Bench, str], Row]


@dataclass
class Bench:
    """Lazily loaded parts shared by all cases."""

    settings: Settings
    notes: list[str] = field(default_factory=list)

    @cached_property
    def library(self) -> Any:
        """The reference library."""
        try:
            return importlib.import_module("openai_harmony")
        except ImportError as error:
            raise SystemExit(
                "this compares with openai-harmony 0.0.8: pip install openai-harmony==0.0.8"
            ) from error

    @cached_property
    def encoding(self) -> Any:
        """The reference library's encoding, reading our vocabulary."""
        os.environ["TIKTOKEN_ENCODINGS_BASE"] = str(self.vocabulary)
        return self.library.load_harmony_encoding("HarmonyGptOss")

    @cached_property
    def vocabulary(self) -> Path:
        """A directory with the vocabulary in the file format that the reference reads."""
        self._directory = tempfile.TemporaryDirectory(prefix="antiphon-benchmark-")
        directory = Path(self._directory.name)
        lines = [
            b"%b %d\n" % (b2a_base64(token, newline=False), rank)
            for rank, token in enumerate(ordinary_bytes())
        ]
        (directory / "o200k_base.tiktoken").write_bytes(b"".join(lines))
        return directory

    @cached_property
    def drop_in(self) -> Any:
        """`antiphon.openai_harmony`."""
        return importlib.import_module("antiphon.openai_harmony")

    @cached_property
    def drop_in_encoding(self) -> Any:
        return self.drop_in.load_harmony_encoding("HarmonyGptOss")

    @cached_property
    def tokenizer(self) -> Tokenizer:
        return default_tokenizer()

    def forget_words(self) -> None:
        """Empty the tokenizer's own cache, so that each text is new to it."""
        caches = [v for v in vars(self.tokenizer).values() if hasattr(v, "clear_cache")]
        if not caches:
            raise RuntimeError(
                f"{type(self.tokenizer).__name__} has no cache that could be emptied"
            )
        for each in caches:
            each.clear_cache()

    def ours(self, values: Iterable[dict[str, Any]]) -> list[Message]:
        """Our messages, from plain JSON values."""
        return [message_from_builtins(value) for value in values]

    def conversation(self, values: Sequence[dict[str, Any]]) -> Any:
        """The reference library's conversation."""
        return self.library.Conversation.from_json(json.dumps({"messages": values}))

    def drop_in_conversation(self, values: Sequence[dict[str, Any]]) -> Any:
        return self.drop_in.Conversation.from_json(json.dumps({"messages": values}))

    def completion(self, values: Iterable[dict[str, Any]]) -> list[int]:
        """The tokens of assistant messages as a model writes them: no ``<|start|>assistant``."""
        renderer = Renderer(dialect="reference", check=False)
        ids = renderer.conversation(self.ours(values), history="keep")
        return ids[2:]

    def join_limit(self, *completions: Sequence[int]) -> Work:
        """The least any parser must do: look up each token's bytes and join them."""
        from operator import itemgetter

        table: Any = {i: spellings.join([i]) or b"?" for ids in completions for i in ids}
        dense = [table.get(i, b"") for i in range(201_089)]
        slices = [ids[i : i + 8192] for ids in completions for i in range(0, len(ids), 8192)]
        pieces = [list(piece) for piece in slices if len(piece) > 1]

        def join() -> None:
            for piece in pieces:
                b"".join(itemgetter(*piece)(dense))

        return Work(join, sum(map(len, pieces)))


def inner_encoding(bench: Bench) -> Any:
    """The reference's own Rust object, without the Python wrapper around it."""
    return bench.encoding._inner


def ratio_row(
    work: str,
    comparison: Comparison,
    *,
    at_least: float | None,
    unit: str = "ns/token",
    limit: str = "",
    inside: float | None = None,
    note: str = "",
) -> Row:
    """A row whose target is a ratio; ``inside`` is the share inside the limit that also will do."""
    ratios = comparison.ratios
    low, high = min(ratios), max(ratios)
    measured = f"{_times(comparison.ratio)} ({_times(low)}–{_times(high)})"
    share = comparison.share
    verdict: Verdict = ""
    target = ""
    if at_least is not None:
        reached = comparison.ratio >= at_least or (inside is not None and share >= inside)
        verdict = "ok" if reached else "short"
        target = f"at least {at_least:g}x"
        if inside is not None:
            target += f" or {inside:.0%} inside"
    shown = f"{per_unit(comparison.limit, unit)}: {limit}, {share:.0%} of ours" if limit else ""
    return Row(
        work,
        target,
        measured,
        per_unit(comparison.ours, unit),
        per_unit(comparison.reference, unit),
        shown,
        verdict,
        note,
    )


_SCALE = {"ns": 1e9, "µs": 1e6, "ms": 1e3, "s": 1.0}


def per_unit(samples: Sequence[float], unit: str) -> str:
    """The median of some samples, in ``unit``, for example ``ns/token``."""
    if not samples:
        return ""
    middle = sorted(samples)[len(samples) // 2]
    scale, _, what = unit.partition("/")
    value = middle * _SCALE[scale]
    digits = 0 if value >= 100 else 1 if value >= 10 else 2
    return f"{value:,.{digits}f} {scale}" + (f"/{what}" if what else "")


def _times(ratio: float) -> str:
    return f"{ratio:.0f}x" if ratio >= 20 else f"{ratio:.1f}x"
