"""A session as Harmony JSON, marked text, Markdown, or one HTML page that needs nothing else."""

from __future__ import annotations

import base64
import html
import re
from collections.abc import Callable, Iterator
from typing import Final, Literal, NamedTuple

from antiphon.agent.citing import Footnotes, sources_in
from antiphon.agent.sessions.folder import Saved
from antiphon.agent.sessions.records import KeptFile
from antiphon.agent.transcript import Entry, settled
from antiphon.model.message import Conversation, Message, Role

__all__ = ["FORMATS", "Format", "conversation_of", "export"]

Format = Literal["json", "text", "markdown", "html"]
FORMATS: Final = ("json", "text", "markdown", "html")
MAX_PICTURE_BYTES: Final = 2 * 1024 * 1024
MAX_PICTURES_BYTES: Final = 16 * 1024 * 1024
"""Of all pictures in one page."""

_TITLES: Final = {
    "user": "User",
    "thinking": "Thinking",
    "preamble": "To the user, beside a call",
    "answer": "Answer",
    "call": "Call",
    "result": "Result",
}
_PICTURES: Final = {
    "image/png": b"\x89PNG\r\n\x1a\n",
    "image/jpeg": b"\xff\xd8\xff",
    "image/gif": b"GIF8",
}
"""Kinds that are shown, by how they begin."""
_FENCE: Final = re.compile(r"`{3,}")
_UNPRINTABLE: Final[dict[int, int | str]] = {
    **{i: 0x2400 + i for i in range(32) if chr(i) not in "\n\t"},
    0x7F: 0x2421,
    **dict.fromkeys(range(0x80, 0xA0), 0xFFFD),
    **{i: f"\\u{i:04x}" for i in (0x200E, 0x200F, *range(0x202A, 0x202F), *range(0x2066, 0x206A))},
}
"""What could steer or deceive whoever looks → something to see."""

_STYLE: Final = """
:root{color-scheme:light dark;--bg:#fbfbfa;--card:#fff;--ink:#1d1d1f;--soft:#5b5b60;--line:#e3e3e6;
--user:#0a6ebd;--answer:#1d7f45;--call:#9a6a00;--soft-line:#9a9aa0}
@media(prefers-color-scheme:dark){:root{--bg:#161618;--card:#1e1e21;--ink:#ececee;--soft:#b0b0b6;
--line:#34343a;--user:#6bb8f5;--answer:#69cf92;--call:#e8bd5c;--soft-line:#77777d}}
*{box-sizing:border-box}
body{margin:0;background:var(--bg);color:var(--ink);font:15px/1.55 system-ui,sans-serif}
main{max-width:56rem;margin:0 auto;padding:1.5rem}
h1{font-size:1.2rem}
dl{display:grid;grid-template-columns:max-content 1fr;gap:.1rem 1rem;color:var(--soft)}
dd{margin:0;overflow-wrap:anywhere}
section{background:var(--card);border:1px solid var(--line);border-left:4px solid var(--role);
border-radius:8px;padding:.6rem 1rem;margin:.8rem 0;--role:var(--soft-line)}
.user{--role:var(--user)}.answer{--role:var(--answer)}.call,.result{--role:var(--call)}
h2{font-size:.95rem;margin:0 0 .3rem;color:var(--role)}
pre{margin:0;white-space:pre-wrap;overflow-wrap:anywhere;font:13px/1.6 ui-monospace,monospace}
.thinking pre,.note{color:var(--soft)}
p{margin:.3rem 0;overflow-wrap:anywhere}
img{max-width:100%}
""".strip()


def export(saved: Saved, format: Format) -> str:
    """The session in this format. Whatever the model or a tool wrote stays text in all of them."""
    made: Callable[[Saved], str] = {
        "json": _json,
        "text": _marked,
        "markdown": _markdown,
        "html": _html,
    }[format]
    return made(saved)


def conversation_of(saved: Saved) -> Conversation:
    """What was said, every call with a result. Tools are named in the setup, not described."""
    from antiphon.model.content import SystemContent

    setup = saved.setup
    effort = setup.effort if setup.effort in ("low", "medium", "high") else "medium"
    head = [Message.system(SystemContent.default(effort, date=setup.date))]
    if setup.instructions:
        head.append(Message.developer(setup.instructions))
    return Conversation((*head, *[entry.message for entry in settled(saved.entries)]))


def _json(saved: Saved) -> str:
    return conversation_of(saved).to_json().decode() + "\n"


def _marked(saved: Saved) -> str:
    """As it is rendered, all reasoning kept, control tokens spelled out."""
    from antiphon.turn.prompt import renderer
    from antiphon.vocab.table import token_bytes

    tokens = renderer().conversation(conversation_of(saved).messages, history="keep")
    return (
        b"".join([token_bytes(token) or b"" for token in tokens]).decode("utf-8", "replace") + "\n"
    )


def _markdown(saved: Saved) -> str:
    out = [f"# Session {saved.id}\n"]
    out += [f"- {name}: {_inline(value)}" for name, value in _facts(saved)]
    for kind, title, text, files, notes in _parts(saved, "[^{}]"):
        out.append(f"\n## {title if kind not in ('call', 'result') else _named(title)}\n")
        if kind in ("user", "answer", "preamble"):
            # A heading of theirs would look like one of ours.
            out.append(re.sub(r"^(#+ )", r"\\\1", text.translate(_UNPRINTABLE), flags=re.MULTILINE))
        else:
            fence = "`" * max(3, *[len(f) + 1 for f in _FENCE.findall(text)], 3)
            out.append(f"{fence}text\n{text.translate(_UNPRINTABLE)}\n{fence}")
        for file in files:
            out.append(f"\n- file {_inline(file.name)}: {_where(saved, file)}")
        for number, name, url in notes:
            out.append(f"\n[^{number}]: {_inline(name)} {_inline(url)}")
    return "\n".join(out) + "\n"


def _named(title: str) -> str:
    name, space, rest = title.partition(" ")
    return f"{name}{space}{_inline(rest)}"


def _inline(text: str) -> str:
    shown = " ".join(text.translate(_UNPRINTABLE).split()).replace("`", "'")
    return f"`{shown}`" if shown else ""


def _html(saved: Saved) -> str:
    facts = "".join([f"<dt>{_safe(n)}</dt><dd>{_safe(v)}</dd>" for n, v in _facts(saved)])
    pictures = _Pictures(saved)
    parts = [
        f'<section class="{kind}"><h2>{_safe(title)}</h2><pre>{_safe(text)}</pre>'
        + "".join([pictures.shown(file) for file in files])
        + "".join([_footnote(*note) for note in notes])
        + "</section>"
        for kind, title, text, files, notes in _parts(saved, "[{}]")
    ]
    return (
        '<!doctype html>\n<html lang="en">\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width">\n'
        '<meta http-equiv="Content-Security-Policy"'
        " content=\"default-src 'none'; style-src 'unsafe-inline'; img-src data:\">\n"
        f"<title>Session {_safe(saved.id)}</title>\n<style>\n{_STYLE}\n</style>\n<main>\n"
        f"<h1>Session {_safe(saved.id)}</h1>\n<dl>{facts}</dl>\n"
        + "\n".join(parts)
        + "\n</main>\n</html>\n"
    )


class _Pictures:
    """Files in a page: small pictures are shown in it, as many as fit, others are named."""

    def __init__(self, saved: Saved) -> None:
        self._saved = saved
        self._room = MAX_PICTURES_BYTES

    def shown(self, file: KeptFile) -> str:
        line = f"<p>file {_safe(file.name)}: {_safe(_where(self._saved, file))}</p>"
        if file.kept is None or self._saved.shelf is None or file.bytes > self._room:
            return line
        data = self._saved.shelf.read(file.kept, MAX_PICTURE_BYTES)
        # What it is, not what the tool says: only pixels.
        kind = next((k for k, begin in _PICTURES.items() if (data or b"").startswith(begin)), None)
        if data is None or kind is None:
            return line
        self._room -= len(data)
        encoded = base64.b64encode(data).decode()
        return f'{line}<img alt="{_safe(file.name)}" src="data:{kind};base64,{encoded}">'


def _where(saved: Saved, file: KeptFile) -> str:
    """What is said of a file beside its name."""
    if file.kept is None or saved.shelf is None:
        return f"{file.bytes} bytes, not kept: there was no room"
    return f"{file.bytes} bytes, {saved.shelf.folder.name}/{file.kept}"


def _footnote(number: int, title: str, url: str) -> str:
    """Only what a browser would ask of the web is a link."""
    if url.startswith(("http://", "https://")) and "\n" not in url:
        said = f'<a href="{_safe(url)}" rel="noreferrer noopener">{_safe(title)}</a>'
    else:
        said = _safe(title)
    return f'<p class="note">[{number}] {said} {_safe(url)}</p>'


def _safe(text: str) -> str:
    return html.escape(text.translate(_UNPRINTABLE))


def _facts(saved: Saved) -> Iterator[tuple[str, str]]:
    setup, usage = saved.setup, saved.usage
    for name, value in (
        ("begun", saved.begun),
        ("folder", saved.folder),
        ("model", setup.model),
        ("engine", setup.engine),
        ("effort", setup.effort),
        ("tools", ", ".join(setup.tools)),
        ("instructions", setup.instructions or ""),
        ("turns", str(saved.turns)),
        ("tokens", f"{usage.prompt_tokens} read, {usage.completion_tokens} written"),
        ("lines that could not be read", str(saved.damaged) if saved.damaged else ""),
    ):
        if value:
            yield name, value


class _Part(NamedTuple):
    """A message for people."""

    kind: str
    title: str
    text: str
    files: tuple[KeptFile, ...]
    notes: list[tuple[int, str, str]]
    """Number, title and URL of what it is the first to cite."""


def _parts(saved: Saved, mark: str) -> Iterator[_Part]:
    """Each message; citations are written as ``mark``."""
    footnotes = Footnotes(sources_in(saved.shown), mark)
    for entry in settled(saved.entries):
        kind, name = _kind(entry)
        text = entry.message.text
        if kind in ("answer", "preamble"):
            text = footnotes.feed(text) + footnotes.end()
        made = saved.made.get(entry.call_id or "") if kind == "result" else None
        files = () if made is None else made.files
        title = f"{_TITLES[kind]} {name}".rstrip()
        yield _Part(kind, title, text, files, footnotes.notes())


def _kind(entry: Entry) -> tuple[str, str]:
    message = entry.message
    if message.role is Role.TOOL:
        return "result", (message.name or "").removeprefix("functions.")
    if message.role is not Role.ASSISTANT:
        return "user", ""
    if entry.is_call:
        return "call", (message.recipient or "").removeprefix("functions.")
    if message.channel == "analysis":
        return "thinking", ""
    return ("preamble" if message.channel == "commentary" else "answer"), ""
