"""The search services, by the wire formats in their documentation; a folder as the web."""

from __future__ import annotations

import asyncio
import json
import os
from pathlib import Path

import pytest
from aiohttp import web
from tests.tools.sites import Handler, redirect, site

from antiphon.errors import SettingsError
from antiphon.tools.browser.bm25 import Index
from antiphon.tools.browser.corpus import CorpusBackend
from antiphon.tools.browser.services import ExaBackend, SearxngBackend, YouBackend
from antiphon.tools.browser.tool import Browser
from antiphon.tools.guard import GuardError


def says(answer: object, status: int = 200) -> Handler:
    async def handler(request: web.BaseRequest) -> web.StreamResponse:
        body = answer if isinstance(answer, str) else json.dumps(answer)
        return web.Response(status=status, text=body, content_type="application/json")

    return handler


# https://docs.searxng.org/dev/search_api.html, and what an instance answers.
SEARXNG = {
    "query": "cats",
    "number_of_results": 0,
    "results": [
        {
            "url": "https://cats.example/",
            "title": "Cats",
            "content": "All  about\ncats",
            "engine": "x",
            "score": 1.0,
            "category": "general",
        },
        {"url": "https://cats.example/", "title": "again"},
        {"title": "no URL"},
        {"url": "magnet:?x", "title": "not a page"},
        "garbage",
        {"url": "https://two.example/", "title": None, "content": None},
    ],
    "answers": [],
    "suggestions": [],
}
# https://docs.exa.ai/reference/search and /get-contents
EXA = {
    "requestId": "b5947044c4b78efa9552a7c89b306d95",
    "results": [
        {
            "title": "A Comprehensive Overview",
            "url": "https://arxiv.org/pdf/2307.06435.pdf",
            "id": "https://arxiv.org/abs/2307.06435",
            "publishedDate": "2023-11-16T01:36:32.547Z",
            "author": "Humza Naveed",
            "highlights": ["Such requirements", "have limited"],
            "highlightScores": [0.46],
        }
    ],
    "costDollars": {"total": 0.005},
}
EXA_CONTENTS = {
    "requestId": "e492",
    "results": [
        {
            "id": "https://arxiv.org/abs/2307.06435",
            "url": "https://arxiv.org/abs/2307.06435",
            "title": "A Comprehensive Overview",
            "text": "<div><p>Abstract <a href='/x'>link</a></p></div>",
        }
    ],
    "statuses": [{"id": "https://arxiv.org/abs/2307.06435", "status": "success"}],
}
# https://documentation.you.com/api-reference/search and /contents
YOU = {
    "results": {
        "web": [
            {
                "url": "https://you.com",
                "title": "The World's Greatest Search Engine!",
                "description": "Search on YDC",
                "snippets": ["I'm an AI assistant", "that helps"],
            }
        ],
        "news": [
            {"url": "https://www.you.com/news/x", "title": "News", "description": "As the EU"}
        ],
    },
    "metadata": {"request_uuid": "942ccbdd", "query": "China", "latency": 0.123},
}
YOU_CONTENTS = [
    {
        "url": "https://competitor.com/pricing",
        "title": "Pricing",
        "markdown": "# Pricing\n\n[more](/more)",
        "html": None,
        "metadata": {"site_name": "Competitor Inc."},
    }
]


def test_searxng_is_asked_for_json():
    async def go() -> None:
        async with site(search=says(SEARXNG)) as found:
            hits = await SearxngBackend(found.url("/")).search("cats & dogs", limit=5)
            assert [(hit.url, hit.title, hit.snippet) for hit in hits] == [
                ("https://cats.example/", "Cats", "All about cats"),
                ("https://two.example/", "", ""),
            ]
            assert found.paths == ["/search?q=cats%20%26%20dogs&format=json"]

    asyncio.run(go())


def test_exa_is_asked_with_its_key_for_hits_and_contents():
    async def go() -> None:
        async with site(search=says(EXA), contents=says(EXA_CONTENTS)) as found:
            backend = ExaBackend("exa-key", url=found.url())
            (hit,) = await backend.search("llms", limit=7)
            assert hit.url == "https://arxiv.org/pdf/2307.06435.pdf"
            assert hit.snippet == "Such requirements … have limited"
            page = await backend.open("https://arxiv.org/abs/2307.06435")
            assert page is not None
            assert page.title == "A Comprehensive Overview"
            assert page.lines[2] == "Abstract 【0†link】"
            assert [request.method for request in found.asked] == ["POST", "POST"]
            assert {request.headers["x-api-key"] for request in found.asked} == {"exa-key"}
            assert json.loads(found.bodies[0]) == {
                "query": "llms",
                "numResults": 7,
                "contents": {"highlights": True},
            }
            assert json.loads(found.bodies[1])["urls"] == ["https://arxiv.org/abs/2307.06435"]

    asyncio.run(go())


def test_you_is_asked_with_its_key_for_hits_and_contents():
    async def go() -> None:
        async with site(v1_search=says(YOU), v1_contents=says(YOU_CONTENTS)) as found:
            backend = YouBackend("you-key", url=found.url())
            hits = await backend.search("china", limit=9)
            assert [hit.snippet for hit in hits] == [
                "I'm an AI assistant … that helps",
                "As the EU",
            ]
            page = await backend.open("https://competitor.com/pricing")
            assert page is not None
            assert page.lines[4] == "【0†more】"
            assert page.links == ("https://competitor.com/more",)
            assert found.paths == ["/v1/search?query=china&count=9", "/v1/contents"]
            assert {request.headers["X-API-Key"] for request in found.asked} == {"you-key"}

    asyncio.run(go())


def test_what_a_service_has_not_read_is_to_be_fetched():
    async def go() -> None:
        async with site(contents=says({"results": []}), v1_contents=says("x", 500)) as found:
            assert await ExaBackend("k", url=found.url()).open("https://a.example/") is None
            assert await YouBackend("k", url=found.url()).open("https://a.example/") is None

    asyncio.run(go())


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (says({"error": "bad key k-secret"}, 401), "answered 401"),
        (says("<html>"), "not JSON"),
        (says([]), "another form"),
        (says('"x"'), "another form"),
        (redirect("https://elsewhere.example/"), "redirects"),
    ],
)
def test_a_service_that_fails_is_an_error_in_words_without_its_answer(answer, said):
    async def go() -> None:
        async with site(search=answer) as found:
            for backend in (SearxngBackend(found.url()), ExaBackend("k", url=found.url())):
                with pytest.raises(GuardError, match=said) as caught:
                    await backend.search("x", limit=1)
                assert "secret" not in str(caught.value)

    asyncio.run(go())


# The index.


def test_texts_with_the_rarer_words_and_the_words_in_their_title_come_first():
    index = Index()
    index.add("Dogs", "the dog and the cat and the dog")
    index.add("Cats", "the cat purrs")
    index.add("Weather", "the rain and the snow")
    assert index.search("the CAT", limit=5)[0] == 1
    assert index.search("snow cat", limit=1) == [2]
    assert index.search("zebra", limit=5) == []
    assert index.search("", limit=5) == []
    assert Index().search("x", limit=1) == []


# The folder.


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    docs = tmp_path / "docs"
    (docs / "guide").mkdir(parents=True)
    (docs / "index.html").write_text(
        "<title>Home</title><p>Start <a href='guide/cats.md'>with cats</a></p>"
    )
    (docs / "guide" / "cats.md").write_text(
        "# Keeping cats\n\nFood.\n\nCats purr when they are content. [Home](../index.html)\n"
    )
    (docs / "notes.txt").write_bytes("Über dogs\n\nThey bark.".encode())
    (docs / "with space & ü.txt").write_text("odd name: walrus")
    (docs / ".hidden.md").write_text("walrus secret")
    (docs / "data.bin").write_bytes(b"walrus")
    (tmp_path / "outside.md").write_text("walrus outside")
    (docs / "link.md").symlink_to(tmp_path / "outside.md")
    (docs / "linked").symlink_to(tmp_path)
    return docs


def test_a_folder_is_searched_opened_and_cited_like_the_web(folder):
    async def go() -> None:
        browser = Browser(CorpusBackend(folder, url="https://docs.example/v1"))
        out = await browser.search({"query": "when do cats purr?"})
        assert "【0†Keeping cats†docs.example】 Food. Cats purr when they are content." in out.text
        out = await browser.open({"id": 0})
        assert out.text.startswith("[1] Keeping cats (https://docs.example/v1/guide/cats.md)")
        out = await browser.open({"id": 0})
        assert out.text.startswith("[2] Home (https://docs.example/v1/index.html)")
        out = await browser.open({"id": 0})
        assert out.text.startswith("[3] Keeping cats")
        out = await browser.open({"id": "https://docs.example/v1/notes.txt#x"})
        assert out.text.startswith("[4] Über dogs")

    asyncio.run(go())


def test_only_the_folders_own_visible_texts_are_there(folder):
    async def go() -> None:
        backend = CorpusBackend(folder)
        hits = await backend.search("walrus", limit=10)
        assert [hit.title for hit in hits] == ["odd name: walrus"]
        assert await backend.open(hits[0].url) is not None
        for path in ("../outside.md", "link.md", "linked/outside.md", ".hidden.md", "data.bin"):
            assert await backend.open(f"https://corpus.invalid/{path}") is None

    asyncio.run(go())


def test_a_file_that_has_become_a_link_is_not_followed(folder):
    async def go() -> None:
        backend = CorpusBackend(folder)
        assert await backend.search("purr", limit=1)
        target = folder / "guide" / "cats.md"
        target.unlink()
        target.symlink_to(folder.parent / "outside.md")
        with pytest.raises(GuardError, match="cannot be read"):
            await backend.open("https://corpus.invalid/guide/cats.md")
        assert await backend.search("purr", limit=1) == []

    asyncio.run(go())


def test_a_fifo_in_the_folder_does_not_hold_it_up(folder):
    os.mkfifo(folder / "pipe.md")

    async def go() -> None:
        assert len(await CorpusBackend(folder).search("cats", limit=9)) == 2

    asyncio.run(go())


def test_what_is_no_folder_is_refused_at_once(tmp_path):
    with pytest.raises(SettingsError, match="is not a folder"):
        CorpusBackend(tmp_path / "none")


def test_one_who_gives_up_does_not_take_the_index_from_the_others(folder):
    async def go() -> None:
        backend = CorpusBackend(folder)
        first = asyncio.ensure_future(backend.search("cats", limit=9))
        second = asyncio.ensure_future(backend.search("cats", limit=9))
        await asyncio.sleep(0)
        first.cancel()
        assert len(await second) == 2
        await backend.aclose()

    asyncio.run(go())
