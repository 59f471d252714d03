"""fetch brings a page as text, through the guard."""

from __future__ import annotations

import asyncio

from tests.tools.sites import redirect, site

from antiphon.tools.fetch import FetchTool
from antiphon.tools.guard import Guard, GuardPolicy
from antiphon.tools.protocol import ToolOutput


def fetch(*calls: dict, max_tokens: int = 4096, **routes) -> list[ToolOutput]:
    async def go() -> list[ToolOutput]:
        async with site(**routes) as found:
            tool = FetchTool(Guard(GuardPolicy(allow=(found.allowed,))), max_tokens=max_tokens)
            made = []
            for call in calls:
                url = found.url(call["url"]) if call.get("url", "").startswith("/") else call["url"]
                made.append(await tool.call({**call, "url": url}, emit=lambda text: None))
            return made

    return asyncio.run(go())


def test_a_page_is_text_with_its_links():
    (out,) = fetch({"url": "/a"}, a="<title>T</title><p>Hello <a href='https://b.org/x'>b</a></p>")
    assert not out.failed
    assert out.text.startswith("T\n\nURL: http://127.0.0.1")
    assert out.text.endswith("Hello 【0†b†b.org】\n\nLinks:\n0: https://b.org/x")
    assert out.details["title"] == "T"


def test_a_long_page_is_read_on_from_where_it_ended():
    page = "".join(f"<p>paragraph {n}</p>" for n in range(200))
    first, second = fetch({"url": "/a"}, {"url": "/a", "start": 40}, max_tokens=200, a=page)
    assert "lines more: start=" in first.text
    assert "paragraph 0\n" in first.text
    assert "paragraph 19\n" in second.text
    assert "paragraph 0\n" not in second.text


def test_what_goes_wrong_is_text_for_the_model():
    outs = fetch(
        {"url": "/missing"},
        {"url": "/inside"},
        {"url": "http://169.254.169.254/"},
        {"url": "/a", "start": -1},
        a="x",
        inside=redirect("http://localhost/"),
    )
    assert all(out.failed for out in outs)
    assert outs[0].text.startswith("HTTP status 404")
    assert "not on the public internet" in outs[1].text
    assert "not on the public internet" in outs[2].text
    tool = FetchTool()
    assert asyncio.run(tool.call("x", emit=lambda text: None)).failed
    assert asyncio.run(tool.call({}, emit=lambda text: None)).failed


def test_a_person_is_asked_first():
    need = FetchTool().need({"url": "https://a.example/"})
    assert (need.approval, need.summary) == ("ask", "fetch https://a.example/")
