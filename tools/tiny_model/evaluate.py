"""How many completions are exact, in the real server, greedy.

python tools/tiny_model/evaluate.py [MODEL.gguf] [--count 72] [--seed 0] [--broad]

Without a model it takes the package's own. Every kind and effort comes equally often.
"""

from __future__ import annotations

import argparse
import asyncio
from collections import Counter
from itertools import cycle, islice, product
from pathlib import Path
from random import Random

from conversations import CANONICAL, EFFORTS, KINDS, Sample, write
from words import BROAD

from antiphon.engines.llama_server.client import LlamaServerEngine
from antiphon.engines.llama_server.process import LlamaServer
from antiphon.engines.protocol import CompletionRequest
from antiphon.engines.tiny.model import tiny_model

MAX_TOKENS = 600


async def completion_of(engine: LlamaServerEngine, prompt: list[int]) -> list[int]:
    request = CompletionRequest(prompt=prompt, max_tokens=MAX_TOKENS, temperature=0.0)
    return [token async for chunk in engine.complete(request) for token in chunk.tokens]


async def evaluate(url: str, samples: list[Sample]) -> None:
    asked: Counter[str] = Counter()
    exact: Counter[str] = Counter()
    async with LlamaServerEngine(url) as engine:
        for sample in samples:
            prompt, expected = sample.tokens()
            asked[sample.kind] += 1
            if await completion_of(engine, prompt) == expected:
                exact[sample.kind] += 1
            else:
                print(f"not exact: {sample.kind}: {sample.messages[-1].text!r}")
    for kind, count in asked.items():
        print(f"{kind:12} {exact[kind]:4} of {count}")
    print(f"{'all':12} {exact.total():4} of {asked.total()}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("model", type=Path, nargs="?")
    parser.add_argument("--count", type=int, default=72)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--broad", action="store_true", help="words the model may never have seen")
    arguments = parser.parse_args()
    random = Random(arguments.seed)
    pools = BROAD if arguments.broad else CANONICAL
    chosen = islice(cycle(product(KINDS, EFFORTS)), arguments.count)
    samples = [write(kind, random, pools, effort) for kind, effort in chosen]
    model = arguments.model or tiny_model()
    with LlamaServer(model, threads=1) as server:
        asyncio.run(evaluate(server.url, samples))


if __name__ == "__main__":
    main()
