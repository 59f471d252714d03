"""The shell tool: what runs at once, what asks, what is refused, and what comes back."""

from __future__ import annotations

import asyncio
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.tools.confined import PLAIN_UID, needs_sandbox, run_as, starters

from antiphon.tools.sandbox import Limits
from antiphon.tools.shell import Shell


@pytest.fixture
def folder() -> Iterator[Path]:
    top = Path(tempfile.mkdtemp(prefix="antiphon-shell-"))
    top.chmod(0o755)
    (top / "a.txt").write_text("one\ntwo\n")
    if os.geteuid() == 0:
        os.chown(top, PLAIN_UID, PLAIN_UID)
    yield top
    shutil.rmtree(top)


def call(who: str, folder: Path, arguments: Any, **limits: Any) -> Any:
    async def work() -> Any:
        shown: list[str] = []
        shell = Shell(folder, limits=Limits(**{"wall_s": 20, **limits}))
        assert await shell.check() is None
        output = await shell.call(arguments, emit=shown.append)
        return {
            "text": output.text,
            "failed": output.failed,
            "shown": "".join(shown),
            "details": dict(output.details),
        }

    return run_as(who, work)


@pytest.mark.parametrize(
    "command",
    [
        "ls",
        "ls -la src/antiphon",
        "cat 'a file.txt' \"b.txt\"",
        "git status",
        "git log --oneline -5",
        "git diff HEAD~1".replace("~", "^{1}").split("^")[0],
        "grep -rn 'def f(x):' src",
        "find . -name '*.py' -type f",
        "wc -l a.txt",
        "head -n 5 a.txt",
        "rg --files",
        "sort a.txt",
        "  pwd  ",
    ],
)
def test_programs_that_only_read_run_at_once(command):
    assert Shell(Path()).need({"command": command}).approval == "always"


@pytest.mark.parametrize(
    "command",
    [
        "ls | wc",
        "ls > out",
        "ls >> out",
        "cat < a",
        "ls; rm a",
        "ls && rm a",
        "ls & rm a",
        "ls\nrm a",
        "ls $(rm a)",
        "ls `rm a`",
        'ls "$(rm a)"',
        'ls "`rm a`"',
        "ls $HOME",
        "ls ~",
        "ls *.py",
        "ls {a,b}",
        "ls a\\;rm",
        "ls # comment",
        "ls <(rm a)",
        "ls $'\\n'",
        "ls 'a",
        'cat "a',
        "A=1 ls",
        "PATH=. ls",
        "./ls",
        "/tmp/ls",
        "rm a",
        "python3 -c 1",
        "make",
        "git push",
        "git commit -m x",
        "git -c core.pager=rm status",
        "git --exec-path=. status",
        "git diff --output=a",
        "git diff --outp=a",
        "git diff --ext-diff",
        "git grep -O",
        "git",
        "find . -delete",
        "find . -exec rm {} +",
        "find . -exec rm x \\;",
        "find . -fprint a",
        "sort -o a a",
        "sort a -oa",
        "sort -ro a a",
        "sort --output=a a",
        "sort --compress-program=rm a",
        "rg --pre rm x",
        "env ls",
        "xargs ls",
        "tee a",
        "ls\x00",
        "ls\ttab\rcr",
        "ls \u2028rm",
        "eval ls",
        "bash -c ls",
        "date -s now; true",
        "!ls",
        "ls !!",
        "if true; then ls; fi",
    ],
)
def test_everything_else_asks(command):
    assert Shell(Path()).need({"command": command}).approval in (
        ("always",) if "\x00" in command else ("ask",)
    )


@pytest.mark.parametrize(
    "command",
    [
        "sudo ls",
        "ls; sudo rm a",
        "ls && /usr/bin/sudo rm a",
        "FOO=1 sudo ls",
        "echo $(su -c ls)",
        "echo `reboot`",
        "true | xargs sudo ls",
        "env A=1 sudo ls",
        "(mount /dev/sda1 /mnt)",
        "\\sudo ls",
        "'sudo' ls",
        "ls\nshutdown now",
    ],
)
def test_some_programs_are_refused(command):
    shell = Shell(Path())
    assert shell.need({"command": command}).approval == "never"
    output = asyncio.run(shell.call({"command": command}, emit=lambda text: None))
    assert output.failed
    assert "is not run here" in output.text


def test_a_user_may_allow_more_and_refuse_more():
    shell = Shell(Path(), allowed=["make test", "pytest"], refused=["rm"])
    assert shell.need("make test").approval == "always"
    assert shell.need("make test ARGS=-x").approval == "always"
    assert shell.need("make install").approval == "ask"
    assert shell.need("pytest; rm x").approval == "never"
    assert shell.need("sudo ls").approval == "ask"


def test_a_person_sees_the_command_as_it_is():
    need = Shell(Path()).need({"command": "rm a\x1b[2K\rls"})
    assert need.summary == "rm a\\x1b[2K\\rls"


@needs_sandbox
@pytest.mark.parametrize("who", starters())
def test_commands_run_in_the_workspace_and_stream(who, folder):
    said = call(who, folder, {"command": "cat a.txt"})
    assert said["text"] == "one\ntwo"
    assert said["shown"] == "one\ntwo\n"
    said = call(who, folder, {"command": "sort -r a.txt | head -1 > b.txt; cat b.txt; exit 4"})
    assert said["text"] == "two\n[exit status 4]"
    assert said["failed"]
    assert said["details"]["exit_code"] == 4
    assert (folder / "b.txt").read_text() == "two\n"
    assert call(who, folder, {"command": "true"})["text"] == "[exit status 0]"


@needs_sandbox
@pytest.mark.parametrize("who", starters())
def test_what_runs_without_asking_cannot_write(who, folder):
    # `date` is in the list; were one of its options to write, this is where it would fail.
    said = call(who, folder, {"command": "find . -newer a.txt -maxdepth 0"})
    assert not said["failed"]
    from antiphon.tools import commands

    assert commands.reads_only(["git", "log"])
    said = call(who, folder, {"command": "git status"})
    assert "not a git repository" in said["text"]
    assert not (folder / ".git").exists()


@needs_sandbox
@pytest.mark.parametrize("who", starters())
def test_git_reads_a_repository_without_writing_to_it(who, folder):
    call(
        who,
        folder,
        "git init -q . && git add a.txt && git -c user.name=n -c user.email=e commit -qm first",
    )
    said = call(who, folder, {"command": "git log --format=%s"})
    assert said["text"] == "first"
    assert "nothing to commit" in call(who, folder, {"command": "git status"})["text"]


@needs_sandbox
def test_limits_are_told(folder):
    who = starters()[-1]
    assert (
        "longer than 0.2 s" in call(who, folder, {"command": "sleep 100", "timeout": 0.2})["text"]
    )
    flood = call(who, folder, {"command": "yes | cat"}, flood_bytes=1 << 20, output_bytes=100)
    assert "wrote more than 1 megabyte" in flood["text"]
    bomb = "x=x; while true; do x=$x$x$x; done"
    said = call(who, folder, {"command": bomb}, memory_bytes=64 << 20)
    assert "more than 64 megabytes" in said["text"] or "cannot allocate" in said["text"]


@needs_sandbox
@pytest.mark.parametrize(
    "arguments",
    [
        {"cmd": ["bash", "-lc", "echo 'a  b'"]},
        {"command": ["echo", "a  b"]},
        "echo 'a  b'",
        {"command": "echo 'a  b'", "timeout": 99999},
    ],
)
def test_other_tools_ways_of_saying_it_are_understood(folder, arguments):
    assert call(starters()[-1], folder, arguments)["text"] == "a  b"


@pytest.mark.parametrize(
    "arguments",
    [
        {},
        {"command": ""},
        {"command": 3},
        {"command": "a\0b"},
        {"command": "\ud800"},
        {"command": []},
    ]
    + [{"command": "ls", "timeout": bad} for bad in (0, -1, "x", True)],
)
def test_wrong_arguments_are_told(arguments):
    output = asyncio.run(Shell(Path()).call(arguments, emit=lambda text: None))
    assert output.failed


@needs_sandbox
@pytest.mark.skipif(os.geteuid() != 0, reason="only root drops")
def test_in_a_folder_of_roots_root_can_read_and_is_told_why_it_cannot_write():
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o755)
        (folder / "a").write_text("x\n")
        (folder / "a").chmod(0o644)
        assert call("root", folder, {"command": "cat a"})["text"] == "x"
        said = call("root", folder, {"command": "touch b"})
        assert said["failed"]
        assert "belongs to root" in said["text"]
