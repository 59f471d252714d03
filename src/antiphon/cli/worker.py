"""One of several workers: what ``antiphon serve --workers`` starts, with a descriptor's number."""

from __future__ import annotations

import asyncio
import os
import select
import shutil
import socket
import sys
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Final

from antiphon.cli.errors import described
from antiphon.cli.serve_view import ServeView
from antiphon.cli.serving import loop_runner, run_gateway
from antiphon.settings.load import load

if TYPE_CHECKING:
    from antiphon.gateway.workers.link import Link
    from antiphon.gateway.workers.messages import Begin
    from antiphon.settings.model import Settings

__all__ = ["ORPHAN_SECONDS", "main"]

ORPHAN_SECONDS: Final = 10.0
"""A worker whose supervisor was killed ends by itself, or else by force after so long."""


def main(argv: list[str]) -> int:
    """Serve, and return the exit code. The supervisor is told why it is not 0."""
    descriptor = int(argv[0])
    threading.Thread(target=_watch, args=(descriptor,), daemon=True).start()
    with loop_runner() as runner:
        return runner.run(_run(descriptor))


async def _run(descriptor: int) -> int:
    from antiphon.gateway.workers.link import Link
    from antiphon.gateway.workers.messages import Failed

    link, begin = await Link.open(descriptor)
    serving = asyncio.create_task(_serve(link, begin))
    link.orphaned = serving.cancel
    try:
        await asyncio.wait((serving,))
        if not serving.cancelled() and (error := serving.exception()) is not None:
            code, message = described(error)
            link.say(Failed(message, code))
            return code
    finally:
        await link.aclose()
        if link.lost:
            shutil.rmtree(begin.folder, ignore_errors=True)
    return 0


async def _serve(link: Link, begin: Begin) -> None:
    from antiphon.gateway.workers.messages import Said
    from antiphon.gateway.workers.metrics import count_together
    from antiphon.gateway.workers.place import Place, share

    place = Place(number=begin.number, of=begin.of, folder=Path(begin.folder))
    count_together(place.folder, place.number)
    config = None if begin.config is None else Path(begin.config)

    def read() -> Settings:
        return share(load(config, None, begin.flags), place)

    view = _WorkerView(link, Said)
    with socket.socket(fileno=begin.listener) as listener:
        await run_gateway(read(), listener, view, read, begin.keys, place=place, link=link)


class _WorkerView(ServeView):
    """Until it serves, a worker leaves it to its supervisor to say what is being waited for."""

    def __init__(self, link: Link, said: type) -> None:
        super().__init__(sys.stderr)
        self._link = link
        self._said = said

    def progress(self, text: str) -> None:
        if self._log is None:
            self._link.say(self._said(text))
        else:
            super().progress(text)


def _watch(descriptor: int) -> None:
    """End this process when its supervisor has, even if its event loop is stuck."""
    poll = select.poll()
    poll.register(descriptor, 0)
    poll.poll()
    time.sleep(ORPHAN_SECONDS)
    os._exit(1)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
