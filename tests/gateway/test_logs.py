"""Logs: one line an event, one id a request, never what users and models say."""

from __future__ import annotations

import io
import json
import logging
import re
from pathlib import Path

import pytest
from tests.gateway.governing import LogLines, add_key, answering, bearer, chat, with_keys
from tests.gateway.serving import Gateway, StepEngine, final

from antiphon.errors import EngineError
from antiphon.gateway.logs import CONTENT, MAX_VALUE_CHARS, Log, bind_request, unbind_request
from antiphon.settings.model import LogSettings
from antiphon.vocab.control import CHANNEL
from antiphon.vocab.tokenizer import default_tokenizer

USER = "xylophone-of-the-user"
MODEL = "marimba-of-the-model"


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_a_request_is_one_line_that_says_what_became_of_it(tmp_path: Path) -> None:
    path, lines = tmp_path / "keys.toml", LogLines()
    secret = add_key(path, "laptop")
    with answering(settings=with_keys(path), log=lines.log) as gateway:
        answer = chat(gateway, bearer(secret), no_such_parameter=1)
    (line,) = lines.lines("request")
    usage = answer.json["usage"]
    assert line["level"] == "info"
    assert line["request_id"] == answer.headers["x-request-id"]
    assert (line["method"], line["route"]) == ("POST", "/v1/chat/completions")
    assert (line["status"], line["model"], line["mode"]) == (200, "m", "harmony")
    assert line["why"] == "the engine has no chat route of its own"
    assert line["engine"] == "step engine"
    assert line["key"].startswith("key_")
    assert line["ignored"] == ["no_such_parameter"]
    assert line["prompt_tokens"] == usage["prompt_tokens"]
    assert line["completion_tokens"] == usage["completion_tokens"]
    assert line["finish"] == "stop"
    assert line["ms"] >= line["first_token_ms"] >= 0
    assert secret not in lines.stream.getvalue()


def test_refusals_say_their_code_and_failures_are_warnings() -> None:
    lines = LogLines()
    with Gateway(StepEngine(EngineError("it burns")), log=lines.log) as gateway:
        chat(gateway, temperature="hot")
        chat(gateway)
    refused, failed = lines.lines("request")
    assert (refused["level"], refused["status"]) == ("info", 400)
    assert (failed["level"], failed["status"], failed["error"]) == ("warning", 502, "engine_error")


def test_a_client_may_give_the_id() -> None:
    lines = LogLines()
    with answering(log=lines.log) as gateway:
        chat(gateway, {"x-request-id": "mine-1"})
        chat(gateway, {"x-request-id": "not mine; {}"})
    first, second = lines.lines("request")
    assert first["request_id"] == "mine-1"
    assert second["request_id"].startswith("req_")


def test_health_checks_are_told_of_at_level_debug_only() -> None:
    for level, count in (("info", 0), ("debug", 3)):
        lines = LogLines(level=level)
        with answering(log=lines.log) as gateway:
            for path in ("/health", "/ready", "/metrics"):
                gateway.send("GET", path)
        assert len(lines.lines("request")) == count


def test_what_was_detected_is_told_once_with_the_reason() -> None:
    lines = LogLines()
    with answering(log=lines.log) as gateway:
        chat(gateway)
        chat(gateway)
    (line,) = lines.lines("detected")
    assert (line["model"], line["gpt_oss"], line["why"]) == ("m", True, "the test says so")


def test_mends_are_told_by_their_codes_with_the_requests_id() -> None:
    lines = LogLines()
    encode = default_tokenizer().encode
    engine = StepEngine([CHANNEL, *encode("final"), CHANNEL, *final(MODEL)])
    with Gateway(engine, log=lines.log) as gateway:
        answer = chat(gateway)
    (line,) = lines.lines("recovered")
    assert line["codes"] == {"repeated-channel": 1}
    assert line["request_id"] == answer.headers["x-request-id"]


def test_aliased_tools_are_told() -> None:
    lines = LogLines()
    tool = {"type": "function", "function": {"name": "python", "parameters": {"type": "object"}}}
    with answering(log=lines.log) as gateway:
        chat(gateway, tools=[tool])
    (line,) = lines.lines("request")
    assert line["aliased"] == {"python": "use_python"}
    assert not lines.lines("decided")


@pytest.mark.parametrize("stream", [False, True])
def test_what_users_and_models_say_is_not_logged(stream: bool) -> None:
    lines = LogLines(level="debug")
    encode = default_tokenizer().encode
    engine = StepEngine([CHANNEL, *encode(f"final {MODEL}"), CHANNEL, *final(MODEL)])
    body = {
        "model": "m",
        "messages": [{"role": "system", "content": USER}, {"role": "user", "content": USER}],
        "stream": stream,
    }
    with Gateway(engine, log=lines.log) as gateway:
        gateway.send("POST", "/v1/chat/completions", body)
        gateway.send("POST", f"/v1/{USER}?q={USER}", body)
    text = lines.stream.getvalue()
    assert lines.lines("request")
    assert lines.lines("recovered")
    assert USER not in text
    assert MODEL not in text


def test_content_is_logged_only_when_asked_for() -> None:
    for content in (False, True):
        lines = LogLines(content=content)
        lines.log.info("said", **{CONTENT: MODEL})
        assert (MODEL in lines.stream.getvalue()) is content


def test_every_line_of_a_request_has_its_id() -> None:
    lines = LogLines()
    tokens = bind_request("req_1")
    lines.log.info("inside")
    unbind_request(tokens)
    lines.log.info("outside")
    inside, outside = lines.lines()
    assert inside["request_id"] == "req_1"
    assert "request_id" not in outside


def test_a_line_of_json_has_a_time_a_level_and_its_fields() -> None:
    lines = LogLines()
    lines.log.warning("odd", count=3, names=["a"], path=Path("/x"))
    (line,) = lines.lines()
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", line.pop("time"))
    assert line == {"level": "warning", "event": "odd", "count": 3, "names": ["a"], "path": "/x"}


def test_text_is_for_people_and_no_field_breaks_the_line() -> None:
    lines = LogLines(format="text")
    lines.log.info("ev\nil", plain="word", spaced="two words", bad='a\n"\x1b[31m\u2028', n=1)
    text = lines.stream.getvalue()
    assert text.count("\n") == 1
    assert "\x1b" not in text
    assert "\u2028" not in text
    assert re.match(r"\d\d:\d\d:\d\d\.\d{3} info    ev\\nil plain=word ", text)
    assert 'spaced="two words"' in text
    assert text.endswith("n=1\n")


def test_auto_is_text_on_a_terminal_and_json_in_a_pipe() -> None:
    terminal, pipe = Terminal(), io.StringIO()
    for stream in (terminal, pipe):
        Log(LogSettings(format="auto"), stream).info("hello")
    assert "\x1b[32minfo" in terminal.getvalue()
    assert json.loads(pipe.getvalue())["event"] == "hello"


def test_levels_are_kept_and_can_be_changed() -> None:
    lines = LogLines(level="warning")
    lines.log.info("a")
    lines.log.error("b")
    lines.log.configure(LogSettings(format="json", level="debug"))
    lines.log.debug("c")
    assert [line["event"] for line in lines.lines()] == ["b", "c"]


def test_long_values_are_cut() -> None:
    lines = LogLines()
    lines.log.info("long", value="x" * 1_000_000)
    assert len(lines.stream.getvalue()) < MAX_VALUE_CHARS + 200


def test_the_standard_librarys_records_become_lines() -> None:
    lines = LogLines()
    logger = logging.getLogger("test.of.logs")
    logger.propagate = False
    handler = lines.log.handler()
    logger.addHandler(handler)
    try:
        logger.warning("%d of %s", 3, "them")
        try:
            raise KeyError("k")
        except KeyError:
            logger.exception("failed")
        logger.critical("worst")
        logger.warning("%d", "not a number")
    finally:
        logger.removeHandler(handler)
    first, second, third, fourth = lines.lines()
    assert (first["event"], first["level"], first["logger"]) == (
        "3 of them",
        "warning",
        "test.of.logs",
    )
    assert "KeyError: 'k'" in second["traceback"]
    assert third["level"] == "error"
    assert fourth["event"] == "%d"


def test_a_bug_is_logged_with_its_traceback_and_told_without(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with Gateway(StepEngine(RuntimeError("secret detail")), log=LogLines().log) as gateway:
        answer = chat(gateway)
    assert answer.status == 500
    assert "secret detail" not in answer.body.decode()
    assert answer.headers["x-request-id"] in answer.error["message"]
    assert any("secret detail" in (record.exc_text or "") for record in caplog.records)


def test_a_closed_stream_ends_no_request() -> None:
    lines = LogLines()
    lines.stream.close()
    with answering(log=lines.log) as gateway:
        assert chat(gateway).status == 200
