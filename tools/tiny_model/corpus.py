"""Write a corpus: python tools/tiny_model/corpus.py OUT.npz --count 60000 --seed 1 [--canonical]

The file holds all tokens in one array, the lengths of each sample's prompt and completion, and the
samples' kinds. The same arguments give the same file.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path
from random import Random

import numpy as np
from conversations import CANONICAL, KINDS, Pools, write
from numpy.typing import NDArray
from words import BROAD


@dataclass(frozen=True)
class Corpus:
    """Samples, one after the other."""

    tokens: NDArray[np.int32]
    lengths: NDArray[np.int32]
    """A row for each sample: tokens of its prompt, tokens of its completion."""
    kinds: NDArray[np.str_]

    def samples(self) -> list[tuple[list[int], list[int], str]]:
        """Prompt, completion and kind of every sample."""
        found = []
        start = 0
        for (prompt, completion), kind in zip(
            self.lengths.tolist(), self.kinds.tolist(), strict=True
        ):
            middle, end = start + prompt, start + prompt + completion
            found.append(
                (self.tokens[start:middle].tolist(), self.tokens[middle:end].tolist(), kind)
            )
            start = end
        return found

    @classmethod
    def load(cls, path: Path) -> Corpus:
        with np.load(path) as arrays:
            return cls(arrays["tokens"], arrays["lengths"], arrays["kinds"])

    def save(self, path: Path) -> None:
        np.savez_compressed(path, tokens=self.tokens, lengths=self.lengths, kinds=self.kinds)


def generate(count: int, seed: int, pools: Pools) -> Corpus:
    """``count`` samples of random kinds."""
    random = Random(seed)
    kinds = random.choices(list(KINDS), [kind.weight for kind in KINDS.values()], k=count)
    tokens: list[int] = []
    lengths: list[tuple[int, int]] = []
    for kind in kinds:
        prompt, completion = write(kind, random, pools).tokens()
        tokens += prompt + completion
        lengths.append((len(prompt), len(completion)))
    return Corpus(np.array(tokens, np.int32), np.array(lengths, np.int32), np.array(kinds))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("out", type=Path)
    parser.add_argument("--count", type=int, default=60_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--canonical", action="store_true", help="only the prompts that tests use")
    arguments = parser.parse_args()
    pools = CANONICAL if arguments.canonical else BROAD
    corpus = generate(arguments.count, arguments.seed, pools)
    corpus.save(arguments.out)
    print(f"{arguments.count} samples, {len(corpus.tokens)} tokens → {arguments.out}")


if __name__ == "__main__":
    main()
