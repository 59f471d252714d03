"""``antiphon run`` with browser and python: citations, files, what sessions keep of them."""

from __future__ import annotations

import base64
import json
import os
import re
from collections.abc import Mapping
from pathlib import Path

import pytest
from tests.cli.test_cli_run import FINAL, OnTerminal, _own_folders, call, trace
from tests.tools.confined import needs_sandbox

__all__ = ["_own_folders"]

pytestmark = pytest.mark.skipif(os.name != "posix", reason="terminals and sandboxes")

PLOT = """
import base64, pathlib
pathlib.Path("plot.png").write_bytes(base64.b64decode("iVBORw0KGgo="))
pathlib.Path("<b>.html").write_text("<script>alert(1)</script>")
6 * 7
"""


def browse(name: str, **arguments: object) -> str:
    header = f"<|channel|>analysis to=browser.{name} code<|message|>"
    return f"{header}{json.dumps(arguments)}<|call|>"


def cats(answer: str) -> list[Mapping[str, object]]:
    Path("cats.md").write_text("# Keeping cats\n\nCats purr when they are content.\n")
    return [
        {"when": {"step": 0}, "emit": browse("search", query="purr")},
        {"when": {"step": 1}, "emit": browse("open", id=0)},
        {"emit": f"{FINAL}{answer}<|return|>"},
    ]


ANSWER = "They are content【1†L4】, it says【1†L2】.【7†L1】"
URL = "https://corpus.invalid/cats.md"


def test_citations_are_footnotes_of_the_answer(antiphon, tmp_path: Path) -> None:
    done = antiphon("run", "--engine", trace(tmp_path, *cats(ANSWER)), "--workspace", ".", "Purr?")
    assert done.code == 0
    assert done.out == (f"They are content [1], it says [1].【7†L1】\n\n[1] Keeping cats {URL}\n")


def test_citations_are_annotations_of_the_last_event(antiphon, tmp_path: Path) -> None:
    engine = trace(tmp_path, *cats(ANSWER))
    done = antiphon("run", "--engine", engine, "--workspace", ".", "--json", "Purr?")
    end = json.loads(done.out.splitlines()[-1])
    assert end["answer"] == ANSWER
    marks = [end["answer"][c["start_index"] : c["end_index"]] for c in end["citations"]]
    assert marks == ["【1†L4】", "【1†L2】"]
    assert {(c["url"], c["title"], c["type"]) for c in end["citations"]} == {
        (URL, "Keeping cats", "url_citation")
    }


def test_on_a_terminal_citations_become_footnotes_as_the_answer_is_written(tmp_path: Path) -> None:
    terminal = OnTerminal("--engine", trace(tmp_path, *cats(ANSWER)), "--workspace", ".", "Purr?")
    assert terminal.end() == 0
    assert "They are content [1], it says [1].【7†L1】\n" in terminal.plain
    assert f"\n[1] Keeping cats {URL}\n" in terminal.plain
    assert "【1†" not in terminal.plain.partition("They are content")[2]


def test_what_a_page_is_called_cannot_drive_the_terminal(tmp_path: Path) -> None:
    rules = cats("So【1†L4】.")
    Path("cats.md").write_text("# Keeping\x1b]0;owned\x07 cats\u202e\n\nCats purr.\n")
    terminal = OnTerminal("--engine", trace(tmp_path, *rules), "--workspace", ".", "Purr?")
    assert terminal.end() == 0
    assert "\x1b]" not in terminal.shown
    assert "\u202e" not in terminal.shown
    assert f"cats\\u202e {URL}" in terminal.plain


def test_exports_resolve_citations_and_a_resumed_session_goes_on_counting(
    antiphon, tmp_path: Path
) -> None:
    options = ("--engine", trace(tmp_path, *cats(ANSWER)), "--workspace", ".")
    antiphon("run", "-q", "--save", *options, "Purr?")
    id = antiphon("sessions", "list").out.split()[0]
    markdown = antiphon("sessions", "show", id).out
    assert "They are content [^1], it says [^1].【7†L1】" in markdown
    assert f"[^1]: `Keeping cats` `{URL}`" in markdown
    page = antiphon("sessions", "export", id, "--format", "html").out
    assert "They are content [1], it says [1]" in page
    assert f'[1] <a href="{URL}" rel="noreferrer noopener">Keeping cats</a>' in page
    # The model still reads its own marks, and cites what it saw before.
    rules: list[dict[str, object]] = [
        {"when": {"step": 0}, "emit": browse("find", pattern="purr", cursor=1)},
        {"when": {"step": 1}, "emit": browse("search", query="purr")},
        {"emit": f"{FINAL}Still【1†L4】.<|return|>"},
    ]
    options = ("--engine", trace(tmp_path, *rules), "--workspace", ".")
    done = antiphon("run", "--resume", id, *options, "Sure?")
    assert done.out == f"Still [1].\n\n[1] Keeping cats {URL}\n"
    assert "cursor `1` is no longer kept" in done.err
    assert "result browser.search: [2] " in done.err
    told = json.loads(antiphon("sessions", "export", id).out)
    assert any(ANSWER in json.dumps(m, ensure_ascii=False) for m in told["messages"])


@needs_sandbox
def test_files_of_python_are_kept_with_the_session_and_shown(antiphon, tmp_path: Path) -> None:
    code = f"<|channel|>analysis to=python code<|message|>{PLOT}<|call|>"
    rules: list[dict[str, object]] = [
        {"when": {"step": 0}, "emit": code},
        {"emit": f"{FINAL}42<|return|>"},
    ]
    done = antiphon("run", "--save", "--engine", trace(tmp_path, *rules), "6 * 7?")
    assert (done.code, done.out) == (0, "42\n")
    assert "file plot.png (8 bytes)" in done.err
    id = antiphon("sessions", "list").out.split()[0]
    kept = next((tmp_path / "home").rglob(f"{id}.files"))
    assert kept.stat().st_mode & 0o077 == 0
    assert sorted(path.name for path in kept.iterdir()) == ["_b_.html", "plot.png"]
    markdown = antiphon("sessions", "show", id).out
    assert f"- file `plot.png`: 8 bytes, {id}.files/plot.png" in markdown
    page = antiphon("sessions", "export", id, "--format", "html").out
    picture = base64.b64encode(b"\x89PNG\r\n\x1a\n").decode()
    assert f'<img alt="plot.png" src="data:image/png;base64,{picture}">' in page
    assert "file &lt;b&gt;.html: " in page
    assert "<script>" not in page
    antiphon("sessions", "rm", id)
    assert not kept.exists()


def test_python_and_calculate_are_there_without_being_asked_for(antiphon) -> None:
    done = antiphon("run", "--engine", "scripted", "--json", "What is 2 + 3?")
    tools = set(json.loads(done.out.splitlines()[0])["tools"])
    assert {"calculate", "fetch"} <= tools
    assert not {"read", "shell", "browser.search"} & tools


def test_fetch_asks_and_is_refused_where_nobody_can_be_asked(antiphon, tmp_path: Path) -> None:
    rules: list[dict[str, object]] = [
        {"when": {"step": 0}, "emit": call("fetch", url="http://127.0.0.1/")},
        {"emit": f"{FINAL}No.<|return|>"},
    ]
    assert antiphon("run", "--engine", trace(tmp_path, *rules), "Go").code == 4
    done = antiphon("run", "--yes", "--engine", trace(tmp_path, *rules), "Go")
    assert done.code == 0
    assert "127.0.0.1 is not on the public internet" in done.err


def test_help_lists_the_tools_with_the_reasons_of_those_that_are_missing(
    antiphon, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    done = antiphon("run", "--tools", "help", "--set", "browser.backend=exa")
    assert done.code == 0
    lines = done.out.splitlines()
    assert re.match(r"  shell +run a command", lines[6])
    assert lines[7].strip().startswith("not here: ")
    assert any(re.match(r"\* calculate +arithmetic", line) for line in lines)
    assert any("not here: browser.api_key: the backend exa needs a key" in line for line in lines)


def test_a_backend_without_its_key_is_a_wrong_command_line(antiphon) -> None:
    options = ("--engine", "scripted", "--set", "browser.backend=exa")
    done = antiphon("run", *options, "Hi")
    assert (done.code, done.out) == (2, "")
    assert "browser.api_key: the backend exa needs a key" in done.err
    assert antiphon("run", *options, "--tools", "none", "Hi").code == 0
