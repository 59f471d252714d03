"""Every way a request can be wrong: OpenAI's shape, the right status, never a traceback."""

from __future__ import annotations

import json
import logging

import pytest
from tests.gateway.serving import Gate, Gateway, StepEngine, final, quick

from antiphon.errors import EngineError

CHAT = "/v1/chat/completions"
GOOD = {"model": "m", "messages": [{"role": "user", "content": "Hi"}]}


def engine_error(status: int, message: str = "no") -> EngineError:
    error = EngineError(message)
    error.status_hint = status
    return error


@pytest.mark.parametrize(
    ("body", "code", "param"),
    [
        (b"", "invalid_json", None),
        (b"{", "invalid_json", None),
        (b"[]", "invalid_json", None),
        (b'"x"', "invalid_json", None),
        (b"\xff\xfe", "invalid_json", None),
        (b'{"model": "\xff"}', "invalid_json", None),
        (b"[" * 100_000, "invalid_json", None),
        (b'{"x":' * 100_000, "invalid_json", None),
        (b"{}", "missing_required_parameter", "model"),
        (b'{"model": 7}', "missing_required_parameter", "model"),
        (b'{"model": "nope", "messages": []}', "model_not_found", "model"),
        (b'{"model": "m"}', "missing_required_parameter", "messages"),
        (b'{"model": "m", "messages": 3}', "invalid_type", "messages"),
        (b'{"model": "m", "messages": [{"role": "wizard"}]}', "invalid_value", "messages[0].role"),
    ],
)
def test_a_body_that_is_no_request_is_refused(body: bytes, code: str, param: str | None) -> None:
    with Gateway(StepEngine(final("Hi."))) as gateway:
        answer = gateway.send("POST", CHAT, body)
        assert gateway.chat().status == 200
    assert answer.status == (404 if code == "model_not_found" else 400)
    assert answer.error["code"] == code
    assert answer.error["param"] == param


def test_an_unknown_route_and_a_wrong_method_are_told_in_the_same_shape() -> None:
    with Gateway(StepEngine()) as gateway:
        unknown = gateway.send("POST", "/v1/chat/completion", GOOD)
        slash = gateway.send("POST", "/v1/chat/completions/", GOOD)
        wrong = gateway.send("DELETE", CHAT)
        odd = gateway.send("GET", "/%ff%00/../..?x=%")
    assert (unknown.status, unknown.error["code"]) == (404, "unknown_url")
    assert "base URL" not in unknown.error["message"]
    assert slash.status == 404
    assert (wrong.status, wrong.error["code"]) == (405, "method_not_allowed")
    assert set(wrong.headers["allow"].split(", ")) == {"GET", "HEAD", "POST"}
    assert odd.status == 404


@pytest.mark.parametrize("path", ["/chat/completions", "/v1/v1/chat/completions"])
def test_a_base_url_without_v1_or_with_two_is_explained(path: str) -> None:
    with Gateway(StepEngine()) as gateway:
        answer = gateway.send("POST", path, GOOD)
    assert (answer.status, answer.error["code"]) == (404, "unknown_url")
    assert answer.error["message"] == (
        f"there is no POST {path} here; it is at {CHAT}: a client's base URL has to end with /v1"
    )


@pytest.mark.parametrize("kind", [None, "text/plain", "application/x-www-form-urlencoded", ""])
def test_a_body_must_be_declared_as_json(kind: str | None) -> None:
    headers = {} if kind is None else {"content-type": kind}
    with Gateway(StepEngine()) as gateway:
        connection = gateway.connect()
        connection.putrequest("POST", CHAT)
        for name, value in {**headers, "content-length": "2"}.items():
            connection.putheader(name, value)
        connection.endheaders(b"{}")
        response = connection.getresponse()
        assert response.status == 415
        assert json.loads(response.read())["error"]["code"] == "unsupported_media_type"
        connection.close()


def test_json_with_a_charset_is_json() -> None:
    headers = {"content-type": "Application/JSON; charset=utf-8"}
    with Gateway(StepEngine(final("Hi."))) as gateway:
        assert gateway.send("POST", CHAT, GOOD, headers).status == 200


def test_a_compressed_body_is_refused() -> None:
    with Gateway(StepEngine()) as gateway:
        answer = gateway.send("POST", CHAT, b"x", {"content-encoding": "gzip"})
    assert answer.status == 415


@pytest.mark.parametrize("size", [2_001, 300_000, 5_000_000])
def test_a_body_that_is_too_large_is_refused_and_the_answer_arrives(size: int) -> None:
    with Gateway(StepEngine(), quick(body_bytes=2_000)) as gateway:
        answer = gateway.send("POST", CHAT, b" " * size)
    assert answer.status == 413
    assert answer.error["code"] == "request_too_large"


def test_a_body_that_is_too_large_is_refused_in_chunks_too() -> None:
    with Gateway(StepEngine(), quick(body_bytes=2_000)) as gateway:
        connection = gateway.connect()
        headers = {"content-type": "application/json"}
        connection.request("POST", CHAT, iter([b" " * 1_000] * 50), headers, encode_chunked=True)
        assert connection.getresponse().status == 413
        connection.close()


def test_a_body_that_does_not_arrive_is_given_up() -> None:
    head = (
        b"POST %b HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n" % CHAT.encode()
    )
    with Gateway(StepEngine(), quick(body_seconds=0.05)) as gateway:
        answer = gateway.raw(head + b"content-length: 100\r\n\r\n{")
    assert answer.startswith(b"HTTP/1.1 408 ")
    assert b'"request_timeout"' in answer


def test_what_is_not_http_is_told_so() -> None:
    with Gateway(StepEngine()) as gateway:
        answer = gateway.raw(b"\x16\x03\x01\x02\x00 no http\r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 400 ")
    assert b'"invalid_http"' in answer


@pytest.mark.parametrize("pieces", [1, 50])
def test_headers_without_end_are_cut_off(pieces: int) -> None:
    line = b"x-filler: " + b"a" * 2_000 + b"\r\n"
    with Gateway(StepEngine(final("Hi."))) as gateway, gateway.socket() as connection:
        connection.sendall(b"GET /health HTTP/1.1\r\nhost: localhost\r\n")
        received = b""
        try:
            for _ in range(pieces):
                connection.sendall(line * (100 // pieces))
            if pieces == 1:
                connection.sendall(b"\r\n")
            while piece := connection.recv(65536):
                received += piece
        except ConnectionError:
            pass
        assert not received or received.startswith(b"HTTP/1.1 431 ")
        assert gateway.chat().status == 200


def test_headers_that_do_not_arrive_are_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("antiphon.gateway.http.GuardedProtocol.head_seconds", 0.05)
    with Gateway(StepEngine()) as gateway:
        silent = gateway.raw(b"")
        half = gateway.raw(b"GET /health HTTP/1.1\r\nhost:")
    for answer in (silent, half):
        assert answer.startswith(b"HTTP/1.1 408 ")


def test_a_client_that_offers_http2_is_answered_over_http1() -> None:
    body = json.dumps(GOOD).encode()
    head = (
        b"POST %b HTTP/1.1\r\nhost: localhost\r\n"
        b"connection: Upgrade, HTTP2-Settings\r\nupgrade: h2c\r\n"
        b"http2-settings: AAEAAEAAAAIAAAABAAMAAABkAAQBAAAAAAUAAEAA\r\n"
        b"content-type: application/json\r\ncontent-length: %d\r\n\r\n"
    )
    with Gateway(StepEngine(final("Hi."))) as gateway, gateway.socket() as connection:
        connection.sendall(head % (CHAT.encode(), len(body)) + body[:5])
        connection.sendall(body[5:])
        received = b""
        while b'"usage"' not in received:
            piece = connection.recv(65536)
            assert piece
            received += piece
    assert received.startswith(b"HTTP/1.1 200 ")


# The engine fails


@pytest.mark.parametrize(
    ("hint", "status"), [(400, 400), (429, 429), (503, 503), (504, 504), (502, 502), (500, 502)]
)
@pytest.mark.parametrize("stream", [False, True])
def test_an_engine_that_refuses_is_a_status(hint: int, status: int, stream: bool) -> None:
    engine = StepEngine(engine_error(hint, "the engine says no"))
    with Gateway(engine) as gateway:
        answer = gateway.chat(stream=stream)
        engine.steps = [final("Hi.")]
        assert gateway.chat().status == 200
    assert answer.status == status
    assert "the engine says no" in answer.error["message"]


def test_an_engine_that_breaks_off_ends_the_stream_with_an_error_and_done() -> None:
    engine = StepEngine(final("One two three")[:5], engine_error(502, "it broke off"))
    with Gateway(engine) as gateway:
        streamed, whole = gateway.chat(stream=True), gateway.chat()
    assert streamed.status == 200
    *chunks, error, done = streamed.events
    assert chunks
    assert error["error"]["code"] == "engine_error"
    assert done == "data: [DONE]"
    assert whole.status == 502
    assert whole.error["type"] == "engine_error"


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("late", [False, True])
def test_a_bug_is_told_without_its_traceback_and_logged_with_it(
    stream: bool, late: bool, caplog: pytest.LogCaptureFixture
) -> None:
    bug = ZeroDivisionError("a secret")
    engine = StepEngine(*([final("One two")[:5]] if late else []), bug)
    with caplog.at_level(logging.ERROR), Gateway(engine) as gateway:
        answer = gateway.chat(stream=stream)
    assert b"secret" not in answer.body
    assert b"Traceback" not in answer.body
    if stream and late:
        assert answer.status == 200
        error = answer.events[-2]["error"]
    else:
        assert answer.status == 500
        error = answer.error
    assert error["type"] == "server_error"
    assert answer.headers["x-request-id"] in error["message"]
    assert "ZeroDivisionError" in caplog.text


def test_a_raw_completion_fails_in_the_same_way() -> None:
    engine = StepEngine(final("One two")[:5], engine_error(502))
    body = {"model": "m", "prompt": "x"}
    with Gateway(engine) as gateway:
        whole = gateway.send("POST", "/v1/completions", body)
        streamed = gateway.send("POST", "/v1/completions", {**body, "stream": True})
    assert whole.status == 502
    assert streamed.events[-2]["error"]["code"] == "engine_error"


def test_one_failing_request_disturbs_no_other() -> None:
    gate = Gate()
    text = final("Kept to the end.")
    engine = StepEngine(text[:5], gate, text[5:])
    body = json.dumps({**GOOD, "stream": True})
    with Gateway(engine) as gateway:
        connection = gateway.connect()
        connection.request("POST", CHAT, body, {"content-type": "application/json"})
        response = connection.getresponse()
        engine.steps = [ZeroDivisionError()]
        assert gateway.chat().status == 500
        gate.open()
        assert b"[DONE]" in response.read()
        connection.close()
