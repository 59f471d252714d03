"""Tools as the settings ask for them: backends, interpreters and the guard."""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path

import pytest
from aiohttp import web
from tests.tools.confined import needs_sandbox
from tests.tools.sites import site

from antiphon.errors import SettingsError
from antiphon.settings.tools import BrowserSettings, GuardSettings, PythonSettings
from antiphon.tools.browser.chosen import search_backend
from antiphon.tools.guard import Guard, GuardError
from antiphon.tools.guard.chosen import guard
from antiphon.tools.python.chosen import interpreter


def quiet(text: str) -> None:
    """Take output and do nothing."""


# The guard


def test_the_settings_limits_are_the_guards():
    made = guard(GuardSettings(allow=("wiki.intranet",), ports=(443,), redirects=0))
    assert made.listed("http://wiki.intranet/")
    with pytest.raises(GuardError, match="port 80 is not opened"):
        made.check("http://public.example/")


def test_an_entry_that_is_no_host_is_named_with_its_setting():
    with pytest.raises(SettingsError, match=r"guard\.allow: 'http://x/' is not a host|not a net"):
        guard(GuardSettings(allow=("http://x/",)))


# Backends


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"backend": "exa"}, r"browser\.api_key: the backend exa needs a key"),
        ({"backend": "you", "api_key": ""}, r"browser\.api_key: the backend you needs a key"),
        ({"backend": "exa", "api_key": "a\nb"}, r"browser\.api_key: expected printable"),
        ({"backend": "searxng"}, r"browser\.url: where is SearXNG"),
        ({"backend": "searxng", "url": "file:///etc"}, r"browser\.url: expected http"),
        ({"backend": "searxng", "url": "http://me:pw@s.example"}, r"browser\.url: expected http"),
        ({"backend": "searxng", "url": "http://s.example:99999"}, r"browser\.url: expected http"),
        ({"backend": "searxng", "url": "http://s.example/?a"}, r"browser\.url: expected http"),
        (
            {"backend": "searxng", "url": "http://s.example", "api_key": "k"},
            r"browser\.api_key has no effect",
        ),
        ({"backend": "exa", "api_key": "k", "folder": "."}, r"browser\.folder has no effect"),
        ({"backend": "corpus"}, r"browser\.folder: which folder"),
        ({"backend": "corpus", "folder": "missing"}, r"browser\.folder: missing is not a folder"),
        ({"folder": ".", "url": "wiki"}, r"browser\.url: expected http"),
        ({"folder": ".", "api_key": "k"}, r"browser\.api_key has no effect"),
    ],
)
def test_what_a_backend_lacks_is_said_with_its_setting(settings, said, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SettingsError, match=said):
        search_backend(BrowserSettings(**settings), Guard())


def test_a_folder_is_searched_and_cited_by_where_it_is_published(tmp_path: Path):
    (tmp_path / "cats.md").write_text("# Cats\n\nThey purr.\n")

    async def found() -> list[str]:
        named = BrowserSettings(folder=str(tmp_path), url="https://docs.example/")
        default = search_backend(BrowserSettings(), Guard(), folder=tmp_path)
        urls = []
        for backend in (search_backend(named, Guard()), default):
            urls += [hit.url for hit in await backend.search("purr", limit=3)]
            await backend.aclose()
        return urls

    assert asyncio.run(found()) == [
        "https://docs.example/cats.md",
        "https://corpus.invalid/cats.md",
    ]


@pytest.mark.parametrize("backend", ["searxng", "exa"])
def test_a_service_of_the_intranet_is_asked_and_opens_nothing_else_there(backend):
    async def answer(request: web.BaseRequest) -> web.StreamResponse:
        return web.Response(
            text=json.dumps({"results": [{"url": "https://cats.example/", "title": "Cats"}]})
        )

    async def work() -> list[str]:
        pages = Guard()
        async with site(search=answer) as service:
            key = None if backend == "searxng" else "k"
            settings = BrowserSettings(backend=backend, url=service.url(""), api_key=key)
            made = search_backend(settings, pages)
            hits = await made.search("cats", limit=3)
            # The operator named the service: that is no leave for pages to lead there.
            with pytest.raises(GuardError, match="not on the public internet"):
                await pages.fetch(service.url("/search"))
            await made.aclose()
            return [hit.url for hit in hits]

    assert asyncio.run(work()) == ["https://cats.example/"]


# Interpreters


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"interpreter": "/nowhere/python9"}, r"python\.interpreter: '/nowhere/python9' is no"),
        ({"interpreter": sys.executable, "sandbox": "monty"}, r"python\.interpreter has no effect"),
    ],
)
def test_an_interpreter_that_cannot_be_run_is_said_with_its_setting(settings, said):
    with pytest.raises(SettingsError, match=said):
        interpreter(PythonSettings(**settings))


def test_without_bubblewrap_auto_is_the_small_python(monkeypatch):
    pytest.importorskip("pydantic_monty")
    monkeypatch.setenv("PATH", "/nowhere")

    async def work() -> tuple[str | None, str, str]:
        made = interpreter(PythonSettings())
        try:
            reason = await made.check()
            return reason, made.notes, (await made.run("6 * 7", emit=quiet)).text
        finally:
            await made.aclose()

    reason, notes, text = asyncio.run(work())
    assert reason is None
    assert "small Python" in notes
    assert text == "42"


def test_where_nothing_works_each_kind_has_its_reason(monkeypatch):
    monkeypatch.setenv("PATH", "/nowhere")
    monkeypatch.setitem(sys.modules, "pydantic_monty", None)

    async def work() -> tuple[str | None, str]:
        made = interpreter(PythonSettings())
        try:
            return await made.check(), (await made.run("1", emit=quiet)).text
        finally:
            await made.aclose()

    reason, text = asyncio.run(work())
    assert reason is not None
    assert "bubblewrap: " in reason
    assert "monty: " in reason
    assert text.startswith("There is no sandbox to run it in")


@needs_sandbox
def test_auto_is_bubblewrap_where_it_works():
    async def work() -> tuple[str | None, str]:
        made = interpreter(PythonSettings(seconds=30))
        try:
            reason = await made.check()
            return reason, (await made.run("import sys; sys.implementation.name", emit=quiet)).text
        finally:
            await made.aclose()

    assert asyncio.run(work()) == (None, "'cpython'")
