"""The tools that come with the agent: which are usual, what they are made from, what is missing."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

import pytest

from antiphon.agent.citing import Footnotes, sources_in
from antiphon.agent.toolbox import SHIPPED, make_tools, usual_tools
from antiphon.agent.toolset import AgentTools
from antiphon.errors import SettingsError
from antiphon.settings.model import Settings
from antiphon.settings.tools import BrowserSettings, PythonSettings
from antiphon.tools.protocol import Shown, ToolOutput

EXA = Settings(browser=BrowserSettings(backend="exa", api_key="k"))
MONTY = Settings(python=PythonSettings(sandbox="monty"))


def quiet(text: str) -> None:
    """Take output and do nothing."""


async def called(folder: Path, name: str, shown: tuple[Shown, ...] = (), **given: object) -> str:
    made = await make_tools(["browser"], folder, shown=shown)
    try:
        tool = next(tool for tool in made.tools if tool.name == name)
        output: ToolOutput = await tool.call(given, emit=quiet)
        return output.text
    finally:
        for tool in made.tools:
            await tool.aclose()


def test_what_needs_no_place_is_usual_anywhere() -> None:
    assert usual_tools(workspace=False) == ("python", "calculate", "fetch")


def test_a_workspace_that_is_named_brings_its_tools_and_is_what_the_browser_searches() -> None:
    assert usual_tools(workspace=True) == tuple(SHIPPED)


def test_a_browser_of_the_web_is_usual_and_makes_fetch_needless() -> None:
    assert usual_tools(workspace=False, settings=EXA) == ("python", "calculate", "browser")


def test_a_folder_in_the_settings_makes_the_browser_usual() -> None:
    settings = Settings(browser=BrowserSettings(folder="/srv/docs"))
    assert "browser" in usual_tools(workspace=False, settings=settings)


def test_one_name_may_stand_for_several_tools(tmp_path: Path) -> None:
    made = asyncio.run(make_tools(["browser", "calculate"], tmp_path))
    names = [tool.name for tool in made.tools]
    assert names == ["calculate", "browser.search", "browser.open", "browser.find"]


def test_the_browser_searches_the_workspace_unless_told_otherwise(tmp_path: Path) -> None:
    (tmp_path / "cats.md").write_text("# Cats\n\nThey purr.\n")
    assert "They purr" in asyncio.run(called(tmp_path, "browser.search", query="purr"))


def test_settings_that_are_wrong_for_a_tool_are_said_and_hurt_no_other(tmp_path: Path) -> None:
    wrong = Settings(browser=BrowserSettings(backend="exa"))
    with pytest.raises(SettingsError, match=r"browser\.api_key"):
        asyncio.run(make_tools(["read", "browser"], tmp_path, wrong))
    made = asyncio.run(make_tools(["read"], tmp_path, wrong))
    assert [tool.name for tool in made.tools] == ["read"]


def test_a_sandbox_that_is_not_there_is_a_reason(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    monkeypatch.setitem(sys.modules, "pydantic_monty", None)
    made = asyncio.run(make_tools(["python", "calculate"], tmp_path))
    assert [tool.name for tool in made.tools] == ["calculate"]
    assert "bubblewrap: " in made.missing["python"]
    assert "monty: " in made.missing["python"]


def test_the_model_is_told_what_its_python_can_do(tmp_path: Path) -> None:
    pytest.importorskip("pydantic_monty")
    made = asyncio.run(make_tools(["python"], tmp_path, MONTY))
    described = AgentTools(made.tools).built_ins["python"].description or ""
    assert "It is a small Python" in described
    assert "UNKNOWN" not in described
    assert described.startswith("Use this tool to execute Python code in your chain of thought.")


def test_cursors_go_on_where_the_conversation_left_them(tmp_path: Path) -> None:
    (tmp_path / "cats.md").write_text("# Cats\n\nThey purr.\n")
    before = (Shown(0, ()), Shown(3, ((0, "https://docs.example/old", "Old"),)))
    text = asyncio.run(called(tmp_path, "browser.search", before, query="purr"))
    assert text.startswith("[4] ")
    gone = asyncio.run(called(tmp_path, "browser.open", before, cursor=3))
    assert gone == "The page of cursor `3` is no longer kept: open it again."


# Footnotes


def test_footnotes_are_numbered_over_all_texts_however_they_come() -> None:
    source = sources_in(
        [
            Shown(0, ((0, "https://a.example/", "A"), (7, "https://b.example/", "B"))),
            Shown(1, ((0, "https://a.example/", "A"),)),
        ]
    )
    footnotes = Footnotes(source)
    first = "".join([footnotes.feed(piece) for piece in "Cats【0†L2】 purr【0†L7-L8】."])
    first += footnotes.end()
    assert first == "Cats [1] purr [2]."
    assert footnotes.notes() == [(1, "A", "https://a.example/"), (2, "B", "https://b.example/")]
    assert (
        footnotes.feed("Yes【1†L3】, no【9†L1】【1") + footnotes.end() == "Yes [1], no【9†L1】【1"
    )
    assert footnotes.notes() == []
