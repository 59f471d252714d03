"""Paired measurement: the same work done by us, by the reference library and by the limit, in turn.

CPU time of the whole process, so that a library's own threads count. Each sample repeats the call
until it lasts long enough to be trusted. Machines drift, so the figures of one pair are taken
within a fraction of a second of each other and only their ratio is quoted; who goes first changes
from pair to pair. The garbage collector runs as in any program, but what the benchmark itself
holds is frozen out of its sight.
"""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from math import ceil
from statistics import median
from time import process_time_ns

__all__ = ["Comparison", "Settings", "Work", "compare", "fastest", "seconds"]


@dataclass(frozen=True, slots=True)
class Settings:
    """How long and how often to measure."""

    quick: bool = False
    pairs: int = 9
    sample_seconds: float = 0.04

    @classmethod
    def fast(cls) -> Settings:
        """Enough to see that everything works, not enough to quote."""
        return cls(quick=True, pairs=3, sample_seconds=0.004)


@dataclass(frozen=True, slots=True)
class Work:
    """A call that does ``units`` units of work; ``before`` prepares each call, untimed."""

    call: Callable[[], object]
    units: float
    before: Callable[[], object] | None = None


@dataclass(frozen=True, slots=True)
class Comparison:
    """Seconds per unit, pair by pair."""

    ours: tuple[float, ...]
    reference: tuple[float, ...]
    limit: tuple[float, ...]

    @property
    def ratios(self) -> tuple[float, ...]:
        """How many times faster we are than the reference."""
        return tuple(b / a for a, b in zip(self.ours, self.reference, strict=True))

    @property
    def ratio(self) -> float:
        return median(self.ratios)

    @property
    def share(self) -> float:
        """The part of our time that the physical limit takes (0 without a limit)."""
        if not self.limit:
            return 0.0
        return median([b / a for a, b in zip(self.ours, self.limit, strict=True)])


def compare(
    settings: Settings, ours: Work, reference: Work | None, limit: Work | None = None
) -> Comparison:
    """Measure up to three works in turn, ``settings.pairs`` times."""
    works = [work for work in (ours, reference, limit) if work is not None]
    repeats = {id(work): _repeats(work, settings.sample_seconds) for work in works}
    taken: dict[int, list[float]] = {id(work): [] for work in works}
    for pair in range(settings.pairs):
        with _collector_sees_only_new_objects():
            for work in works if pair % 2 == 0 else reversed(works):
                taken[id(work)].append(_sample(work, repeats[id(work)]))

    def of(work: Work | None) -> tuple[float, ...]:
        return () if work is None else tuple(taken[id(work)])

    return Comparison(of(ours), of(reference), of(limit))


def seconds(
    call: Callable[[], object], times: int = 3, before: Callable[[], object] | None = None
) -> float:
    """CPU seconds of one call, the median of ``times``."""
    return median(_once(call, before) for _ in range(times))


def fastest(
    calls: Sequence[Callable[[], object]],
    times: int = 7,
    before: Callable[[], object] | None = None,
) -> list[float]:
    """CPU seconds of each call, the minimum of ``times`` rounds: for how time grows with size.

    Noise only ever adds, and it adds most to what is compared with something four times smaller.
    """
    return [
        min(each)
        for each in zip(*[[_once(c, before) for c in calls] for _ in range(times)], strict=True)
    ]


def _once(call: Callable[[], object], before: Callable[[], object] | None) -> float:
    with _collector_sees_only_new_objects():
        return _sample(Work(call, 1, before), 1)


@contextmanager
def _collector_sees_only_new_objects() -> Iterator[None]:
    gc.collect()
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()


def _repeats(work: Work, least: float) -> int:
    """How many calls make a sample of at least ``least`` seconds. The first call warms up."""
    _sample(work, 1)
    once = _sample(work, 1) * work.units
    return max(1, min(100_000, ceil(least / max(once, 1e-7))))


def _sample(work: Work, repeats: int) -> float:
    call, before = work.call, work.before
    if before is None:
        begin = process_time_ns()
        for _ in range(repeats):
            call()
        spent = process_time_ns() - begin
    else:
        spent = 0
        for _ in range(repeats):
            before()
            begin = process_time_ns()
            call()
            spent += process_time_ns() - begin
    return spent / 1e9 / repeats / work.units
