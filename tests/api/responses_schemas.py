"""OpenAI's own schemas of the Responses API, and what openai-python makes of events."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any

from jsonschema_rs import Draft202012Validator

__all__ = ["GOLDEN", "OUR_CODES", "check_schema_of_event", "validator"]

GOLDEN = json.loads((Path(__file__).parents[1] / "golden/openai_responses.json").read_text("utf-8"))

OUR_CODES = ("context_length_exceeded", "store_unavailable")
"""Codes of failed responses that tell clients what to do, and that OpenAI's schema leaves out."""

_RENAMED = {
    f"response.reasoning.{end}": f"response.reasoning_text.{end}" for end in ("delta", "done")
}
"""The dialect of Open Responses; the fields are the same."""


def _components() -> dict[str, Any]:
    components: dict[str, Any] = GOLDEN["components"]
    codes = components["schemas"]["ResponseErrorCode"]["enum"]
    codes += [code for code in OUR_CODES if code not in codes]
    return components


@cache
def validator(name: str) -> Draft202012Validator:
    """Of one component."""
    return Draft202012Validator(
        {"$ref": f"#/components/schemas/{name}", "components": _components()}
    )


def check_schema_of_event(event: dict[str, Any]) -> None:
    """Raises jsonschema_rs.ValidationError, and KeyError for an event that OpenAI does not have."""
    kind = _RENAMED.get(event["type"], event["type"])
    validator(GOLDEN["events"][kind]).validate({**event, "type": kind})
