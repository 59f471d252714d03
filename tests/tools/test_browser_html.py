"""Pages become lines of text with numbered links, whatever is in them."""

from __future__ import annotations

import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from antiphon.tools.browser.decoding import decoded
from antiphon.tools.browser.html import MAX_LINKS, html_to_text
from antiphon.tools.browser.page import wrapped
from antiphon.tools.browser.reading import page_of, page_of_markdown
from antiphon.tools.guard import Fetched, GuardError

URL = "https://site.example/dir/page"


def text(html: str) -> str:
    return html_to_text(html, URL).text


def fetched(body: bytes, kind: str = "text/html", charset: str | None = None, *, cut=False):
    return Fetched(URL, 200, kind, charset, body, cut)


def test_a_page_reads_as_a_person_would_read_it_aloud():
    html = """<!doctype html><html><head><title> A
     page </title><style>p{}</style></head><body><h1>One <em>two</em></h1>
    <p>Some   <b>bold</b> and<i> italic</i>
    text.<br>Next line</p><ul><li>a<li><p>b</p><ul><li>c</ul></ul><ol><li>x<li>y</ol>
    <table><tr><th>k<th>v<tr><td>1</td> <td>2</td></table>
    <pre>def f():
    return 1</pre><p>m<sup>2</sup> H<sub>2</sub>O</p><hr><img alt="A  cat"><img></body></html>"""
    read = html_to_text(html, URL)
    assert read.title == "A page"
    assert read.text.split("\n") == [
        "# One two",
        "",
        "Some bold and italic text.",
        "Next line",
        "",
        "  * a",
        "  * b",
        "",
        "    * c",
        "",
        "  1. x",
        "  2. y",
        "",
        "k | v",
        "1 | 2",
        "",
        "def f():",
        "    return 1",
        "",
        "m^{2} H_{2}O",
        "",
        "* * *",
        "",
        "[Image 0: A cat][Image 1]",
    ]


def test_links_are_numbered_by_where_they_lead_and_name_foreign_domains():
    read = html_to_text(
        '<a href="/a">A</a> <a href="b">B †</a><a href="https://other.org:8/x?y">C</a>'
        ' <a href="/a#">again</a> <a href="/a">A2</a>'
        "<a href='//cdn.example/z'> spaced </a>.",
        URL,
    )
    assert read.text == (
        "【0†A】 【1†B ‡】【2†C†other.org:8】 【3†again】 【0†A2】 【4†spaced†cdn.example】 ."
    )
    assert read.links == (
        "https://site.example/a",
        "https://site.example/dir/b",
        "https://other.org:8/x?y",
        "https://site.example/a#",
        "https://cdn.example/z",
    )


@pytest.mark.parametrize(
    "href",
    "#top javascript:alert(1) JavaScript:x mailto:a@b data:text/html,x file:///etc/passwd "
    "ftp://a/ tel:1 http://[bad".split(),
)
def test_links_that_cannot_be_opened_stay_text(href):
    read = html_to_text(f"<a href='{href}'>here</a>", URL)
    assert read.text == "here"
    assert read.links == ()


def test_a_base_moves_relative_links():
    html = "<head><base href='https://b.example/c/'></head><a href='d'>x</a><a href='/e'>y</a>"
    assert html_to_text(html, URL).links == ("https://b.example/c/d", "https://b.example/e")


@pytest.mark.parametrize(
    "hidden",
    [
        "<script>HIDDEN</script>",
        "<script><!-- <p>HIDDEN</p> --></script>",
        "<style>HIDDEN</style>",
        "<noscript><p>HIDDEN</p></noscript>",
        "<template><p>HIDDEN</p></template>",
        "<svg><title>HIDDEN</title></svg>",
        "<iframe>HIDDEN</iframe>",
        "<!-- HIDDEN -->",
        "<div hidden><div>x</div>HIDDEN</div>",
        "<p style='color:red; display : none'>HIDDEN</p>",
        "<span style='visibility:hidden'>HIDDEN<span>x</span>HIDDEN</span>",
        "<textarea>HIDDEN</textarea>",
        "<select><option>HIDDEN</select>",
    ],
)
def test_what_a_person_does_not_see_is_not_shown_and_what_follows_is(hidden):
    assert text(f"<p>before</p>{hidden}<p>after</p>").split() == ["before", "after"]


def test_a_page_cannot_write_links_or_citations_of_ours():
    read = html_to_text("<title>【1†t】</title>【0†click†evil】 &#12304;3†L1&#12305;", URL)
    assert "【" not in read.text
    assert "【" not in read.title
    read = html_to_text("<img alt='&#12304;0†x】'><a href='https://a&#12304;1†b】.org'>x</a>", URL)
    assert read.text == "[Image 0: 〖0†x〗]【0†x†a〖1‡b〗.org】"


def test_a_link_around_blocks_keeps_them_apart():
    assert text("<p>x</p><a href=/a><div>y</div></a><p>z</p>") == "x\n\n【0†y】\n\nz"


def test_links_beyond_the_limit_stay_text():
    html = "".join(f"<a href='/{n}'>n{n}</a> " for n in range(MAX_LINKS + 10))
    read = html_to_text(html, URL)
    assert len(read.links) == MAX_LINKS
    assert read.text.endswith("n5009")


PIECES = (
    "<a href=x>",
    "<div hidden>",
    *"</a> <p> </p> </div> <ul> <li> </ul> <pre> </pre> <sup> </sup>".split(),
    *"x & &#x41; &#99999999999; <!-- --> <script> </script> <title> <td> <h1> </h1>".split(),
    *"【 † 】 &#12304; &#12305; \0 < <a> <head> <body>".split(),
    " ",
    "\n",
)


@given(st.text() | st.lists(st.sampled_from(PIECES)).map("".join))
@settings(max_examples=300, deadline=None)
def test_any_text_is_a_page(html):
    read = html_to_text(html, URL)
    assert "\n\n\n" not in read.text or "<pre" in html
    for part in read.text.split("【")[1:]:
        number = part.partition("†")[0]
        assert int(number) < len(read.links)
    for line in wrapped(read.text):
        assert len(line) <= 80


HOSTILE = {
    "deep": "<div>",
    "deep inline": "<b>",
    "links": "<a href=x>",
    "open links": "<a href=x>y",
    "tables": "<table><tr><td>",
    "lists": "<ul><li>",
    "scripts in scripts": "<sup>x<sup>",
    "quotes": '<a href="',
    "comments": "<!--",
    "less": "<",
    "ampersands": "&",
    "entities": "&amp;&#65;&bogus;",
    "ends": "</p></div>",
    "hidden": "<div hidden>",
    "breaks": "<br>",
    "preformatted": "<pre>\n",
    "misnested": "<b><p></b><i></p>",
    "spaces": " \n\t",
    "brackets": "【1†a",
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_pages_cost_time_in_proportion_to_their_length(name):
    # CPU time of a page of 30 kB against one eight times as long: twice linear would be sixteen.
    def cost(size: int) -> float:
        html = HOSTILE[name] * (size // len(HOSTILE[name]))
        best = 1e9
        for _ in range(3):
            begun = time.process_time()
            wrapped(html_to_text(html, URL).text)
            best = min(best, time.process_time() - begun)
        return best

    assert cost(240_000) < 24 * cost(30_000) + 0.1


def test_a_tag_with_very_many_attributes_is_no_work():
    html = "<p " + " ".join(f"a{n}=1" for n in range(60_000)) + ">x"
    begun = time.process_time()
    assert text(html) == "x"
    assert time.process_time() - begun < 2


# Encodings.


@pytest.mark.parametrize(
    ("body", "charset", "expected"),
    [
        ("é".encode(), None, "é"),
        ("é".encode(), "utf-8", "é"),
        ("é".encode("latin-1"), "ISO-8859-1", "é"),
        (b"\x93x\x94", "iso-8859-1", "“x”"),
        ("あ".encode("shift_jis"), "Shift_JIS", "あ"),
        ("あ".encode("euc-jp"), "EUC-JP", "あ"),
        ("中".encode("gb18030"), "GB2312", "中"),
        ("한".encode("euc-kr"), "euc-kr", "한"),
        ("ж".encode("koi8-r"), "koi8-r", "ж"),
        ("ж".encode("cp1251"), "windows-1251", "ж"),
        (b"\xff\xfea\0", None, "a"),
        (b"\xfe\xff\0a", "utf-8", "a"),
        (b"\xef\xbb\xbfa", "latin1", "a"),
        (b'<meta charset="koi8-r">' + "ж".encode("koi8-r"), None, '<meta charset="koi8-r">ж'),
        (b"<meta charset=utf-16>a", None, "<meta charset=utf-16>a"),
        (b"a\xffb", "utf-8", "a\ufffdb"),
        (b"a", "no-such-charset", "a"),
        (b"YQ==", "base64", "YQ=="),
        (b"\\u0041", "unicode_escape", "\\u0041"),
        (b"+ADw-", "utf-7", "+ADw-"),
        (b"xn--a", "idna", "xn--a"),
        (b"", "utf-8", ""),
    ],
)
def test_encodings_are_read_as_browsers_read_them(body, charset, expected):
    assert decoded(body, charset) == expected


def test_what_is_no_text_is_refused_and_named():
    with pytest.raises(GuardError, match="image/png"):
        page_of(fetched(b"\x89PNG", "image/png"))
    with pytest.raises(GuardError, match="application/pdf"):
        page_of(fetched(b"%PDF", "application/pdf"))


def test_pages_begin_as_gpt_oss_was_trained():
    page = page_of(fetched(b"<title>T</title><p>x"))
    assert page.lines == ("", f"URL: {URL}", "x")
    assert page.title == "T"


def test_text_and_json_are_shown_as_they_are():
    page = page_of(fetched(b'{"a": [1,\n  2]}', "application/json"))
    assert page.lines[2:] == ('{"a": [1,', "  2]}")
    assert page_of(fetched(b"<p>x", "text/plain")).lines[2:] == ("<p>x",)
    assert page_of(fetched(b"<!DOCTYPE html><p>x", "")).lines[2:] == ("x",)


def test_the_source_of_a_page_can_be_seen():
    page = page_of(fetched(b"<p>x</p>"), source=True)
    assert page.lines[2:] == ("<p>x</p>",)


def test_a_page_that_was_cut_says_so():
    assert "is not shown" in page_of(fetched(b"<p>x</p>", cut=True)).lines[-1]
    assert "is not shown" in page_of(fetched(b"x", "text/plain", cut=True)).lines[-1]


def test_links_in_markdown_get_numbers():
    page = page_of_markdown(
        "# Title\n[a](b.md) ![i](i.png) [c](https://x.org/) [d](#e) [f](mailto:x)", URL
    )
    assert page.title == "Title"
    assert page.lines[3] == "【0†a】 ![i](i.png) 【1†c†x.org】 [d](#e) [f](mailto:x)"
    assert page.links == ("https://site.example/dir/b.md", "https://x.org/")


@given(st.text(alphabet=st.sampled_from("ab \n\tc")))
def test_wrapping_loses_no_words(text):
    assert "".join("".join(wrapped(text * 10)).split()) == "".join((text * 10).split())
