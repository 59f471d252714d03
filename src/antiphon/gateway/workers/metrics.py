"""The metrics of all workers as one: whichever is asked answers for all.

Each worker counts in files that the others can read, and that its successor goes on counting in, so
that no sum goes down when a worker dies. What cannot be summed has the label ``worker``.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final

from prometheus_client import values
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.multiprocess import MultiProcessCollector, mark_process_dead
from prometheus_client.process_collector import ProcessCollector
from prometheus_client.registry import Collector
from prometheus_client.samples import Sample

__all__ = [
    "ENGINE_STATES",
    "WORKER",
    "SummedMetrics",
    "count_together",
    "forget_worker",
    "note_process",
]

WORKER: Final = "worker"
"""The label of what each worker has for itself."""
ENGINE_STATES: Final = "antiphon_engine_state"
_FOLDER: Final = "PROMETHEUS_MULTIPROC_DIR"
_NUMBER: Final = "pid"
"""What prometheus_client calls the label."""
_PROCESS: Final = "process-"
_MOST_TRIES: Final = 10


def count_together(folder: Path, number: int) -> None:
    """Have all metrics that this process makes from now on counted for all workers."""
    os.environ[_FOLDER] = str(folder)
    kind = values.MultiProcessValue(lambda: number)  # type: ignore[no-untyped-call]
    values.ValueClass = kind
    note_process(folder, str(number))


def note_process(folder: Path, name: str) -> None:
    """Say which process has a place, for ``process_…``."""
    partial = folder / f".{_PROCESS}{name}"
    partial.write_text(str(os.getpid()), encoding="ascii")
    # Another may be reading just now: it finds a whole number or no file.
    partial.replace(folder / f"{_PROCESS}{name}")


def forget_worker(folder: Path, number: int) -> None:
    """A worker has died: what it counted stays, what it had goes."""
    mark_process_dead(number, str(folder))  # type: ignore[no-untyped-call]
    (folder / f"{_PROCESS}{number}").unlink(missing_ok=True)


class SummedMetrics(Collector):
    """Reads what all workers wrote. ``up`` says for an engine's state whether that is up."""

    def __init__(self, folder: Path, up: Callable[[str], bool]) -> None:
        self._folder = folder
        self._up = up

    def describe(self) -> Sequence[Metric]:
        """Nothing that could be known before."""
        return ()

    def collect(self) -> Iterator[Metric]:
        for metric in self._summed():
            metric.samples = [_named(sample) for sample in metric.samples]
            if metric.name == ENGINE_STATES:
                metric.samples = [sample for sample in metric.samples if sample.value]
                yield self._engine_up(metric)
            yield metric
        yield from self._processes()

    def _summed(self) -> Iterable[Metric]:
        # A worker that begins makes a file first and gives it a size then, perhaps just now.
        for _ in range(_MOST_TRIES):
            files = [str(file) for file in self._folder.glob("*.db") if _size(file)]
            with suppress(struct.error):
                summed: Iterable[Metric] = MultiProcessCollector.merge(files)  # type: ignore[no-untyped-call]
                return summed
        raise OSError(f"{self._folder}: no file of metrics keeps its size")

    def _engine_up(self, states: Metric) -> Metric:
        labels = ("engine", WORKER)
        up = GaugeMetricFamily(
            "antiphon_engine_up",
            "1 for an engine that is up, or would start with a request.",
            labels=labels,
        )
        for sample in states.samples:
            up.add_metric(
                [sample.labels[label] for label in labels], float(self._up(sample.labels["state"]))
            )
        return up

    def _processes(self) -> Iterator[Metric]:
        found: dict[str, Metric] = {}
        for file in sorted(self._folder.glob(f"{_PROCESS}*")):
            try:
                process = file.read_text(encoding="ascii")
            except OSError:
                continue
            for metric in ProcessCollector(pid=lambda p=process: p, registry=None).collect():  # type: ignore[misc]
                mine = found.setdefault(metric.name, metric)
                samples = [
                    sample._replace(labels={**sample.labels, WORKER: file.name[len(_PROCESS) :]})
                    for sample in metric.samples
                ]
                mine.samples = samples if mine is metric else [*mine.samples, *samples]
        yield from found.values()


def _size(file: Path) -> int:
    try:
        return file.stat().st_size
    except FileNotFoundError:
        return 0


def _named(sample: Sample) -> Sample:
    if _NUMBER not in sample.labels:
        return sample
    labels = {name: value for name, value in sample.labels.items() if name != _NUMBER}
    return sample._replace(labels={**labels, WORKER: sample.labels[_NUMBER]})
