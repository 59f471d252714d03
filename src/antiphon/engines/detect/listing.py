"""Which models an engine has, and what it says of each, told in the same words for all engines."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import Any, Final
from urllib.parse import quote

import msgspec

from antiphon.engines.detect.asking import Answer, Asker, dig, number, text
from antiphon.engines.detect.gptoss import judge
from antiphon.engines.detect.kinds import Identified
from antiphon.engines.detect.listed import Listed
from antiphon.engines.detect.report import Finding

__all__ = ["MAX_MODELS", "list_models"]

MAX_MODELS: Final = 1000
"""Models of one engine that are looked at; providers list hundreds."""
MAX_DETAILS: Final = 32
"""Models of one engine that are asked after one by one."""
_NOT_TEXT: Final = frozenset({"embedding", "embeddings", "reranking", "image", "tts", "audio"})


async def list_models(asker: Asker, engine: Identified) -> list[Listed]:
    """The engine's models, at most `MAX_MODELS`."""
    match engine.kind.value:
        case "llama.cpp":
            found = await _llama(asker, engine)
        case "ollama" | "ollama-template" | "ollama-chat":
            found = await _ollama(asker)
        case "lmstudio":
            found = _lmstudio(engine)
        case "lemonade":
            found = _lemonade(engine)
        case "sglang":
            found = _sglang(engine)
        case "vllm":
            found = [_openai(entry, loaded=True) for entry in _entries(engine)]
        case _:
            found = [_openai(entry) for entry in _entries(engine)]
    unique: dict[str, Listed] = {}
    for model in found:
        if model.id:
            unique.setdefault(model.id, model)
    return list(unique.values())[:MAX_MODELS]


def _entries(engine: Identified, route: str = "/v1/models") -> list[Any]:
    return _list(dig(engine.answers[route].data, "data")) if route in engine.answers else []


def _list(value: Any) -> list[Any]:
    return value[:MAX_MODELS] if isinstance(value, list) else []


def _texts(*values: Any) -> tuple[str, ...]:
    """The strings among values and lists of values, each once."""
    flat: list[Any] = []
    for value in values:
        flat += value[:64] if isinstance(value, list) else [value]
    return tuple(dict.fromkeys([known for value in flat if (known := text(value))]))


def _context(value: Any, where: str) -> Finding[int | None]:
    known = number(value)
    return Finding(known, where if known else "the engine does not tell")


def _id(entry: Any, *keys: str) -> str:
    return next((known for key in keys or ("id",) if (known := text(dig(entry, key)))), "")


def _openai(entry: Any, *, loaded: bool | None = None) -> Listed:
    return Listed(
        id=_id(entry),
        other_names=_texts(dig(entry, "root")),
        labels=_texts(dig(entry, "labels"), dig(entry, "tags")),
        loaded=loaded,
        context=_first(
            _context(dig(entry, "max_model_len"), "max_model_len in /v1/models"),
            _context(dig(entry, "context_length"), "context_length in /v1/models"),
            _context(dig(entry, "meta", "n_ctx"), "meta.n_ctx in /v1/models"),
        ),
    )


def _first(*findings: Finding[int | None]) -> Finding[int | None]:
    return next((finding for finding in findings if finding.value), findings[-1])


async def _llama(asker: Asker, engine: Identified) -> list[Listed]:
    props = engine.answers["/props"]
    entries = _entries(engine)
    if dig(props.data, "role") == "router" or any(dig(e, "status") for e in entries):
        loaded = [e for e in entries if dig(e, "status", "value") == "loaded"][:MAX_DETAILS]
        names = [_id(entry) for entry in loaded]
        told = await asyncio.gather(
            *[asker.get(f"/props?model={quote(name, safe='')}&autoload=false") for name in names]
        )
        details = dict(zip(names, told, strict=True))
        return [_llama_model(e, details.get(_id(e), Answer())) for e in entries]
    if not entries:
        name = text(dig(props.data, "model_alias")) or text(dig(props.data, "model_path"))
        entries = [{"id": name or "default"}]
    return [_llama_model(entry, props, loaded=True) for entry in entries[:1]]


def _llama_model(entry: Any, props: Answer, *, loaded: bool | None = None) -> Listed:
    said = props.data
    status = dig(entry, "status", "value")
    path = text(dig(said, "model_path")) or text(dig(entry, "path"))
    return Listed(
        id=_id(entry),
        aliases=_texts(dig(entry, "aliases"), dig(said, "model_alias")),
        other_names=_texts(path and path.replace("\\", "/").rpartition("/")[2]),
        labels=_texts(dig(entry, "tags")),
        architecture=text(dig(entry, "meta", "architecture")),
        template=_template(dig(said, "chat_template")),
        loaded=status == "loaded" if loaded is None and status else loaded,
        context=_first(
            _context(
                dig(said, "default_generation_settings", "n_ctx"),
                "n_ctx of a slot in /props",
            ),
            _context(dig(entry, "meta", "n_ctx"), "meta.n_ctx in /v1/models"),
        ),
    )


def _template(value: Any) -> str | None:
    """A chat template, whole: signs may stand far behind its beginning."""
    return value if isinstance(value, str) and value else None


def _sglang(engine: Identified) -> list[Listed]:
    told = engine.answers["/model_info"].data or engine.answers["/get_model_info"].data
    path = text(dig(told, "model_path"))
    listed = [_openai(entry, loaded=True) for entry in _entries(engine)]
    if not listed and path:
        listed = [Listed(id=path, loaded=True)]
    architecture = text(dig(told, "architectures", 0)) or text(dig(told, "model_type"))
    return [
        msgspec.structs.replace(
            model, other_names=_texts(*model.other_names, path), architecture=architecture
        )
        for model in listed
    ]


async def _ollama(asker: Asker) -> list[Listed]:
    tags, running = await asyncio.gather(asker.get("/api/tags"), asker.get("/api/ps"))
    entries = _list(dig(tags.data, "models"))
    loaded = {_id(entry, "model", "name"): entry for entry in _list(dig(running.data, "models"))}
    likely = [e for e in entries if judge(_ollama_model(e, None, None), None).gpt_oss.value][
        :MAX_DETAILS
    ]
    names = [_id(entry, "model", "name") for entry in likely]
    told = await asyncio.gather(*[asker.post("/api/show", {"model": name}) for name in names])
    details = {name: answer.data for name, answer in zip(names, told, strict=True)}
    return [
        _ollama_model(
            entry,
            details.get(_id(entry, "model", "name")),
            loaded.get(_id(entry, "model", "name")),
            known=running.ok,
        )
        for entry in entries
    ]


def _ollama_model(entry: Any, shown: Any, running: Any, *, known: bool = False) -> Listed:
    architecture = text(dig(shown, "model_info", "general.architecture"))
    family = text(dig(shown, "details", "family")) or text(dig(entry, "details", "family"))
    name = _id(entry, "model", "name")
    return Listed(
        id=name,
        aliases=(name.removesuffix(":latest"),) if name.endswith(":latest") else (),
        other_names=_texts(dig(shown, "details", "parent_model")),
        architecture=architecture or family,
        template=_template(dig(shown, "template")),
        loaded=running is not None if known else None,
        context=_ollama_context(dig(running, "context_length"), dig(shown, "model_info")),
    )


def _ollama_context(loaded: Any, info: Any) -> Finding[int | None]:
    """What Ollama gave the model when it loaded it. The model's own limit says nothing: Ollama
    chooses by the memory that is there.
    """
    if number(loaded):
        return _context(loaded, "context_length in /api/ps")
    most = number(dig(info, f"{dig(info, 'general.architecture')}.context_length"))
    limit = f", at most {most}" if most else ""
    return Finding(None, f"Ollama chooses when it loads the model{limit}")


def _lmstudio(engine: Identified) -> list[Listed]:
    native = _entries(engine, "/api/v0/models")
    if not native:
        return [_openai(entry) for entry in _entries(engine)]
    return [
        Listed(
            id=_id(entry),
            labels=_texts(dig(entry, "publisher")),
            architecture=text(dig(entry, "arch")),
            loaded=dig(entry, "state") == "loaded",
            context=_first(
                _context(
                    dig(entry, "loaded_context_length"), "loaded_context_length in /api/v0/models"
                ),
                _context(dig(entry, "max_context_length"), "max_context_length in /api/v0/models"),
            ),
            text_model=dig(entry, "type") not in _NOT_TEXT,
        )
        for entry in native
    ]


def _lemonade(engine: Identified) -> list[Listed]:
    health = engine.answers["/v1/health"].data
    running = {_id(entry, "model_name"): entry for entry in _list(dig(health, "all_models_loaded"))}
    models = []
    for entry in _entries(engine):
        name = _id(entry)
        loaded = running.get(name)
        labels = _texts(dig(entry, "labels"))
        models.append(
            Listed(
                id=name,
                other_names=_texts(dig(entry, "checkpoint"), _values(dig(entry, "checkpoints"))),
                labels=labels,
                loaded=loaded is not None or dig(health, "model_loaded") == name,
                context=_context(_lemonade_context(entry, loaded), "context_length as it says"),
                text_model=not _NOT_TEXT & set(labels),
                recipe=text(dig(entry, "recipe")) or text(dig(loaded, "recipe")),
                url=text(dig(loaded, "backend_url")),
            )
        )
    return models


def _values(value: Any) -> list[Any]:
    return list(value.values()) if isinstance(value, dict) else []


def _lemonade_context(entry: Any, loaded: Any) -> Any:
    sources: Iterable[Any] = (
        dig(loaded, "recipe_options", "ctx_size"),
        dig(entry, "recipe_options", "ctx_size"),
        dig(entry, "context_length"),
    )
    return next((value for value in sources if number(value)), None)
