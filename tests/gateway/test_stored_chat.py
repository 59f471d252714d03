"""Chat completions that are kept: ``store: true`` and the routes over what it keeps."""

from __future__ import annotations

from typing import Any

from tests.gateway.serving import Answer, Gateway, StepEngine, final

PATH = "/v1/chat/completions"


def test_a_completion_is_kept_when_it_is_to_be() -> None:
    with Gateway(StepEngine(final("Hello."))) as gateway:
        kept = gateway.chat(store=True, metadata={"topic": "greeting"})
        gateway.chat()
        listed = gateway.send("GET", PATH).json
        found = gateway.send("GET", f"{PATH}/{kept.json['id']}").json
    assert "antiphon-ignored" not in kept.headers
    assert [each["id"] for each in listed["data"]] == [kept.json["id"]]
    assert found == {**kept.json, "metadata": {"topic": "greeting"}}
    assert listed["has_more"] is False


def test_a_streamed_completion_is_kept_whole() -> None:
    with Gateway(StepEngine(final("Hello, you."))) as gateway:
        answer = gateway.chat(store=True, stream=True)
        (kept,) = gateway.send("GET", PATH).json["data"]
    assert answer.text == "Hello, you."
    assert kept["id"] == answer.events[0]["id"]
    assert kept["choices"][0]["message"]["content"] == "Hello, you."
    assert kept["usage"]["completion_tokens"] > 0


def test_its_messages_are_listed_in_order() -> None:
    messages: list[Any] = [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": [{"type": "text", "text": "Hi"}]},
    ]
    with Gateway(StepEngine(final("Hello."))) as gateway:
        body = {"model": "m", "messages": messages, "store": True}
        id_ = gateway.send("POST", PATH, body).json["id"]
        first = gateway.send("GET", f"{PATH}/{id_}/messages?limit=1").json
        rest = gateway.send("GET", f"{PATH}/{id_}/messages?after={first['last_id']}").json
    (system,), (user,) = first["data"], rest["data"]
    assert first["has_more"] is True
    assert (system["role"], system["content"]) == ("system", "Be brief.")
    assert (user["content"], user["content_parts"]) == ("Hi", messages[1]["content"])


def test_lists_are_filtered_by_model_and_metadata() -> None:
    def ids(answer: Answer) -> list[str]:
        return [each["id"] for each in answer.json["data"]]

    with Gateway(StepEngine(final("Hello."))) as gateway:
        red = gateway.chat(store=True, metadata={"colour": "red"}).json["id"]
        blue = gateway.chat(store=True, metadata={"colour": "blue"}).json["id"]
        assert ids(gateway.send("GET", f"{PATH}?metadata[colour]=red")) == [red]
        assert ids(gateway.send("GET", f"{PATH}?model=m&order=desc")) == [blue, red]
        assert ids(gateway.send("GET", f"{PATH}?model=other")) == []
        assert ids(gateway.send("GET", f"{PATH}?limit=1&after={red}")) == [blue]


def test_metadata_is_replaced_and_a_deleted_completion_is_gone() -> None:
    with Gateway(StepEngine(final("Hello."))) as gateway:
        path = f"{PATH}/{gateway.chat(store=True, metadata={'a': 'b'}).json['id']}"
        updated = gateway.send("POST", path, {"metadata": {"c": "d"}})
        read = gateway.send("GET", path)
        deleted = gateway.send("DELETE", path)
        again = [gateway.send(method, path) for method in ("GET", "DELETE")]
        lost = gateway.send("GET", f"{path}/messages")
    assert updated.json == read.json
    assert read.json["metadata"] == {"c": "d"}
    assert deleted.json["deleted"] is True
    assert [answer.status for answer in (*again, lost)] == [404, 404, 404]
    assert again[0].error["code"] == "not_found"


def test_metadata_to_keep_must_be_texts() -> None:
    with Gateway(StepEngine(final("Hello."))) as gateway:
        refused = gateway.chat(store=True, metadata={"a": 1})
        accepted = gateway.chat(metadata={"a": 1})
    assert (refused.status, refused.error["param"]) == (400, "metadata.a")
    assert accepted.status == 200
