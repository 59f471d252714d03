"""Several answers to one request, generated at the same time."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Iterable, Sequence
from contextlib import aclosing

import msgspec

from antiphon.api.turn import TurnEvent, TurnRequest, TurnUsage
from antiphon.turn.engine import TurnRunner
from antiphon.turn.observe import TurnObserver

__all__ = ["run_choices", "summed"]

_WAITING = 64
"""Most batches that wait for a slow client, over all choices."""

_Item = tuple[int, Sequence[TurnEvent]] | BaseException | None


async def run_choices(
    runner: TurnRunner,
    request: TurnRequest,
    n: int,
    *,
    observe: Callable[[int], TurnObserver] | None = None,
) -> AsyncGenerator[tuple[int, Sequence[TurnEvent]], None]:
    """The batches of ``n`` turns, each with its choice's number, as they come.

    A given seed counts up, so that the choices differ. ``observe`` gives each choice's observer.
    Raises ApiError as `TurnRunner.run` does,
    for the first choice that fails; the others are stopped.
    """
    if n == 1:
        observer = observe(0) if observe is not None else None
        async with aclosing(runner.run(request, observer=observer)) as batches:
            async for batch in batches:
                yield 0, batch
        return
    queue: asyncio.Queue[_Item] = asyncio.Queue(_WAITING)
    tasks = [
        asyncio.create_task(_feed(runner, _seeded(request, i), i, observe and observe(i), queue))
        for i in range(n)
    ]
    try:
        left = n
        while left:
            item = await queue.get()
            if item is None:
                left -= 1
            elif isinstance(item, BaseException):
                raise item
            else:
                yield item
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def summed(usages: Iterable[TurnUsage]) -> TurnUsage:
    """What several choices cost together. The prompt counts once: they share it."""
    found = list(usages)
    if not found:
        return TurnUsage(completions=0)
    return TurnUsage(
        prompt_tokens=max(usage.prompt_tokens for usage in found),
        cached_tokens=max(usage.cached_tokens for usage in found),
        completion_tokens=sum(usage.completion_tokens for usage in found),
        reasoning_tokens=sum(usage.reasoning_tokens for usage in found),
        completions=sum(usage.completions for usage in found),
    )


async def _feed(
    runner: TurnRunner,
    request: TurnRequest,
    index: int,
    observer: TurnObserver | None,
    queue: asyncio.Queue[_Item],
) -> None:
    try:
        async with aclosing(runner.run(request, observer=observer)) as batches:
            async for batch in batches:
                await queue.put((index, batch))
        await queue.put(None)
    except asyncio.CancelledError:
        raise
    except Exception as error:  # noqa: BLE001 - told to the one who waits, whatever it is
        await queue.put(error)


def _seeded(request: TurnRequest, index: int) -> TurnRequest:
    seed = request.sampling.seed
    if seed is None or index == 0:
        return request
    sampling = msgspec.structs.replace(request.sampling, seed=seed + index)
    return msgspec.structs.replace(request, sampling=sampling)
