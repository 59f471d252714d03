"""Web pages and the server on this machine: which may talk to it."""

from __future__ import annotations

import http.client
import json
from pathlib import Path

import pytest
from tests.gateway.governing import add_key, answering, bearer, chat, with_keys

from antiphon.api.errors import ApiError
from antiphon.gateway.guards import MAX_HOST, check_host, host_name, is_loopback
from antiphon.settings.model import CorsSettings, ServerSettings, Settings

PAGE = "https://chat.example.com"


@pytest.mark.parametrize(
    "name",
    [
        "localhost",
        "LOCALHOST",
        "localhost.",
        "app.localhost",
        "127.0.0.1",
        "127.255.0.3",
        "::1",
        "[::1]",
        "::ffff:127.0.0.1",
    ],
)
def test_names_that_can_only_mean_this_machine(name: str) -> None:
    assert is_loopback(name)


@pytest.mark.parametrize(
    "name",
    [
        "",
        "0.0.0.0",
        "::",
        "example.com",
        "localhost.example.com",
        "notlocalhost",
        "127.0.0.1.nip.io",
        "128.0.0.1",
        "10.0.0.1",
        "127.1",  # A browser may take it for an address; no client needs it.
        "2130706433",
        "0x7f.1",
    ],
)
def test_names_that_may_mean_another(name: str) -> None:
    assert not is_loopback(name)


@pytest.mark.parametrize(
    ("header", "name"),
    [
        ("localhost:8000", "localhost"),
        ("[::1]:8000", "::1"),
        ("EXAMPLE.com", "example.com"),
        ("localhost:", "localhost"),
        ("", None),
        ("localhost:99999999", None),
        ("localhost:x", None),
        ("localhost/evil.com", None),
        ("evil.com#localhost", None),
        ("user@localhost", None),
        ("[::1", None),
        ("localhost evil.com", "localhost evil.com"),
    ],
)
def test_a_host_header_is_read_strictly(header: str, name: str | None) -> None:
    assert host_name(header) == name


def test_allowed_hosts_are_let_in_whatever_their_case_and_port() -> None:
    check_host("Box.lan:8000", ["box.LAN"])
    endless = "a" * MAX_HOST + ".localhost"
    for header in ("evil.com", None, "", "localhost evil.com", "box.lan.evil.com", endless):
        with pytest.raises(ApiError, match="allowed_hosts"):
            check_host(header, ["box.lan"])


def test_without_keys_another_host_is_refused_on_every_route() -> None:
    with answering() as gateway:
        for path in ("/health", "/v1/models", "/metrics", "/nowhere"):
            answer = gateway.send("GET", path, None, {"host": "evil.example"})
            assert (answer.status, answer.error["code"]) == (403, "host_not_allowed")
        answer = chat(gateway, {"host": "evil.example:8000"})
        assert (answer.status, answer.error["code"]) == (403, "host_not_allowed")
        assert gateway.engine.requests == []
        assert chat(gateway, {"host": "my.localhost:1"}).status == 200


def test_allowed_hosts_are_a_setting() -> None:
    settings = Settings(server=ServerSettings(allowed_hosts=("box.lan",)))
    with answering(settings=settings) as gateway:
        assert chat(gateway, {"host": "box.lan"}).status == 200
        assert chat(gateway, {"host": "box.lan.evil.com"}).status == 403


@pytest.mark.parametrize("origin", [PAGE, "null", "http://localhost:3000", "http://127.0.0.1"])
def test_without_keys_no_page_may_talk_to_the_server(origin: str) -> None:
    with answering() as gateway:
        answer = chat(gateway, {"origin": origin})
        assert (answer.status, answer.error["code"]) == (403, "origin_not_allowed")
        assert "access-control-allow-origin" not in answer.headers
        assert gateway.send("GET", "/v1/models", None, {"origin": origin}).status == 403
        assert gateway.engine.requests == []


def test_a_listed_page_may_and_can_read_what_it_needs() -> None:
    settings = Settings(cors=CorsSettings(origins=(PAGE,)))
    with answering(settings=settings) as gateway:
        answer = chat(gateway, {"origin": PAGE})
        assert answer.status == 200
        assert answer.headers["access-control-allow-origin"] == PAGE
        assert "x-request-id" in answer.headers["access-control-expose-headers"]
        assert answer.headers["vary"] == "origin"
        wrong = gateway.send("POST", "/v1/chat/completions", b"{", {"origin": PAGE})
        assert wrong.status in (400, 415)
        assert wrong.headers["access-control-allow-origin"] == PAGE
        for other in (PAGE + ".evil.com", PAGE.replace("https", "http"), PAGE + ":444"):
            assert chat(gateway, {"origin": other}).status == 403


def preflight(port: int, origin: str) -> tuple[int, dict[str, str]]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
    connection.request(
        "OPTIONS",
        "/v1/chat/completions",
        headers={
            "origin": origin,
            "access-control-request-method": "POST",
            "access-control-request-headers": "authorization,content-type",
        },
    )
    answer = connection.getresponse()
    answer.read()
    connection.close()
    return answer.status, {name.lower(): value for name, value in answer.getheaders()}


def test_a_browser_that_asks_first_is_told(tmp_path: Path) -> None:
    add_key(tmp_path / "keys.toml")
    cors = CorsSettings(origins=(PAGE,))
    with answering(settings=with_keys(tmp_path / "keys.toml", cors=cors)) as gateway:
        status, headers = preflight(gateway.port, PAGE)
        assert status == 204
        assert headers["access-control-allow-origin"] == PAGE
        assert headers["access-control-allow-headers"] == "authorization,content-type"
        assert "POST" in headers["access-control-allow-methods"]
        _, headers = preflight(gateway.port, "https://evil.example")
        assert "access-control-allow-origin" not in headers


def test_a_browser_that_asks_without_keys_is_refused() -> None:
    with answering() as gateway:
        status, headers = preflight(gateway.port, PAGE)
        assert status == 403
        assert not any(name.startswith("access-control") for name in headers)


def test_with_keys_the_key_decides_and_not_the_host(tmp_path: Path) -> None:
    secret = add_key(tmp_path / "keys.toml")
    with answering(settings=with_keys(tmp_path / "keys.toml")) as gateway:
        headers = {"host": "api.example.com", "origin": PAGE, **bearer(secret)}
        answer = chat(gateway, headers)
        assert answer.status == 200
        assert "access-control-allow-origin" not in answer.headers


@pytest.mark.parametrize(
    "kind",
    ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x", ""],
)
def test_what_a_form_can_send_is_not_taken(kind: str) -> None:
    body = {"model": "m", "messages": [{"role": "user", "content": "Hi"}]}
    with answering() as gateway:
        for path in ("/v1/chat/completions", "/v1/completions", "/v1/embeddings"):
            answer = gateway.send("POST", path, json.dumps(body).encode(), {"content-type": kind})
            assert answer.status == 415, path
        assert gateway.engine.requests == []
