"""Random turns, and readers of what is made of them that share no code with it."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import strategies as st

from antiphon.api.turn import (
    Logprob,
    PartDelta,
    PartEnd,
    PartKind,
    PartStart,
    Recovered,
    TurnEnd,
    TurnEvent,
    TurnUsage,
)
from antiphon.codec.events import Diagnostic, Span

TEXTS = st.text(min_size=1, max_size=12)
LOGPROBS = st.lists(
    st.builds(
        Logprob,
        TEXTS,
        st.just((72, 105)),
        st.floats(-20, 0),
        st.lists(st.builds(Logprob, TEXTS, st.just((72,)), st.floats(-20, 0)), max_size=2).map(
            tuple
        ),
    ),
    max_size=2,
).map(tuple)
USAGES = st.builds(
    TurnUsage,
    prompt_tokens=st.integers(0, 999),
    cached_tokens=st.integers(0, 99),
    completion_tokens=st.integers(0, 999),
    reasoning_tokens=st.integers(0, 99),
)
RECOVERED = Recovered(Diagnostic("missing-start", "R4", Span(0, 1), "x"))


@st.composite
def turns(draw: st.DrawFn, *, structured_parts: bool = True) -> list[TurnEvent]:
    """One choice's events. Without ``structured_parts``: no custom calls."""
    events: list[TurnEvent] = []
    calls = 0
    for kind in draw(st.lists(st.sampled_from(PartKind), max_size=6)):
        if kind is PartKind.CALL:
            calls += 1
            custom = structured_parts and draw(st.booleans())
            events.append(PartStart(kind, f"call_{calls}", draw(TEXTS), custom))
        else:
            events.append(PartStart(kind))
        texts = draw(st.lists(TEXTS, max_size=4))
        for text in texts:
            visible = kind in (PartKind.ANSWER, PartKind.PREAMBLE)
            events.append(PartDelta(text, draw(LOGPROBS) if visible else ()))
        events.append(PartEnd("".join(texts)))
        if draw(st.booleans()):
            events.append(RECOVERED)
    finish = "tool_calls" if calls else draw(st.sampled_from(["stop", "length"]))
    events.append(TurnEnd(finish_reason=finish, usage=draw(USAGES), messages=()))  # type: ignore[arg-type]
    return events


def frames(data: bytes) -> list[Any]:
    """The JSON of each event of a stream, which must end with ``[DONE]``."""
    *events, last = data.decode().removesuffix("\n\n").split("\n\n")
    assert last == "data: [DONE]"
    return [json.loads(event.removeprefix("data: ")) for event in events]


def accumulate(chunks: list[Any]) -> dict[str, Any]:
    """The answer that a client puts together from the chunks of a stream."""
    answer: dict[str, Any] = {"choices": {}}
    for chunk in chunks:
        answer["usage"] = chunk.get("usage")
        for choice in chunk["choices"]:
            made = answer["choices"].setdefault(
                choice["index"], {"message": {}, "finish_reason": None, "logprobs": []}
            )
            assert made["finish_reason"] is None, "nothing may follow the finish reason"
            made["finish_reason"] = choice["finish_reason"]
            made["logprobs"] += (choice.get("logprobs") or {}).get("content", [])
            _merge(made["message"], choice["delta"])
    return answer


def _merge(message: dict[str, Any], delta: dict[str, Any]) -> None:
    for key, value in delta.items():
        if key == "tool_calls":
            calls = message.setdefault("tool_calls", [])
            for part in value:
                fields = {k: v for k, v in part.items() if k != "index"}
                if part["index"] == len(calls):
                    assert {"id", "type"} <= fields.keys()
                    calls.append({})
                else:
                    assert part["index"] == len(calls) - 1, "calls must not interleave"
                    assert not {"id", "type"} & fields.keys(), "once is enough"
                _merge(calls[part["index"]], fields)
        elif isinstance(value, dict):
            _merge(message.setdefault(key, {}), value)
        elif isinstance(value, str) and isinstance(message.get(key), str):
            assert key not in ("role", "name", "id", "type"), "once is enough"
            message[key] += value
        else:
            message[key] = value
