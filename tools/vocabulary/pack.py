"""Pack a tiktoken vocabulary file into the form the package ships.

    python tools/vocabulary/pack.py o200k_base.tiktoken src/antiphon/vocab/data/o200k_base.zlib

Prints the sha256 of the unpacked data, which belongs into ``antiphon/vocab/table.py``.
"""

from __future__ import annotations

import base64
import hashlib
import sys
import zlib
from pathlib import Path

SOURCE_SHA256 = "446a9538cb6c348e3516120d7c08b09f57c36495e2acfffe59a5bf8b0cfb1a2d"


def pack(source: bytes) -> bytes:
    """One length byte a token in rank order, then all token bytes."""
    tokens: list[bytes] = []
    for rank, line in enumerate(source.splitlines()):
        token, number = line.split()
        if int(number) != rank:
            raise ValueError(f"line {rank + 1}: expected rank {rank}, got {number.decode()}")
        tokens.append(base64.b64decode(token))
    return bytes(map(len, tokens)) + b"".join(tokens)


def main() -> None:
    source_path, target_path = map(Path, sys.argv[1:3])
    source = source_path.read_bytes()
    if hashlib.sha256(source).hexdigest() != SOURCE_SHA256:
        sys.exit(f"{source_path} is not o200k_base (sha256 differs from {SOURCE_SHA256})")
    data = pack(source)
    target_path.write_bytes(zlib.compress(data, 9))
    print(hashlib.sha256(data).hexdigest())


if __name__ == "__main__":
    main()
