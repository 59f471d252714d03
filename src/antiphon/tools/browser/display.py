"""How a page is shown to the model: a window of numbered lines, so many tokens at most."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final
from urllib.parse import unquote

from antiphon.tools.browser.page import Page, clean
from antiphon.tools.browser.session import BrowserError

__all__ = ["MAX_VIEW_TOKENS", "VIEW_TOKENS", "Count", "displayed"]

VIEW_TOKENS: Final = 1024
"""Of a window whose length the model did not say. As gpt-oss was trained."""
MAX_VIEW_TOKENS: Final = 8192
"""However many lines it asks for."""
MAX_URL_SHOWN: Final = 1024

Count = Callable[[str], int]
"""A text → its tokens."""


def displayed(page: Page, cursor: int, count: Count, *, loc: int = 0, num_lines: int = -1) -> str:
    """The window from line ``loc`` on. Raises BrowserError if there is no such line."""
    total = len(page.lines)
    if loc >= total:
        raise BrowserError(
            f"Invalid location parameter: `{loc}`. Cannot exceed page maximum of {total - 1}."
        )
    loc = max(loc, 0)
    stop = min(loc + num_lines, total) if num_lines > 0 else total
    budget = MAX_VIEW_TOKENS if num_lines > 0 else VIEW_TOKENS
    shown: list[str] = []
    for number in range(loc, stop):
        line = f"L{number}: {page.lines[number]}"
        shown.append(line)
        budget -= count(line) + 1
        if budget < 0:
            break
    last = loc + len(shown) - 1
    url = clean(unquote(page.url))[:MAX_URL_SHOWN]
    header = f"{page.title} ({url})" if url else page.title
    body = "\n".join(shown)
    return f"[{cursor}] {header}\n**viewing lines [{loc} - {last}] of {total - 1}**\n\n{body}"
