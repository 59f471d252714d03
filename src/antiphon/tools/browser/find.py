"""Finding words in a page, shown as gpt-oss was trained on it."""

from __future__ import annotations

import re
from typing import Final
from urllib.parse import quote

from antiphon.tools.browser.page import Page, Passage, make_page
from antiphon.tools.browser.session import BrowserError

__all__ = ["found_in", "plain"]

MAX_RESULTS: Final = 50
LINES_SHOWN: Final = 4
MAX_PATTERN_CHARS: Final = 1000
_LINK: Final = re.compile(r"【\d{1,6}†([^†】]*)(?:†[^†】]*)?】")
_CUT_BEGIN: Final = re.compile(r"^[^【】]*】")
_CUT_END: Final = re.compile(r"【\d{0,6}(?:†([^†】]*)(?:†[^†】]*)?)?$")


def found_in(page: Page, pattern: str) -> Page:
    """A page of the lines that hold ``pattern``, whatever its case. Raises BrowserError."""
    if page.passages is not None:
        raise BrowserError("Cannot run `find` on search results page or find results page")
    if not pattern or len(pattern) > MAX_PATTERN_CHARS:
        raise BrowserError(f"`pattern` must have 1 to {MAX_PATTERN_CHARS} characters.")
    wanted = pattern.lower()
    lines = page.lines
    shown: list[str] = []
    passages: dict[int, Passage] = {}
    number = 0
    while number < len(lines) and len(shown) < MAX_RESULTS:
        if wanted not in plain(lines[number]).lower():
            number += 1
            continue
        passages[len(shown)] = Passage(number)
        snippet = "\n".join(map(plain, lines[number : number + LINES_SHOWN]))
        shown.append(f"# 【{len(shown)}†match at L{number}】\n{snippet}")
        number += LINES_SHOWN
    return make_page(
        f"{page.url}/find?pattern={quote(pattern, safe='')}",
        f"Find results for text: `{pattern}` in `{page.title}`",
        "\n\n".join(shown) or f"No `find` results for pattern: `{pattern}`",
        (page.url,) * len(shown),
        passages=passages,
        cites=[(0, page.url, page.title)],
    )


def plain(line: str) -> str:
    """The line with the texts of its links in their place."""
    if "【" not in line and "】" not in line:
        return line
    line = _CUT_BEGIN.sub("", line)
    line = _CUT_END.sub(lambda found: found[1] or "", line)
    return _LINK.sub(lambda found: found[1], line)
