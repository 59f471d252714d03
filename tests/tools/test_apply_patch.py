"""apply_patch: the format, tolerant matching, and all or nothing."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path
from typing import Any

import pytest

from antiphon.tools.patch import ApplyPatch
from antiphon.tools.protocol import ToolOutput
from antiphon.tools.workspace import Workspace


def apply(root: Path, patch: Any) -> ToolOutput:
    tool = ApplyPatch(Workspace(root))
    return asyncio.run(tool.call(patch, emit=lambda text: None))


def patched(root: Path, body: str) -> ToolOutput:
    return apply(root, f"*** Begin Patch\n{body}\n*** End Patch")


def tree(root: Path) -> dict[str, str]:
    return {
        str(path.relative_to(root)): path.read_text()
        for path in sorted(root.rglob("*"))
        if path.is_file()
    }


SOURCE = """\
import os


class A:
    def f(self):
        return 1

    def g(self):
        return 1


class B:
    def f(self):
        return 1
"""


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "a.py").write_text(SOURCE)
    return tmp_path


# What the format says


def test_one_patch_adds_updates_moves_and_deletes(root):
    (root / "src").mkdir()
    (root / "src" / "app.py").write_text('def greet():\nprint("Hi")\n')
    (root / "obsolete.txt").write_text("x")
    output = patched(
        root,
        "*** Add File: hello.txt\n+Hello world\n*** Update File: src/app.py\n"
        '*** Move to: src/deep/main.py\n@@ def greet():\n-print("Hi")\n+print("Hello, world!")\n'
        "*** Delete File: obsolete.txt",
    )
    assert output.text == ("Done.\nA hello.txt\nM src/app.py -> src/deep/main.py\nD obsolete.txt")
    assert tree(root) == {
        "a.py": SOURCE,
        "hello.txt": "Hello world\n",
        "src/deep/main.py": 'def greet():\nprint("Hello, world!")\n',
    }


def test_headers_say_which_of_several_places_is_meant(root):
    body = (
        "*** Update File: a.py\n@@ class B:\n@@     def f(self):\n"
        "-        return 1\n+        return 2"
    )
    assert patched(root, body).text == "Done.\nM a.py"
    assert (root / "a.py").read_text() == SOURCE[:-2] + "2\n"


def test_hunks_follow_one_another(root):
    body = (
        "*** Update File: a.py\n@@\n     def f(self):\n-        return 1\n+        return 2\n"
        "@@\n     def f(self):\n-        return 1\n+        return 3"
    )
    patched(root, body)
    text = (root / "a.py").read_text()
    assert text.count("return 2") == text.count("return 3") == text.count("return 1") == 1
    assert text.index("return 2") < text.index("return 1") < text.index("return 3")


def test_end_of_file_ties_a_hunk_to_the_end(root):
    (root / "t").write_text("x\ny\nx\ny\n")
    patched(root, "*** Update File: t\n@@\n x\n-y\n+z\n*** End of File")
    assert (root / "t").read_text() == "x\ny\nx\nz\n"


def test_lines_without_context_go_below_the_header_or_to_the_end(root):
    (root / "t").write_text("a\nb\n")
    patched(root, "*** Update File: t\n@@ a\n+below a\n@@\n+at the end")
    assert (root / "t").read_text() == "a\nbelow a\nb\nat the end\n"


@pytest.mark.parametrize("text", ["a\nb", "a\nb\n", "a\r\nb\r\n", "\ufeffa\nb\n"])
def test_line_ends_and_the_last_newline_stay_as_they_were(root, text):
    (root / "t").write_bytes(text.encode())
    patched(root, "*** Update File: t\n@@\n a\n-b\n+c")
    assert (root / "t").read_bytes() == text.replace("b", "c").encode()


def test_one_file_may_be_named_several_times(root):
    body = (
        "*** Add File: n\n+one\n*** Update File: n\n@@\n-one\n+two\n*** Update File: n\n"
        "*** Move to: m\n@@\n-two\n+three"
    )
    assert not patched(root, body).failed
    assert tree(root) == {"a.py": SOURCE, "m": "three\n"}


def test_a_moved_or_updated_file_keeps_its_mode(root):
    (root / "run").write_text("x\n")
    (root / "run").chmod(0o755)
    patched(root, "*** Update File: run\n*** Move to: go\n@@\n-x\n+y")
    assert (root / "go").stat().st_mode & 0o777 == 0o755


# What models write instead


@pytest.mark.parametrize(
    "wrap",
    [
        lambda patch: {"input": patch},
        lambda patch: {"patch": patch, "explanation": "why"},
        lambda patch: {"cmd": ["apply_patch", patch]},
        lambda patch: ["apply_patch", patch],
        lambda patch: '{"input": ' + __import__("json").dumps(patch) + "}",
        lambda patch: f"apply_patch <<'EOF'\n{patch}\nEOF\n",
        lambda patch: f"```diff\n{patch}\n```",
        lambda patch: patch.replace("\n", "\r\n"),
        lambda patch: f"  {patch}  \n",
    ],
)
def test_wrappings_are_taken_off(root, wrap):
    patch = "*** Begin Patch\n*** Add File: n\n+one\n+two\n*** End Patch"
    assert apply(root, wrap(patch)).text == "Done.\nA n"
    assert (root / "n").read_text() == "one\ntwo\n"


def test_a_unified_diffs_numbers_are_passed_over(root):
    body = (
        "*** Update File: a.py\n@@ -4,3 +4,3 @@ class A:\n     def f(self):\n-        return 1\n"
        "+        return 2"
    )
    assert not patched(root, body).failed
    assert "return 2" in (root / "a.py").read_text()


def test_empty_lines_need_no_space_and_sections_may_be_set_apart(root):
    body = (
        "\n*** Update File: a.py\n@@\n import os\n\n\n-class A:\n+class C:\n\n"
        "*** Add File: n\n+one\n\n+three\n\n*** Delete File: d\n"
    )
    (root / "d").write_text("")
    assert not patched(root, body).failed
    assert (root / "a.py").read_text() == SOURCE.replace("class A", "class C")
    assert (root / "n").read_text() == "one\n\nthree\n"


@pytest.mark.parametrize(
    ("text", "hunk", "made", "remark"),
    [
        ("a  \nb\n", " a\n-b\n+c", "a  \nc\n", "spaces at line ends"),
        ("\ta\n\tb\n", " a\n-b\n+c\n+\td", "\ta\n\tc\n\t\td\n", "indentation"),
        ("    a\n      b\n", "   a\n-    b\n+    c", "    a\n      c\n", "indentation"),
        ("say “hi” – now\n", '-say "hi" - now\n+bye', "bye\n", "typographic"),
    ],
)
def test_context_matches_apart_from_spaces_and_signs_and_says_so(root, text, hunk, made, remark):
    (root / "t").write_text(text)
    output = patched(root, f"*** Update File: t\n@@\n{hunk}")
    assert (root / "t").read_text() == made
    assert remark in output.text


def test_an_exact_place_wins_over_an_earlier_rough_one(root):
    (root / "t").write_text("  x\nx\n")
    output = patched(root, "*** Update File: t\n@@\n-x\n+y")
    assert (root / "t").read_text() == "  x\ny\n"
    assert output.text == "Done.\nM t"


def test_hunks_in_another_order_than_the_file_are_found(root):
    (root / "t").write_text("a\nb\nc\n")
    patched(root, "*** Update File: t\n@@\n-c\n+3\n@@\n-a\n+1")
    assert (root / "t").read_text() == "1\nb\n3\n"


# All or nothing, and why


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ("*** Update File: a.py\n@@\n-nowhere\n+x", "hunk 1 does not fit: there is no line"),
        (
            "*** Update File: a.py\n@@\n class A:\n     def f(self):\n-        return 5\n+x",
            "From line 4 on its first 2 lines match, but line 6 is `        return 1`",
        ),
        ("*** Update File: none.py\n@@\n-a\n+b", "none.py: no such file to update"),
        ("*** Delete File: none.py", "no such file to delete"),
        ("*** Add File: a.py\n+x", "exists already"),
        ("*** Update File: n\n*** Move to: a.py", "exists already"),
        ("*** Update File: a.py", "has no hunks"),
        ("*** Update File: a.py\n@@\n import os", "changes nothing"),
        ("*** Update File: a.py\n@@ nowhere\n+x", "there is no line `nowhere`"),
        ("*** Update File: a.py\n@@\nimport os", "Line 10: a line of a hunk"),
        ("*** Add File: m\nimport os", "begins with +"),
        ("*** Rename File: a.py", "expected"),
        ("*** Add File: ../out\n+x", "outside the workspace"),
        ("*** Add File: /etc/out\n+x", "outside the workspace"),
        ("*** Update File: a.py\n*** Move to: ../out\n@@\n-import os\n+x", "outside the workspace"),
        ("*** Add File: .git/hooks/x\n+x", ".git"),
        ("*** Delete File: link", "outside the workspace"),
        ("*** Add File: folder\n+x", "is a folder"),
        ("*** Update File: binary\n@@\n-a\n+b", "not a text file"),
        ("*** Update File: a.py\n@@\n-import os\n+x\n@@\n-import os\n+y", "same lines"),
        ("", "empty"),
    ],
)
def test_a_patch_that_fails_changes_nothing_and_says_why(root, body, said):
    (root / "n").write_text("n\n")
    (root / "folder").mkdir()
    (root / "link").symlink_to("/etc/passwd")
    (root / "binary").write_bytes(b"a\0b")
    before = sorted(os.walk(root)), (root / "n").read_text(), (root / "a.py").read_text()
    first = "*** Update File: n\n@@\n-n\n+changed\n*** Add File: new/file\n+x\n" if body else ""
    output = patched(root, first + body)
    assert output.failed
    assert output.text.startswith("Nothing was changed. ")
    assert said in output.text
    after = sorted(os.walk(root)), (root / "n").read_text(), (root / "a.py").read_text()
    assert after == before


@pytest.mark.parametrize(
    ("patch", "said"),
    [
        ("*** Begin Patch\n*** Add File: n\n+x", "cut off"),
        ("*** Add File: n\n+x\n*** End Patch", "must begin with"),
        ({"a": 1}, "Expected the text of one patch"),
        ({}, "Expected the text of one patch"),
        ("[" * 10_000, "must begin with"),
        ("*** Begin Patch\n" + "*** Delete File: x\n" * 200 + "*** End Patch", "more than 100"),
    ],
)
def test_what_is_no_patch_is_told(root, patch, said):
    output = apply(root, patch)
    assert output.failed
    assert said in output.text


def test_what_was_done_is_undone_when_a_later_file_cannot_be_written(root, monkeypatch):
    (root / "b").write_text("b\n")
    (root / "z").write_text("z\n")
    replace = os.replace

    def failing(source: str, target: str, **where: Any) -> None:
        if target == "z":
            raise OSError(28, "No space left on device")
        replace(source, target, **where)

    monkeypatch.setattr(os, "replace", failing)
    body = (
        "*** Add File: new/a\n+a\n*** Update File: b\n@@\n-b\n+B\n*** Delete File: a.py\n"
        "*** Update File: z\n@@\n-z\n+Z"
    )
    output = patched(root, body)
    assert "no space left" in output.text
    assert tree(root) == {"a.py": SOURCE, "b": "b\n", "z": "z\n"}
    assert not (root / "new").exists()


def test_repeated_lines_do_not_make_it_slow(root):
    (root / "t").write_text("a\n" * 100_000)
    context = "\n".join([" a"] * 50_000)
    output = patched(root, f"*** Update File: t\n@@\n{context}\n-b\n+c")
    assert "first 50000 lines match" in output.text


def test_a_person_sees_which_files_before_they_are_changed(root):
    tool = ApplyPatch(Workspace(root))
    need = tool.need("*** Begin Patch\n*** Add File: n\n+x\n*** Delete File: a.py\n*** End Patch")
    assert (need.approval, need.summary) == ("ask", "patch 2 files: A n, D a.py")
    assert tool.need("no patch").approval == "always"
    assert tool.parameters is None
