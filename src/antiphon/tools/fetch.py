"""The tool `fetch`: a page as text, for agents that know a URL and need no search."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import Any, Final

from antiphon.tools.browser.page import Page
from antiphon.tools.browser.reading import page_of
from antiphon.tools.guard import Guard, GuardError
from antiphon.tools.protocol import Emit, Need, ToolOutput
from antiphon.vocab.tokenizer import default_tokenizer

__all__ = ["FetchTool"]

MAX_TOKENS: Final = 4096
"""Of one answer; the model asks for more from where it ended."""

_PARAMETERS: Final[dict[str, Any]] = {
    "type": "object",
    "properties": {
        "url": {"type": "string", "description": "http or https"},
        "start": {"type": "integer", "description": "first line, from 0", "default": 0},
    },
    "required": ["url"],
}


class FetchTool:
    """Fetches one page through the guard."""

    name = "fetch"
    description = "Fetches a page of the web and returns its text."
    parameters: Mapping[str, Any] = _PARAMETERS

    def __init__(
        self,
        guard: Guard | None = None,
        *,
        max_tokens: int = MAX_TOKENS,
        count: Callable[[str], int] | None = None,
    ) -> None:
        self._guard = guard or Guard()
        self._max_tokens = max_tokens
        self._count = count or _tokens

    def need(self, arguments: Mapping[str, Any] | str) -> Need:
        """A person should look: a URL may carry what the conversation holds."""
        url = arguments.get("url") if isinstance(arguments, Mapping) else None
        return Need("ask", f"fetch {str(url)[:200]}")

    async def call(self, arguments: Mapping[str, Any] | str, *, emit: Emit) -> ToolOutput:
        if isinstance(arguments, str) or not isinstance(arguments.get("url"), str):
            return ToolOutput("`url` is missing.", failed=True)
        start = arguments.get("start") or 0
        if not isinstance(start, int) or start < 0:
            return ToolOutput("`start` should be a line number.", failed=True)
        try:
            answer = await self._guard.fetch(arguments["url"])
            page = await asyncio.to_thread(page_of, answer)
        except GuardError as error:
            return ToolOutput(f"It cannot be fetched: {error}.", failed=True)
        text = await asyncio.to_thread(self._window, page, start)
        return ToolOutput(
            text if answer.status < 400 else f"HTTP status {answer.status}\n\n{text}",
            failed=answer.status >= 400,
            details={"url": page.url, "title": page.title, "status": answer.status},
        )

    async def aclose(self) -> None:
        """There is nothing to close."""

    def _window(self, page: Page, start: int) -> str:
        left = self._max_tokens
        shown: list[str] = []
        for line in page.lines[start:]:
            left -= self._count(line) + 1
            if left < 0 and shown:
                break
            shown.append(line)
        end = start + len(shown)
        if end < len(page.lines):
            shown.append(f"\n[{len(page.lines) - end} lines more: start={end}]")
        links = {number for line in shown for number in _links(line)}
        if links:
            known = [f"{n}: {page.links[n]}" for n in sorted(links) if n < len(page.links)]
            shown.append("\nLinks:\n" + "\n".join(known))
        return f"{page.title}\n" + "\n".join(shown)


def _links(line: str) -> list[int]:
    numbers = [part.partition("†")[0] for part in line.split("【")[1:]]
    return [int(number) for number in numbers if number.isdecimal() and len(number) < 7]


def _tokens(text: str) -> int:
    return len(default_tokenizer().encode(text))
