"""Weights → GGUF: python tools/tiny_model/build.py WEIGHTS.npz OUT.gguf

The same builder as the package's own, for weights that have just been trained. Needs the extra
``local``.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from antiphon.engines.tiny.export import write_gguf


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("weights", type=Path)
    parser.add_argument("out", type=Path)
    arguments = parser.parse_args()
    write_gguf(arguments.weights, arguments.out, lambda what, done: print(f"{done:4.0%} {what}"))
    print(f"{arguments.out.stat().st_size / 1e6:.1f} MB → {arguments.out}")


if __name__ == "__main__":
    main()
