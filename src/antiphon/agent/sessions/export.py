"""A session as Harmony JSON, marked text, Markdown, or one HTML page that needs nothing else."""

from __future__ import annotations

import html
import re
from collections.abc import Callable, Iterator
from typing import Final, Literal

from antiphon.agent.sessions.folder import Saved
from antiphon.agent.transcript import Entry, settled
from antiphon.model.message import Conversation, Message, Role

__all__ = ["FORMATS", "Format", "conversation_of", "export"]

Format = Literal["json", "text", "markdown", "html"]
FORMATS: Final = ("json", "text", "markdown", "html")

_TITLES: Final = {
    "user": "User",
    "thinking": "Thinking",
    "preamble": "To the user, beside a call",
    "answer": "Answer",
    "call": "Call",
    "result": "Result",
}
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
.thinking pre{color:var(--soft)}
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
    for kind, title, text in _parts(saved):
        out.append(f"\n## {title if kind not in ('call', 'result') else _named(title)}\n")
        if kind in ("user", "answer", "preamble"):
            # A heading of theirs would look like one of ours.
            out.append(re.sub(r"^(#+ )", r"\\\1", text.translate(_UNPRINTABLE), flags=re.MULTILINE))
        else:
            fence = "`" * max(3, *[len(f) + 1 for f in _FENCE.findall(text)], 3)
            out.append(f"{fence}text\n{text.translate(_UNPRINTABLE)}\n{fence}")
    return "\n".join(out) + "\n"


def _named(title: str) -> str:
    name, space, rest = title.partition(" ")
    return f"{name}{space}{_inline(rest)}"


def _inline(text: str) -> str:
    shown = " ".join(text.translate(_UNPRINTABLE).split()).replace("`", "'")
    return f"`{shown}`" if shown else ""


def _html(saved: Saved) -> str:
    facts = "".join([f"<dt>{_safe(n)}</dt><dd>{_safe(v)}</dd>" for n, v in _facts(saved)])
    parts = [
        f'<section class="{kind}"><h2>{_safe(title)}</h2><pre>{_safe(text)}</pre></section>'
        for kind, title, text in _parts(saved)
    ]
    return (
        '<!doctype html>\n<html lang="en">\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width">\n'
        '<meta http-equiv="Content-Security-Policy"'
        " content=\"default-src 'none'; style-src 'unsafe-inline'\">\n"
        f"<title>Session {_safe(saved.id)}</title>\n<style>\n{_STYLE}\n</style>\n<main>\n"
        f"<h1>Session {_safe(saved.id)}</h1>\n<dl>{facts}</dl>\n"
        + "\n".join(parts)
        + "\n</main>\n</html>\n"
    )


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


def _parts(saved: Saved) -> Iterator[tuple[str, str, str]]:
    """Kind, title and text of each message."""
    for entry in settled(saved.entries):
        kind, name = _kind(entry)
        yield kind, f"{_TITLES[kind]} {name}".rstrip(), entry.message.text


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
