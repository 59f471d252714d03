"""What must hold of every answer, whatever was asked."""

from __future__ import annotations

import json
from typing import Any

from jsonschema import Draft202012Validator
from tests.robustness.direct import Answer

from antiphon.api.openapi import openapi_document

__all__ = ["judge"]

_DOCUMENT = json.loads(json.dumps(openapi_document()))
_ERROR_TYPES = {
    "invalid_request_error",
    "authentication_error",
    "permission_error",
    "not_found_error",
    "rate_limit_error",
    "server_error",
    "engine_error",
}

NO_INSTANCE = "structured_output_failed"
"""What is said of a schema that nothing fits, and of an engine that could not hold to one."""


def _validator(name: str) -> Draft202012Validator:
    return Draft202012Validator(
        {"$ref": f"#/components/schemas/{name}", "components": _DOCUMENT["components"]}
    )


_ANSWERS = {
    "/v1/chat/completions": _validator("ChatCompletion"),
    "/v1/completions": _validator("Completion"),
}


def judge(answer: Answer, path: str = "/v1/chat/completions") -> None:
    """Raise AssertionError for an answer that no client should ever see."""
    assert b"Traceback" not in answer.body
    assert answer.headers["x-request-id"]
    if answer.status != 200:
        assert answer.headers["content-type"] == "application/json"
        assert int(answer.headers["content-length"]) == len(answer.body)
        error = _json(answer.body)
        judge_error(error)
        assert 400 <= answer.status < 500 or (
            answer.status == 502 and error["error"]["code"] == NO_INSTANCE
        ), (answer.status, answer.body[:500])
        return
    if answer.streamed:
        _judge_stream(answer.body)
        return
    assert int(answer.headers["content-length"]) == len(answer.body)
    _ANSWERS[path].validate(_json(answer.body))


def judge_error(body: Any) -> None:
    """OpenAI's shape."""
    assert isinstance(body, dict)
    (name, error), *rest = body.items()
    assert name == "error"
    assert not rest
    assert set(error) == {"message", "type", "param", "code"}
    assert isinstance(error["message"], str)
    assert 0 < len(error["message"]) < 4_000, error["message"][:200]
    assert error["type"] in _ERROR_TYPES
    assert error["param"] is None or isinstance(error["param"], str)
    assert len(error["param"] or "") < 1_000
    assert error["code"] is None or isinstance(error["code"], str)
    assert error["code"] != "internal_error"


def _judge_stream(body: bytes) -> None:
    assert body.endswith(b"data: [DONE]\n\n"), body[-200:]
    frames = body.decode().split("\n\n")[:-2]
    events = [_json(frame[6:].encode()) for frame in frames if not frame.startswith(":")]
    assert all(frame.startswith(("data: ", ":")) for frame in frames)
    for number, event in enumerate(events):
        if "error" in event:
            assert number == len(events) - 1, "an error is the last event"
            judge_error(event)
            # The scripted engine never fails, so any other error after the head would be ours.
            assert event["error"]["code"] == NO_INSTANCE, event
            continue
        assert event["choices"] or "usage" in event


def _json(data: bytes) -> Any:
    def refuse(word: str) -> Any:
        raise AssertionError(f"{word} is no JSON")

    return json.loads(data, parse_constant=refuse)
