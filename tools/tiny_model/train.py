"""Train the tiny model on one or more corpora: two CPU cores, some minutes.

    python tools/tiny_model/train.py broad.npz --validate check.npz --minutes 12 --out body.npz
    python tools/tiny_model/train.py canonical.npz broad-small.npz --start body.npz --out w.npz

The softmax is over the learned rows, the batch's other targets and a sample of the rest, which
stands in for all of them. Every twelfth batch is bare copying of random ids.
"""

from __future__ import annotations

import argparse
import math
import time
from collections import Counter, defaultdict
from collections.abc import Iterator
from pathlib import Path
from random import Random

import numpy as np
import torch
from corpus import Corpus
from network import Network
from torch import Tensor
from torch.nn import functional

from antiphon.vocab.control import CHANNEL, END, ENDOFTEXT, FIRST_CONTROL_ID, MESSAGE, RETURN, START
from antiphon.vocab.tokenizer import default_tokenizer

MIN_SAMPLES = 30
"""A token gets learned rows if it is in at least this many samples."""
BATCH_TOKENS = 2500
NEGATIVES = 2000
COPYING = 0.08
WARM_UP = 100
REPORT_EVERY = 100
IGNORE = -1

Sample = tuple[list[int], list[int], str]


def seen_tokens(samples: list[Sample]) -> np.ndarray:
    """The tokens that get learned rows: common ones, and every control token in use."""
    count = Counter(token for prompt, turn, _ in samples for token in {*prompt, *turn})
    chosen = [t for t, n in count.items() if n >= MIN_SAMPLES or t >= FIRST_CONTROL_ID]
    return np.array(sorted(chosen))


def batches(samples: list[Sample], random: Random) -> Iterator[list[Sample]]:
    """All samples once, in batches of about equal length and at most `BATCH_TOKENS`."""
    order = random.sample(samples, len(samples))
    for start in range(0, len(order), 512):
        batch: list[Sample] = []
        ready = []
        for sample in sorted(order[start : start + 512], key=_length):
            if batch and _length(sample) * (len(batch) + 1) > BATCH_TOKENS:
                ready.append(batch)
                batch = []
            batch.append(sample)
        ready.append(batch)
        random.shuffle(ready)
        yield from ready


def _length(sample: Sample) -> int:
    return len(sample[0]) + len(sample[1])


class Copying:
    """Batches of bare copy tasks, in which nothing but the copying can be learned."""

    def __init__(self, seen: np.ndarray, random: Random) -> None:
        encode = default_tokenizer().encode
        self.before = [START, *encode("user"), MESSAGE, *encode("Repeat:\n")]
        self.between = [END, START, *encode("assistant")]
        self.header = [CHANNEL, *encode("final"), MESSAGE]
        self.seen = seen.tolist()
        self.random = random

    def batch(self) -> list[Sample]:
        length = self.random.randrange(3, 40)
        return [self._sample(length) for _ in range(max(4, BATCH_TOKENS // (2 * length + 12)))]

    def _sample(self, length: int) -> Sample:
        ids = [
            self.random.choice(self.seen)
            if self.random.random() < 0.3
            else self.random.randrange(FIRST_CONTROL_ID)
            for _ in range(length)
        ]
        prompt = self.before + ids + self.between
        return prompt, [*self.header, *ids, RETURN], "copy"


def run(network: Network, batch: list[Sample]) -> tuple[Tensor, Tensor, Tensor]:
    """Hidden states where a token of a turn is to be predicted, those tokens, their rows."""
    longest = max(map(_length, batch))
    tokens = torch.full((len(batch), longest), ENDOFTEXT)
    targets = torch.full((len(batch), longest), IGNORE)
    for row, (prompt, turn, _) in enumerate(batch):
        tokens[row, : len(prompt) + len(turn)] = torch.tensor(prompt + turn)
        targets[row, len(prompt) - 1 : len(prompt) + len(turn) - 1] = torch.tensor(turn)
    wanted = targets != IGNORE
    return network(tokens)[wanted], targets[wanted], wanted.nonzero()[:, 0]


def loss_of(network: Network, hidden: Tensor, targets: Tensor) -> Tensor:
    tables = network.tables
    slot = tables.slot[targets]
    extra = torch.unique(targets[slot < 0])
    negatives = tables.unseen[torch.randint(len(tables.unseen), (NEGATIVES,))]
    weight = math.log(len(tables.unseen) / NEGATIVES)
    sampled = hidden @ tables.outputs[negatives].T + weight
    if len(extra):
        sampled = sampled.masked_fill(torch.isin(negatives, extra)[None], -1e9)
    logits = torch.cat(
        [hidden @ tables.learned_outputs.T, hidden @ tables.outputs[extra].T, sampled], dim=1
    )
    other = len(tables.seen) + torch.searchsorted(extra, targets)
    return functional.cross_entropy(logits, torch.where(slot >= 0, slot, other))


@torch.no_grad()
def evaluate(network: Network, samples: list[Sample]) -> str:
    """How many turns come out exact if each token is given the right ones before it."""
    network.eval()
    outputs = network.tables.whole_output()
    exact: defaultdict[str, list[bool]] = defaultdict(list)
    for start in range(0, len(samples), 16):
        batch = samples[start : start + 16]
        hidden, targets, rows = run(network, batch)
        right = (hidden @ outputs.T).argmax(1) == targets
        for row, (_, _, kind) in enumerate(batch):
            exact[kind].append(bool(right[rows == row].all()))
    network.train()
    kinds = "  ".join(f"{kind} {sum(good)}/{len(good)}" for kind, good in sorted(exact.items()))
    return f"{sum(map(sum, exact.values()))} of {len(samples)} exact: {kinds}"


def optimizer_for(network: Network, rate: float) -> torch.optim.Optimizer:
    """Matrices decay, vectors and token rows do not."""
    body = network.body_parameters()
    tables = list(network.tables.parameters())
    groups = [
        {"params": [p for p in body if p.ndim > 1], "weight_decay": 0.02},
        {"params": [p for p in body if p.ndim <= 1] + tables, "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, lr=rate, betas=(0.9, 0.98))


def train(
    network: Network, samples: list[Sample], *, seconds: float, rate: float, random: Random
) -> None:
    """Train until the time is up; the rate warms up, then falls along a cosine."""
    optimizer = optimizer_for(network, rate)
    parameters = [*network.body_parameters(), *network.tables.parameters()]
    copying = Copying(network.tables.seen, random)
    begin = time.monotonic()
    step = 0
    smooth: dict[str, float] = {}
    while True:
        for chosen in batches(samples, random):
            passed = (time.monotonic() - begin) / seconds
            if passed >= 1:
                return
            for group in optimizer.param_groups:
                cosine = 0.5 * (1 + math.cos(math.pi * passed))
                group["lr"] = rate * min(1, (step + 1) / WARM_UP) * (0.02 + 0.98 * cosine)
            copy = random.random() < COPYING
            hidden, targets, _ = run(network, copying.batch() if copy else chosen)
            loss = loss_of(network, hidden, targets)
            optimizer.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(parameters, 1.0)
            optimizer.step()
            name = "copying" if copy else "talking"
            smooth[name] = 0.97 * smooth.get(name, loss.item()) + 0.03 * loss.item()
            step += 1
            if step % REPORT_EVERY == 0:
                losses = "  ".join(f"{name} {value:.4f}" for name, value in smooth.items())
                print(f"step {step}  {passed:4.0%}  loss: {losses}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("corpora", type=Path, nargs="+")
    parser.add_argument("--validate", type=Path, help="a corpus that is only measured on")
    parser.add_argument("--start", type=Path, help="weights to go on from")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--minutes", type=float, default=12)
    parser.add_argument("--rate", type=float, default=2.5e-3)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    torch.manual_seed(arguments.seed)
    torch.set_num_threads(arguments.threads)
    random = Random(arguments.seed)

    samples = [sample for path in arguments.corpora for sample in Corpus.load(path).samples()]
    network = Network.load(arguments.start) if arguments.start else Network(seen_tokens(samples))
    body = sum(p.numel() for p in network.body_parameters())
    print(f"{len(samples)} samples, {len(network.tables.seen)} learned rows, {body} in the body")
    network.train()
    train(
        network,
        samples,
        seconds=60 * arguments.minutes,
        rate=arguments.rate,
        random=random,
    )
    network.save(arguments.out)
    if arguments.validate:
        print(evaluate(network, Corpus.load(arguments.validate).samples()))


if __name__ == "__main__":
    main()
