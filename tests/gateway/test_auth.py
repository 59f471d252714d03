"""Who may do what, on a real socket: with no key, with keys, with an operator's key."""

from __future__ import annotations

import datetime as dt
from pathlib import Path

import pytest
from tests.gateway.governing import (
    Clock,
    add_key,
    answering,
    bearer,
    chat,
    with_keys,
)

from antiphon.errors import SettingsError
from antiphon.gateway.auth import check_bind
from antiphon.gateway.keyfile import KeyFile
from antiphon.gateway.keys import KeyRing, new_key, new_secret
from antiphon.settings.model import ServerSettings, Settings, VisibilitySettings


def test_without_keys_any_key_or_none_is_welcome() -> None:
    with answering() as gateway:
        assert chat(gateway).status == 200
        assert chat(gateway, bearer("none")).status == 200
        assert gateway.send("GET", "/metrics").status == 200


@pytest.mark.parametrize("header", ["authorization", "x-api-key"])
def test_with_keys_one_of_them_is_needed(tmp_path: Path, header: str) -> None:
    secret = add_key(tmp_path / "keys.toml")
    value = f"Bearer {secret}" if header == "authorization" else secret
    with answering(settings=with_keys(tmp_path / "keys.toml")) as gateway:
        assert chat(gateway, {header: value}).status == 200
        for wrong in ({}, {header: value[:-1]}, {header: ""}, {header: "Bearer"}):
            answer = chat(gateway, wrong)
            assert answer.status == 401
            assert answer.error["code"] == "invalid_api_key"
            assert answer.error["type"] == "authentication_error"
            assert answer.headers["www-authenticate"] == "Bearer"
            assert answer.headers["x-request-id"]
        assert len(gateway.engine.requests) == 1


def test_every_route_but_health_needs_a_key(tmp_path: Path) -> None:
    add_key(tmp_path / "keys.toml")
    with answering(settings=with_keys(tmp_path / "keys.toml")) as gateway:
        for path in ("/v1/models", "/v1/models/m", "/metrics", "/openapi.json", "/nowhere"):
            assert gateway.send("GET", path).status == 401, path
        for path in ("/v1/chat/completions", "/v1/completions", "/v1/embeddings", "/rerank"):
            assert gateway.send("POST", path, {}).status == 401, path
        assert gateway.send("GET", "/health").status == 200
        assert gateway.send("GET", "/ready").status == 200


def test_an_expired_key_is_refused_and_says_so(tmp_path: Path) -> None:
    secret = add_key(tmp_path / "keys.toml", expires=dt.date(2026, 11, 21))
    clock = Clock()
    with answering(settings=with_keys(tmp_path / "keys.toml"), clock=clock) as gateway:
        assert chat(gateway, bearer(secret)).status == 200
        clock.date += dt.timedelta(days=1)
        answer = chat(gateway, bearer(secret))
        assert answer.status == 401
        assert "2026-11-21" in answer.error["message"]


def test_a_key_may_be_bound_to_models(tmp_path: Path) -> None:
    path = tmp_path / "keys.toml"
    bound, free = add_key(path, "bound", models=("other",)), add_key(path, "free", models=("m",))
    with answering(settings=with_keys(path)) as gateway:
        answer = chat(gateway, bearer(bound))
        assert (answer.status, answer.error["code"]) == (403, "model_not_allowed")
        assert answer.error["param"] == "model"
        raw = {"model": "m", "prompt": "Hi"}
        assert gateway.send("POST", "/v1/completions", raw, bearer(bound)).status == 403
        assert gateway.send("GET", "/v1/models", None, bearer(bound)).json["data"] == []
        assert gateway.send("GET", "/v1/models/m", None, bearer(bound)).status == 403
        assert chat(gateway, bearer(free)).status == 200
        listed = gateway.send("GET", "/v1/models", None, bearer(free)).json["data"]
        assert [model["id"] for model in listed] == ["m"]


OPERATORS_ONLY = [
    ("GET", "/metrics", {}),
    ("POST", "/v1/chat/completions", {"antiphon-mode": "harmony"}),
    ("POST", "/v1/chat/completions", {"antiphon-raw": "1"}),
]


@pytest.mark.parametrize(("method", "path", "headers"), OPERATORS_ONLY)
def test_with_keys_some_things_are_for_operators(
    tmp_path: Path, method: str, path: str, headers: dict[str, str]
) -> None:
    file = tmp_path / "keys.toml"
    user, operator = add_key(file, "user"), add_key(file, "operator", operator=True)
    body = {"model": "m", "messages": [{"role": "user", "content": "Hi"}]}
    given = body if method == "POST" else None
    settings = with_keys(file, visibility=VisibilitySettings(raw=True))
    with answering(settings=settings) as gateway:
        answer = gateway.send(method, path, given, {**headers, **bearer(user)})
        assert (answer.status, answer.error["code"]) == (403, "operator_key_required")
        assert gateway.send(method, path, given, {**headers, **bearer(operator)}).status == 200


def test_an_operators_key_need_not_be_required(tmp_path: Path) -> None:
    user = add_key(tmp_path / "keys.toml")
    server = ServerSettings(operator_key_required=False)
    with answering(settings=with_keys(tmp_path / "keys.toml", server=server)) as gateway:
        assert gateway.send("GET", "/metrics", None, bearer(user)).status == 200
        assert gateway.send("GET", "/metrics").status == 401


def test_a_running_server_takes_new_and_revoked_keys_over(tmp_path: Path) -> None:
    path, clock = tmp_path / "keys.toml", Clock()
    first = add_key(path, "first")
    with answering(settings=with_keys(path), clock=clock) as gateway:
        second = add_key(path, "second")
        KeyFile(path).revoke("first")
        clock.time += 2
        assert chat(gateway, bearer(second)).status == 200
        assert chat(gateway, bearer(first)).status == 401


def test_revoking_the_last_key_opens_nothing(tmp_path: Path) -> None:
    path, clock = tmp_path / "keys.toml", Clock()
    secret = add_key(path, "only")
    with answering(settings=with_keys(path), clock=clock) as gateway:
        KeyFile(path).revoke("only")
        clock.time += 2
        assert chat(gateway, bearer(secret)).status == 401
        assert chat(gateway).status == 401
        path.unlink()
        clock.time += 2
        assert chat(gateway).status == 401


def test_the_first_key_closes_a_running_server(tmp_path: Path) -> None:
    path, clock = tmp_path / "keys.toml", Clock()
    with answering(settings=with_keys(path), clock=clock) as gateway:
        assert chat(gateway).status == 200
        secret = add_key(path)
        clock.time += 2
        assert chat(gateway).status == 401
        assert chat(gateway, bearer(secret)).status == 200


def test_a_damaged_key_file_changes_nothing(tmp_path: Path) -> None:
    path, clock = tmp_path / "keys.toml", Clock()
    secret = add_key(path)
    with answering(settings=with_keys(path), clock=clock) as gateway:
        path.write_text("[[keys]\n", "utf-8")
        clock.time += 2
        assert chat(gateway, bearer(secret)).status == 200
        assert chat(gateway).status == 401


def test_a_key_decides_what_its_holder_sees(tmp_path: Path) -> None:
    from tests.gateway.serving import Gateway, StepEngine, final

    from antiphon.vocab.control import CHANNEL, END, MESSAGE, START
    from antiphon.vocab.tokenizer import default_tokenizer

    encode = default_tokenizer().encode
    thoughts = [CHANNEL, *encode("analysis"), MESSAGE, *encode("Thinking."), END]
    then = [START, *encode("assistant"), *final("Yes.")]
    path = tmp_path / "keys.toml"
    hidden, shown = add_key(path, "a", show_reasoning=False), add_key(path, "b")
    with Gateway(StepEngine([*thoughts, *then]), with_keys(path)) as gateway:
        seen = [chat(gateway, bearer(s)).json["choices"][0]["message"] for s in (hidden, shown)]
    assert [message["content"] for message in seen] == ["Yes.", "Yes."]
    assert not seen[0].get("reasoning")
    assert seen[1]["reasoning"] == "Thinking."


def test_a_keys_effort_holds_where_the_request_has_none(tmp_path: Path) -> None:
    from antiphon.gateway.transcript import as_text

    path = tmp_path / "keys.toml"
    secret = add_key(path, effort="high")
    with answering(settings=with_keys(path)) as gateway:
        chat(gateway, bearer(secret))
        chat(gateway, bearer(secret), reasoning_effort="low")
        prompts = [as_text(request.prompt) for request in gateway.engine.requests]
    assert "Reasoning: high" in prompts[0]
    assert "Reasoning: low" in prompts[1]


def test_a_server_listens_to_a_network_only_with_keys() -> None:
    keys = KeyRing([new_key(new_secret(), dt.date(2026, 11, 21))])
    for host in ("0.0.0.0", "::", "192.168.1.5", "example.com", ""):
        settings = Settings(server=ServerSettings(host=host))
        with pytest.raises(SettingsError, match="antiphon keys add"):
            check_bind(settings, KeyRing())
        check_bind(settings, keys)
    for host in ("127.0.0.1", "127.8.9.1", "::1", "localhost"):
        check_bind(Settings(server=ServerSettings(host=host)), KeyRing())
