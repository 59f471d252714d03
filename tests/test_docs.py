"""The documentation is true: its examples are run, its links lead somewhere.

Conventions in the pages:

- ``python`` blocks of a page are run in order, in one namespace. What they print is stated in
  lines that begin with ``#>``, or in a ``text output`` block behind them.
- ``json NAME`` blocks are files. ``console`` blocks are run beside them, in a directory of their
  own: a line that begins with ``$`` is a command, what follows is what it prints.
- ``sh`` blocks are for the reader's own machine: what they name must exist.
"""

from __future__ import annotations

import contextlib
import io
import os
import re
import shlex
import subprocess
import sys
import tomllib
from collections import Counter
from pathlib import Path
from typing import NamedTuple

import pytest
from tests.cli.here import run_here

ROOT = Path(__file__).parents[1]
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/*.md")])
NAMES = [str(page.relative_to(ROOT)) for page in PAGES]

BLOCK = re.compile(r"^```(\w+)(?: (\S+))?\n(.*?)^```$", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\]\(([^)\s]+)\)")
HEADING = re.compile(r"^#+ (.*)$", re.MULTILINE)


class Block(NamedTuple):
    language: str
    argument: str | None
    body: str


def blocks(page: Path) -> list[Block]:
    return [Block(*found.groups()) for found in BLOCK.finditer(page.read_text("utf-8"))]


def pages_with(language: str) -> list[object]:
    return [
        pytest.param(page, id=name)
        for page, name in zip(PAGES, NAMES, strict=True)
        if any(block.language == language for block in blocks(page))
    ]


@pytest.mark.parametrize("page", pages_with("python"))
def test_python_examples_print_what_the_page_says(page: Path) -> None:
    namespace: dict[str, object] = {"__name__": "example"}
    printed = ""
    for block in blocks(page):
        if block.language == "python":
            output = io.StringIO()
            with contextlib.redirect_stdout(output):
                exec(compile(block.body, page.name, "exec"), namespace)
            printed = output.getvalue()
            stated = re.findall(r"^#>(?: (.*))?$", block.body, re.MULTILINE)
            if stated:
                assert printed.splitlines() == stated, block.body
        elif block.argument == "output":
            assert printed == block.body


@pytest.mark.parametrize("page", pages_with("console"))
def test_console_examples_print_what_the_page_says(page: Path, tmp_path: Path) -> None:
    for block in blocks(page):
        if block.language == "json" and block.argument:
            (tmp_path / block.argument).write_text(block.body, encoding="utf-8")
    for block in blocks(page):
        if block.language != "console":
            continue
        for step in re.split(r"^\$ ", block.body, flags=re.MULTILINE)[1:]:
            command, _, stated = step.partition("\n")
            done = subprocess.run(
                [
                    "bash",
                    "-c",
                    f'antiphon() {{ "{sys.executable}" -m antiphon.cli "$@"; }}\n{command}',
                ],
                cwd=tmp_path,
                capture_output=True,
                encoding="utf-8",
                timeout=60,
            )
            assert (done.stdout, done.stderr, done.returncode) == (stated, "", 0), command


def make_targets() -> set[str]:
    makefile = (ROOT / "Makefile").read_text("utf-8")
    return set(re.findall(r"^([a-z-]+):", makefile, re.MULTILINE))


def extras() -> set[str]:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    return set(project["optional-dependencies"])


@pytest.mark.parametrize("page", pages_with("sh"))
def test_shell_examples_name_things_that_exist(page: Path) -> None:
    app = pytest.importorskip("antiphon.cli.app")
    for block in blocks(page):
        if block.language != "sh":
            continue
        for line in block.body.splitlines():
            words = shlex.split(line, comments=True)
            if words[:1] == ["make"]:
                targets = [word for word in words[1:] if "=" not in word]
                assert set(targets) <= make_targets(), line
            elif words[:1] == ["antiphon"]:
                command = app.COMMANDS[words[1]].load()
                for word in words[2:]:
                    command = getattr(command, "commands", {}).get(word, command)
                options = {name for p in command.params for name in p.opts} | {"-h", "--help"}
                assert {w.partition("=")[0] for w in words[2:] if w[:1] == "-" != w} <= options, (
                    line
                )


@pytest.mark.parametrize("page", pages_with("sh"))
def test_shell_examples_of_keys_and_settings_work(
    page: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """``antiphon keys …`` as it stands; ``antiphon serve …`` with ``--check``."""
    pytest.importorskip("uvicorn")
    found = blocks(page)
    for block in found:
        if block.language == "toml" and "engine =" in block.body.partition("[")[0]:
            (tmp_path / "example.toml").write_text(block.body, encoding="utf-8")
        if block.language == "json" and '"emit"' in block.body:
            (tmp_path / "trace.jsonl").write_text(block.body, encoding="utf-8")
    home = {"HOME": str(tmp_path), "XDG_CONFIG_HOME": str(tmp_path), "PATH": os.environ["PATH"]}
    for block in found:
        for line in block.body.splitlines() if block.language == "sh" else ():
            words = [
                "example.toml" if word == "antiphon.toml" else word
                for word in shlex.split(line, comments=True)
            ]
            if words[:2] not in (["antiphon", "serve"], ["antiphon", "keys"]):
                continue
            if words[1] == "serve" and "--check" not in words:
                words.append("--check")
            done = run_here(words[1:], capsys, folder=tmp_path, environment=home)
            needs_weights = "--model" in words or "gpt-oss-20b" in words[2:4]
            if not (needs_weights and words[1] == "serve" and "gpt-oss-20b" in done.stderr):
                assert done.returncode == 0, (line, done.stderr)


@pytest.mark.parametrize("page", PAGES, ids=NAMES)
def test_mentioned_commands_targets_and_extras_exist(page: Path) -> None:
    text = page.read_text("utf-8")
    for found in re.finditer(r"`make ([a-z-]+)", text):
        assert found[1] in make_targets()
    for found in re.finditer(r"antiphon\[([a-z,]+)\]", text):
        assert set(found[1].split(",")) <= extras()


def anchors(page: Path) -> set[str]:
    """The anchors that GitHub gives a page's headings."""
    outside_code = BLOCK.sub("", page.read_text("utf-8"))
    return {
        re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")
        for heading in HEADING.findall(outside_code)
    }


@pytest.mark.parametrize("page", PAGES, ids=NAMES)
def test_links_inside_the_project_lead_somewhere(page: Path) -> None:
    for target in LINK.findall(BLOCK.sub("", page.read_text("utf-8"))):
        if "://" in target:
            continue
        path, _, anchor = target.partition("#")
        linked = (page.parent / path).resolve() if path else page
        assert linked.exists(), target
        if anchor:
            assert anchor in anchors(linked), target


@pytest.mark.parametrize("page", PAGES, ids=NAMES)
def test_mentioned_files_exist(page: Path) -> None:
    prose = re.sub(
        r"<!-- modules.*?<!-- /modules -->", "", page.read_text("utf-8"), flags=re.DOTALL
    )
    for path in re.findall(r"`([\w./-]+/[\w.-]+\.(?:py|json|txt|md|toml))`", prose):
        places = (ROOT, ROOT / "src", ROOT / "src" / "antiphon")
        assert any((place / path).exists() for place in places), path


def test_each_format_rule_is_stated_once() -> None:
    rules = re.findall(
        r"^- \*\*(\d\.[\d.]+)\*\*", (ROOT / "docs/format.md").read_text("utf-8"), re.MULTILINE
    )
    assert len(rules) > 40
    assert [rule for rule, times in Counter(rules).items() if times > 1] == []


def test_format_rules_cited_in_the_source_are_in_the_page() -> None:
    page = (ROOT / "docs/format.md").read_text("utf-8")
    stated = set(re.findall(r"^#+ (\d(?:\.\d)?) ", page, re.MULTILINE))
    stated |= set(re.findall(r"^- \*\*(\d\.[\d.]+)\*\*", page, re.MULTILINE))
    cited = {
        (path.name, number)
        for path in ROOT.glob("src/**/*.py")
        for numbers in re.findall(
            r"(?<![Rr]ecovery )\b[Rr]ules? (\d[\d., toand]*)", path.read_text("utf-8")
        )
        for number in re.findall(r"\d\.\d(?:\.\d+)?", numbers)
    }
    assert cited
    assert {(name, number) for name, number in cited if number not in stated} == set()


def test_every_command_of_the_command_line_has_a_heading() -> None:
    app = pytest.importorskip("antiphon.cli.app")
    headings = HEADING.findall((ROOT / "docs/cli.md").read_text("utf-8"))
    for name in app.COMMANDS:
        assert f"`antiphon {name}`" in headings


@pytest.mark.parametrize(
    "script", sorted((ROOT / "tools" / "docs").glob("[!_]*.py")), ids=lambda p: p.stem
)
def test_generated_parts_are_up_to_date(script: Path) -> None:
    done = subprocess.run([sys.executable, script, "--check"], capture_output=True, text=True)
    assert done.returncode == 0, f"run `make docs`\n{done.stderr}"


def test_every_dependency_is_explained() -> None:
    page = (ROOT / "docs/dependencies.md").read_text("utf-8")
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
    wanted = [
        *project["project"]["dependencies"],
        *(r for group in project["project"]["optional-dependencies"].values() for r in group),
        *(
            r
            for group in project["dependency-groups"].values()
            for r in group
            if isinstance(r, str)
        ),
    ]
    for requirement in wanted:
        name = re.split(r"[^\w-]", requirement)[0]
        assert name == "antiphon" or f"**{name}**" in page, name
