"""What tools cost: a call of python, opening a page of a megabyte. Rows of benchmarks/agent.py.

    python benchmarks/tools.py            these rows alone, half a minute
    python benchmarks/tools.py --quick    small and inexact, to see that it works

A page is served from a process of its own on the loopback device, so its cost is the wall time that
a model would wait, network excepted: fetch through the guard, decode, read the HTML, break it into
lines, count the tokens of the window. The tokenizer is loaded before.
"""

from __future__ import annotations

import argparse
import asyncio
import multiprocessing
import statistics
import time
from collections.abc import Sequence
from http.server import BaseHTTPRequestHandler, HTTPServer
from multiprocessing.connection import Connection

from rows import Row, row

from antiphon.settings.tools import PythonSettings
from antiphon.tools.browser.html import html_to_text
from antiphon.tools.browser.page import make_page
from antiphon.tools.browser.session import BrowserSession
from antiphon.tools.browser.tool import Browser
from antiphon.tools.guard import Guard, GuardPolicy
from antiphon.tools.python.chosen import interpreter
from antiphon.tools.python.tool import PythonTool

MEGABYTE = 1_000_000
PROSE = (
    '<div class="mw-parser-output"><p>The <b>quick</b> brown fox <a href="/wiki/Jump_{0}"'
    ' title="Jump (motion)" class="mw-redirect">jumps</a> over the lazy dog, which is a sentence'
    '<sup id="cite_ref-{0}" class="reference"><a href="#cite_note-{0}">[{0}]</a></sup> that goes on'
    " for some time, so that it resembles what people write. </p></div>\n"
)
DENSE = (
    '<div class="c"><p>Lorem <a href="/x?y={0}">ipsum dolor</a> sit <b>amet</b>, elit sed do.</p>'
    "<ul><li>one<li>two &amp; three</ul></div>\n"
)
PAGES = {"an article": PROSE, "a page of links and lists": DENSE, "nested elements": "<div>{0}"}


class Nothing:
    """A backend without pages of its own."""

    name = "nothing"
    web = True

    async def search(self, query: str, *, limit: int) -> Sequence[object]:
        return ()

    async def open(self, url: str) -> None:
        return None

    async def aclose(self) -> None:
        pass


def page(kind: str, size: int) -> str:
    pieces, length, number = [], 0, 0
    while length < size:
        pieces.append(PAGES[kind].format(number))
        length += len(pieces[-1])
        number += 1
    return f"<!doctype html><title>{kind}</title><body>{''.join(pieces)}"


def serve(bodies: dict[str, bytes], ready: Connection) -> None:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = bodies[self.path]
            self.send_response(200)
            self.send_header("Content-Type", "text/html; charset=utf-8")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Handler)
    ready.send(server.server_port)
    server.serve_forever()


async def opened(url: str, guard: Guard) -> float:
    browser = Browser(Nothing(), guard, session=BrowserSession())  # type: ignore[arg-type]
    begun = time.perf_counter()
    out = await browser.open({"id": url})
    assert not out.failed, out.text
    return time.perf_counter() - begun


def read(html: str) -> float:
    begun = time.process_time()
    text = html_to_text(html, "https://site.example/")
    make_page("https://site.example/", text.title, text.text, text.links)
    return time.process_time() - begun


def browser_rows(*, quick: bool) -> list[Row]:
    """browser.open of a page of a megabyte, page by page."""
    size, rounds = (MEGABYTE // 20, 2) if quick else (MEGABYTE, 15)
    pages = {kind: page(kind, size) for kind in PAGES}
    bodies = {f"/{n}": html.encode() for n, html in enumerate(pages.values())}
    mine, theirs = multiprocessing.Pipe()
    server = multiprocessing.Process(target=serve, args=(bodies, theirs), daemon=True)
    server.start()
    rows = []
    try:
        port = mine.recv()
        guard = Guard(GuardPolicy(allow=(f"127.0.0.1:{port}",)))
        asyncio.run(opened(f"http://127.0.0.1:{port}/0", guard))  # Loads the tokenizer.
        for n, (kind, html) in enumerate(pages.items()):
            url = f"http://127.0.0.1:{port}/{n}"
            walls = [asyncio.run(opened(url, guard)) * 1000 for _ in range(rounds)]
            cpu = [read(html) * 1000 for _ in range(rounds)]
            found = statistics.median(walls)
            rows.append(
                row(
                    f"browser.open, {kind}, {len(html) / 1e6:.2f} MB, p50",
                    "under 150 ms",
                    f"{found:.0f} ms",
                    f"{min(walls):.0f} to {max(walls):.0f}; CPU of reading it"
                    f" {statistics.median(cpu):.0f} ms",
                    ok=found < 150,
                )
            )
    finally:
        server.terminate()
        server.join()
    return rows


async def called(tool: PythonTool, code: str) -> float:
    begun = time.perf_counter()
    out = await tool.call(code, emit=lambda text: None)
    assert not out.failed, out.text
    return time.perf_counter() - begun


async def python_rows(*, quick: bool) -> list[Row]:
    """A call of the python tool whose interpreter runs."""
    tool = PythonTool(interpreter(PythonSettings()))
    try:
        reason = await tool.check()
        if reason is not None:
            return [row("python tool, warm, p50", "under 20 ms", "not here", reason)]
        first = await called(tool, "x = 1")
        walls = [await called(tool, "x += 1\nx") * 1000 for _ in range(10 if quick else 200)]
    finally:
        await tool.aclose()
    walls.sort()
    median = statistics.median(walls)
    return [
        row(
            "python tool, warm, p50",
            "under 20 ms",
            f"{median:.1f} ms",
            f"p99 {walls[int(len(walls) * 0.99) - 1]:.1f}; the first call, which starts it,"
            f" {first * 1000:.0f} ms",
            ok=median < 20,
        )
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("--quick", action="store_true", help="small and inexact")
    quick = parser.parse_args().quick
    asyncio.run(python_rows(quick=quick))
    browser_rows(quick=quick)


if __name__ == "__main__":
    main()
