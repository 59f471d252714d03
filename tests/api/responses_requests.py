"""Short ways to make Responses requests and to see what became of them."""

from __future__ import annotations

import json
from typing import Any

import pytest

from antiphon.api.errors import ApiError
from antiphon.api.policy import PromptPolicy
from antiphon.api.responses.request import Past, ResponsesRequest, decode_response_request
from antiphon.model.content import DeveloperContent, SystemContent
from antiphon.model.message import Message

__all__ = ["FUNCTION", "decode", "developer", "refused", "said", "system"]

FUNCTION: dict[str, Any] = {"type": "function", "name": "look", "parameters": {"type": "object"}}


def decode(
    input: Any = "hi",
    *,
    policy: PromptPolicy | None = None,
    past: Past | None = None,
    unseal: Any = None,
    date: str | None = None,
    **fields: Any,
) -> ResponsesRequest:
    body = {"model": "gpt-oss-20b", **fields}
    if input is not None:
        body["input"] = input
    return decode_response_request(
        json.dumps(body).encode(),
        policy=policy or PromptPolicy(),
        past=past or Past(),
        unseal=unseal,
        date=date,
    )


def refused(input: Any = "hi", **fields: Any) -> ApiError:
    """The error of a request that must be refused."""
    with pytest.raises(ApiError) as caught:
        decode(input, **fields)
    return caught.value


def system(request: ResponsesRequest) -> SystemContent:
    (content,) = request.turn.conversation.messages[0].content
    assert isinstance(content, SystemContent)
    return content


def developer(request: ResponsesRequest) -> DeveloperContent:
    """What the first developer message holds."""
    (content,) = request.turn.conversation.messages[1].content
    assert isinstance(content, DeveloperContent)
    return content


def said(request: ResponsesRequest) -> list[tuple[str, ...]]:
    """Who says what, after the system message: author, where it goes, text."""
    return [_shown(message) for message in request.turn.conversation.messages[1:]]


def _shown(message: Message) -> tuple[str, ...]:
    author = message.name or message.role.value
    if message.role == "developer":
        (content,) = message.content
        assert isinstance(content, DeveloperContent)
        return (author, content.instructions or "")
    where = message.recipient if message.role == "assistant" else None
    place = [word for word in (where or message.channel,) if word]
    return (author, *place, message.text)
