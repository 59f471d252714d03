from __future__ import annotations

import fcntl
import os
import pty
import re
import struct
import subprocess
import termios
from html.parser import HTMLParser

import pytest

from antiphon.codec.render import render
from antiphon.model.message import Conversation, Message

BROKEN = (
    "<|channel|>analysis<|message|>We think<|end|>"
    "<|start|>assistant<|channel|>commentary<|channel|>commentary to=functions.f <|constrain|>json"
    '<|message|>{"a":1}<|call|>'
    "<|start|>assistant<|channel|>final<|message|>First <|constrain|> line\n"
    "second <b>line</b><|return|>"
)


def test_a_block_names_role_channel_recipient_and_type_and_counts_tokens(antiphon):
    text = (
        "<|start|>assistant<|channel|>commentary to=functions.f <|constrain|>json"
        '<|message|>{"a":1}<|call|>'
    )
    lines = antiphon("inspect", "-", stdin=text).out.splitlines()
    assert lines == [
        (
            "#1 assistant  channel=commentary  to=functions.f  type=<|constrain|>json"
            "  (header: 13 tokens)"
        ),
        "    <|start|>assistant<|channel|>commentary to=functions.f <|constrain|>json<|message|>",
        '  │ {"a":1}',
        "    <|call|> (text: 5 tokens)",
        "",
        "1 message, 19 tokens, 0 diagnostics",
    ]


def test_counts_agree_for_ids_and_marked_text(antiphon):
    conversation = Conversation.of(
        Message.user("What is 2 + 2?\n" * 3000),
        Message.analysis("Simple.\u4e2d\u6587 " * 2000),
        Message.final("4"),
    )
    ids = render(conversation, completion=False, history="keep")
    marked = antiphon("render", "--whole", "--history", "keep", "-o", "text", "-",
                      stdin=conversation.to_json()).out  # fmt: skip
    from_ids = antiphon("inspect", "-", stdin=str(ids)).out
    assert from_ids == antiphon("inspect", "-", stdin=marked).out
    assert from_ids.splitlines()[-1] == f"3 messages, {len(ids):,} tokens, 0 diagnostics"


def test_a_control_token_in_text_counts_as_one(antiphon):
    out = antiphon("inspect", "-", stdin="<|channel|>final<|message|>a<|constrain|>a<|end|>").out
    assert "(text: 3 tokens)" in out


def test_counts_for_stripped_text_say_that_they_are_estimates(antiphon):
    out = antiphon("inspect", "-", stdin="analysisWe think.assistantfinalHello!").out
    assert out.splitlines()[0].endswith("(header: about 5 tokens)")
    assert out.splitlines()[-1].startswith("2 messages, about ")


def test_a_note_stands_under_the_line_it_belongs_to(antiphon):
    out = antiphon("inspect", "-", stdin=BROKEN).out
    at = BROKEN.rindex("<|constrain|>")
    assert (
        "  │ First <|constrain|> line\n"
        f"  ! R1 control-token-in-content at {at}..{at + 13}: '<|constrain|>'\n"
        "  │ second <b>line</b>\n"
    ) in out
    header = out.index("#2 assistant")
    assert header < out.index("! R2 repeated-channel") < out.index('│ {"a":1}')


def test_notes_after_the_last_message_are_shown(antiphon):
    out = antiphon("inspect", "-", stdin=BROKEN + "<|end|>").out
    assert out.splitlines()[-2].startswith("  ! R6 stray-control-token at ")


def test_only_so_many_notes_are_shown_under_one_line(antiphon):
    out = antiphon("inspect", "-", stdin="<|channel|>final<|message|>" + "<|constrain|>" * 150).out
    assert out.count("control-token-in-content") == 100
    assert "  ! … and 50 more\n" in out
    assert out.endswith("150 diagnostics\n")
    stray = "<|channel|>final<|message|>a<|end|>" + "<|end|>" * 150
    for options in ((), ("--html",)):
        out = antiphon("inspect", *options, "-", stdin=stray).out
        assert out.count("stray-control-token") == 100
        assert "… and 50 more" in out


def test_a_missing_stop_token_is_said(antiphon):
    out = antiphon("inspect", "-", stdin="<|channel|>final<|message|>Hel").out
    assert "no stop token: the input ends" in out


def test_what_could_drive_a_terminal_is_shown_as_an_escape(antiphon):
    hostile = "<|channel|>final\x1b]0;x\x07<|message|>\x1b[2J\u202egnp\x9b1m\rx<|end|>"
    for command in ("parse", "inspect"):
        out = antiphon(command, "-", stdin=hostile).out
        assert not re.search("[\x00-\x09\x0b-\x1f\x7f-\x9f\u202e]", out)
        assert r"\x1b[2J\u202egnp\x9b1m\rx" in out


# On a terminal


def on_terminal(spawn, *args, columns=50, env=None, stderr=None):
    """Run a command with a terminal as its stdout (or its stderr); what it showed there."""
    leader, follower = pty.openpty()
    fcntl.ioctl(follower, termios.TIOCSWINSZ, struct.pack("HHHH", 40, columns, 0, 0))
    streams = {"stdout": follower}
    if stderr:
        streams = {"stdout": subprocess.DEVNULL, "stderr": follower}
    process = spawn(*args, env=env, **streams)
    os.close(follower)
    process.stdin.close()
    shown = b""
    while True:
        try:
            piece = os.read(leader, 65536)
        except OSError:  # Linux says EIO once the other side is closed.
            break
        if not piece:
            break
        shown += piece
    os.close(leader)
    for stream in (process.stdout, process.stderr):
        if stream is not None:
            stream.read()
            stream.close()
    assert process.wait() == 0
    return shown.decode().replace("\r\n", "\n")


@pytest.fixture
def transcript(tmp_path):
    path = tmp_path / "transcript.txt"
    long = "word " * 30 + "\u4e2d" * 60 + "x" * 120
    path.write_text(f"{BROKEN}<|start|>user<|message|>{long}<|end|>", encoding="utf-8")
    return str(path)


def plain(shown):
    return re.sub("\x1b\\[[0-9;]*m", "", shown)


def width(line):
    return sum(2 if "\u4e00" <= c <= "\u9fff" else 1 for c in line)


def test_on_a_terminal_control_tokens_are_dimmed_and_lines_wrapped(spawn, transcript):
    shown = on_terminal(spawn, "inspect", transcript)
    assert "\x1b[2m<|constrain|>\x1b[0m line" in shown
    assert "\x1b[2m<|channel|>analysis<|message|>\x1b[0m" in shown
    rows = [line for line in plain(shown).splitlines() if line.startswith("  │")]
    assert max(map(width, rows)) <= 50
    text = "".join(row.removeprefix("  │ ") for row in rows[-12:])
    assert "x" * 120 in text
    assert "\u4e2d" * 60 in text


def test_ordinary_text_that_spells_a_control_token_is_not_dimmed(spawn, tmp_path):
    ids = render(Conversation.of(Message.user("a <|end|> b")), completion=False)
    path = tmp_path / "ids.json"
    path.write_text(str(ids))
    assert "  │ a <|end|> b\n" in on_terminal(spawn, "inspect", str(path))


@pytest.mark.parametrize("env", [{"NO_COLOR": "1"}, {"TERM": "dumb"}])
def test_a_terminal_that_wants_no_colour_gets_none(spawn, transcript, env):
    assert "\x1b" not in on_terminal(spawn, "inspect", transcript, env=env)


def test_colour_can_be_forced_into_a_pipe(antiphon, monkeypatch):
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.delenv("NO_COLOR", raising=False)
    assert "\x1b[" in antiphon("inspect", "-", stdin=BROKEN).out


def test_a_large_file_shows_progress_on_a_terminal_at_stderr(spawn, tmp_path):
    path = tmp_path / "big.txt"
    path.write_text("<|start|>user<|message|>" + "hello there " * 100_000)
    shown = on_terminal(spawn, "parse", "--jsonl", str(path), stderr=True)
    assert "big.txt" in shown
    assert "100%" in shown


def test_a_small_file_shows_no_progress(spawn, transcript):
    assert on_terminal(spawn, "parse", "--jsonl", transcript, stderr=True) == ""


# HTML


class Page(HTMLParser):
    """The text, tags and attributes of a page; fails on a tag that is not closed in order."""

    VOID = frozenset({"meta", "!doctype"})
    OPTIONAL = frozenset({"html"})

    def __init__(self, source):
        super().__init__(convert_charrefs=True)
        self.stack: list[str] = []
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str | None]] = []
        self.text: list[str] = []
        self.feed(source)
        self.close()
        assert self.stack == []

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += attrs
        if tag not in self.VOID:
            self.stack.append(tag)

    def handle_endtag(self, tag):
        assert self.stack.pop() == tag

    def handle_data(self, data):
        if "style" not in self.stack:
            self.text.append(data)


def test_the_page_holds_the_transcript_its_counts_and_its_notes(antiphon):
    page = Page(antiphon("inspect", "--html", "-", stdin=BROKEN).out)
    text = "".join(page.text)
    assert "second <b>line</b>" in text
    assert "commentary" in text
    assert "R2 repeated-channel at " in text
    assert "3 messages, " in text
    assert page.tags.count("article") == 3
    assert "b" not in page.tags


def test_the_page_needs_nothing_else_and_runs_nothing(antiphon):
    source = antiphon("inspect", "--html", "-", stdin=BROKEN).out
    page = Page(source)
    assert not {"script", "link", "img", "iframe", "object", "base"} & set(page.tags)
    assert not [v for k, v in page.attributes if k in ("src", "style") or k.startswith("on")]
    assert all(str(v).startswith("#") for k, v in page.attributes if k == "href")
    assert "url(" not in source
    assert "@import" not in source
    assert "default-src 'none'" in source


HOSTILE = "</div></article><script>alert(1)</script>\"'&amp;\x00\x1b\x9b\u202e"


def test_hostile_text_stays_text_wherever_it_stands(antiphon, tmp_path):
    path = tmp_path / "<script>x&.txt"
    path.write_text(
        f'<|start|>assistant<|channel|>"><script>x</script><|message|>{HOSTILE}<|end|>'
        f"<|start|>{HOSTILE} to=assistant<|message|>{HOSTILE}<|constrain|>{HOSTILE}",
        encoding="utf-8",
    )
    result = antiphon("inspect", "--html", str(path))
    page = Page(result.out)
    assert "script" not in page.tags
    assert not re.search("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202e]", result.out)
    assert "<script>alert(1)</script>\"'&amp;\u2400\u241b\\x9b\\u202e" in "".join(page.text)


def test_the_page_follows_light_and_dark(antiphon):
    source = antiphon("inspect", "--html", "-", stdin=BROKEN).out
    assert "prefers-color-scheme:dark" in source
