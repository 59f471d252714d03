"""The workspace tools: what they do, and that nothing outside the folder is reached."""

from __future__ import annotations

import asyncio
import os
import threading
from pathlib import Path
from typing import Any

import pytest

from antiphon.tools.protocol import ToolOutput
from antiphon.tools.workspace import Workspace, workspace_tools
from antiphon.tools.workspace import files as limits
from antiphon.tools.workspace import search as search_limits

SECRET = "the secret of another user"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    folder = tmp_path / "work"
    folder.mkdir()
    (tmp_path / "secret.txt").write_text(SECRET)
    (tmp_path / "outside").mkdir()
    (tmp_path / "work-too").mkdir()
    (tmp_path / "work-too" / "secret.txt").write_text(SECRET)
    return folder


def call(root: Path | Workspace, name: str, **arguments: Any) -> ToolOutput:
    tools = {tool.name: tool for tool in workspace_tools(root)}
    return asyncio.run(tools[name].call(arguments, emit=lambda text: None))


def outside(root: Path) -> set[str]:
    """Everything that stands beside the workspace."""
    return {
        str(path.relative_to(root.parent))
        for path in root.parent.rglob("*")
        if root not in path.parents and path != root
    }


# Nothing outside


@pytest.mark.parametrize(
    "path",
    [
        "../secret.txt",
        "a/../../secret.txt",
        "a/b/../../../secret.txt",
        "./../secret.txt",
        "out/secret.txt",
        "a/up/secret.txt",
        "link",
        "chain",
        "absolute",
        "a/../out/../secret.txt",
        "/etc/passwd",
        "{root}/../secret.txt",
        "{root}-too/secret.txt",
        "self/fd/0",
        "loop",
        "//etc/passwd",
    ],
)
@pytest.mark.parametrize("tool", ["read", "write", "edit", "list", "search"])
def test_no_path_leads_out_of_the_workspace(root, path, tool):
    (root / "a" / "b").mkdir(parents=True)
    (root / "out").symlink_to(root.parent)
    (root / "a" / "up").symlink_to("../..")
    (root / "link").symlink_to("../secret.txt")
    (root / "chain").symlink_to("link")
    (root / "absolute").symlink_to("/etc/passwd")
    (root / "self").symlink_to("/proc/self")
    (root / "loop").symlink_to("loop")
    before = outside(root)
    path = path.replace("{root}", str(root))
    arguments = {
        "read": {"path": path},
        "write": {"path": path, "content": "changed"},
        "edit": {"path": path, "old": "secret", "new": "changed"},
        "list": {"path": path},
        "search": {"path": path, "pattern": "."},
    }
    output = call(root, tool, **arguments[tool])
    assert output.failed
    assert SECRET not in output.text
    assert "root:" not in output.text
    assert outside(root) == before
    assert (root.parent / "secret.txt").read_text() == SECRET


def test_walks_do_not_follow_links(root):
    (root / "out").symlink_to(root.parent)
    (root / "file").symlink_to("../secret.txt")
    assert SECRET not in call(root, "search", pattern="secret of").text
    listed = call(root, "list", depth=5).text
    assert "out -> " in listed
    assert len(listed.splitlines()) == 3


def test_links_within_the_workspace_are_followed(root):
    (root / "real").mkdir()
    (root / "real" / "a.txt").write_text("inside")
    (root / "relative").symlink_to("real")
    (root / "absolute").symlink_to(root / "real")
    (root / "real" / "back").symlink_to("../real/a.txt")
    for path in ("relative/a.txt", "absolute/a.txt", "real/back", str(root / "real" / "a.txt")):
        assert "inside" in call(root, "read", path=path).text
    call(root, "write", path="relative/back", content="changed")
    assert (root / "real" / "a.txt").read_text() == "changed"
    assert (root / "real" / "back").is_symlink()


@pytest.mark.parametrize("moment", range(12))
@pytest.mark.parametrize("tool", ["read", "write", "search"])
def test_a_folder_that_becomes_a_link_at_any_moment_never_leads_out(
    root, monkeypatch, tool, moment
):
    (root / "a").mkdir()
    (root / "a" / "secret.txt").write_text("harmless")
    calls = 0

    def swapping(real: Any) -> Any:
        def at_its_moment(*arguments: Any, **more: Any) -> Any:
            nonlocal calls
            if calls == moment:
                (root / "a").rename(root / "b")
                (root / "a").symlink_to(root.parent)
            calls += 1
            return real(*arguments, **more)

        return at_its_moment

    workspace = Workspace(root)
    for name in ("open", "readlink", "stat", "replace"):
        monkeypatch.setattr(os, name, swapping(getattr(os, name)))
    if tool == "write":
        call(workspace, "write", path="a/secret.txt", content="changed")
    else:
        more = {"pattern": "."} if tool == "search" else {}
        output = call(workspace, tool, path="a/secret.txt", **more)
        assert SECRET not in output.text
    monkeypatch.undo()
    assert (root.parent / "secret.txt").read_text() == SECRET


def test_devices_and_pipes_are_refused_and_not_waited_for(root):
    os.mkfifo(root / "pipe")
    for tool, more in (
        ("read", {}),
        ("write", {"content": "x"}),
        ("edit", {"old": "a", "new": ""}),
    ):
        output = call(root, tool, path="pipe", **more)
        assert output.failed
        assert "not a regular file" in output.text
    assert "0 files" in call(root, "search", pattern="x").text


@pytest.mark.parametrize("path", [".git/hooks/pre-commit", ".git/config", ".GIT/config", ".git"])
def test_what_git_would_run_is_not_written(root, path):
    (root / ".git" / "hooks").mkdir(parents=True)
    output = call(root, "write", path=path, content="#!/bin/sh\n")
    assert output.failed
    assert list((root / ".git" / "hooks").iterdir()) == []
    assert not (root / ".git" / "config").exists()


def test_a_workspace_that_was_replaced_is_not_used(root):
    workspace = Workspace(root)
    root.rename(root.parent / "moved")
    root.symlink_to(root.parent)
    assert call(workspace, "read", path="secret.txt").failed
    root.unlink()
    root.mkdir()
    assert "replaced" in call(workspace, "write", path="a", content="x").text


# read


def test_read_shows_numbered_lines_of_a_range(root):
    (root / "a.txt").write_text("one\ntwo\nthree\nfour\n")
    assert call(root, "read", path="a.txt", start=2, lines=2).text == (
        "a.txt, lines 2 to 3 of 4.\n2\ttwo\n3\tthree"
    )
    assert call(root, "read", path="a.txt").text.endswith("4\tfour")
    assert call(root, "read", path="a.txt", start=5).text == "a.txt has only 4 lines."
    assert call(root, "read", path="a.txt", start=0).failed


def test_only_a_newline_ends_a_line(root):
    (root / "a.txt").write_text("one\x0c\u2028\x85\ntwo\n")
    assert "lines 1 to 2 of 2" in call(root, "read", path="a.txt").text


def test_read_is_bounded_in_lines_in_their_length_and_in_all(root):
    (root / "long.txt").write_text("x" * 100_000 + "\n" + "y\n" * 50_000)
    text = call(root, "read", path="long.txt", lines=1_000_000).text
    assert len(text) < limits.MAX_READ_CHARS + 200
    assert "98,000 characters more]" in text
    (root / "huge").write_bytes(b"")
    os.truncate(root / "huge", 1 << 40)
    assert "larger than the limit" in call(root, "read", path="huge").text


def test_binary_files_and_broken_encodings_are_named(root):
    (root / "a.png").write_bytes(b"\x89PNG\r\n\x1a\n\x00\x00")
    (root / "latin").write_bytes("Größe\n".encode("latin-1"))
    (root / "wide.txt").write_bytes("Größe\n".encode("utf-16"))
    assert "a binary file of 10 bytes" in call(root, "read", path="a.png").text
    assert "Not valid UTF-8" in call(root, "read", path="latin").text
    assert "1\tGröße" in call(root, "read", path="wide.txt").text
    assert call(root, "edit", path="latin", old="Gr", new="gr").failed
    assert (root / "latin").read_bytes() == "Größe\n".encode("latin-1")


# write and edit


def test_write_makes_folders_and_says_what_it_did(root):
    assert call(root, "write", path="a/b/c.txt", content="x\ny\n").text == (
        "Wrote a/b/c.txt: 2 lines, 4 bytes."
    )
    assert call(root, "write", path="a/b/c.txt", content="z").text.startswith("Replaced")
    assert (root / "a" / "b" / "c.txt").read_text() == "z"
    assert list((root / "a" / "b").iterdir()) == [root / "a" / "b" / "c.txt"]


def test_a_replaced_file_keeps_its_mode(root):
    (root / "run.sh").write_text("#!/bin/sh\n")
    (root / "run.sh").chmod(0o750)
    call(root, "write", path="run.sh", content="#!/bin/bash\n")
    call(root, "edit", path="run.sh", old="bash", new="zsh")
    assert (root / "run.sh").stat().st_mode & 0o777 == 0o750


def test_edit_replaces_one_piece_and_says_where(root):
    (root / "a.py").write_text("a = 1\nb = 2\nc = 1\n")
    assert call(root, "edit", path="a.py", old="b = 2", new="b = 3").text == (
        "Changed a.py at line 2."
    )
    assert (root / "a.py").read_text() == "a = 1\nb = 3\nc = 1\n"


def test_edit_says_why_it_could_not(root):
    (root / "a.py").write_text("x = 1\n\ty = 2\nx = 1\n")
    assert "2 times, in lines 1, 3" in call(root, "edit", path="a.py", old="x = 1", new="").text
    assert "in line 2" in call(root, "edit", path="a.py", old="    y = 2\nz", new="").text
    assert "does not stand there" in call(root, "edit", path="a.py", old="nowhere", new="").text
    assert call(root, "edit", path="a.py", old="", new="x").failed
    assert call(root, "edit", path="b.py", old="x", new="y").failed
    assert (root / "a.py").read_text() == "x = 1\n\ty = 2\nx = 1\n"
    assert "2 places" in call(root, "edit", path="a.py", old="x = 1", new="", everywhere=True).text


def test_line_ends_and_byte_order_marks_are_kept(root):
    (root / "dos.txt").write_bytes(b"\xef\xbb\xbfone\r\ntwo\r\n")
    call(root, "edit", path="dos.txt", old="one\ntwo", new="1\n2")
    assert (root / "dos.txt").read_bytes() == b"\xef\xbb\xbf1\r\n2\r\n"
    (root / "mixed.txt").write_bytes(b"one\r\ntwo\n")
    call(root, "edit", path="mixed.txt", old="two", new="2")
    assert (root / "mixed.txt").read_bytes() == b"one\r\n2\n"


def test_edits_that_are_made_at_the_same_time_are_all_kept(root):
    (root / "a.txt").write_text("".join(f"<{n}>\n" for n in range(20)))
    workspace = Workspace(root)
    edit = next(tool for tool in workspace_tools(workspace) if tool.name == "edit")

    async def main() -> None:
        await asyncio.gather(
            *(
                edit.call({"path": "a.txt", "old": f"<{n}>", "new": f"[{n}]"}, emit=print)
                for n in range(20)
            )
        )

    asyncio.run(main())
    assert (root / "a.txt").read_text() == "".join(f"[{n}]\n" for n in range(20))


def test_text_that_is_not_unicode_is_refused(root):
    assert call(root, "write", path="a", content="\ud800").failed
    assert not (root / "a").exists()


# list and search


def test_list_shows_sizes_folders_and_levels(root):
    (root / "b" / "c").mkdir(parents=True)
    (root / "b" / "c" / "d.txt").write_text("12345")
    (root / "a.txt").write_text("1")
    (root / "node_modules").mkdir()
    (root / "node_modules" / "x").write_text("")
    assert call(root, "list").text == (
        "The workspace: 3 entries\na.txt 1\nb/\nnode_modules/ (not entered)"
    )
    assert "b/c/d.txt 5" in call(root, "list", depth=3).text
    assert call(root, "list", path="b/c").text == "b/c/: 1 entry\nb/c/d.txt 5"
    assert call(root, "list", path="a.txt").failed


def test_long_listings_and_odd_names_are_bounded(root):
    for number in range(600):
        (root / f"{number:04}").touch()
    text = call(root, "list").text
    assert "only the first 500" in text
    assert len(text.splitlines()) == 501
    (root / "0000\nline\x1b[31m").touch()
    assert "0000\\nline\\x1b[31m" in call(root, "list").text


def test_search_finds_lines_with_their_numbers(root):
    (root / "a.py").write_text("import os\n\ndef f():\n    return os.name\n")
    (root / "b.txt").write_text("os\r\nOS\r\n")
    assert call(root, "search", pattern=r"\bos\b").text == (
        "a.py:1:import os\na.py:4:    return os.name\nb.txt:1:os\n[3 lines found in 2 files]"
    )
    assert "b.txt:2:OS" in call(root, "search", pattern="os", ignore_case=True).text
    assert "b.txt" not in call(root, "search", pattern="os", files="*.py").text
    assert "a.py:4" in call(root, "search", pattern="os.name", literal=True, path="a.py").text
    assert "[Nothing found" in call(root, "search", pattern=r"os\sreturn").text


@pytest.mark.parametrize(
    ("glob", "found"),
    [
        ("*.py", {"a.py", "src/b.py", "src/deep/c.py"}),
        ("src/*.py", {"src/b.py"}),
        ("src/**/*.py", {"src/b.py", "src/deep/c.py"}),
        ("**/c.*", {"src/deep/c.py"}),
        ("*.{ts,py}", {"a.py", "src/b.py", "src/deep/c.py", "src/d.ts"}),
        ("[!a].py", {"src/b.py", "src/deep/c.py"}),
        ("?.ts", {"src/d.ts"}),
        ("a+b(", set()),
    ],
)
def test_globs_choose_files(root, glob, found):
    (root / "src" / "deep").mkdir(parents=True)
    for path in ("a.py", "src/b.py", "src/deep/c.py", "src/d.ts"):
        (root / path).write_text("word\n")
    lines = call(root, "search", pattern="word", files=glob).text.splitlines()[:-1]
    assert {line.split(":")[0] for line in lines} == found


def test_patterns_that_explode_elsewhere_are_linear_here(root):
    (root / "a.txt").write_text("a" * 1_000_000 + "\n")
    for pattern in ("(a+)+b", "(a|a)*b", "(.*a){20}b", "(x+x+)+y", "^(([a-z])+.)+[A-Z]([a-z])+$"):
        assert "Nothing found" in call(root, "search", pattern=pattern).text


@pytest.mark.parametrize("pattern", ["(?=a)", r"(a)\1", "(", "a{1000}{1000}{1000}", "\ud800"])
def test_patterns_that_cannot_be_used_are_explained(root, pattern):
    output = call(root, "search", pattern=pattern)
    assert output.failed
    assert "pattern" in output.text


def test_search_is_bounded_and_passes_over_large_and_binary_files(root):
    (root / "a.txt").write_text("hit\n" * 10_000)
    text = call(root, "search", pattern="hit").text
    assert len(text.splitlines()) == search_limits.MAX_MATCHES + 1
    assert "there may be more" in text
    (root / "a.txt").write_bytes(b"hit\0")
    (root / "huge").write_bytes(b"hit\n")
    os.truncate(root / "huge", 1 << 40)
    text = call(root, "search", pattern="hit").text
    assert text == "[Nothing found in 1 file; 1 file passed over as too large]"
    (root / "wide").write_text("x" * 10_000 + "needle" + "y" * 10_000)
    assert len(call(root, "search", pattern="needle").text) < 500


def test_empty_matches_give_each_line_once(root):
    (root / "a.txt").write_text("a\n\nb")
    assert call(root, "search", pattern="x*").text.startswith("a.txt:1:a\na.txt:2:\na.txt:3:b\n[3")


def test_a_cancelled_search_stops_its_thread(root):
    for number in range(200):
        (root / f"{number}.txt").write_text("line\n" * 1000)
    search = next(tool for tool in workspace_tools(root) if tool.name == "search")
    started, cancelled = threading.Event(), threading.Event()

    def emit(text: str) -> None:  # In the search's thread: it is still at it when the call ends.
        started.set()
        cancelled.wait(30)

    async def main() -> None:
        arguments = {"pattern": "line$", "path": "."}
        task = asyncio.create_task(search.call(arguments, emit=emit))
        await asyncio.to_thread(started.wait)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        cancelled.set()

    asyncio.run(main())  # which waits for the thread


def test_only_writing_needs_a_person(root):
    tools = {tool.name: tool for tool in workspace_tools(root)}
    assert tools["read"].need({"path": "a"}).approval == "always"
    assert tools["search"].need({"pattern": "a"}).approval == "always"
    need = tools["write"].need({"path": "a\x1b", "content": "x\ny"})
    assert (need.approval, need.summary) == ("ask", "write a\\x1b (2 lines)")
    need = tools["edit"].need({"path": "a", "old": "x", "new": "y\nz"})
    assert (need.approval, need.summary) == ("ask", "edit a (−1 +2 lines)")
    assert "write" not in {tool.name for tool in workspace_tools(root, writing=False)}
