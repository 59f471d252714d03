"""``web_search`` as a tool of the server: items, events, citations, what is kept, who may."""

from __future__ import annotations

from pathlib import Path

from tests.gateway.responding import said
from tests.gateway.tooling import SEARCH, Site, answers, browses, thinks, types

LOOKED_UP = (
    thinks("I look it up.", browses("search", '{"query": "purr"}')),
    browses("open", '{"id": 0}'),
    answers("They are content【1†L4】."),
)


def test_a_question_is_looked_up_and_the_answer_cites_the_page(tmp_path: Path) -> None:
    site = Site(tmp_path, *LOOKED_UP)
    with site.gateway() as gateway:
        response = site.created(gateway, "Why do cats purr?", tools=[SEARCH])
    assert types(response) == ["reasoning", "web_search_call", "web_search_call", "message"]
    search, opened, message = response["output"][1:]
    assert search["action"] == {"type": "search", "query": "purr", "queries": ["purr"]}
    assert opened["action"] == {"type": "open_page", "url": "https://docs.example/cats.md"}
    assert said(response) == ("They are content ([docs.example](https://docs.example/cats.md)).")
    (note,) = message["content"][0]["annotations"]
    assert note["title"] == "Keeping cats"
    assert said(response)[note["start_index"] : note["end_index"]].startswith("([docs.example]")
    site.prefixes_hold()
    assert response["usage"]["input_tokens"] == sum(len(r.prompt) for r in site.engine.requests)


def test_a_stream_has_the_events_of_each_call(tmp_path: Path) -> None:
    site = Site(tmp_path, *LOOKED_UP)
    with site.gateway() as gateway:
        events = site.streamed(gateway, "Why do cats purr?", tools=[SEARCH])
    kinds = [event["type"] for event in events]
    assert kinds.count("response.web_search_call.completed") == 2
    assert "response.output_text.annotation.added" in kinds
    assert types(events[-1]["response"])[-1] == "message"
