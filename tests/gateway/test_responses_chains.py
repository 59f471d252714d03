"""What requests build on: previous responses, conversations, items by id; and whose they are."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from tests.gateway.governing import add_key, bearer, with_keys
from tests.gateway.responding import (
    PATH,
    WEATHER,
    answer,
    calling,
    create,
    created,
    said,
    stored,
    streamed,
    thought,
)
from tests.gateway.serving import Gateway, StepEngine

from antiphon.codec.encoded import EncodedTexts
from antiphon.codec.render import Renderer
from antiphon.settings.model import Settings, VisibilitySettings
from antiphon.store.open import Stores, memory_stores
from antiphon.turn.prompt import renderer
from antiphon.vocab.table import token_bytes

CONVERSATIONS = "/v1/conversations"


def prompt(engine: StepEngine, at: int = -1) -> str:
    return b"".join(token_bytes(t) or b"" for t in engine.requests[at].prompt).decode()


def result_for(call: dict[str, Any], output: str = "rain") -> dict[str, Any]:
    return {"type": "function_call_output", "call_id": call["call_id"], "output": output}


# Chains


def test_a_response_goes_on_from_the_one_before() -> None:
    engine = StepEngine(thought("Hm."), answer("Hello, Alice."))
    with Gateway(engine) as gateway:
        first = created(gateway, "I am Alice.")
        second = created(gateway, "Who am I?", previous_response_id=first["id"])
        third = streamed(gateway, "Sure?", previous_response_id=second["id"])[-1]["response"]
    assert third["previous_response_id"] == second["id"]
    text = prompt(engine)
    assert text.index("I am Alice.") < text.index("Who am I?") < text.index("Sure?")
    assert text.count("Hello, Alice.") == 2
    assert "Hm." not in text


def test_in_a_tool_loop_a_prompt_begins_with_the_one_before_and_what_was_said() -> None:
    engine = StepEngine(thought("Look it up."), calling("get_weather", '{"city":"Oslo"}'))
    with Gateway(engine) as gateway:
        first = created(gateway, tools=[WEATHER])
        for _ in range(3):
            before = [*engine.requests[-1].prompt]
            spoken = [token for step in engine.steps for token in step]  # type: ignore[union-attr]
            first = created(
                gateway,
                [result_for(first["output"][-1])],
                tools=[WEATHER],
                previous_response_id=first["id"],
            )
            assert engine.requests[-1].prompt[: len(before) + len(spoken)] == [*before, *spoken]


def test_instructions_are_not_inherited() -> None:
    engine = StepEngine(answer("Yes."))
    with Gateway(engine) as gateway:
        first = created(gateway, instructions="Talk like a pirate.")
        second = created(gateway, previous_response_id=first["id"])
        third = created(gateway, previous_response_id=second["id"], instructions="Be brief.")
    assert first["instructions"] == "Talk like a pirate."
    assert second["instructions"] is None
    assert third["instructions"] == "Be brief."
    assert "pirate" in prompt(engine, 0)
    assert "pirate" not in prompt(engine, 1)


def test_a_chain_can_branch() -> None:
    engine = StepEngine(answer("Yes."))
    with Gateway(engine) as gateway:
        first = created(gateway, "Root")
        for branch in ("Left", "Right"):
            created(gateway, branch, previous_response_id=first["id"])
    assert "Left" in prompt(engine, 1)
    assert "Left" not in prompt(engine, 2)


def test_a_chain_is_the_same_for_a_server_that_did_not_make_it() -> None:
    stores = memory_stores(Settings())
    one, two = StepEngine(thought("Hm."), answer("Yes.")), StepEngine(answer("No."))
    with Gateway(one, stores=stores) as gateway:
        first = created(gateway, "One")
        second = created(gateway, "Two", previous_response_id=first["id"])
        created(gateway, "Three", previous_response_id=second["id"])
    with Gateway(two, stores=stores) as gateway:
        created(gateway, "Three", previous_response_id=second["id"])
    assert two.requests[0].prompt == one.requests[-1].prompt


def _a_chain(
    engine: StepEngine, stores: Stores, turns: range, previous: str | None
) -> tuple[str | None, list[str]]:
    """Some turns with calls in between, at one server: the last response and what was said."""
    texts: list[str] = []
    with Gateway(engine, stores=stores) as gateway:
        for turn in turns:
            question, city = f"What about day {turn}?", f'{{"city":"Oslo {turn}"}}'
            result, end = f"rain on day {turn}", f"It rains on day {turn}."
            engine.steps = [thought(f"Look up day {turn}."), calling("get_weather", city)]
            told = created(
                gateway, question, tools=[WEATHER], previous_response_id=previous, instructions="A"
            )
            engine.steps = [thought(f"So day {turn}."), answer(end)]
            done = created(
                gateway,
                [result_for(told["output"][-1], result)],
                tools=[WEATHER],
                previous_response_id=told["id"],
            )
            previous = done["id"]
            texts += [question, f"Look up day {turn}.", city, result, end]
    return previous, texts


def test_each_item_of_a_chain_is_encoded_once_also_by_a_server_that_did_not_make_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked: Counter[str] = Counter()
    encode = Renderer.encode

    def counted(self: Renderer, text: str) -> list[int]:
        asked[text] += 1
        return encode(self, text)

    monkeypatch.setattr(Renderer, "encode", counted)
    stores = memory_stores(Settings())
    engine = StepEngine()
    last: str | None = None
    texts: list[str] = []
    for server in range(3):
        renderer.cache_clear()  # As in a new process.
        last, more = _a_chain(engine, stores, range(server * 3, server * 3 + 3), last)
        texts += more
    assert {text: asked[text] for text in texts} == dict.fromkeys(texts, 1)
    told = [request.prompt for request in engine.requests]
    # Without what was kept, the prompts are the same.
    monkeypatch.setattr(EncodedTexts, "find", lambda self, text: None)
    renderer.cache_clear()
    again = StepEngine()
    _a_chain(again, memory_stores(Settings()), range(9), None)
    assert [request.prompt for request in again.requests] == told


def test_a_chain_with_a_deleted_link_is_broken() -> None:
    stores = memory_stores(Settings())
    with Gateway(StepEngine(answer("Yes.")), stores=stores) as gateway:
        first = created(gateway, "One")
        second = created(gateway, "Two", previous_response_id=first["id"])
        gateway.send("DELETE", f"{PATH}/{second['id']}")
        lost = create(gateway, "Three", previous_response_id=second["id"])
    assert (lost.status, lost.error["code"]) == (404, "previous_response_not_found")


def test_an_incomplete_response_can_be_gone_on_from() -> None:
    engine = StepEngine(answer("Yes."))
    with Gateway(engine) as gateway:
        engine.steps = [answer("One two three four")[:-1]]
        first = created(gateway, "Count", stream=False)
        created(gateway, "Go on", previous_response_id=first["id"])
    assert "One two three four" in prompt(engine)


def test_a_result_without_its_call_is_refused_where_the_history_is_known() -> None:
    orphan = [{"type": "function_call_output", "call_id": "call_no", "output": "x"}]
    with Gateway(StepEngine(answer("Yes."))) as gateway:
        first = created(gateway)
        refused = create(gateway, orphan, previous_response_id=first["id"])
        tolerated = create(gateway, orphan)
    assert (refused.status, refused.error["code"]) == (400, "tool_call_not_found")
    assert refused.error["param"] == "input[0].call_id"
    assert tolerated.status == 200


def test_items_can_be_named_by_their_id() -> None:
    engine = StepEngine(thought("Look."), calling("get_weather", '{"city":"Oslo"}'))
    with Gateway(engine) as gateway:
        first = created(gateway, "Weather?", tools=[WEATHER])
        (asked,) = gateway.send("GET", f"{PATH}/{first['id']}/input_items").json["data"]
        engine.steps = [answer("Rain.")]
        items = [{"type": "item_reference", "id": each["id"]} for each in [asked, *first["output"]]]
        created(gateway, [*items, result_for(first["output"][-1])], tools=[WEATHER])
        lost = create(gateway, [{"type": "item_reference", "id": "msg_nobody00000"}])
    before = [*engine.requests[0].prompt, *thought("Look.")]
    assert engine.requests[1].prompt[: len(before)] == before
    assert (lost.status, lost.error["code"]) == (404, "item_not_found")


def test_reasoning_that_is_not_shown_is_there_for_the_next_request() -> None:
    settings = Settings(visibility=VisibilitySettings(reasoning=False))
    stores = memory_stores(settings)
    engine = StepEngine(thought("Hidden thought."), calling("get_weather", "{}"))
    with Gateway(engine, settings, stores=stores) as gateway:
        first = created(gateway, tools=[WEATHER])
        assert "Hidden" not in str(stored(gateway, first["id"]).json)
    with Gateway(engine, settings, stores=stores) as gateway:
        created(
            gateway,
            [result_for(first["output"][-1])],
            tools=[WEATHER],
            previous_response_id=first["id"],
        )
    assert "Hidden thought." in prompt(engine)


# Conversations


def test_a_conversation_collects_what_is_said() -> None:
    engine = StepEngine(thought("Hm."), answer("Hello, Bob."))
    with Gateway(engine) as gateway:
        items = [{"role": "user", "content": "I am Bob."}]
        conversation = gateway.send("POST", CONVERSATIONS, {"items": items}).json
        path = f"{CONVERSATIONS}/{conversation['id']}"
        one = created(gateway, "Who am I?", conversation=conversation["id"])
        two = streamed(gateway, "Sure?", conversation={"id": conversation["id"]})[-1]["response"]
        listed = gateway.send("GET", f"{path}/items?order=asc").json
        added = listed["data"][1]
        found = gateway.send("GET", f"{path}/items/{added['id']}").json
        gone = gateway.send("DELETE", f"{path}/items/{added['id']}").json
        left = gateway.send("GET", f"{path}/items").json["data"]
    assert one["conversation"] == two["conversation"] == {"id": conversation["id"]}
    kinds = [item["type"] for item in listed["data"]]
    assert kinds == ["message", "message", "reasoning", "message", *kinds[1:4]]
    assert found == added
    assert gone["id"] == conversation["id"]
    assert added["id"] not in [item["id"] for item in left]
    text = prompt(engine)
    assert text.index("I am Bob.") < text.index("Who am I?") < text.index("Sure?")


def test_a_conversation_has_metadata_and_an_end() -> None:
    with Gateway(StepEngine()) as gateway:
        empty = gateway.send("POST", CONVERSATIONS)
        conversation = gateway.send("POST", CONVERSATIONS, {"metadata": {"a": "b"}}).json
        path = f"{CONVERSATIONS}/{conversation['id']}"
        updated = gateway.send("POST", path, {"metadata": {"c": "d"}}).json
        read = gateway.send("GET", path).json
        items = [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Ho"}]
        added = gateway.send("POST", f"{path}/items", {"items": items}).json
        deleted = gateway.send("DELETE", path).json
        lost = [
            gateway.send("GET", path),
            gateway.send("POST", path, {"metadata": {}}),
            gateway.send("DELETE", path),
            gateway.send("GET", f"{path}/items"),
            gateway.send("POST", f"{path}/items", {"items": items}),
            create(gateway, conversation=conversation["id"]),
        ]
    assert empty.json["metadata"] == {}
    assert (conversation["object"], conversation["metadata"]) == ("conversation", {"a": "b"})
    assert updated == read == {**conversation, "metadata": {"c": "d"}}
    assert [item["role"] for item in added["data"]] == ["user", "assistant"]
    assert deleted["object"] == "conversation.deleted"
    assert [each.status for each in lost] == [404] * 6


def test_a_failed_response_adds_nothing_to_its_conversation() -> None:
    engine = StepEngine(thought("Hm."), RuntimeError("boom"))
    with Gateway(engine) as gateway:
        id_ = gateway.send("POST", CONVERSATIONS, {}).json["id"]
        streamed(gateway, conversation=id_)
        assert gateway.send("GET", f"{CONVERSATIONS}/{id_}/items").json["data"] == []


# Whose


def test_what_belongs_to_another_key_is_not_there(tmp_path: Path) -> None:
    file = tmp_path / "keys.toml"
    mine, theirs = (bearer(add_key(file, name)) for name in ("mine", "theirs"))
    with Gateway(StepEngine(answer("Yes.")), with_keys(file)) as gateway:
        response = create(gateway, headers=mine).json["id"]
        conversation = gateway.send("POST", CONVERSATIONS, {}, mine).json["id"]
        chat = gateway.send(
            "POST",
            "/v1/chat/completions",
            {"model": "m", "messages": [{"role": "user", "content": "Hi"}], "store": True},
            mine,
        ).json["id"]
        item = {"items": [{"role": "user", "content": "Hi"}]}
        tried = [
            gateway.send("GET", f"{PATH}/{response}", None, theirs),
            gateway.send("GET", f"{PATH}/{response}?stream=true", None, theirs),
            gateway.send("GET", f"{PATH}/{response}/input_items", None, theirs),
            gateway.send("POST", f"{PATH}/{response}/cancel", {}, theirs),
            gateway.send("DELETE", f"{PATH}/{response}", None, theirs),
            create(gateway, previous_response_id=response, headers=theirs),
            create(gateway, conversation=conversation, headers=theirs),
            gateway.send("GET", f"{CONVERSATIONS}/{conversation}", None, theirs),
            gateway.send("POST", f"{CONVERSATIONS}/{conversation}/items", item, theirs),
            gateway.send("DELETE", f"{CONVERSATIONS}/{conversation}", None, theirs),
            gateway.send("GET", f"/v1/chat/completions/{chat}", None, theirs),
            gateway.send("DELETE", f"/v1/chat/completions/{chat}", None, theirs),
        ]
        listed = gateway.send("GET", "/v1/chat/completions", None, theirs).json["data"]
        still = gateway.send("GET", f"{PATH}/{response}", None, mine)
    assert [each.status for each in tried] == [404] * len(tried)
    assert listed == []
    assert still.status == 200


def test_what_is_sealed_for_one_key_does_not_open_for_another(tmp_path: Path) -> None:
    file = tmp_path / "keys.toml"
    mine, theirs = (bearer(add_key(file, name)) for name in ("mine", "theirs"))
    engine = StepEngine(thought("My secret."), calling("get_weather", "{}"))
    include = ["reasoning.encrypted_content"]
    with Gateway(engine, with_keys(file)) as gateway:
        reasoning, call = create(
            gateway, tools=[WEATHER], include=include, headers=mine, store=False
        ).json["output"]
        del reasoning["content"]
        history = [{"role": "user", "content": "Hi"}, reasoning, call, result_for(call)]
        create(gateway, history, tools=[WEATHER], headers=theirs)
        assert "My secret." not in prompt(engine)
        create(gateway, history, tools=[WEATHER], headers=mine)
        assert "My secret." in prompt(engine)


# Made short


def test_a_compacted_conversation_is_gone_on_from_with_its_summary() -> None:
    engine = StepEngine(answer("Notes: the code word is quartz."))
    items = [
        {"role": "developer", "content": "Be kind."},
        {"role": "user", "content": "The code word is quartz."},
        {"role": "assistant", "content": "Noted."},
        {"role": "user", "content": "Tell me a joke."},
        {"role": "assistant", "content": "Knock, knock."},
    ]
    with Gateway(engine) as gateway:
        compacted = gateway.send("POST", f"{PATH}/compact", {"model": "m", "input": items}).json
        told = prompt(engine)
        engine.steps = [answer("quartz")]
        created(gateway, [*compacted["output"], {"role": "user", "content": "The word?"}])
        counted = gateway.send(
            "POST", f"{PATH}/input_tokens", {"model": "m", "input": compacted["output"]}
        ).json
    (item,) = compacted["output"]
    assert compacted["object"] == "response.compaction"
    assert item["type"] == "compaction"
    assert "quartz" not in item["encrypted_content"]
    assert compacted["usage"]["output_tokens"] > 0
    assert "The code word is quartz." in told
    after = prompt(engine)
    assert "The code word is quartz." not in after
    assert "Notes: the code word is quartz." in after
    order = [after.index(text) for text in ("Be kind.", "Notes:", "joke", "Knock", "The word?")]
    assert order == sorted(order)
    assert counted["input_tokens"] > 30


def test_an_open_tool_loop_stays_whole_when_compacted() -> None:
    engine = StepEngine(answer("Notes."))
    call = {"type": "function_call", "call_id": "call_1", "name": "get_weather", "arguments": "{}"}
    items: list[dict[str, Any]] = [
        {"role": "user", "content": "Old."},
        {"role": "assistant", "content": "Old answer."},
        {"role": "user", "content": "Weather?"},
        {"type": "reasoning", "summary": [], "content": [{"type": "reasoning_text", "text": "R."}]},
        call,
        result_for(call),
    ]
    with Gateway(engine) as gateway:
        plain = created(gateway, items[2:], tools=[WEATHER], store=False)
        whole = prompt(engine)
        compacted = gateway.send("POST", f"{PATH}/compact", {"model": "m", "input": items}).json
        created(gateway, compacted["output"], tools=[WEATHER], store=False)
    assert plain["status"] == "completed"
    assert prompt(engine).endswith(whole[whole.index("Weather?") :])
    assert "Old answer." not in prompt(engine)


def test_a_stored_chain_can_be_compacted_and_compacted_again() -> None:
    engine = StepEngine(answer("Notes."))
    with Gateway(engine) as gateway:
        first = created(gateway, "One")
        second = created(gateway, "Two", previous_response_id=first["id"])
        body = {"model": "m", "previous_response_id": second["id"]}
        once = gateway.send("POST", f"{PATH}/compact", body).json
        items = [*once["output"], {"role": "user", "content": "Three"}]
        twice = gateway.send("POST", f"{PATH}/compact", {"model": "m", "input": items}).json
        final = created(gateway, [*twice["output"], {"role": "user", "content": "Four"}])
    assert said(final) == "Notes."
    text = prompt(engine)
    assert "Three" in text
    assert "Four" in text
    assert "One" not in text


def test_compacting_needs_a_model_and_something_to_compact() -> None:
    with Gateway(StepEngine()) as gateway:
        nameless = gateway.send("POST", f"{PATH}/compact", {"input": "Hi"})
        empty = gateway.send("POST", f"{PATH}/compact", {"model": "m", "input": []})
        forged = create(gateway, [{"type": "compaction", "encrypted_content": "AAAA"}])
    assert (nameless.status, nameless.error["param"]) == (400, "model")
    assert (empty.status, empty.error["param"]) == (400, "input")
    assert (forged.status, forged.error["code"]) == (400, "invalid_encrypted_content")
