"""The server's own tools in Chat Completions."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tests.gateway.serving import Answer, Gateway
from tests.gateway.tooling import Site, answers, browses, thinks

LOOKED_UP = (
    thinks("I look it up.", browses("search", '{"query": "purr"}')),
    browses("open", '{"id": 0}'),
    answers("They are content【1†L4】."),
)
TEXT = "They are content ([docs.example](https://docs.example/cats.md))."


def chat(site: Site, gateway: Gateway, **parameters: Any) -> Answer:
    body = {"model": "m", "messages": [{"role": "user", "content": "Why?"}], **parameters}
    return gateway.send("POST", "/v1/chat/completions", body, site.bearer)


def test_web_search_options_turn_the_search_on_and_the_answer_cites(tmp_path: Path) -> None:
    site = Site(tmp_path, *LOOKED_UP)
    with site.gateway() as gateway:
        got = chat(site, gateway, web_search_options={"search_context_size": "low"})
    (choice,) = got.json["choices"]
    assert "antiphon-ignored" not in got.headers
    assert choice["finish_reason"] == "stop"
    assert choice["message"]["content"] == TEXT
    assert "tool_calls" not in choice["message"]
    (note,) = choice["message"]["annotations"]
    cited = note["url_citation"]
    assert TEXT[cited["start_index"] : cited["end_index"]].startswith("([docs.example]")
    site.prefixes_hold()


def test_a_stream_has_the_annotations_before_its_end(tmp_path: Path) -> None:
    site = Site(tmp_path, *LOOKED_UP)
    with site.gateway() as gateway:
        got = chat(site, gateway, tools=[{"type": "web_search"}], stream=True)
    assert got.text == TEXT
    deltas = [e["choices"][0]["delta"] for e in got.events if isinstance(e, dict) and e["choices"]]
    (notes,) = [delta["annotations"] for delta in deltas if "annotations" in delta]
    assert notes[0]["url_citation"]["url"] == "https://docs.example/cats.md"
    assert not any("tool_calls" in delta for delta in deltas)


def test_a_location_may_stand_as_chat_has_it(tmp_path: Path) -> None:
    site = Site(tmp_path, answers("Hello."))
    place = {"type": "approximate", "approximate": {"city": "Oslo", "country": "NO"}}
    with site.gateway() as gateway:
        chat(site, gateway, web_search_options={"user_location": place})
    assert "The user is approximately in Oslo, NO." in site.engine.text(0)


def test_several_choices_are_refused_beside_it(tmp_path: Path) -> None:
    site = Site(tmp_path, answers("Hello."))
    with site.gateway() as gateway:
        got = chat(site, gateway, tools=[{"type": "web_search"}], n=2)
    assert (got.status, got.error["param"]) == (400, "n")


def test_what_is_not_offered_is_named_as_ignored(tmp_path: Path) -> None:
    site = Site(tmp_path, answers("Hello."), offered=())
    with site.gateway() as gateway:
        tool = chat(site, gateway, tools=[{"type": "web_search"}])
        options = chat(site, gateway, web_search_options={})
    assert tool.headers["antiphon-ignored"] == "tools[0].type=web_search"
    assert options.headers["antiphon-ignored"] == "web_search_options"
