"""Which engine answers at a URL, told by the routes that only it has.

Several engines imitate others' routes (Lemonade has Ollama's, llama.cpp's server has OpenAI's), so
the signs are tried in an order: whoever stands in front of others first, imitated ones last.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import Any, Final

import msgspec

from antiphon.engines.detect.asking import Answer, Asker, dig, text
from antiphon.engines.detect.report import Finding, Kind

__all__ = ["OUR_HEADER", "Identified", "identify"]

OUR_HEADER: Final = "antiphon"
"""The response header by which a gateway of ours is known."""

HEALTH: Final = "/health"
_ROUTES: Final = (
    "/v1/models",
    "/props",
    "/v1/health",
    "/api/version",
    "/version",
    "/model_info",
    "/get_model_info",
    "/server_info",
    "/api/v0/models",
    "/openapi.json",
)
"""Asked of every server. None of them starts work or loads a model."""

Answers = Mapping[str, Answer]


class Identified(msgspec.Struct, frozen=True):
    """The engine, and what it said on the way: route → answer."""

    kind: Finding[Kind | None]
    version: str | None
    answers: Answers
    error: str | None = None


async def identify(asker: Asker, kind: Kind | None = None) -> Identified:
    """Ask all routes and read the signs; with ``kind`` given, believe it."""
    health = await asker.get(HEALTH)
    if health.status == 0:
        reason = f"{asker.url} does not answer: {health.error}"
        return Identified(Finding(None, reason), None, {HEALTH: health}, reason)
    if health.status == 503 and "loading model" in health.error.lower():
        reason = "llama.cpp's server is still loading its model"
        return Identified(Finding(None, reason), None, {HEALTH: health}, reason)
    if OUR_HEADER in health.headers:
        found: Finding[Kind | None] = Finding("antiphon", f"{HEALTH} has our own header")
        return Identified(found, text(health.headers[OUR_HEADER]), {HEALTH: health})
    given = await asyncio.gather(*[asker.get(route) for route in _ROUTES])
    answers = {HEALTH: health, **dict(zip(_ROUTES, given, strict=True))}
    found = _told(kind) if kind is not None else _read(answers)
    error = None
    if found.value is None and any(answer.refused_key for answer in answers.values()):
        error = "it asks for an API key, or refuses the one it was given"
    return Identified(found, _version(found.value, answers), answers, error)


def _told(kind: Kind) -> Finding[Kind | None]:
    return Finding(kind, "as was said")


def _read(answers: Answers) -> Finding[Kind | None]:
    for kind, sign in _SIGNS:
        if reason := sign(answers):
            return Finding(kind, reason)
    return Finding(None, "none of the routes of a known engine answers as it should")


def _lemonade(answers: Answers) -> str | None:
    health = answers["/v1/health"].data
    if isinstance(health, dict) and {"all_models_loaded", "model_loaded"} & health.keys():
        return "/v1/health lists the loaded models"
    if text(dig(answers["/v1/models"].data, "data", 0, "recipe")):
        return "the models in /v1/models have a recipe"
    return None


def _llama(answers: Answers) -> str | None:
    props = answers["/props"].data
    if dig(props, "role") == "router":
        return "/props says that it is llama.cpp's router"
    if isinstance(props, dict) and {"default_generation_settings", "total_slots"} & props.keys():
        return "/props is that of llama.cpp's server"
    if answers[HEALTH].headers.get("server") == "llama.cpp":
        return "it calls itself llama.cpp in the Server header"
    if _owner(answers) == "llamacpp":
        return "the models in /v1/models are owned by llamacpp"
    return None


def _sglang(answers: Answers) -> str | None:
    for route in ("/model_info", "/get_model_info"):
        if text(dig(answers[route].data, "model_path")):
            return f"{route} tells the model's path"
    return "the models in /v1/models are owned by sglang" if _owner(answers) == "sglang" else None


def _vllm(answers: Answers) -> str | None:
    return "the models in /v1/models are owned by vllm" if _owner(answers) == "vllm" else None


def _lmstudio(answers: Answers) -> str | None:
    first = dig(answers["/api/v0/models"].data, "data", 0)
    if isinstance(first, dict) and {"arch", "state"} <= first.keys():
        return "/api/v0/models lists architectures and what is loaded"
    return None


def _ollama(answers: Answers) -> str | None:
    if text(dig(answers["/api/version"].data, "version")):
        return "/api/version answers"
    return None


def _mlx(answers: Answers) -> str | None:
    """mlx-lm is served by Python's own HTTP server, which names itself."""
    server = answers["/v1/models"].headers.get("server", "")
    if server.startswith("BaseHTTP/") and _lists_models(answers):
        return f"/v1/models comes from Python's own HTTP server ({server[:40]})"
    return None


def _transformers(answers: Answers) -> str | None:
    if dig(answers[HEALTH].data, "status") != "ok" or not _lists_models(answers):
        return None
    routes = dig(answers["/openapi.json"].data, "paths")
    title = dig(answers["/openapi.json"].data, "info", "title")
    if isinstance(routes, dict) and "/load_model" in routes and "/v1/responses" in routes:
        return "its OpenAPI document has the routes of transformers serve"
    if title == "FastAPI" and "x-request-id" in answers[HEALTH].headers:
        return "it is a bare FastAPI application that numbers requests, like transformers serve"
    return None


def _openai(answers: Answers) -> str | None:
    if not _lists_models(answers):
        return None
    return "/v1/models lists models, and nothing says which engine it is"


_SIGNS: Final[tuple[tuple[Kind, Callable[[Answers], str | None]], ...]] = (
    ("lemonade", _lemonade),
    ("llama.cpp", _llama),
    ("sglang", _sglang),
    ("vllm", _vllm),
    ("lmstudio", _lmstudio),
    ("ollama", _ollama),
    ("mlx-lm", _mlx),
    ("transformers", _transformers),
    ("openai", _openai),
)


def _lists_models(answers: Answers) -> bool:
    return isinstance(dig(answers["/v1/models"].data, "data"), list)


def _owner(answers: Answers) -> Any:
    return dig(answers["/v1/models"].data, "data", 0, "owned_by")


def _version(kind: Kind | None, answers: Answers) -> str | None:
    if kind == "llama.cpp":
        return text(dig(answers["/props"].data, "build_info"))
    if kind in ("ollama", "ollama-template", "ollama-chat"):
        return text(dig(answers["/api/version"].data, "version"))
    if kind == "lemonade":
        return text(dig(answers["/v1/health"].data, "version"))
    if kind == "vllm":
        return text(dig(answers["/version"].data, "version"))
    if kind == "sglang":
        return text(dig(answers["/server_info"].data, "version"))
    return None
