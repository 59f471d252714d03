"""benchmarks/store.py runs, and writes its own part of the results and no other."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


@pytest.fixture
def results(tmp_path: Path) -> Any:
    spec = importlib.util.spec_from_file_location("results_script", BENCHMARKS / "results.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    module.RESULTS = tmp_path / "RESULTS.md"  # type: ignore[attr-defined]
    return module


def test_a_part_is_replaced_and_the_others_stay(results: Any) -> None:
    page: Path = results.RESULTS
    page.write_text("# Results\n\nfirst\n\n## Sub\n\n# The gateway\n\nold\n\n# Other\n\nx\n")
    results.replace_part("# The gateway", ["new", ""])
    results.replace_part("# The store", ["store"])
    results.replace_part("# The gateway", ["newer"])
    assert page.read_text() == (
        "# Results\n\nfirst\n\n## Sub\n\n# The gateway\n\nnewer\n\n# Other\n\nx\n\n"
        "# The store\n\nstore\n"
    )


@pytest.mark.slow
def test_the_benchmark_runs() -> None:
    pytest.importorskip("asyncpg")
    done = subprocess.run(
        [sys.executable, BENCHMARKS / "store.py", "--quick"],
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("get one of") == done.stdout.count("take from a rate limit") >= 3
