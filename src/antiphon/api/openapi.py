"""The OpenAPI 3.1 document of the gateway, made from the wire types that it reads and writes."""

from __future__ import annotations

from typing import Annotated, Any, Final, Literal

import msgspec
from msgspec import Meta

from antiphon.api import openapi_responses
from antiphon.api.chat.answer import ChatCompletion
from antiphon.api.chat.body import ChatBody
from antiphon.api.chat.models import Model, ModelList
from antiphon.api.chat.wire import FunctionTool, ResponseFormatParameter, WireTool
from antiphon.api.policy import Effort
from antiphon.vocab.control import ORDINARY_COUNT

__all__ = ["openapi_document"]

_REF: Final = "#/components/schemas/{name}"
_JSON: Final = "application/json"
_STRING: Final = {"type": "string"}
_TokenId = Annotated[int, Meta(ge=0, lt=ORDINARY_COUNT)]


class ErrorDetail(msgspec.Struct):
    """``param`` is the path of the parameter that is wrong, ``code`` stable and for programs."""

    message: str
    type: str
    param: str | None
    code: str | None


class ErrorBody(msgspec.Struct):
    """Every error."""

    error: ErrorDetail


class CompletionBody(msgspec.Struct, kw_only=True):
    """A raw prompt: text in which control tokens are spelled out, or ids."""

    model: Annotated[str, Meta(min_length=1)]
    prompt: Annotated[str, Meta(min_length=1)] | Annotated[list[_TokenId], Meta(min_length=1)]
    max_tokens: Annotated[int, Meta(ge=1)] | None = None
    temperature: Annotated[float, Meta(ge=0, le=2)] | None = None
    top_p: Annotated[float, Meta(ge=0, le=1)] | None = None
    seed: Annotated[int, Meta(ge=-(2**63), le=2**63 - 1)] | None = None
    stream: bool | None = None


class CompletionChoice(msgspec.Struct):
    """What came after the prompt."""

    index: int
    text: str
    finish_reason: str | None = None


class Completion(msgspec.Struct):
    """The whole answer to a raw prompt."""

    id: str
    object: Literal["text_completion"]
    created: int
    model: str
    choices: list[CompletionChoice]


class Status(msgspec.Struct):
    """How the server is."""

    status: str


def openapi_document(version: str = "0") -> dict[str, Any]:
    """The document. A request body's unknown fields are accepted, so none is forbidden."""
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Antiphon",
            "version": version,
            "description": "OpenAI's APIs over gpt-oss. Errors have OpenAI's shape.",
        },
        "paths": {
            "/v1/chat/completions": {
                **_post("createChatCompletion", "ChatBody", "ChatCompletion"),
                **_get("listChatCompletions", "ItemList"),
            },
            "/v1/completions": _post("createCompletion", "CompletionBody", "Completion"),
            "/v1/models": _get("listModels", "ModelList"),
            "/v1/models/{id}": _get("getModel", "Model", parameter="id"),
            "/health": _get("health", "Status", keyless=True),
            "/ready": _get("ready", "Status", keyless=True),
        }
        | {
            path: {method: _operation(path, operation) for method, operation in methods.items()}
            for path, methods in openapi_responses.paths().items()
        },
        "components": {
            "schemas": _schemas(),
            "securitySchemes": {"key": {"type": "http", "scheme": "bearer"}},
        },
        "security": [{"key": []}, {}],
    }


def _schemas() -> dict[str, Any]:
    _, schemas = msgspec.json.schema_components(
        [
            _described(ChatBody),
            ChatCompletion,
            Completion,
            CompletionBody,
            ErrorBody,
            Model,
            ModelList,
            Status,
            *openapi_responses.SCHEMAS,
        ],
        ref_template=_REF,
    )
    schemas["ChatBody"]["properties"]["messages"]["minItems"] = 1
    return schemas


def _described(body: type[msgspec.Struct]) -> type[msgspec.Struct]:
    """The same body with a type for what it leaves as it is, or takes as anything."""
    fields: list[Any] = []
    for field in msgspec.structs.fields(body):
        type_ = _TYPES.get(field.name, field.type)
        if field.required:
            fields.append((field.encode_name, type_))
        else:
            fields.append((field.encode_name, type_, None))
    return msgspec.defstruct(
        body.__name__, fields, kw_only=True, namespace={"__doc__": body.__doc__}
    )


class Named(msgspec.Struct):
    """A tool, by its name."""

    name: str


class FunctionChoice(msgspec.Struct, tag_field="type", tag="function"):
    """This function must be called."""

    function: Named


class CustomChoice(msgspec.Struct, tag_field="type", tag="custom"):
    """This custom tool must be called."""

    custom: Named


class AllowedTools(msgspec.Struct):
    """These tools may be called, or one of them must."""

    mode: Literal["auto", "required"]
    tools: Annotated[list[FunctionChoice | CustomChoice], Meta(min_length=1)]


class AllowedChoice(msgspec.Struct, tag_field="type", tag="allowed_tools"):
    """Some of the tools that are offered."""

    allowed_tools: AllowedTools


_TYPES: Final[dict[str, Any]] = {
    "tools": list[WireTool] | None,
    "functions": list[FunctionTool] | None,
    "response_format": ResponseFormatParameter | None,
    "tool_choice": (
        Literal["none", "auto", "required"] | FunctionChoice | CustomChoice | AllowedChoice | None
    ),
    "function_call": Literal["none", "auto"] | Named | None,
    "reasoning_effort": Effort | None,
    "verbosity": Literal["low", "medium", "high"] | None,
    "modalities": list[Literal["text"]] | None,
    "audio": None,
    "moderation": None,
}


def _content(name: str) -> dict[str, Any]:
    return {_JSON: {"schema": {"$ref": _REF.format(name=name)}}}


def _responses(name: str, *, stream: bool) -> dict[str, Any]:
    content = _content(name)
    if stream:
        content["text/event-stream"] = {}
    error = {"description": "An error, in OpenAI's shape.", "content": _content("ErrorBody")}
    return {"200": {"description": "The answer.", "content": content}, "4XX": error, "5XX": error}


def _post(operation: str, body: str, answer: str) -> dict[str, Any]:
    return {
        "post": {
            "operationId": operation,
            "requestBody": {"required": True, "content": _content(body)},
            "responses": _responses(answer, stream=True),
        }
    }


def _get(
    operation: str, answer: str, *, parameter: str | None = None, keyless: bool = False
) -> dict[str, Any]:
    method: dict[str, Any] = {
        "operationId": operation,
        "responses": _responses(answer, stream=False),
    }
    if keyless:
        # Not ready is a 503 with the same body.
        method["responses"]["5XX"] = method["responses"]["200"]
        method["security"] = []
    if parameter is not None:
        method["parameters"] = [
            {"name": parameter, "in": "path", "required": True, "schema": {"type": "string"}}
        ]
    return {"get": method}


def _operation(path: str, operation: openapi_responses.Operation) -> dict[str, Any]:
    """A method of a path that has names in it, in braces."""
    named = [part[1:-1] for part in path.split("/") if part.startswith("{")]
    method: dict[str, Any] = {
        "operationId": operation.name,
        "responses": _responses(operation.answer, stream=operation.stream),
        "parameters": [
            *({"name": n, "in": "path", "required": True, "schema": _STRING} for n in named),
            *({"name": n, "in": "query", "schema": _STRING} for n in operation.query),
        ],
    }
    if operation.bytes:
        method["responses"]["200"]["content"] = {"application/octet-stream": {}}
    if operation.body is not None:
        method["requestBody"] = {"required": True, "content": _content(operation.body)}
    return method
