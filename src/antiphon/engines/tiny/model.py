"""The tiny model's GGUF: built on first use, then found in the user's cache."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Final

from antiphon.engines.llama_server.process import LlamaServer
from antiphon.engines.tiny.cache import cache_directory, cached_file
from antiphon.engines.tiny.export import BUILDER_VERSION, Progress, write_gguf
from antiphon.errors import EngineError
from antiphon.vocab.table import DATA_SHA256

__all__ = ["MODEL_NAME", "SERVED_CONTEXT", "WEIGHTS", "started_tiny", "tiny_model", "tiny_server"]

MODEL_NAME: Final = "tiny-gpt-oss"
SERVED_CONTEXT: Final = 8192
SERVED_PARALLEL: Final = 4
"""As it is served: tokens for each of so many requests at a time."""
WEIGHTS: Final = Path(__file__).with_name("data") / "tiny-gpt-oss.npz"
"""The trained weights, in the package."""


def tiny_model(progress: Progress | None = None, *, directory: Path | None = None) -> Path:
    """The tiny model as a GGUF, from the cache in ``directory`` or built there: 69 MB, seconds.

    Raises MissingExtraError without the extra ``local``, EngineError if it cannot be built.
    """
    report = progress or (lambda what, done: None)
    return cached_file(
        directory or cache_directory(),
        f"{MODEL_NAME}-{_key()}",
        ".gguf",
        lambda target: write_gguf(WEIGHTS, target, report),
        waiting=lambda: report("waiting for another process that is building it", 0.0),
    )


def _key() -> str:
    """A hash of everything that decides the file's content."""
    try:
        weights = hashlib.sha256(WEIGHTS.read_bytes()).hexdigest()
    except OSError as error:
        raise EngineError(
            f"cannot read the tiny model's weights, {WEIGHTS}: {error.strerror}; reinstall antiphon"
        ) from error
    parts = (weights, str(BUILDER_VERSION), DATA_SHA256)
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:16]


def started_tiny(progress: Callable[[str], None], *, on_exit: Callable[[], None]) -> LlamaServer:
    """The server that ``antiphon serve`` starts. ``progress`` is told each thing once."""
    said: set[str] = set()

    def report(what: str, _done: float) -> None:
        if what not in said:
            said.add(what)
            progress(f"{MODEL_NAME}: {what}")

    return tiny_server(
        report, context=SERVED_CONTEXT, parallel=SERVED_PARALLEL, template=False, on_exit=on_exit
    )


def tiny_server(
    progress: Progress | None = None,
    *,
    context: int = 8192,
    parallel: int = 2,
    template: bool = True,
    on_exit: Callable[[], None] = lambda: None,
) -> LlamaServer:
    """A llama.cpp server for the tiny model, not started yet. Raises as `tiny_model` does.

    It runs on one thread: the layers are so small that a second gains nothing, and on a busy
    computer two threads spend their time waiting for each other (measured: 20 times slower).
    """
    model = tiny_model(progress)
    return LlamaServer(
        model,
        alias=MODEL_NAME,
        context=context,
        parallel=parallel,
        threads=1,
        template=template,
        on_exit=on_exit,
    )
