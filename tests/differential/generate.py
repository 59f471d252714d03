"""Seeded random schemas and conversations, odd ones included, as plain JSON values.

The same seed always gives the same value, so a failure is reproduced by its number.
"""

from __future__ import annotations

from random import Random
from typing import Any

WORDS = [
    "hello", "world", "the", "weather", "in", "Zürich", "東京", "🙂", "👩‍👩‍👧", "42", "3.14", "a",
    "<|start|>", "<|end|>", "<|channel|>analysis", "<|constrain|>json", "{", "}", '"', "\\", "//",
    "null", "don't", "x_y", "\t", "  ", "\n", "\r\n", "\r", "\u2028", "\x00", "\u00a0", "ñ", "…",
]  # fmt: skip
NAMES = ["a", "b", "city", "unit", "x-y", "with space", "null", "ñ", "0", "", "class", "$ref"]
TYPES = ["string", "number", "integer", "boolean", "array", "object", "null", "weird"]
ROLES = ["user", "assistant", "assistant", "assistant", "system", "developer", "tool"]
CHANNELS = [None, None, "analysis", "analysis", "commentary", "final", "final", "", "odd"]
RECIPIENTS = [None, None, None, "functions.f", "python", "assistant", "all", "", "browser.search"]
CONTENT_TYPES = [None, None, None, "<|constrain|>json", "json", "code", "<|constrain|>", "", "a b",
                 "<|constrain|> json", "x <|constrain|>json"]  # fmt: skip
NUMBERS = [0, 1, -1, 7, 2**31, 2**53, 2**63 - 1, 2**63, 2**64 - 1, 2**64, -(2**63), -(2**63) - 1,
           10**30, 0.0, -0.0, 1.0, 0.1, 1e-7, 1e15, 1e16, 1e17, 1e100, 5e-324, 3.141592653589793,
           123456.789, -2.5e-5]  # fmt: skip


def text(rng: Random, most: int = 8) -> str:
    """A short text of words, white space, emoji and text that spells control tokens."""
    return rng.choice(["", " "]).join(rng.choices(WORDS, k=rng.randrange(most + 1)))


def value(rng: Random, depth: int = 2) -> Any:
    """Any JSON value."""
    kind = rng.randrange(8 if depth else 5)
    if kind == 0:
        return rng.choice([None, True, False])
    if kind == 1:
        return rng.choice(NUMBERS)
    if kind == 2:
        return rng.uniform(-1, 1) * 10 ** rng.randrange(-20, 20)
    if kind <= 4:
        return text(rng, 3)
    if kind <= 6:
        return [value(rng, depth - 1) for _ in range(rng.randrange(4))]
    return {rng.choice(NAMES): value(rng, depth - 1) for _ in range(rng.randrange(4))}


def schema(rng: Random, depth: int = 4) -> Any:
    """A JSON Schema, mostly sensible, sometimes with a keyword of the wrong type."""
    if rng.random() < 0.02:
        return value(rng, 1)
    out: dict[str, Any] = {}
    kind = rng.choice(TYPES if depth else TYPES[:4])
    if rng.random() < 0.9:
        out["type"] = kind
    if rng.random() < 0.08:
        out["type"] = rng.choices([*TYPES, 3, None], k=rng.randrange(4))
    if kind == "object" and rng.random() < 0.9:
        keys = rng.sample(NAMES, rng.randrange(5))
        out["properties"] = {key: schema(rng, depth - 1) for key in keys}
        out["required"] = [key for key in keys if rng.random() < 0.5]
    if kind == "array" and rng.random() < 0.8:
        out["items"] = schema(rng, depth - 1)
    if kind == "string" and rng.random() < 0.3:
        out["enum"] = [text(rng, 2) for _ in range(rng.randrange(4))]
    if depth and rng.random() < 0.12:
        out["oneOf"] = [schema(rng, depth - 1) for _ in range(rng.randrange(4))]
    if rng.random() < 0.3:
        out["description"] = text(rng, 4)
    if rng.random() < 0.15:
        out["title"] = text(rng, 2)
    if rng.random() < 0.15:
        out["default"] = value(rng)
    if rng.random() < 0.1:
        out["nullable"] = rng.choice([True, True, False, "yes"])
    if rng.random() < 0.1:
        out["examples"] = [rng.choice([text(rng, 2), 3, None]) for _ in range(rng.randrange(3))]
    if rng.random() < 0.04:
        key = rng.choice(["properties", "required", "items", "enum", "oneOf", "description",
                          "title", "examples", "type"])  # fmt: skip
        out[key] = value(rng, 1)
    items = list(out.items())
    rng.shuffle(items)
    return dict(items)


def tool(rng: Random) -> dict[str, Any]:
    out: dict[str, Any] = {
        "name": rng.choice(["f", "g", "get_weather", "odd name", ""]),
        "description": text(rng, 6),
    }
    if rng.random() < 0.8:
        parameters = schema(rng, 3)
        out["parameters"] = parameters if isinstance(parameters, dict) else {}
    return out


def tools(rng: Random) -> dict[str, Any]:
    out = {}
    keys = rng.sample(["functions", "zeta", "browser", "python", "B", "ñ", "🙂", "\uffff"], 8)
    for key in keys[: rng.choice([0, 1, 1, 2, 3])]:
        namespace: dict[str, Any] = {
            "name": key if rng.random() < 0.9 else "other",
            "tools": [tool(rng) for _ in range(rng.randrange(4))],
        }
        if rng.random() < 0.5:
            namespace["description"] = text(rng, 6)
        out[key] = namespace
    return out


def _maybe(rng: Random, out: dict[str, Any], key: str, made: Any, chance: float) -> None:
    if rng.random() < chance:
        out[key] = made


def content(rng: Random, role: str) -> list[dict[str, Any]]:
    if role == "system" and rng.random() < 0.8:
        out: dict[str, Any] = {"type": "system_content"}
        _maybe(rng, out, "model_identity", text(rng, 4), 0.7)
        _maybe(rng, out, "reasoning_effort", rng.choice(["Low", "Medium", "High"]), 0.7)
        _maybe(rng, out, "conversation_start_date", "2025-06-28", 0.4)
        _maybe(rng, out, "knowledge_cutoff", "2024-06", 0.6)
        channels = [text(rng, 1) for _ in range(rng.randrange(4))]
        config = {"valid_channels": channels, "channel_required": rng.random() < 0.5}
        _maybe(rng, out, "channel_config", config, 0.7)
        _maybe(rng, out, "tools", tools(rng), 0.3)
        return [out]
    if role == "developer" and rng.random() < 0.8:
        out = {"type": "developer_content"}
        _maybe(rng, out, "instructions", text(rng, 6), 0.7)
        _maybe(rng, out, "tools", tools(rng), 0.7)
        return [out]
    parts = rng.choice([0, 1, 1, 1, 1, 1, 2, 3])
    return [{"type": "text", "text": text(rng, 12)} for _ in range(parts)]


def message(rng: Random) -> dict[str, Any]:
    role = rng.choice(ROLES)
    out: dict[str, Any] = {"role": role, "content": content(rng, role)}
    if role == "tool" or rng.random() < 0.1:
        out["name"] = rng.choice(["functions.f", "python", "browser.search", "bob", "", "system"])
    for key, choices in (
        ("channel", CHANNELS),
        ("recipient", RECIPIENTS),
        ("content_type", CONTENT_TYPES),
    ):
        picked = rng.choice(choices)
        if picked is not None and (role in ("assistant", "tool") or rng.random() < 0.1):
            out[key] = picked
    return out


def conversation(rng: Random) -> dict[str, Any]:
    """A conversation in the canonical JSON form, as plain values."""
    return {"messages": [message(rng) for _ in range(rng.choice([0, 1, 2, 3, 5, 8, 12]))]}
