"""HTML → text with numbered links, as gpt-oss was trained to read pages.

libxml2 reads, and no tree is built, which is why a page costs time in proportion to its length,
however deep it is or however many attributes a tag has: this is a fold over its events. Scripts,
styles and what is never shown are dropped; headings and list items keep their marks; a link becomes
``【n†text†domain】``, without the domain if it is the page's own.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from typing import Final
from urllib.parse import urljoin

import msgspec

from antiphon.errors import MissingExtraError
from antiphon.tools.browser.page import clean, domain_of

__all__ = ["HtmlText", "html_to_text"]

MAX_LINKS: Final = 5000
"""Links that get a number; what comes after them stays text."""
MAX_LINK_CHARS: Final = 2048
"""A longer link stays text: it is data more often than an address."""
MAX_LINK_TEXT: Final = 300
"""Characters of a link's text."""
MAX_ALT_CHARS: Final = 200
MAX_TITLE_CHARS: Final = 300
MAX_INDENTS: Final = 6

_HIDDEN: Final = frozenset(
    "script style noscript template head math iframe object embed svg canvas audio video map"
    " select datalist textarea noembed noframes".split()
)
_NOT_SHOWN: Final = re.compile(r"display\s*:\s*none|visibility\s*:\s*hidden", re.IGNORECASE)
_SKIPPED_LINKS: Final = ("javascript:", "mailto:", "tel:", "data:", "blob:", "about:", "#")
_WORD: Final = re.compile(r"[\w\-]+\Z")

_Attributes = Mapping[str, str]


class HtmlText(msgspec.Struct, frozen=True):
    """What a page says."""

    title: str
    text: str
    links: tuple[str, ...]


def html_to_text(html: str, url: str) -> HtmlText:
    """The text of a page. Takes any text; time linear in its length. Raises MissingExtraError."""
    try:
        from lxml import etree
    except ImportError as error:
        raise MissingExtraError("lxml", "agent") from error
    fold = _Fold(url)
    parser = etree.HTMLParser(target=fold, encoding="utf-8", no_network=True)
    try:
        parser.feed(clean(html).encode("utf-8", "replace"))
        parser.close()
    except etree.XMLSyntaxError:
        pass  # There is nothing in it.
    return fold.result()


class _Kept(str):
    """Text whose spaces stay."""

    __slots__ = ()


class _Mark(_Kept):
    """What begins a line, and never stands alone on one."""

    __slots__ = ()


_BULLETS: Final = tuple([_Mark("  " * depth + "* ") for depth in range(MAX_INDENTS + 1)])
_HASHES: Final = tuple([_Mark("#" * depth + " ") for depth in range(7)])


class _Fold:
    """A target of lxml's parser.

    ``out`` are pieces of text; a number is so many line ends, of neighbours the largest counts.
    A page has some hundred thousand events: what is done for each of them is what a page costs.
    """

    __slots__ = (
        "_append",
        "_base",
        "_domain",
        "_hidden",
        "_images",
        "_in_title",
        "_link",
        "_link_at",
        "_lists",
        "_numbers",
        "_origin",
        "_own",
        "_pre",
        "_script",
        "_titles",
        "out",
    )

    def __init__(self, url: str) -> None:
        self.out: list[str | int] = []
        self._append = self.out.append
        self._domain = domain_of(url)
        self._own = tuple([f"{scheme}://{self._domain}/" for scheme in ("http", "https")])
        """What links within the page's own domain begin with."""
        self._base = url
        self._origin = "/".join(url.split("/", 3)[:3])
        self._hidden: list[str] = []
        """The open elements that hide what is in them."""
        self._titles: list[str] = []
        self._in_title = False
        self._numbers: dict[str, int] = {}
        self._link: str | None = None
        self._link_at = 0
        self._lists: list[int | None] = []
        """Of the open lists, the last number; None without numbers."""
        self._pre = 0
        self._images = 0
        self._script: int | None = None
        """Where the open ``sup`` or ``sub`` begins."""

    # What the parser calls.

    def start(self, tag: str, attributes: _Attributes) -> None:
        if self._hidden:
            self._start_hidden(tag, attributes)
            return
        if attributes and ("hidden" in attributes or "style" in attributes) and _hides(attributes):
            self._hidden.append(tag)
            return
        begin = _BEGIN.get(tag)
        if begin.__class__ is int:
            self._append(begin)
        elif begin is not None:
            begin(self, tag, attributes)  # type: ignore[operator]

    def end(self, tag: str) -> None:
        if self._hidden:
            if tag == self._hidden[-1]:
                self._hidden.pop()
            self._in_title = False
            return
        finish = _FINISH.get(tag)
        if finish.__class__ is int:
            self._append(finish)
        elif finish is not None:
            finish(self, tag)  # type: ignore[operator]

    def data(self, data: str) -> None:
        if "【" in data or "】" in data:  # They were entities.
            data = clean(data)
        if self._hidden:
            if self._in_title:
                self._titles.append(data)
        else:
            self._append(_Kept(data) if self._pre else data)

    def close(self) -> None:
        self.close_link()

    def result(self) -> HtmlText:
        title = " ".join("".join(self._titles).split())[:MAX_TITLE_CHARS]
        return HtmlText(title, _laid_out(self.out), tuple(self._numbers))

    # Elements.

    def hide(self, tag: str, attributes: _Attributes) -> None:
        self._hidden.append(tag)

    def cell(self, tag: str, attributes: _Attributes) -> None:
        if self.out and self.out[-1].__class__ is not int:
            self.out.append(" | ")

    def heading(self, tag: str, attributes: _Attributes) -> None:
        self.out += (2, _HASHES[int(tag[1])])

    def preformatted(self, tag: str, attributes: _Attributes) -> None:
        self.out.append(2)
        self._pre += 1

    def end_preformatted(self, tag: str) -> None:
        self.out.append(2)
        self._pre = max(self._pre - 1, 0)

    def list(self, tag: str, attributes: _Attributes) -> None:
        self.out.append(1 if self._lists else 2)
        self._lists.append(0 if tag == "ol" else None)

    def end_list(self, tag: str) -> None:
        if self._lists:
            self._lists.pop()
        self.out.append(1 if self._lists else 2)

    def item(self, tag: str, attributes: _Attributes) -> None:
        depth = min(max(len(self._lists), 1), MAX_INDENTS)
        number = self._lists[-1] if self._lists else None
        mark = _BULLETS[depth]
        if number is not None:
            self._lists[-1] = number + 1
            mark = _Mark(f"{'  ' * depth}{number + 1}. ")
        self.out += (1, mark)

    def line_break(self, tag: str, attributes: _Attributes) -> None:
        self.out.append(_Kept("\n") if self._pre else 1)

    def rule(self, tag: str, attributes: _Attributes) -> None:
        self.out += [2, "* * *", 2]

    def image(self, tag: str, attributes: _Attributes) -> None:
        name = " ".join((attributes.get("alt") or attributes.get("title") or "").split())
        name = clean(name[:MAX_ALT_CHARS])
        self.out.append(f"[Image {self._images}: {name}]" if name else f"[Image {self._images}]")
        self._images += 1

    def script(self, tag: str, attributes: _Attributes) -> None:
        """Above or below the line."""
        self._script = len(self.out)

    def end_script(self, tag: str) -> None:
        """x² is ``x^{2}``."""
        at, self._script = self._script, None
        if at is None or len(self.out) != at + 1:
            return
        text = self.out[at]
        if isinstance(text, str) and _WORD.match(text):
            self.out[at] = f"{'^' if tag == 'sup' else '_'}{{{text}}}"

    def link(self, tag: str, attributes: _Attributes) -> None:
        if self._link is not None:
            self.close_link()
        href = attributes.get("href")
        if href:
            self._link, self._link_at = href, len(self.out)

    def close_link(self, tag: str = "a") -> None:
        href, self._link = self._link, None
        if href is None:
            return
        at = self._link_at
        inside = self.out[at:]
        text = "".join([" " if piece.__class__ is int else piece for piece in inside])  # type: ignore[misc]
        said = " ".join(text.split()).replace("†", "‡")
        target = self._target(href) if said else None
        number = None if target is None else self._number(target)
        if target is None or number is None:
            return
        if len(said) > MAX_LINK_TEXT:
            said = said[: MAX_LINK_TEXT - 1] + "…"
        end = "】"
        if not target.startswith(self._own):
            domain = clean(domain_of(target)).replace("†", "‡")
            end = "】" if domain == self._domain else f"†{domain}】"
        shown = f"【{number}†{said}{end}"
        if len(inside) == 1 and not (text[0].isspace() or text[-1].isspace()):
            self.out[at] = shown
            return
        before, after = _ends(inside), _ends(reversed(inside))
        self.out[at:] = (
            before or " " * text[0].isspace(),
            shown,
            after or " " * text[-1].isspace(),
        )

    # Inside.

    def _start_hidden(self, tag: str, attributes: _Attributes) -> None:
        inside = self._hidden[-1]
        if tag == inside or tag in _HIDDEN:
            self._hidden.append(tag)
        elif inside == "head" and tag == "title":
            self._in_title = not self._titles
        elif inside == "head" and tag == "base":
            self._base = self._joined(attributes.get("href") or "") or self._base
            self._origin = "/".join(self._base.split("/", 3)[:3])

    def _target(self, href: str) -> str | None:
        href = href.strip()
        if len(href) > MAX_LINK_CHARS or href.lower().startswith(_SKIPPED_LINKS):
            return None
        target = self._joined(href)
        return target if target and target.startswith(("http://", "https://")) else None

    def _number(self, target: str) -> int | None:
        number = self._numbers.get(target)
        if number is None and len(self._numbers) < MAX_LINKS:
            number = self._numbers[target] = len(self._numbers)
        return number

    def _joined(self, href: str) -> str | None:
        # Most links need no more than this.
        if href.startswith("/") and not href.startswith("//") and "/." not in href:
            return self._origin + href
        if href.startswith(("http://", "https://")) and "[" not in href:
            return href
        try:
            return urljoin(self._base, href)
        except ValueError:
            return None


_Begin = Callable[[_Fold, str, _Attributes], None] | int
"""What an element begins with: line ends, or more than that."""
_Finish = Callable[[_Fold, str], None] | int

_BLOCKS: Final = (
    "address article aside blockquote body caption center dd details dialog div dl dt fieldset"
    " figcaption figure footer form header hgroup main nav p section summary table"
)
_HEADINGS: Final = "h1 h2 h3 h4 h5 h6"
_ROWS: Final = "tr thead tbody tfoot"
_LISTS: Final = "ul ol menu dir"


def _table(*rows: tuple[str, _Begin]) -> dict[str, _Begin]:
    return {tag: handler for tags, handler in rows for tag in tags.split()}


_BEGIN: Final = _table(
    (_BLOCKS, 2),
    (_HEADINGS, _Fold.heading),
    (_ROWS, 1),
    (_LISTS, _Fold.list),
    ("li", _Fold.item),
    ("td th", _Fold.cell),
    ("pre", _Fold.preformatted),
    ("br", _Fold.line_break),
    ("hr", _Fold.rule),
    ("img", _Fold.image),
    ("sup sub", _Fold.script),
    ("a", _Fold.link),
    (" ".join(_HIDDEN), _Fold.hide),
)
_FINISH: Final[dict[str, _Finish]] = {
    **dict.fromkeys(_BLOCKS.split(), 2),
    **dict.fromkeys(_HEADINGS.split(), 2),
    **dict.fromkeys(_ROWS.split(), 1),
    **dict.fromkeys(_LISTS.split(), _Fold.end_list),
    "li": 1,
    "pre": _Fold.end_preformatted,
    "sup": _Fold.end_script,
    "sub": _Fold.end_script,
    "a": _Fold.close_link,
}


def _hides(attributes: _Attributes) -> bool:
    """Whether a person would not see the element: its words may be meant for the model alone."""
    if "hidden" in attributes:
        return True
    style = attributes.get("style")
    return style is not None and _NOT_SHOWN.search(style) is not None


def _ends(pieces: Iterable[str | int]) -> int:
    """The line ends before the first text."""
    wanted = 0
    for piece in pieces:
        if isinstance(piece, int):
            wanted = max(wanted, piece)
        elif piece and not piece.isspace():
            break
    return wanted


def _laid_out(pieces: list[str | int]) -> str:
    """The text: no two empty lines in a row, and no spaces but one between words."""
    lines: list[str] = []
    line: list[str] = []
    run: list[str] = []
    """Pieces whose spaces mean no more than one each, in a row."""
    wanted = 0
    spaced = True
    """Whether a space before what comes next would be one too many."""
    for piece in [*pieces, 0]:
        kind = piece.__class__
        if kind is str:
            run.append(piece)  # type: ignore[arg-type]
            continue
        if run:
            said = "".join(run)
            run.clear()
            text = " ".join(said.split())
            if text:
                if wanted:
                    lines.append("".join(line).rstrip())
                    if wanted == 2:
                        lines.append("")
                    line.clear()
                    wanted = 0
                elif not spaced and said[0].isspace():
                    line.append(" ")
                line.append(text)
                spaced = said[-1].isspace()
                if spaced:
                    line.append(" ")
            elif not spaced and said:
                line.append(" ")
                spaced = True
        if kind is int:
            if line and piece > wanted and line[-1].__class__ is not _Mark:  # type: ignore[operator]
                wanted, spaced = piece, True  # type: ignore[assignment]
        elif piece:
            if wanted:
                lines.append("".join(line).rstrip())
                if wanted == 2:
                    lines.append("")
                line.clear()
                wanted = 0
            line.append(piece)  # type: ignore[arg-type]
            spaced = piece[-1] in " \n"  # type: ignore[index]
    lines.append("".join(line).rstrip())
    return "\n".join(lines).strip("\n")
