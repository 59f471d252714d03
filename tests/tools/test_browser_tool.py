"""browser.search, open and find as gpt-oss was trained on them."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest
from aiohttp import web
from tests.tools.sites import redirect, site

from antiphon.model.tools import BROWSER
from antiphon.tools.browser.backend import SearchResult
from antiphon.tools.browser.display import VIEW_TOKENS
from antiphon.tools.browser.page import Page, make_page
from antiphon.tools.browser.session import BrowserSession
from antiphon.tools.browser.tool import Browser, browser_tools
from antiphon.tools.guard import Guard, GuardError, GuardPolicy
from antiphon.tools.protocol import ToolOutput


class Pages:
    """A backend of these pages and hits."""

    name = "the test"
    web = False

    def __init__(self, pages: dict[str, Page], hits: Sequence[SearchResult] = ()) -> None:
        self.pages, self.hits = pages, hits
        self.opened: list[str] = []

    async def search(self, query: str, *, limit: int) -> Sequence[SearchResult]:
        if query == "broken":
            raise GuardError("the test answered 500")
        return self.hits

    async def open(self, url: str) -> Page | None:
        self.opened.append(url)
        return self.pages.get(url)

    async def aclose(self) -> None:
        pass


def quiet(text: str) -> None:
    pass


class Talk:
    """A conversation that calls the tools."""

    def __init__(self, browser: Browser) -> None:
        self.browser = browser
        self.tools = {tool.name.partition(".")[2]: tool for tool in browser_tools(browser)}

    def __call__(self, name: str, /, **arguments) -> ToolOutput:
        return asyncio.run(self.tools[name].call(arguments, emit=quiet))


def talk(lines: int = 30) -> tuple[Talk, Pages]:
    first = "https://a.example/one"
    body = "\n".join(f"line {n} about cats" if n % 10 == 5 else f"line {n}" for n in range(lines))
    backend = Pages(
        {
            first: make_page(first, "One", f"\nURL: {first}\n{body}", ("https://a.example/two",)),
            "https://a.example/two": make_page("https://a.example/two", "Two", "two"),
        },
        [SearchResult(first, "One & all", "about <b> cats"), SearchResult("https://b.org/", "")],
    )
    return Talk(Browser(backend)), backend


def test_the_schemas_are_the_ones_the_prompt_shows():
    tools = browser_tools(Browser(Pages({})))
    assert [tool.name for tool in tools] == ["browser.search", "browser.open", "browser.find"]
    for tool, offered in zip(tools, BROWSER.tools, strict=True):
        assert tool.parameters == offered.parameters
        assert tool.description == offered.description


def test_a_search_shows_numbered_links():
    say, _ = talk()
    out = say("search", query="cats")
    assert out.text == (
        "[0] cats\n**viewing lines [0 - 5] of 5**\n\n"
        "L0: \nL1: URL:\nL2: # Search Results\nL3: \n"
        "L4:   * 【0†One & all†a.example】 about <b> cats\n"
        "L5:   * 【1†https://b.org/†b.org】"
    )
    assert out.details["action"] == {
        "type": "search",
        "query": "cats",
        "sources": [
            {"type": "url", "url": "https://a.example/one"},
            {"type": "url", "url": "https://b.org/"},
        ],
    }


def test_a_link_opens_its_page_under_the_next_cursor():
    say, _ = talk()
    say("search", query="cats")
    out = say("open", id=0)
    assert out.text.startswith(
        "[1] One (https://a.example/one)\n**viewing lines [0 - 31] of 31**\n\n"
        "L0: \nL1: URL: https://a.example/one\nL2: line 0\n"
    )
    assert out.details["action"] == {"type": "open_page", "url": "https://a.example/one"}
    assert say("open", id=0, cursor=1).text.startswith("[2] Two (https://a.example/two)")


@pytest.mark.parametrize("id", [0, 0.0, "0", "【0†One†a.example】"])
def test_the_id_of_a_link_is_read_however_the_model_writes_it(id):
    say, _ = talk()
    say("search", query="cats")
    assert say("open", id=id).text.startswith("[1] One")


@pytest.mark.parametrize("id", ["https://a.example/two", "a.example/two"])
def test_a_url_is_opened_with_and_without_its_scheme(id):
    say, backend = talk()
    assert say("open", id=id).text.startswith("[0] Two")
    assert backend.opened == ["https://a.example/two"]


def test_a_page_that_is_open_is_not_fetched_again_by_its_link_but_by_its_url():
    say, backend = talk()
    say("search", query="cats")
    say("open", id=0)
    say("open", id=0, cursor=0)
    assert backend.opened == ["https://a.example/one"]
    say("open", id="https://a.example/one")
    assert len(backend.opened) == 2


def test_without_an_id_the_open_page_is_scrolled():
    say, backend = talk()
    say("open", id="https://a.example/one")
    out = say("open", loc=10, num_lines=2)
    assert out.text == (
        "[1] One (https://a.example/one)\n**viewing lines [10 - 11] of 31**\n\n"
        "L10: line 8\nL11: line 9"
    )
    assert say("open", cursor=0, loc="31").text.endswith("\n\nL31: line 29")
    assert len(backend.opened) == 1


def test_find_shows_matches_and_its_links_lead_to_them():
    say, _ = talk()
    say("open", id="https://a.example/one")
    out = say("find", pattern="CATS")
    assert out.text.startswith(
        "[1] Find results for text: `CATS` in `One` (https://a.example/one/find?pattern=CATS)\n"
        "**viewing lines [0 - 16] of 16**\n\n"
        "L0: # 【0†match at L7】\nL1: line 5 about cats\nL2: line 6"
    )
    assert out.details["action"] == {
        "type": "find_in_page",
        "pattern": "CATS",
        "url": "https://a.example/one",
    }
    assert say("open", id=1).text.startswith(
        "[2] One (https://a.example/one)\n**viewing lines [13 - 31] of 31**"
    )
    assert "No `find` results" in say("find", pattern="dogs").text


def test_find_looks_at_the_words_of_links_and_not_at_their_marks():
    url = "https://a.example/x"
    page = make_page(url, "X", "see 【0†the page†other.org】 now", ("https://other.org/",))
    say = Talk(Browser(Pages({url: page})))
    say("open", id=url)
    assert "match at L0" in say("find", pattern="see the page now").text
    assert "No `find`" in say("find", pattern="other.org", cursor=0).text


@pytest.mark.parametrize(
    ("name", "arguments", "said"),
    [
        ("search", {}, "`query` is missing"),
        ("search", {"query": " "}, "`query` is missing"),
        ("search", {"query": "broken"}, "Error during search for `broken`: the test answered 500"),
        ("search", {"query": "x", "topn": []}, "`topn` should be an integer"),
        ("open", {}, "No pages to access!"),
        ("open", {"id": 3}, "No pages to access!"),
        ("open", {"cursor": "x"}, "`cursor` should be an integer"),
        ("open", {"id": ["a"]}, "`id` should be an integer"),
        ("open", {"id": "https://nowhere.example/"}, "only pages of the test can be opened"),
        ("find", {}, "`pattern` is missing"),
        ("find", {"pattern": "x"}, "No pages to access!"),
    ],
)
def test_what_goes_wrong_is_text_for_the_model(name, arguments, said):
    say, _ = talk()
    out = say(name, **arguments)
    assert out.failed
    assert said in out.text


def test_wrong_places_are_told_with_the_right_ones():
    say, _ = talk()
    say("search", query="cats")
    say("open", id=0)
    assert say("open", id=9).text == "Invalid link id `9`."
    assert "out of range. Available cursor indices: [0 - 1]" in say("open", cursor=7).text
    assert "Cannot exceed page maximum of 31" in say("open", loc=99).text
    assert "Cannot run `find` on search results" in say("find", pattern="x", cursor=0).text
    # None of these took a cursor.
    assert say("open", id=0).text.startswith("[2]")


def test_arguments_that_are_no_object_are_an_error_in_words():
    tool = browser_tools(Browser(Pages({})))[0]
    assert asyncio.run(tool.call("cats", emit=quiet)).failed


def test_a_window_has_a_thousand_tokens_unless_lines_are_asked_for():
    say, _ = talk(3000)
    say("open", id="https://a.example/one")
    shown = say("open").text.split("\n\n", 1)[1].split("\n")
    counted = sum(say.browser._count(line) + 1 for line in shown)
    assert VIEW_TOKENS <= counted < VIEW_TOKENS + 40
    assert len(say("open", num_lines=400).text.split("\n")) == 403
    assert len(say("open", num_lines=100_000).text.split("\n")) < 1500


def test_pages_are_kept_within_bounds_and_the_model_is_told():
    pages = [make_page(f"https://a/{n}", f"{n}", "x" * 50_000) for n in range(9)]
    backend = Pages({page.url: page for page in pages})
    say = Talk(Browser(backend, session=BrowserSession(max_bytes=700_000)))
    for page in pages:
        say("open", id=page.url)
    assert "no longer kept: open it again" in say("open", cursor=0).text
    assert say("open", cursor=8).text.startswith("[9] 8 ")
    source = say.browser.session.source(0)
    assert source is not None
    assert source.url == "https://a/0"


def test_citations_of_results_mean_the_hit_and_of_matches_their_page():
    say, _ = talk()
    say("search", query="cats")
    session = say.browser.session
    assert session.source(0, 2) is None
    source = session.source(0, 5)
    assert source is not None
    assert source.url == "https://b.org/"
    say("open", id=0)
    say("find", pattern="cats")
    source = session.source(2, 5)
    assert source is not None
    assert (source.url, source.title) == ("https://a.example/one", "One")
    assert session.source(99) is None


def test_a_url_that_no_page_led_to_needs_a_look():
    say, _ = talk()
    tool = say.tools["open"]
    assert tool.need({"id": "https://evil.example/?q=secret"}).approval == "ask"
    assert tool.need({"id": "evil.example"}).approval == "ask"
    say("search", query="cats")
    assert tool.need({"id": "https://a.example/one"}).approval == "always"
    assert tool.need({"id": 0}).approval == "always"
    assert tool.need({"id": []}).approval == "always"
    assert say.tools["search"].need({"query": "cats"}).summary == "browser.search cats"


# Over the network.


class Web(Pages):
    web = True


def over_the_net(found, **more) -> Talk:
    return Talk(Browser(Web({}), Guard(GuardPolicy(allow=(found.allowed,), **more))))


def test_pages_are_fetched_through_the_guard():
    async def latin(request: web.BaseRequest) -> web.StreamResponse:
        return web.Response(
            body="<title>ü</title><a href=next>é</a>".encode("latin-1"),
            headers={"Content-Type": "text/html; charset=iso-8859-1"},
        )

    async def broken(request: web.BaseRequest) -> web.StreamResponse:
        return web.Response(body=b"\xff\xfe\xff<p>\xc3(", content_type="text/html", charset="x")

    async def go() -> None:
        async with site(page=latin, next="<p>the next</p>", broken=broken) as found:
            browser = over_the_net(found).browser
            assert "[0] ü (" in (await browser.open({"id": found.url("/page")})).text
            out = await browser.open({"id": 0})
            assert "the next" in out.text
            assert (await browser.open({"id": found.url("/broken")})).text
            missing = await browser.open({"id": found.url("/missing")})
            assert "[HTTP status 404]" in missing.text
            assert "nothing here" in missing.text
            source = await browser.open({"id": found.url("/next"), "view_source": True})
            assert "<p>the next</p>" in source.text

    asyncio.run(go())


def test_a_page_inside_is_not_opened_however_it_is_reached():
    async def go() -> None:
        async with site(secret="keys") as inside:
            links = f"<a href='{inside.url('/secret')}'>click</a>"
            async with site(page=links, out=redirect(inside.url("/secret"))) as found:
                say = over_the_net(found)
                tools = say.tools
                await tools["open"].call({"id": found.url("/page")}, emit=quiet)
                for id in (0, found.url("/out"), inside.url("/secret"), "file:///etc/passwd"):
                    out = await tools["open"].call({"id": id}, emit=quiet)
                    assert out.failed
                    assert out.text.startswith("Error fetching URL")
                assert inside.asked == []

    asyncio.run(go())


def test_what_the_operator_allows_inside_is_no_business_of_a_search_service():
    async def go() -> None:
        async with site(page="<p>wiki") as found:
            backend = Web({})
            browser = Browser(backend, Guard(GuardPolicy(allow=(found.allowed,))))
            await browser.open({"id": found.url("/page")})
            assert backend.opened == []

    asyncio.run(go())


def test_a_large_page_is_cut_and_says_so():
    async def go() -> None:
        async with site(page="<p>" + "word " * 100_000) as found:
            browser = over_the_net(found, max_bytes=10_000).browser
            await browser.open({"id": found.url("/page")})
            out = await browser.open({"loc": 120})
            assert "The rest of this page is not shown" in out.text

    asyncio.run(go())
