"""A conversation → prompt ids, in the dialect the model itself writes, and whether they fit."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from functools import cache, lru_cache
from typing import Final, TypeVar

from antiphon.api.errors import ApiError
from antiphon.codec.render import Renderer
from antiphon.model.content import TextContent
from antiphon.model.message import Message
from antiphon.vocab.control import CHANNEL, CONSTRAIN, END, MESSAGE, START

__all__ = [
    "LARGE_CHARS",
    "call_header",
    "final_header",
    "no_thoughts",
    "off_loop",
    "renderer",
    "room",
    "size",
]

LARGE_CHARS: Final = 50_000
"""Prompts of more text are rendered in a thread, so that they hold up no other stream."""

_T = TypeVar("_T")


@cache
def renderer() -> Renderer:
    """The one renderer of this process: it remembers what it rendered.

    The first call takes a while: it loads the tokenizer.
    """
    made = Renderer(dialect="emission")
    made.encode("a")
    return made


def size(messages: Sequence[Message]) -> int:
    """Characters of text, counted no further than it takes to know that they are many.

    Settings such as tools count as nothing, as they are remembered.
    """
    total = 0
    for message in messages:
        for part in message.content:
            if part.__class__ is TextContent:
                total += len(part.text)
        if total > LARGE_CHARS:
            break
    return total


async def off_loop(chars: int, work: Callable[[], _T]) -> _T:
    """Do work that grows with ``chars``: at once if it is little, else in a thread."""
    if chars <= LARGE_CHARS and renderer.cache_info().currsize:
        return work()
    return await asyncio.to_thread(work)


def room(prompt: int, context: int | None, asked: int | None, limits: Sequence[int]) -> int | None:
    """Most tokens that may be generated; None: as many as the engine likes.

    Raises ApiError (400, ``context_length_exceeded``) if the prompt leaves no room.
    """
    if context is not None and prompt >= context:
        raise ApiError(
            f"This model's maximum context length is {context} tokens, but the messages resulted"
            f" in {prompt} tokens. Please reduce the length of the messages.",
            param="messages",
            code="context_length_exceeded",
        )
    bounds = [limit for limit in limits if limit]
    if asked is not None:
        bounds.append(asked)
    if context is not None:
        bounds.append(context - prompt)
    return min(bounds, default=None)


@cache
def final_header(*, json: bool = False) -> tuple[int, ...]:
    """The header of an answer, as it stands behind ``<|start|>assistant``."""
    encode = renderer().encode
    kind = (*encode(" "), CONSTRAIN, *encode("json")) if json else ()
    return (CHANNEL, *encode("final"), *kind, MESSAGE)


@lru_cache(maxsize=1024)
def call_header(recipient: str | None, *, json: bool = True) -> tuple[int, ...]:
    """The header of a call; without a recipient, as much of it as all calls share."""
    encode = renderer().encode
    if recipient is None:
        return (CHANNEL, *encode("commentary to"))
    kind = (*encode(" "), CONSTRAIN, *encode("json")) if json else tuple(encode(" code"))
    return (CHANNEL, *encode(f"commentary to={recipient}"), *kind, MESSAGE)


@cache
def no_thoughts() -> tuple[int, ...]:
    """Thinking that is over before it began, and the start of the next message."""
    encode = renderer().encode
    return (CHANNEL, *encode("analysis"), MESSAGE, END, START, *encode("assistant"))
