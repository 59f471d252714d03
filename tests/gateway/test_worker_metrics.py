"""The metrics of all workers as one, while workers begin and end."""

from __future__ import annotations

import os
import sys
import threading
from pathlib import Path

import pytest
from prometheus_client.mmap_dict import MmapedDict, mmap_key

from antiphon.gateway.workers import metrics as module
from antiphon.gateway.workers.metrics import SummedMetrics, forget_worker, note_process

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")


def samples(folder: Path) -> dict[tuple[str, str], float]:
    metrics = SummedMetrics(folder, up=lambda state: state == "up").collect()
    return {
        (sample.name, sample.labels.get("worker", "")): sample.value
        for metric in metrics
        for sample in metric.samples
    }


def count(folder: Path, number: int) -> None:
    counted = MmapedDict(str(folder / f"gauge_livesum_{number}.db"))
    key = mmap_key("antiphon_workers", "antiphon_workers", [], [], "Processes that serve.")
    counted.write_value(key, 1.0, 0.0)
    counted.close()


def test_a_worker_that_has_made_a_file_and_not_written_it_counts_nothing(tmp_path: Path) -> None:
    count(tmp_path, 0)
    (tmp_path / "gauge_livesum_1.db").touch()

    assert samples(tmp_path) == {("antiphon_workers", ""): 1.0}


def test_a_worker_may_begin_between_a_look_at_the_files_and_their_reading(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    count(tmp_path, 0)
    (tmp_path / "gauge_livesum_1.db").touch()
    truth = module._size
    looks: list[Path] = []

    def size_before(file: Path) -> int:
        looks.append(file)
        return truth(file) if len(looks) > 2 else 1

    monkeypatch.setattr(module, "_size", size_before)
    assert samples(tmp_path) == {("antiphon_workers", ""): 1.0}


def test_what_a_dead_worker_had_is_gone(tmp_path: Path) -> None:
    for number in range(2):
        count(tmp_path, number)
        note_process(tmp_path, str(number))
    assert samples(tmp_path)["antiphon_workers", ""] == 2.0
    assert ("process_open_fds", "1") in samples(tmp_path)

    forget_worker(tmp_path, 1)

    found = samples(tmp_path)
    assert found["antiphon_workers", ""] == 1.0
    assert ("process_open_fds", "0") in found
    assert ("process_open_fds", "1") not in found


def test_workers_may_begin_and_end_while_metrics_are_read(tmp_path: Path) -> None:
    note_process(tmp_path, "supervisor")
    over = threading.Event()

    def begin_and_end() -> None:
        while not over.is_set():
            note_process(tmp_path, "0")
            count(tmp_path, 0)
            forget_worker(tmp_path, 0)

    thread = threading.Thread(target=begin_and_end)
    thread.start()
    try:
        for _ in range(500):
            found = samples(tmp_path)
            assert found["process_resident_memory_bytes", "supervisor"] > 0
            assert found.get(("process_max_fds", "0"), 1) > 0
    finally:
        over.set()
        thread.join()
    assert [file.name for file in tmp_path.glob("process-*")] == ["process-supervisor"]


def test_a_process_that_is_gone_is_left_out(tmp_path: Path) -> None:
    (tmp_path / "process-0").write_text(str(2**22 + 1), encoding="ascii")
    note_process(tmp_path, "1")

    assert {worker for _, worker in samples(tmp_path)} == {"1"}
    assert os.getpid() == int((tmp_path / "process-1").read_text(encoding="ascii"))
