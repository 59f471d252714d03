from __future__ import annotations

import json

import pytest

from antiphon.api.errors import ApiError, as_api_error
from antiphon.errors import (
    AntiphonError,
    EngineError,
    MessageError,
    RenderError,
    SchemaError,
    VocabularyError,
)


def test_an_error_has_openais_shape():
    error = ApiError("no", status=429, type="rate_limit_error", code="slow_down", retry_after=3)
    assert json.loads(error.body()) == {
        "error": {"message": "no", "type": "rate_limit_error", "param": None, "code": "slow_down"}
    }
    assert (error.status, error.retry_after) == (429, 3)
    assert as_api_error(error) is error


@pytest.mark.parametrize(
    ("error", "status", "type_", "param", "code"),
    [
        (MessageError("a: wrong", field="a"), 400, "invalid_request_error", "a", "invalid_value"),
        (
            MessageError("a: Expected `int`, got `str`", field="a"),
            400,
            "invalid_request_error",
            "a",
            "invalid_type",
        ),
        (
            MessageError("a: Object missing required field `b`", field="a"),
            400,
            "invalid_request_error",
            "a.b",
            "missing_required_parameter",
        ),
        (
            MessageError("Object missing required field `b`"),
            400,
            "invalid_request_error",
            "b",
            "missing_required_parameter",
        ),
        (
            MessageError("not valid JSON: x"),
            400,
            "invalid_request_error",
            None,
            "invalid_json",
        ),
        (SchemaError("x"), 400, "invalid_request_error", None, "invalid_schema"),
        (RenderError("x"), 400, "invalid_request_error", None, None),
        (EngineError("x"), 502, "engine_error", None, "engine_error"),
        (VocabularyError("x"), 500, "server_error", None, None),
        (AntiphonError("x"), 500, "server_error", None, None),
    ],
)
def test_every_error_of_ours_has_an_answer(error, status, type_, param, code):
    answer = as_api_error(error)
    assert (answer.status, answer.type, answer.param, answer.code) == (status, type_, param, code)
