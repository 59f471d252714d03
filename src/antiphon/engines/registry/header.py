"""The head of a GGUF file: which architecture it is, and what context it was trained with.

Only the first few entries are read, never the vocabulary or a tensor, and never more than
`MAX_BYTES`. The format: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md
"""

from __future__ import annotations

import re
import struct
from pathlib import Path
from typing import Any, BinaryIO, Final

import msgspec

from antiphon.errors import EngineError

__all__ = ["GgufHeader", "model_parts", "read_header"]

MAX_BYTES: Final = 1024 * 1024
"""How far into the file is read; what is wanted stands in the first kilobytes."""
MAX_STRING: Final = 65_536
GPT_OSS: Final = frozenset({"gpt-oss", "gpt_oss", "gptoss"})
"""The architecture's name: llama.cpp's, and that of conversions from before."""

_PART: Final = re.compile(r"-(\d{5})-of-(\d{5})\.gguf\Z", re.IGNORECASE)
_STRING, _ARRAY = 8, 9
_SCALARS: Final = {
    0: "<B", 1: "<b", 2: "<H", 3: "<h", 4: "<I", 5: "<i",
    6: "<f", 7: "<?", 10: "<Q", 11: "<q", 12: "<d",
}  # fmt: skip


class GgufHeader(msgspec.Struct, frozen=True, kw_only=True):
    """What the head of a model file says."""

    architecture: str
    name: str | None = None
    context_length: int | None = None
    """Tokens it was trained with."""

    @property
    def gpt_oss(self) -> bool:
        return self.architecture in GPT_OSS


def read_header(path: Path) -> GgufHeader:
    """The head of the GGUF at ``path``. Raises EngineError if it is none, or damaged."""
    try:
        with path.open("rb") as file:
            entries = _Reader(file, path).entries()
    except OSError as error:
        raise EngineError(f"cannot read the model {path}: {error.strerror or error}") from error
    architecture = entries.get("general.architecture")
    if not isinstance(architecture, str):
        raise EngineError(f"{path} does not say which architecture it is; is it a whole model?")
    name = entries.get("general.name")
    length = entries.get(f"{architecture}.context_length")
    return GgufHeader(
        architecture=architecture,
        name=name if isinstance(name, str) else None,
        context_length=length if isinstance(length, int) and length > 0 else None,
    )


def model_parts(path: Path) -> tuple[Path, ...]:
    """All files of the model that ``path`` is one of, the first one first.

    Raises EngineError if one of ``…-00001-of-00003.gguf`` is missing.
    """
    found = _PART.search(path.name)
    if found is None:
        return (path,)
    count = int(found[2])
    stem = path.name[: found.start()]
    parts = [path.with_name(f"{stem}-{n:05}-of-{count:05}.gguf") for n in range(1, count + 1)]
    if missing := [part.name for part in parts if not part.is_file()]:
        shown = ", ".join(missing[:3]) + (", …" if len(missing) > 3 else "")
        raise EngineError(f"{path} is one of {count} parts; missing beside it: {shown}")
    return tuple(parts)


class _Reader:
    def __init__(self, file: BinaryIO, path: Path) -> None:
        self._data = file.read(MAX_BYTES)
        self._at = 0
        self._path = path

    def entries(self) -> dict[str, Any]:
        """The entries before the tokenizer's."""
        if self._take(4) != b"GGUF":
            raise EngineError(f"{self._path} is not a GGUF file")
        version = self._number("<I")
        if version not in (2, 3):
            raise EngineError(f"{self._path} has GGUF version {version}; 2 and 3 can be read")
        self._number("<Q")
        count = self._number("<Q")
        entries: dict[str, Any] = {}
        try:
            for _ in range(count):
                key = self._string()
                if key.startswith("tokenizer."):
                    break
                entries[key] = self._value(self._number("<I"))
        except EngineError:
            # Somebody put long lists in front; what was read may be enough.
            if len(self._data) < MAX_BYTES:
                raise
        return entries

    def _value(self, kind: int) -> Any:
        if kind == _STRING:
            return self._string()
        if kind == _ARRAY:
            item, count = self._number("<I"), self._number("<Q")
            if item in _SCALARS:
                self._take(struct.calcsize(_SCALARS[item]) * count)
            elif item == _STRING:
                for _ in range(count):
                    self._string()
            else:
                raise self._damaged()
            return None
        if kind not in _SCALARS:
            raise self._damaged()
        return self._number(_SCALARS[kind])

    def _string(self) -> str:
        length = self._number("<Q")
        data = self._take(length)
        return data[:MAX_STRING].decode("utf-8", "replace")

    def _number(self, form: str) -> Any:
        return struct.unpack(form, self._take(struct.calcsize(form)))[0]

    def _take(self, length: int) -> bytes:
        if length > len(self._data) - self._at:
            raise self._damaged()
        start, self._at = self._at, self._at + length
        return self._data[start : self._at]

    def _damaged(self) -> EngineError:
        return EngineError(f"{self._path} is not a whole GGUF file: byte {self._at} makes no sense")
