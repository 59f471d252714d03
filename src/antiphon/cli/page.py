"""A transcript as one HTML page that needs nothing else: no script, no font, no request.

The page is written while the input is read. Its style follows the reader's light or dark setting;
notes stand in the right margin, and inline where there is no room for one.
"""

from __future__ import annotations

import html
from typing import Final

from antiphon.cli.annotate import Annotated, Close, ControlText, Open, Totals
from antiphon.cli.blocks import MAX_NOTES, counted, ending, header_values, note
from antiphon.cli.terminal import Terminal
from antiphon.codec.events import Diagnostic, TextDelta
from antiphon.codec.text import CONTROL

__all__ = ["PageWriter"]

_STYLE: Final = """
:root{color-scheme:light dark;--bg:#fbfbfa;--card:#fff;--ink:#1d1d1f;--soft:#5b5b60;--faint:#77777d;
--line:#e3e3e6;--note:#8a5300;--note-bg:#fff4dc;--user:#0a6ebd;--assistant:#1d7f45;--system:#8a3fa0;
--developer:#8a3fa0;--tool:#9a6a00}
@media(prefers-color-scheme:dark){:root{--bg:#161618;--card:#1e1e21;--ink:#ececee;--soft:#b0b0b6;
--faint:#8a8a90;--line:#34343a;--note:#ffcf7a;--note-bg:#3a2d10;--user:#6bb8f5;--assistant:#69cf92;
--system:#d29be6;--developer:#d29be6;--tool:#e8bd5c}}
*{box-sizing:border-box}
body{margin:0;background:var(--bg);color:var(--ink);font:15px/1.55 system-ui,sans-serif}
main{display:flex;flex-direction:column;gap:1rem;max-width:78rem;margin:0 auto;padding:1.5rem}
h1{order:-2;font-size:1.25rem;margin:0;overflow-wrap:anywhere}
.totals{order:-1;margin:0 0 .5rem;color:var(--soft)}
article,.stray{margin-right:19rem;position:relative}
article{background:var(--card);border:1px solid var(--line);border-left:4px solid var(--role);
border-radius:8px;padding:.8rem 1rem}
.user{--role:var(--user)}.assistant{--role:var(--assistant)}.system{--role:var(--system)}
.developer{--role:var(--developer)}.tool{--role:var(--tool)}
header{display:flex;flex-wrap:wrap;gap:.3rem .8rem;align-items:baseline}
h2{font-size:1rem;margin:0;color:var(--role)}
header a,.count,.end{color:var(--soft);font-size:.8rem;text-decoration:none}
.count{margin-left:auto}
.value{font:13px ui-monospace,monospace;overflow-wrap:anywhere}
.value i{color:var(--soft);font-style:normal}
.raw,.text,.end{font:13px/1.6 ui-monospace,monospace;white-space:pre-wrap;overflow-wrap:anywhere}
.raw{color:var(--faint);margin:.35rem 0 0}
.text{margin:.35rem 0 0}
.end .count{font-family:system-ui,sans-serif}
.stray{padding:0 1rem}
.analysis .text{color:var(--soft)}
.control,.end{color:var(--faint)}
.end{margin:.4rem 0 0;display:flex;gap:.8rem}
mark{background:none;color:var(--note);font-weight:bold}
.note{float:right;clear:right;width:17.5rem;margin:0 -19.5rem .4rem 1rem;padding:.35rem .6rem;
border-radius:6px;background:var(--note-bg);color:var(--note);font:12.5px/1.45 system-ui,sans-serif;
white-space:normal}
.note code{overflow-wrap:anywhere}
@media(max-width:60rem){article,.stray{margin-right:0}.note{float:none;display:block;width:auto;
margin:.3rem 0}}
""".strip()

# Control characters mean nothing in HTML or are replaced. The control pictures show what was there.
_PICTURES: Final[dict[int, int | str]] = {
    **{i: 0x2400 + i for i in range(32) if chr(i) not in "\n\t"},
    0x7F: 0x2421,
    **{i: f"\\x{i:02x}" for i in range(0x80, 0xA0)},
    **{i: f"\\u{i:04x}" for i in (0x200E, 0x200F, *range(0x202A, 0x202F), *range(0x2066, 0x206A))},
}


def _escape(text: str) -> str:
    return html.escape(text.translate(_PICTURES))


def _shaded(text: str) -> str:
    """Escaped text with its control tokens dimmed."""
    parts: list[str] = []
    done = 0
    for found in CONTROL.finditer(text):
        parts += (_escape(text[done : found.start()]), _control(found.group()))
        done = found.end()
    return "".join((*parts, _escape(text[done:])))


def _control(name: str) -> str:
    return f'<span class="control">{_escape(name)}</span>'


class PageWriter:
    """Annotated events → one HTML page."""

    def __init__(self, terminal: Terminal, title: str, *, exact: bool = True) -> None:
        self._write = terminal.write
        self._about = "" if exact else "about "
        self._notes: list[Diagnostic] = []
        self._more_notes = 0
        self._open_text = False
        self._write(
            '<!doctype html>\n<html lang="en">\n<meta charset="utf-8">\n'
            '<meta name="viewport" content="width=device-width">\n'
            '<meta http-equiv="Content-Security-Policy"'
            " content=\"default-src 'none'; style-src 'unsafe-inline'\">\n"
            f"<title>{_escape(title)}</title>\n<style>\n{_STYLE}\n</style>\n"
            f"<main>\n<h1>{_escape(title)}</h1>\n"
        )

    def event(self, event: Annotated) -> None:
        if isinstance(event, TextDelta):
            self._write(_escape(event.text))
        elif isinstance(event, ControlText):
            self._write(_control(event.text))
        elif isinstance(event, Diagnostic):
            if self._open_text:
                self._write(f"<mark>!</mark>{_note(event)}")
            elif len(self._notes) < MAX_NOTES:
                self._notes.append(event)
            else:
                self._more_notes += 1
        elif isinstance(event, Open):
            self._open(event)
        else:
            self._close(event)

    def finish(self, totals: Totals) -> None:
        """The input is over."""
        if self._open_text:
            self._write("</div></article>\n")
        if self._notes:
            self._write(f'<div class="stray">{self._take_notes()}</div>\n')
        shown = (
            counted(totals.messages, "message"),
            self._about + counted(totals.tokens, "token"),
            counted(totals.diagnostics, "diagnostic"),
        )
        self._write(f'<p class="totals">{", ".join(shown)}</p>\n</main>\n</html>\n')

    def _open(self, event: Open) -> None:
        header = event.header
        kind = f"{header.role} analysis" if header.channel == "analysis" else header.role
        values = "".join(
            f'<span class="value"><i>{label}</i> {_escape(value)}</span>'
            for label, value in header_values(header)
        )
        raw = f'<div class="raw">{_shaded(event.raw)}</div>\n' if event.raw.strip() else ""
        tokens = f"header: {self._about}{counted(event.tokens, 'token')}"
        self._write(
            f'<article class="{kind}" id="m{event.number}"><header>'
            f'<a href="#m{event.number}">#{event.number}</a><h2>{header.role}</h2>{values}'
            f'<span class="count">{tokens}</span></header>\n'
            f'{self._take_notes()}{raw}<div class="text">'
        )
        self._open_text = True

    def _close(self, event: Close) -> None:
        self._open_text = False
        shown = _escape(ending(event.stop))
        tokens = f"text: {self._about}{counted(event.tokens, 'token')}"
        self._write(
            f'</div>\n<p class="end"><span>{shown}</span>'
            f'<span class="count">{tokens}</span></p></article>\n'
        )

    def _take_notes(self) -> str:
        notes = "".join([_note(diagnostic) for diagnostic in self._notes])
        if self._more_notes:
            notes += f'<span class="note">… and {self._more_notes:,} more</span>'
        self._notes.clear()
        self._more_notes = 0
        return notes


def _note(diagnostic: Diagnostic) -> str:
    return f'<span class="note">{_escape(note(diagnostic))}</span>'
