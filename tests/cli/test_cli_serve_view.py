"""What ``antiphon serve`` says first: what is served, and that a makeshift model is one."""

from __future__ import annotations

import io
from types import SimpleNamespace
from typing import Any

import pytest

pytest.importorskip("starlette")

from antiphon.cli.serve_view import ServeView
from antiphon.settings.model import EngineSettings, ModelSettings, Settings
from antiphon.settings.tools import ServerToolSettings

NOTE = "note: no engine was found on the usual ports, so this is a test model"


def said(
    settings: Settings, name: str = "tiny-gpt-oss", state: str = "up", *, keys: bool = True
) -> list[str]:
    served = SimpleNamespace(
        name=name,
        gpt_oss=True,
        passthrough=None,
        settings=ModelSettings(),
        reasons=(),
        engine=SimpleNamespace(name="some engine"),
    )
    catalog = SimpleNamespace(
        list=lambda: [SimpleNamespace(id=name, context_length=8192)],
        find=lambda _: served,
        health=lambda: [
            SimpleNamespace(name="engine at http://h:1", state=state, detail="refused")
        ],
    )
    services: Any = SimpleNamespace(
        settings=settings,
        catalog=catalog,
        sealed=None,
        tools=SimpleNamespace(offered=settings.server_tools.offered),
        policy=SimpleNamespace(has_keys=keys),
    )
    stream = io.StringIO()
    ServeView(stream).ready("http://127.0.0.1:1", services, "none")
    return stream.getvalue().splitlines()


def test_a_tiny_model_that_nobody_asked_for_is_said_to_be_one() -> None:
    lines = said(Settings())
    assert lines[0].endswith("serves http://127.0.0.1:1/v1")
    assert lines[-1].startswith(NOTE)


@pytest.mark.parametrize(
    "settings",
    [
        Settings(engine="tiny"),
        Settings(model="tiny.gguf"),
        Settings(engines=(EngineSettings(url="tiny"),)),
    ],
)
def test_a_tiny_model_that_was_asked_for_needs_no_explanation(settings: Settings) -> None:
    assert not any(line.startswith("note") for line in said(settings))


def test_an_engine_that_was_found_needs_no_explanation() -> None:
    assert not any(line.startswith("note") for line in said(Settings(), "gpt-oss-20b"))


def test_an_engine_that_is_down_is_named_once() -> None:
    assert "engine http://h:1: down: refused" in said(Settings(engine="http://h:1"), state="down")


def test_tools_that_the_server_runs_are_named_with_those_who_may_use_them() -> None:
    settings = Settings(server_tools=ServerToolSettings(offered=("web_search",)))
    assert "tools: web_search: for requests with an API key" in said(settings)
    (line,) = [line for line in said(settings, keys=False) if line.startswith("tools")]
    assert "for nobody" in line
    assert not any(line.startswith("tools") for line in said(Settings()))
