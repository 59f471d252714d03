"""What a training sample is: tokens and which of them the model is to learn."""

from __future__ import annotations

import msgspec

__all__ = ["TrainingSample"]


class TrainingSample(msgspec.Struct, frozen=True):
    """The tokens of a conversation and, for each, 1 if the assistant writes it, else 0.

    The assistant writes everything after ``<|start|>assistant``: the rest of the header, the text
    and the stop token. Within one turn it also writes the ``<|start|>assistant`` of its next
    message, for example between its reasoning and its answer. Not learned is the ``<|end|>`` of an
    answer in an earlier turn: the model ended it with ``<|return|>``, which history rewrites.
    """

    tokens: list[int]
    mask: bytes
