r"""Cutting very long runs of one kind of character, so that the tokens stay the same.

BPE libraries take time, memory or stack in proportion to one *piece*, the unit that the o200k
pattern splits text into: a million spaces are a single piece. `encode_cut` hands the library at
most ``safe_run`` characters of any one run and joins the results. Two facts make the joined tokens
equal to those of the uncut text.

**The cut leaves the pieces alone.** A cut is made only inside a run of one class of `_CLASSES`, a
few characters away from its ends. Two texts are encoded: one that stops at ``b`` inside the run,
and one that starts at ``c < b`` inside it. Reading the pattern's alternatives in order shows that
the piece around ``[c, b)`` starts, in the text that stops at ``b``, where it starts in the uncut
text, and that the piece which starts at ``c`` ends where the uncut one ends. Then everything
before and after that piece is split as before as well (the pattern looks ahead one character and
never back). Where that depends on what stands beside the run, the class says so:

- *lower*: after one ``[a-z]`` the piece goes on through ``[\p{Ll}\p{Lm}\p{Lo}\p{M}]``, however it
  began. Up to two characters at the front may belong to a contraction (``'ll``).
- *upper*: a piece of capitals goes on through ``[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]`` and may have
  begun with caseless letters, to which the pattern backtracks when no small letter follows:
  so a certain non-letter or small letter must stand before the run.
- *caseless*: small letters before the run bar the capitals after it, so a capital or a character
  of unknown kind must not follow.
- *mark*: belongs to a piece of letters and to one of symbols, and only what ends both may follow.
- *symbol*: two symbols in a row are always inside one ``[^\s\p{L}\p{N}]+``; but slashes after a
  line break may belong to the ``[\r\n/]*`` of an earlier piece, so the run must not start so.
- *blank*: without line breaks on both sides the piece is the run itself (but for its last
  character, which may join a word) or starts with it.
- *newline*: may belong to the ``[\r\n/]*`` of symbols or to ``\s*[\r\n]+``: both must end with it.

**The join leaves the merges alone.** BPE merges the neighbours of lowest rank, leftmost first,
until none can merge. Let ``[p, q)`` be any span whose two ends are token boundaries in the
encoding of ``XtZ``, with ``t`` that span, and likewise of ``tY`` (``c = p``, the second text starts
there). Then the encoding of ``XtY`` is that of ``XtZ`` up to ``q`` followed by that of ``tY`` from
``q``. Assume instead that a merge across ``p`` or ``q`` happens in ``XtY``, and take the first such
merge. Until then no merge has crossed, so the merges inside ``Xt`` were, in their order, the ones
that ``XtZ`` makes there, and those inside ``tY`` the ones that ``tY`` makes. If the crossing merge
is at ``p``, it was the best of all candidates in ``XtY``, hence the best in ``Xt``, and the run on
``XtZ`` would have made it as well; but ``p`` is a boundary there. The same holds at ``q`` with
``tY``. So no merge crosses, and ``X``, ``t`` and ``Y`` are merged on their own. Many cuts are
joined from the last one back: a joined encoding begins with the token its first text begins with.

The first token after the cut, if it is the same in both encodings, is such a span (if any span is,
this one is). Should it differ, `encode_cut` encodes all that is left in one go: every character is
encoded at most three times, so time stays linear.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from functools import cache
from typing import Final, NamedTuple

from antiphon.vocab.table import vocabulary

__all__ = ["encode_cut"]

_OVERLAP: Final = 1024
"""Bytes of a window that are encoded again with the next one: eight tokens of the longest kind."""
_MARGIN: Final = 8
"""Characters at each end of a run in which no cut is made."""

# Only characters whose Unicode class has been settled for many versions: the pattern's own class
# tables are the tokenizer's, and a character missing here only means that a run stays uncut.
_CASELESS: Final = "\u4e00-\u9fa5\u3041-\u3094\u30a1-\u30fa\uac00-\ud7a3"
_SYMBOL: Final = (
    "!-/:-@\\[-`{-~\x00-\x08\x0e-\x1f\x7f\u2010-\u2027\u2030-\u203e\u2190-\u21ff\u2500-\u25ff"
    "\u3001-\u3003\u3008-\u3011\ufffd\ue000-\uf8ff\U0001f300-\U0001f5ff\U0001f600-\U0001f64f"
    "\U0001f680-\U0001f6c5"
)
_BLANK: Final = "\t\x0b\x0c \x85\xa0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000"


class _Class(NamedTuple):
    """A class of characters, and what must stand before and after a run of it to cut it."""

    characters: str
    before: str = ""
    after: str = ""


_CLASSES: Final = {
    "lower": _Class("a-z"),
    "upper": _Class("A-Z", before=rf"(?<![^a-z0-9{_SYMBOL}{_BLANK}\r\n])"),
    "caseless": _Class(_CASELESS, after=rf"(?![^a-z0-9{_SYMBOL}{_BLANK}\r\n])"),
    "mark": _Class("\u0300-\u036f", after=rf"(?![^0-9{_BLANK}])"),
    "symbol": _Class(_SYMBOL, before=r"(?<![\r\n])|(?!/)"),
    "blank": _Class(_BLANK),
    "newline": _Class(r"\r\n", after=rf"(?!/|[{_BLANK}]*[\r\n])"),
}


class _Run(NamedTuple):
    start: int
    stop: int


class _Runs:
    """Finds the runs of more than ``safe_run`` characters that may be cut."""

    def __init__(self, safe_run: int) -> None:
        self._safe_run = safe_run
        self._step = safe_run // 2
        self._of_step = re.compile(
            "|".join(f"(?P<{k}>[{c.characters}]{{{self._step}}})" for k, c in _CLASSES.items())
        )
        self._rest = {k: re.compile(f"[{c.characters}]*") for k, c in _CLASSES.items()}
        self._before = {k: re.compile(c.before) for k, c in _CLASSES.items()}
        self._after = {k: re.compile(c.after) for k, c in _CLASSES.items()}

    def find(self, text: str) -> Iterator[_Run]:
        """The runs of ``text``, in order.

        Such a run holds a whole stretch between two multiples of ``safe_run // 2``, so only these
        stretches are looked at.
        """
        at = 0
        while at + self._step <= len(text):
            match = self._of_step.match(text, at)
            if match is None:
                at += self._step
                continue
            kind = match.lastgroup or ""
            run = self._grow(text, at, kind)
            if run.stop - run.start > self._safe_run and self._may_be_cut(text, run, kind):
                yield run
            at += (run.stop - at) // self._step * self._step

    def _grow(self, text: str, at: int, kind: str) -> _Run:
        rest = self._rest[kind]
        ahead = rest.match(text[max(0, at - self._step) : at][::-1])
        behind = rest.match(text, at)
        assert ahead is not None
        assert behind is not None
        return _Run(at - ahead.end(), behind.end())

    def _may_be_cut(self, text: str, run: _Run, kind: str) -> bool:
        if kind == "blank":
            breaks = text[run.start - 1 : run.start] + text[run.stop : run.stop + 1]
            return re.fullmatch(r"[\r\n]{2}", breaks) is None
        return bool(
            self._before[kind].match(text, run.start) and self._after[kind].match(text, run.stop)
        )


_runs_over = cache(_Runs)


def encode_cut(encode: Callable[[str], list[int]], text: str, safe_run: int) -> list[int]:
    """``encode(text)``, with ``encode`` called on texts that hold no run longer than ``safe_run``.

    ``encode`` must be an ordinary o200k encoder and ``safe_run`` at least 4,096 characters. Runs
    of mixed or unusual characters are not cut.
    """
    if len(text) <= safe_run:
        return encode(text)
    window = safe_run - 2 * _MARGIN
    tokens: list[int] = []
    head: list[int] = []  # of text[start:stop], not yet in tokens
    start = stop = 0
    runs = _runs_over(safe_run).find(text)
    run = next(runs, None)
    while run is not None:
        if stop == 0:
            stop = run.start + window
            head = encode(text[:stop])
        cut = _boundary(text, stop, head, run.start + _MARGIN)
        if cut is None:
            break
        kept, at = cut
        next_stop = at + window
        if next_stop > run.stop - _MARGIN:
            run = next(runs, None)
            next_stop = len(text) if run is None else run.start + window
        following = encode(text[at:next_stop])
        if following[0] != head[kept]:
            break
        tokens += head[:kept]
        head, start, stop = following, at, next_stop
    if stop < len(text):
        head = encode(text[start:])
    return tokens + head


def _boundary(text: str, stop: int, head: list[int], floor: int) -> tuple[int, int] | None:
    """A token boundary `_OVERLAP` bytes or more before the end of ``head``, between characters.

    ``head`` ends at position ``stop`` of ``text``. Returns the number of tokens before the boundary
    and its position in the text; None if there is no such boundary at ``floor`` or after it.
    """
    lengths = vocabulary().lengths
    ending = text[max(0, stop - 2 * _OVERLAP) : stop].encode()
    size = 0
    for kept in range(len(head) - 1, -1, -1):
        size += lengths[head[kept]]
        if size >= len(ending):
            return None
        if size >= _OVERLAP and ending[-size] & 0xC0 != 0x80:
            at = stop - len(ending[-size:].decode())
            return (kept, at) if at >= floor else None
    return None
