"""Model files that other programs have downloaded: Hugging Face, LM Studio and llama.cpp.

Nothing is ever downloaded here; a model that is not there is an error that says where was looked
and how to get it.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator, Mapping
from itertools import islice
from pathlib import Path
from typing import Final

from antiphon.engines.registry.header import model_parts
from antiphon.errors import EngineError
from antiphon.settings.paths import home_directory

__all__ = ["locate"]

PREFERRED: Final = ("mxfp4", "q4_k_m", "q8_0")
"""Which file to take of several, if the name does not say."""
MAX_FILES: Final = 10_000
"""Files of one repository that are looked at."""

_REPOSITORY: Final = re.compile(r"(\w[\w.-]*)/(\w[\w.-]*?)(?::([\w.-]+))?\Z")
_LATER_PART: Final = re.compile(r"-(?!00001)\d{5}-of-\d{5}\.gguf\Z", re.IGNORECASE)


def locate(checkpoint: str, environ: Mapping[str, str]) -> Path:
    """The file of a model: a path, or ``owner/repository``, or ``owner/repository:quant``.

    Of a model in several parts, the first. Raises EngineError if it is not on this computer.
    """
    path = Path(checkpoint).expanduser()
    if path.is_file():
        return model_parts(path)[0]
    found = _REPOSITORY.match(checkpoint)
    if found is None or checkpoint.lower().endswith(".gguf"):
        raise EngineError(
            f"no model file at {path}; give a .gguf file, or OWNER/REPOSITORY[:QUANT] of one that"
            " Hugging Face, LM Studio or llama.cpp has downloaded"
        )
    owner, repository, quant = found.groups()
    folders = list(_folders(owner, repository, environ))
    for folder, pattern in folders:
        files = [
            file
            for file in sorted(islice(folder.rglob(pattern), MAX_FILES))
            if not _LATER_PART.search(file.name) and "mmproj" not in file.name.lower()
        ]
        if chosen := _choose(files, quant, checkpoint):
            return model_parts(chosen)[0]
    raise _absent(checkpoint, owner, repository, quant, environ)


def _choose(files: list[Path], quant: str | None, checkpoint: str) -> Path | None:
    if quant is not None:
        return next((file for file in files if _has_quant(file, quant)), None)
    if len(files) <= 1:
        return files[0] if files else None
    for preferred in PREFERRED:
        for file in files:
            if _has_quant(file, preferred):
                return file
    names = ", ".join(file.name for file in files[:8])
    raise EngineError(f"{checkpoint} has several files; say which, as {checkpoint}:QUANT: {names}")


def _has_quant(file: Path, quant: str) -> bool:
    return bool(re.search(rf"(?:^|[-._]){re.escape(quant)}(?=[-.])", file.name, re.IGNORECASE))


def _folders(owner: str, repository: str, environ: Mapping[str, str]) -> Iterator[tuple[Path, str]]:
    """Where the files of a repository may be, and how they are called there."""
    for hub in _hubs(environ):
        yield from ((p, "*.gguf") for p in _snapshots(hub / f"models--{owner}--{repository}"))
    for models in _lm_studio(environ):
        yield models / owner / repository, "*.gguf"
    for cache in _llama_cpp(environ):
        yield cache, f"{owner}_{repository}_*.gguf"


def _snapshots(model: Path) -> Iterator[Path]:
    """A model's revisions in Hugging Face's cache: ``main`` first, then the newest."""
    snapshots = model / "snapshots"
    if not snapshots.is_dir():
        return
    main = model / "refs" / "main"
    current = main.read_text(encoding="ascii", errors="replace").strip() if main.is_file() else ""
    revisions = [path for path in snapshots.iterdir() if path.is_dir()]
    yield from sorted(revisions, key=lambda p: (p.name != current, -p.stat().st_mtime))


def _hubs(environ: Mapping[str, str]) -> tuple[Path, ...]:
    if hub := environ.get("HF_HUB_CACHE"):
        return (Path(hub).expanduser(),)
    if home := environ.get("HF_HOME"):
        return (Path(home).expanduser() / "hub",)
    base = Path(environ.get("XDG_CACHE_HOME", ""))
    cache = base if base.is_absolute() else home_directory(environ) / ".cache"
    return (cache / "huggingface" / "hub",)


def _lm_studio(environ: Mapping[str, str]) -> tuple[Path, ...]:
    home = home_directory(environ)
    return (home / ".lmstudio" / "models", home / ".cache" / "lm-studio" / "models")


def _llama_cpp(environ: Mapping[str, str]) -> tuple[Path, ...]:
    if cache := environ.get("LLAMA_CACHE"):
        return (Path(cache).expanduser(),)
    if sys.platform == "darwin":
        return (home_directory(environ) / "Library" / "Caches" / "llama.cpp",)
    base = Path(environ.get("XDG_CACHE_HOME", ""))
    return ((base if base.is_absolute() else home_directory(environ) / ".cache") / "llama.cpp",)


def _absent(
    checkpoint: str, owner: str, repository: str, quant: str | None, environ: Mapping[str, str]
) -> EngineError:
    places = (
        *(hub / f"models--{owner}--{repository}" for hub in _hubs(environ)),
        *(models / owner / repository for models in _lm_studio(environ)),
        *_llama_cpp(environ),
    )
    include = f'"*{quant}*.gguf"' if quant else '"*.gguf"'
    return EngineError(
        f"the model {checkpoint} is not on this computer; looked in "
        + ", ".join(str(place) for place in places)
        + f"; get it with: hf download {owner}/{repository} --include {include}"
    )
