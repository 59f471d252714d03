"""The process in which clients' grammars are compiled and their calls checked, apart from the
server: llguidance is native code, and a hostile grammar may keep it busy for ever within one call.

It reads one `Job` after another from its standard input and answers each with a `Verdict`; both are
MessagePack behind their length. Run by `antiphon.turn.grammar_check`.
"""

from __future__ import annotations

import os
import sys
from collections import OrderedDict
from typing import TYPE_CHECKING, BinaryIO, Final, Literal

import msgspec

if TYPE_CHECKING:
    from llguidance import LLMatcher, LLTokenizer

__all__ = ["Job", "Outcome", "Verdict", "main", "receive", "send"]

MAX_ROW_ITEMS: Final = 500
"""Most ways to go on that the parser keeps at one place."""
MAX_COMPILE_FUEL: Final = 300_000
"""llguidance's measure of the work to build the lexer: about 0.5 s."""
MAX_STEP_FUEL: Final = 200_000
"""The same for one byte of text."""
MAX_LEXER_STATES: Final = 50_000
MAX_SYMBOLS: Final = 100_000
"""Most symbols of a grammar's rules."""
MAX_MEMORY: Final = 2 << 30
"""Bytes of address space that this process may have."""
CPU_SECONDS: Final = 20
"""For one job. The server waits less; this ends the process if the server is gone."""

_KNOWN: Final = 16
_SLICE: Final = 4096
_DETAIL: Final = 600
_LINE: Final = 120
_LENGTH_BYTES: Final = 4
_END: Final = 256

Outcome = Literal["fits", "misfit", "invalid", "costly"]


class Job(msgspec.Struct, frozen=True):
    """A grammar, and a text to check if there is one."""

    syntax: Literal["lark", "regex"]
    definition: str
    text: str | None = None


class Verdict(msgspec.Struct, frozen=True):
    """``fits``: also for a grammar alone that can be used. ``detail`` says what is wrong."""

    outcome: Outcome
    detail: str = ""


def send(stream: BinaryIO, message: Job | Verdict) -> None:
    """Write one message."""
    data = msgspec.msgpack.encode(message)
    stream.write(len(data).to_bytes(_LENGTH_BYTES, "big") + data)
    stream.flush()


def receive(stream: BinaryIO) -> bytes | None:
    """The bytes of one message, None at the end of the stream."""
    head = stream.read(_LENGTH_BYTES)
    if len(head) < _LENGTH_BYTES:
        return None
    size = int.from_bytes(head, "big")
    data = stream.read(size)
    return data if len(data) == size else None


class _Bytes:
    """A vocabulary of all bytes, so that text needs no tokenizer."""

    bos_token_id = None
    eos_token_id = _END
    special_token_ids = (_END,)
    tokens = tuple([bytes([i]) for i in range(_END)] + [b"\xff<end>"])

    def __call__(self, text: str | bytes) -> list[int]:
        return list(text.encode() if isinstance(text, str) else text)


class _Judge:
    def __init__(self) -> None:
        self._known: OrderedDict[tuple[str, str], LLMatcher] = OrderedDict()
        self._tokenizer: LLTokenizer | None = None

    def verdict(self, job: Job) -> Verdict:
        key = (job.syntax, job.definition)
        matcher = self._known.get(key)
        if matcher is None:
            matcher = self._compiled(job)
            if matcher.is_error():
                return Verdict("invalid", _readable(matcher.get_error()))
            self._known[key] = matcher
            if len(self._known) > _KNOWN:
                self._known.popitem(last=False)
        self._known.move_to_end(key)
        return Verdict("fits") if job.text is None else _checked(matcher.deep_copy(), job.text)

    def _compiled(self, job: Job) -> LLMatcher:
        from llguidance import LLMatcher, LLParserLimits, LLTokenizer, TokenizerWrapper

        if self._tokenizer is None:
            wrapped = TokenizerWrapper(_Bytes())
            self._tokenizer = LLTokenizer(wrapped, n_vocab=_END + 1, eos_token=_END, slices=[])
        limits = LLParserLimits(
            max_items_in_row=MAX_ROW_ITEMS,
            initial_lexer_fuel=MAX_COMPILE_FUEL,
            step_lexer_fuel=MAX_STEP_FUEL,
            max_lexer_states=MAX_LEXER_STATES,
            max_grammar_size=MAX_SYMBOLS,
            precompute_large_lexemes=False,
            verbose_errors=False,
        )
        write = (
            LLMatcher.grammar_from_lark if job.syntax == "lark" else LLMatcher.grammar_from_regex
        )
        return LLMatcher(self._tokenizer, write(job.definition), log_level=0, limits=limits)


def _readable(error: str) -> str:
    """The parser's words, but for the grammar in their midst."""
    lines = [line if len(line) <= _LINE else f"{line[:_LINE]}…" for line in error.splitlines()]
    return "\n".join(lines).strip()[:_DETAIL]


def _checked(matcher: LLMatcher, text: str) -> Verdict:
    data = text.encode("utf-8", "replace")
    at = 0
    while at < len(data):
        part = data[at : at + _SLICE]
        taken = matcher.try_consume_tokens(list(part))
        if matcher.is_error():
            return Verdict("costly", _readable(matcher.get_error()))
        at += taken
        if taken < len(part):
            return Verdict("misfit", f"{_place(data, at)}{_wanted(matcher)}")
    if matcher.is_accepting():
        return Verdict("fits")
    return Verdict("misfit", f"it ends too early{_wanted(matcher)}")


def _place(data: bytes, at: int) -> str:
    before = data[:at].decode("utf-8", "ignore")
    line = before.count("\n") + 1
    column = len(before) - (before.rfind("\n") + 1) + 1
    found = data[len(before.encode()) :][:120].decode("utf-8", "ignore")[:30]
    return f"line {line}, character {column}: {found!r} does not fit"


def _wanted(matcher: LLMatcher) -> str:
    forced = matcher.compute_ff_bytes()[:120].decode("utf-8", "ignore")[:60]
    return f", {forced!r} must follow there" if forced else ""


def _bounded() -> None:
    """Hold this process to its limits, where the system can."""
    try:
        import resource
    except ImportError:  # Windows
        return
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_AS, (MAX_MEMORY, MAX_MEMORY))


def _more_time() -> None:
    try:
        import resource
    except ImportError:
        return
    used = resource.getrusage(resource.RUSAGE_SELF)
    limit = int(used.ru_utime + used.ru_stime) + CPU_SECONDS
    _, most = resource.getrlimit(resource.RLIMIT_CPU)
    resource.setrlimit(resource.RLIMIT_CPU, (limit, most))


def main() -> None:
    """Answer until the input ends."""
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # What native code may print is no answer.
    jobs = sys.stdin.buffer
    _bounded()
    judge = _Judge()
    decode = msgspec.msgpack.Decoder(Job).decode
    while (data := receive(jobs)) is not None:
        _more_time()
        send(answers, judge.verdict(decode(data)))


if __name__ == "__main__":
    main()
