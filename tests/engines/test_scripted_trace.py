"""Traces: what the scripted engine is told to do, and to do wrong."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest
from tests.engines.scripted_prompts import WEATHER, collect, conversation

from antiphon.codec.render import render
from antiphon.engines.protocol import Chunk, CompletionRequest
from antiphon.engines.scripted import ScriptedEngine
from antiphon.errors import EngineError
from antiphon.model.message import Message
from antiphon.vocab.control import RETURN

HI = "<|channel|>final<|message|>Hi<|return|>"


def trace(folder: Path, *lines: dict[str, Any] | str) -> ScriptedEngine:
    file = folder / "trace.jsonl"
    texts = [line if isinstance(line, str) else json.dumps(line) for line in lines]
    file.write_text("\n".join(texts), encoding="utf-8")
    return ScriptedEngine.from_trace(file)


def ask(engine: ScriptedEngine, *said: Message | str, **more: Any) -> list[Chunk]:
    model = more.pop("model", None)
    prompt = render(conversation(*(said or ("Hello",)), **more))
    return collect(engine, CompletionRequest(prompt=prompt, model=model))


def text(chunks: list[Chunk]) -> str:
    return "".join([chunk.text for chunk in chunks])


def test_the_first_line_that_fits_is_played(tmp_path: Path) -> None:
    engine = trace(
        tmp_path,
        {"when": {"user": "weather"}, "emit": "<|channel|>final<|message|>Rain<|return|>"},
        "",
        {"when": {"regex": "^[Hh]ello$"}, "emit": HI},
        {"emit": [RETURN]},
    )
    assert "Rain" in text(ask(engine, "The weather?"))
    assert text(ask(engine, "Hello")) == HI
    assert [c.tokens for c in ask(engine, "Else")] == [(RETURN,), ()]


@pytest.mark.parametrize(
    ("when", "fits"),
    [
        ({"after_tool": "get_weather"}, True),
        ({"after_tool": "functions.get_weather"}, True),
        ({"after_tool": "other"}, False),
        ({"step": 1}, True),
        ({"step": 0}, False),
        ({"effort": "high"}, True),
        ({"effort": "low"}, False),
        ({"model": "m"}, True),
        ({"model": "n"}, False),
        ({"user": "weather", "step": 2}, False),
    ],
)
def test_everything_that_a_line_asks_for_must_hold(
    tmp_path: Path, when: dict[str, Any], fits: bool
) -> None:
    engine = trace(tmp_path, {"when": when, "emit": HI})
    said: list[Message | str] = [
        "The weather?",
        Message.call("functions.get_weather", "{}"),
        Message.tool("functions.get_weather", "rain"),
    ]
    chunks = ask(engine, *said, tools=[WEATHER], effort="high", model="m")
    assert (text(chunks) == HI) is fits


def test_a_line_is_played_so_many_times_and_then_the_next_one_that_fits(tmp_path: Path) -> None:
    other = HI.replace("Hi", "Ho")
    engine = trace(tmp_path, {"emit": HI, "times": 2}, {"emit": other, "times": 1})
    told = [text(ask(engine, "Say exactly: rules")) for _ in range(4)]
    assert told[:3] == [HI, HI, other]
    assert told[3].endswith("rules<|return|>")


def test_a_line_without_words_sets_the_pace_of_the_rules(tmp_path: Path) -> None:
    chunks = ask(trace(tmp_path, {"chunk": 4}), "Say exactly: one two three")
    assert "one two three" in text(chunks)
    assert {len(c.tokens) for c in chunks[:-2]} == {4}


@pytest.mark.parametrize(
    ("form", "expected"),
    [("ids", HI), ("marked", HI), ("stripped", "finalHi")],
)
def test_the_trace_says_in_which_form_completions_come(
    tmp_path: Path, form: str, expected: str
) -> None:
    engine = trace(tmp_path, {"emit": HI, "as": form, "chunk": 2})
    assert engine.capabilities.reading == form
    chunks = ask(engine)
    assert text(chunks) == expected
    assert any(chunk.tokens for chunk in chunks) is (form == "ids")
    finish = chunks[-1].finish
    assert finish is not None
    assert finish.stop_token == (None if form == "stripped" else RETURN)


def test_it_dies_after_so_many_tokens(tmp_path: Path) -> None:
    engine = trace(tmp_path, {"emit": HI, "die_after": 2, "times": 1})

    async def run() -> list[Chunk]:
        got: list[Chunk] = []
        request = CompletionRequest(prompt=render(conversation("x")))
        completion = engine.complete(request)
        got += [chunk for _ in range(2) for chunk in await anext(completion)]
        with pytest.raises(EngineError, match="broke off after 2 tokens"):
            await anext(completion)
        return got

    assert sum(len(chunk.tokens) for chunk in asyncio.run(run())) == 2
    assert ask(engine)[-1].finish is not None


@pytest.mark.parametrize(("status", "hint"), [(400, 400), (429, 429), (500, 502), (503, 503)])
def test_it_refuses_as_an_engine_over_http_would(tmp_path: Path, status: int, hint: int) -> None:
    engine = trace(tmp_path, {"status": status, "body": "no slot is free"})
    with pytest.raises(EngineError, match=f"{status}: no slot is free") as refused:
        ask(engine)
    assert refused.value.status_hint == hint


def test_a_hanging_line_can_be_cancelled(tmp_path: Path) -> None:
    engine = trace(tmp_path, {"emit": HI, "hang_ms": 3_600_000, "times": 1})

    async def run() -> None:
        request = CompletionRequest(prompt=render(conversation("x")))
        waiting = asyncio.ensure_future(anext(engine.complete(request)))
        await asyncio.sleep(0)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting

    asyncio.run(run())
    assert ask(engine)[-1].finish is not None


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ('{"emit": "x", "emitt": 1}', "emitt"),
        ('{"when": {"users": "x"}}', "users"),
        ('{"emit": [1, -1]}', r"\$.emit"),
        ('{"emit": [201089]}', r"\$.emit"),
        ('{"chunk": 0}', "chunk"),
        ('{"as": "hybrid"}', "as"),
        ('{"status": 200}', "status"),
        ('{"when": {"regex": "("}}', "unterminated"),
        ("not json", "JSON"),
        ("[]", "object"),
    ],
)
def test_a_bad_line_is_an_error_that_names_it(tmp_path: Path, line: str, message: str) -> None:
    with pytest.raises(EngineError, match=rf"trace.jsonl:3: .*{message}"):
        trace(tmp_path, {"emit": HI}, "", line)


def test_a_trace_that_speaks_in_two_ways_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(EngineError, match=r":2: `as` is 'ids' here and 'marked' above"):
        trace(tmp_path, {"emit": HI, "as": "marked"}, {"emit": HI, "as": "ids"})


def test_a_missing_trace_is_an_error_that_names_it(tmp_path: Path) -> None:
    with pytest.raises(EngineError, match=r"cannot read the trace .*none.jsonl"):
        ScriptedEngine.from_trace(tmp_path / "none.jsonl")
