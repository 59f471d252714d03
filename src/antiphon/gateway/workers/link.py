"""A worker's side of the line to its supervisor."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from itertools import count

from antiphon.engines.launch.host import Order
from antiphon.engines.launch.hosted import Held
from antiphon.errors import EngineError
from antiphon.gateway.workers import messages as m

__all__ = ["Link"]


class Link:
    """The line (`antiphon.engines.launch.hosted.HostLink`). Made by `open`.

    ``announce`` is called when all workers serve; ``orphaned`` when the supervisor has ended.
    """

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        self._numbers = count()
        self._answers: dict[int, asyncio.Future[m.Message]] = {}
        self._held: dict[int, tuple[Callable[[str], None], Callable[[bool], None]]] = {}
        self._up: dict[Order, Held] = {}
        self._task: asyncio.Task[None] | None = None
        self.lost = False
        """Whether the supervisor has ended."""
        self.announce: Callable[[], None] = lambda: None
        self.orphaned: Callable[[], object] = lambda: None

    @classmethod
    async def open(cls, descriptor: int) -> tuple[Link, m.Begin]:
        """The line at this end of the pair, and what was said first. Raises EOFError."""
        pair = socket.socket(fileno=descriptor)
        reader, writer = await asyncio.open_unix_connection(sock=pair, limit=m.MAX_LINE)
        link = cls(reader, writer)
        first = await m.read(reader)
        if not isinstance(first, m.Begin):
            raise EOFError("the supervisor has ended")  # noqa: TRY004
        link._task = asyncio.create_task(link._listen(), name="supervisor")
        return link, first

    def say(self, message: m.Message) -> None:
        m.write(self._writer, message)

    async def hold(
        self, order: Order, gone: Callable[[str], None], asked: Callable[[bool], None]
    ) -> Held:
        number = next(self._numbers)
        self._held[number] = gone, asked
        try:
            answer = await self._ask(number, m.Hold(number, m.as_raw(order)))
        except BaseException:
            await self.release(number)
            raise
        if isinstance(answer, m.Got):
            return Held(number, answer.url, answer.pid)
        self._held.pop(number, None)
        error = EngineError(answer.message if isinstance(answer, m.Refused) else "it ended")
        error.status_hint = 503
        raise error

    async def release(self, number: int) -> None:
        if self._held.pop(number, None) is not None:
            self.say(m.Release(number))

    async def unload(self, order: Order) -> None:
        number = next(self._numbers)
        await self._ask(number, m.Unload(number, m.as_raw(order)))

    def elsewhere(self, order: Order) -> Held | None:
        return self._up.get(order)

    async def aclose(self) -> None:
        """What was said is on its way then."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        self._writer.close()
        try:
            await self._writer.wait_closed()
        except OSError:
            return

    async def _ask(self, number: int, message: m.Message) -> m.Message:
        answer = self._answers[number] = asyncio.get_running_loop().create_future()
        self.say(message)
        try:
            said: m.Message = await answer
            return said
        finally:
            del self._answers[number]

    async def _listen(self) -> None:
        while (message := await m.read(self._reader)) is not None:
            self._take(message)
        self.lost = True
        for answer in self._answers.values():
            if not answer.done():
                answer.set_exception(EngineError("the supervisor has ended"))
        self.orphaned()

    def _take(self, message: m.Message) -> None:
        match message:
            case m.Got(number) | m.Refused(number) | m.Unloaded(number):
                answer = self._answers.get(number)
                if answer is not None and not answer.done():
                    answer.set_result(message)
            case m.Gone(number, cause):
                held = self._held.pop(number, None)
                if held is not None:
                    held[0](cause)
            case m.Asked(number, now):
                if number in self._held:
                    self._held[number][1](now)
            case m.Up(order, url, pid):
                self._up[m.from_raw(order)] = Held(-1, url, pid)
            case m.Down(order):
                self._up.pop(m.from_raw(order), None)
            case m.Announce():
                self.announce()
            case _:
                return
