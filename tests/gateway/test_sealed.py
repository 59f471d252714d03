"""Sealed requests at the gateway: what is inside works as in the clear, what is wrong is told
where it belongs.
"""

from __future__ import annotations

import json
import time
from email.utils import parsedate_to_datetime
from pathlib import Path

import pytest
from tests.gateway.governing import LogLines, add_key, answering, bearer, with_keys
from tests.gateway.sealing_client import (
    CHAT,
    Outer,
    ask,
    chat,
    keys_of,
    message,
    only_key,
    open_chunks,
    post,
    seal_chunks,
    seal_whole,
    sealing,
)
from tests.gateway.serving import Gate, Gateway, StepEngine, final

from antiphon.errors import SettingsError
from antiphon.gateway.app import create_app
from antiphon.seal import ChunkedResponseOpener, decode_keys
from antiphon.seal.media import CHUNKED_REQUEST, DATE_PROBLEM, KEY_PROBLEM, REQUEST
from antiphon.settings.model import ServerSettings, Settings

both = pytest.mark.parametrize("chunked", [True, False], ids=["chunked", "whole"])


@both
def test_a_sealed_chat_is_answered_inside_the_seal(tmp_path: Path, chunked: bool) -> None:
    with answering("Hello.", sealing(tmp_path)) as gateway:
        answer = ask(gateway.port, only_key(gateway), chat("a secret question"), chunked=chunked)
    assert answer.inner.status == 200
    assert answer.inner.json["choices"][0]["message"]["content"] == "Hello."
    assert b"Hello" not in answer.outer.body


@both
def test_a_sealed_stream_is_whole_and_ends_as_in_the_clear(tmp_path: Path, chunked: bool) -> None:
    with answering("Hello there.", sealing(tmp_path)) as gateway:
        request = chat(stream=True)
        answer = ask(gateway.port, only_key(gateway), request, chunked=chunked)
        plain = gateway.chat(stream=True)
    assert answer.inner.text == plain.text == "Hello there."
    assert answer.inner.events[-1] == "data: [DONE]"
    assert len(answer.inner.events) == len(plain.events)


@both
def test_a_sealed_response_of_the_responses_api_is_answered(tmp_path: Path, chunked: bool) -> None:
    with answering("Hello.", sealing(tmp_path)) as gateway:
        config = only_key(gateway)
        body = {"model": "m", "input": "Hi", "stream": True}
        streamed = ask(gateway.port, config, message("/v1/responses", body), chunked=chunked)
        made = ask(
            gateway.port, config, message("/v1/responses", {"model": "m", "input": "Hi"}),
            chunked=chunked,
        )  # fmt: skip
        read = ask(
            gateway.port, config, message(f"/v1/responses/{made.inner.json['id']}?x=1"),
            chunked=chunked,
        )  # fmt: skip
        models = ask(gateway.port, config, message("/v1/models"), chunked=chunked)
    assert b"response.completed" in streamed.inner.body
    assert made.inner.json["output"][-1]["content"][0]["text"] == "Hello."
    assert read.inner.json["id"] == made.inner.json["id"]
    assert models.inner.json["data"][0]["id"] == "m"


def test_tokens_come_out_of_the_seal_while_the_model_writes(tmp_path: Path) -> None:
    gate = Gate()
    ids = final("One two")
    with Gateway(StepEngine(ids[:-2], gate, ids[-2:]), sealing(tmp_path)) as gateway:
        body, secret = seal_chunks(only_key(gateway), chat(stream=True))
        opener = ChunkedResponseOpener(secret)
        connection = gateway.connect()
        connection.request("POST", "/.well-known/ohttp-gateway", body,
                           {"content-type": CHUNKED_REQUEST})  # fmt: skip
        response = connection.getresponse()
        seen = b""
        while b"One" not in seen:
            seen += b"".join(opener.feed(response.read1(65536)))
        assert b"[DONE]" not in seen
        gate.open()
        rest = b"".join(opener.feed(response.read())) + opener.eof()
        connection.close()
    assert b"[DONE]" in rest


def test_a_client_that_goes_cancels_the_request_inside(tmp_path: Path) -> None:
    gate = Gate()
    engine = StepEngine(final("One two")[:-2], gate)
    log = LogLines()
    with Gateway(engine, sealing(tmp_path), log=log.log) as gateway:
        body, _ = seal_chunks(only_key(gateway), chat(stream=True))
        connection = gateway.connect()
        connection.request("POST", "/.well-known/ohttp-gateway", body,
                           {"content-type": CHUNKED_REQUEST})  # fmt: skip
        response = connection.getresponse()
        response.read1(10)
        response.close()
        connection.close()
        assert engine.ended.acquire(timeout=20)
    statuses = {
        line["route"]: line["status"] for line in log.lines("request") if line["method"] == "POST"
    }
    assert statuses == {CHAT: 499, "/.well-known/ohttp-gateway": 499}


# Keys, limits, errors: inside


@both
def test_api_keys_are_asked_for_inside_the_seal_alone(tmp_path: Path, chunked: bool) -> None:
    secret = add_key(tmp_path / "keys.toml")
    settings = sealing(tmp_path, with_keys(tmp_path / "keys.toml"))
    with answering(settings=settings) as gateway:
        config = only_key(gateway)
        without = ask(gateway.port, config, chat(), chunked=chunked)
        outside = ask(gateway.port, config, chat(), chunked=chunked, headers=bearer(secret))
        inside = ask(gateway.port, config, chat(headers=bearer(secret)), chunked=chunked)
    assert without.inner.status == outside.inner.status == 401
    assert without.inner.error["code"] == "invalid_api_key"
    assert inside.inner.status == 200


def test_limits_of_a_key_hold_inside_the_seal(tmp_path: Path) -> None:
    secret = add_key(tmp_path / "keys.toml", requests_per_minute=1)
    settings = sealing(tmp_path, with_keys(tmp_path / "keys.toml"))
    with answering(settings=settings) as gateway:
        config = only_key(gateway)
        first = ask(gateway.port, config, chat(headers=bearer(secret)))
        second = ask(gateway.port, config, chat(headers=bearer(secret)))
    assert first.inner.status == 200
    assert second.inner.status == 429
    assert "retry-after" in second.inner.headers
    assert "retry-after" not in second.outer.headers


@both
@pytest.mark.parametrize(
    ("request_", "status", "code"),
    [
        (message(CHAT, b"{"), 400, "invalid_json"),
        (message(CHAT, {"model": "other", "messages": []}), 404, "model_not_found"),
        (message("/nowhere"), 404, "unknown_url"),
        (message(CHAT, {}, method="PUT"), 405, "method_not_allowed"),
        (message(CHAT, b"x", headers={"content-type": "text/plain"}), 415,
         "unsupported_media_type"),
        (message("/.well-known/ohttp-gateway", b"x",
                 headers={"content-type": CHUNKED_REQUEST}), 400, "sealed_twice"),
    ],
    ids=["json", "model", "path", "method", "type", "nested"],
)  # fmt: skip
def test_errors_of_the_application_are_told_inside_the_seal(
    tmp_path: Path, request_, status: int, code: str, chunked: bool
) -> None:
    with answering(settings=sealing(tmp_path)) as gateway:
        answer = ask(gateway.port, only_key(gateway), request_, chunked=chunked)
    assert (answer.inner.status, answer.inner.error["code"]) == (status, code)
    assert code.encode() not in answer.outer.body


@both
def test_a_body_over_the_limit_is_refused_inside_the_seal(tmp_path: Path, chunked: bool) -> None:
    base = Settings(server=ServerSettings(body_bytes=1000))
    with answering(settings=sealing(tmp_path, base)) as gateway:
        answer = ask(gateway.port, only_key(gateway), chat("x" * 2000), chunked=chunked)
    assert answer.inner.status == 413
    assert answer.inner.error["code"] == "invalid_sealed_request"


@both
def test_what_is_no_http_inside_is_told_inside(tmp_path: Path, chunked: bool) -> None:
    with answering(settings=sealing(tmp_path)) as gateway:
        config = only_key(gateway)
        request = message(CHAT, {}, headers={"upgrade": "websocket"})
        body, secret = _unchecked(config, request, chunked=chunked)
        outer = post(gateway.port, body, CHUNKED_REQUEST if chunked else REQUEST)
    assert outer.status == 200
    plain = open_chunks(secret, outer.body)[-1] if chunked else _whole(secret, outer.body)
    assert b"belongs to a connection" in plain


def _unchecked(config, request, *, chunked: bool):
    """As a client would send it that checks nothing."""
    from antiphon.seal import ChunkedRequestSealer, encode_request, seal_request

    good = message("/", {}, headers={"upgradx": "websocket"})
    plain = encode_request(good).replace(b"upgradx", b"upgrade")
    if chunked:
        sealer = ChunkedRequestSealer(config)
        return sealer.seal(plain) + sealer.finish(b""), sealer.response
    sealed = seal_request(config, plain)
    return sealed.body, sealed.response


def _whole(secret, body: bytes) -> bytes:
    from antiphon.seal import open_response

    return open_response(secret, body)


# The outer layer


def test_the_key_configurations_are_published_at_both_places(tmp_path: Path) -> None:
    with answering(settings=sealing(tmp_path)) as gateway:
        assert keys_of(gateway.port) == keys_of(gateway.port, "/ohttp-keys")
        first = post(gateway.port, b"", path="/ohttp-keys", method="GET")
        again = post(
            gateway.port, b"", path="/ohttp-keys", method="GET",
            headers={"if-none-match": first.headers["etag"]},
        )  # fmt: skip
        head = post(gateway.port, b"", path="/ohttp-keys", method="HEAD")
    assert first.headers["cache-control"] == "public, max-age=3600"
    assert (again.status, again.body) == (304, b"")
    assert head.status == 200


def test_every_kind_of_key_that_is_asked_for_is_published_and_works(tmp_path: Path) -> None:
    kems = ("mlkem768-x25519", "x25519", "p256")
    with answering(settings=sealing(tmp_path, kems=kems)) as gateway:
        configs = keys_of(gateway.port)
        assert len(configs) == 3
        for config in configs:
            assert ask(gateway.port, config, chat()).inner.status == 200


@pytest.mark.parametrize("kind", ["application/json", "text/plain", "message/ohttp-res", ""])
def test_another_media_type_is_a_415_that_names_those_there_are(tmp_path: Path, kind: str) -> None:
    with answering(settings=sealing(tmp_path)) as gateway:
        body, _ = seal_chunks(only_key(gateway), chat())
        outer = post(gateway.port, body, kind)
    assert outer.status == 415
    assert REQUEST in outer.headers["accept-post"]


def test_a_sealed_request_that_is_too_large_is_a_413_in_the_clear(tmp_path: Path) -> None:
    base = Settings(server=ServerSettings(body_bytes=1000))
    with answering(settings=sealing(tmp_path, base)) as gateway:
        only_key(gateway)
        outer = post(gateway.port, b"\x01" * (3 * 1024 * 1024))
    assert outer.status == 413
    assert json.loads(outer.body)["error"]["code"] == "request_too_large"


@both
def test_an_unknown_key_is_answered_with_the_problem_that_makes_clients_fetch_anew(
    tmp_path: Path, chunked: bool
) -> None:
    with answering(settings=sealing(tmp_path)) as gateway:
        body, _ = (seal_chunks if chunked else seal_whole)(only_key(gateway), chat())
        outer = post(
            gateway.port, b"\x63" + body[1:], CHUNKED_REQUEST if chunked else REQUEST
        )  # fmt: skip
    assert outer.status == 400
    assert outer.headers["content-type"] == "application/problem+json"
    assert json.loads(outer.body)["type"] == KEY_PROBLEM


def _failures(config, *, chunked: bool) -> dict[str, bytes]:
    """Requests under a known key that must all be refused, each for another reason."""
    seal = seal_chunks if chunked else seal_whole
    good, _ = seal(config, chat("x" * 3000))
    other, _ = (seal_whole if chunked else seal_chunks)(config, chat())

    def flipped(at: int) -> bytes:
        return good[:at] + bytes([good[at] ^ 1]) + good[at + 1 :]

    return {
        "kem": flipped(2),
        "kdf": flipped(4),
        "aead": good[:6] + b"\x07" + good[7:],
        "another aead": good[:6] + b"\x03" + good[7:],
        "encapsulated key": flipped(10),
        "zero key": good[:7] + bytes(32) + good[39:],
        "first chunk": flipped(60),
        "last chunk": flipped(len(good) - 1),
        "cut": good[:-20],
        "cut in the header": good[:20],
        "one byte": good[:1],
        "more behind": good + b"x",
        "the other media type": other,
    }


@both
def test_every_failure_under_a_known_key_is_answered_with_the_same_bytes(
    tmp_path: Path, chunked: bool
) -> None:
    kind = CHUNKED_REQUEST if chunked else REQUEST
    with answering(settings=sealing(tmp_path)) as gateway:
        config = only_key(gateway)
        same = {"x-request-id": "fixed"}
        answers: dict[str, Outer] = {}
        for name, body in _failures(config, chunked=chunked).items():
            answers[name] = post(gateway.port, body, kind, headers=same)
        body, _ = (seal_chunks if chunked else seal_whole)(config, chat())
        assert post(gateway.port, body, kind).status == 200
        answers["a replay"] = post(gateway.port, body, kind, headers=same)
    shown = {
        name: (a.status, {k: v for k, v in a.headers.items() if k != "date"}, a.body)
        for name, a in answers.items()
    }
    first = shown["kem"]
    assert first[0] == 400
    assert {name: answer for name, answer in shown.items() if answer != first} == {}


def test_an_empty_request_names_no_key_and_is_refused(tmp_path: Path) -> None:
    with answering(settings=sealing(tmp_path)) as gateway:
        only_key(gateway)
        assert post(gateway.port, b"").status == 400
        assert post(gateway.port, b"", REQUEST).status == 400


# Dates


@both
@pytest.mark.parametrize("offset", [-1000, 1000])
def test_a_date_outside_the_window_is_refused_inside_the_seal_with_the_time(
    tmp_path: Path, offset: int, chunked: bool
) -> None:
    with answering(settings=sealing(tmp_path)) as gateway:
        request = message(CHAT, {}, date=time.time() + offset)
        answer = ask(gateway.port, only_key(gateway), request, chunked=chunked)
    assert answer.inner.status == 400
    assert answer.inner.headers["content-type"] == "application/problem+json"
    problem = answer.inner.json
    assert problem["type"] == DATE_PROBLEM
    assert problem["error"]["code"] == "seal_date"
    told = parsedate_to_datetime(answer.inner.headers["date"]).timestamp()
    assert abs(told - time.time()) < 60


def test_a_request_without_a_date_is_refused_only_where_one_is_required(tmp_path: Path) -> None:
    request = message("/v1/models", date=None)
    with answering(settings=sealing(tmp_path)) as gateway:
        assert ask(gateway.port, only_key(gateway), request).inner.status == 200
    with answering(settings=sealing(tmp_path, require_date=True)) as gateway:
        answer = ask(gateway.port, only_key(gateway), request)
        assert answer.inner.json["type"] == DATE_PROBLEM


# Required, off, wrong


def test_where_seals_are_required_only_health_and_keys_are_in_the_clear(tmp_path: Path) -> None:
    with answering(settings=sealing(tmp_path, enabled=False, required=True)) as gateway:
        config = only_key(gateway)
        assert gateway.send("GET", "/health").status == 200
        assert gateway.send("GET", "/ready").status == 200
        refusals = [gateway.chat()]
        refusals += [gateway.send("GET", path) for path in ("/v1/models", "/metrics", "/nowhere")]
        for refused in refusals:
            assert refused.status == 403
            assert refused.error["code"] == "seal_required"
        upgrade = gateway.raw(
            b"GET /v1/responses HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\n"
            b"Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
            b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
        )
        assert b" 403 " in upgrade.partition(b"\r\n")[0]
        assert ask(gateway.port, config, chat()).inner.status == 200
        assert ask(gateway.port, config, message("/metrics")).inner.status == 200


def test_without_the_setting_there_is_no_sealed_route(tmp_path: Path) -> None:
    with answering() as gateway:
        assert gateway.send("GET", "/.well-known/ohttp-gateway").status == 404
        assert gateway.send("GET", "/ohttp-keys").status == 404


def test_a_padding_policy_that_is_none_is_refused_at_the_start(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"seal\.padding"):
        create_app(sealing(tmp_path, padding="some"))


# Padding, size


def test_padded_chunks_of_a_stream_have_few_lengths(tmp_path: Path) -> None:
    text = "".join(f" {'a' * n}" for n in range(1, 30))
    with answering(text, sealing(tmp_path, padding="multiple:512")) as gateway:
        padded = ask(gateway.port, only_key(gateway), chat(stream=True))
    with answering(text, sealing(tmp_path)) as gateway:
        plain = ask(gateway.port, only_key(gateway), chat(stream=True))
    assert padded.inner.text == plain.inner.text == text
    assert len({len(chunk) for chunk in plain.chunks}) > 5
    middle = padded.chunks[1:-1]
    assert len(middle) > 5
    assert {len(chunk) for chunk in middle} == {512 + 2}


@both
def test_padded_answers_of_other_kinds_are_filled_up_as_a_whole(
    tmp_path: Path, chunked: bool
) -> None:
    with answering("Hello.", sealing(tmp_path, padding="buckets:4096,65536")) as gateway:
        answer = ask(gateway.port, only_key(gateway), chat(), chunked=chunked)
    assert answer.inner.json["choices"][0]["message"]["content"] == "Hello."
    assert sum(len(chunk) for chunk in answer.chunks) == 4096


def test_an_answer_too_large_to_be_sealed_whole_says_how_to_ask_for_it(tmp_path: Path) -> None:
    with answering("Hello. " * 500, sealing(tmp_path, answer_bytes=1000)) as gateway:
        config = only_key(gateway)
        for request in (chat(), chat(stream=True)):
            whole = ask(gateway.port, config, request, chunked=False)
            assert whole.inner.status == 500
            assert whole.inner.error["code"] == "answer_not_sealed"
            assert ask(gateway.port, config, request).inner.status == 200


def test_a_large_request_is_opened_and_answered(tmp_path: Path) -> None:
    with answering(settings=sealing(tmp_path)) as gateway:
        config = only_key(gateway)
        for chunked in (True, False):
            answer = ask(gateway.port, config, chat("word " * 60_000), chunked=chunked)
            assert answer.inner.status == 200


# Logs


def test_the_log_tells_of_the_request_inside_and_holds_none_of_it(tmp_path: Path) -> None:
    log = LogLines()
    with answering("Hello.", sealing(tmp_path), log=log.log) as gateway:
        config = only_key(gateway)
        ask(gateway.port, config, chat("the secret question"))
        body, _ = seal_chunks(config, chat())
        post(gateway.port, body[:-1])
        post(gateway.port, body)
        post(gateway.port, body)
        metrics = gateway.send("GET", "/metrics").body.decode()
    lines = log.lines("request")
    inside = [line for line in lines if line.get("sealed")]
    assert [line["route"] for line in inside] == [CHAT, CHAT]
    assert inside[0]["model"] == "m"
    refused = [line["error"] for line in lines if "error" in line]
    assert refused == ["seal_refused", "seal_replayed"]
    assert "secret question" not in log.stream.getvalue()
    assert 'antiphon_refused_total{code="seal_replayed"} 1.0' in metrics
    assert (
        f'antiphon_requests_total{{mode="harmony",model="m",route="{CHAT}",status="200"}} 2.0'
        in (metrics)
    )


def test_the_list_of_keys_is_one_that_clients_accept(tmp_path: Path) -> None:
    with answering(settings=sealing(tmp_path)) as gateway:
        outer = post(gateway.port, b"", path="/ohttp-keys", method="GET")
    (config,) = decode_keys(outer.body)
    assert config.fingerprint.startswith("sha256:")
