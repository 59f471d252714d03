"""Whatever a model writes, a turn ends well: a row of whole parts and an end, or an ApiError."""

from __future__ import annotations

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.codec.reading import encode
from tests.turn.turning import READINGS, LimitedEngine, Told, turn, weather

from antiphon.api.errors import ApiError
from antiphon.api.turn import StructuredOutput, TurnRequest
from antiphon.codec.grammar.plan import NONE, REQUIRED
from antiphon.engines.protocol import Reading
from antiphon.vocab.control import CALL, CHANNEL, CONSTRAIN, END, MESSAGE, RETURN, START

CONTROL = [CALL, CHANNEL, CONSTRAIN, END, MESSAGE, RETURN, START]
WORDS = [
    *("analysis", "commentary", "final", "assistant", "user", " to=functions.get_weather"),
    *(" to=functions.nope", "json", '{"city": "Oslo"}', '{"city', '": "', '"}', "{", "}", "[1"),
    *("STO", "P", " ", "\n", "🫠", "Hm. ", "<|end|>", "functions.get_weather", "\\", "\\u12"),
]
TOKENS = st.one_of(
    st.sampled_from(CONTROL).map(lambda token: [token]),
    st.sampled_from(WORDS).map(lambda word: encode(word) if "<|" not in word else [27, 91]),
    st.integers(0, 199_000).map(lambda token: [token]),
)
MESSAGES = st.sampled_from(
    [
        "<|channel|>analysis<|message|>Hm.<|end|><|start|>assistant",
        "<|channel|>commentary to=functions.get_weather <|constrain|>json<|message|>",
        "<|channel|>final<|message|>",
        "<|channel|>commentary<|message|>",
    ]
).map(encode)
SCRIPTS = st.lists(TOKENS | MESSAGES, max_size=25).map(
    lambda pieces: [token for piece in pieces for token in piece]
)
REQUESTS = st.sampled_from(
    [
        weather(),
        weather(stop=("STOP", "Hm")),
        weather(choice=NONE),
        weather(choice=REQUIRED),
        weather(parallel=False),
        weather(think=False),
        weather(strict_tools=frozenset({"functions.get_weather"})),
        weather(custom_tools=frozenset({"functions.get_weather"})),
        weather(output=StructuredOutput(schema={"type": "object"})),
        weather(max_tokens=12),
    ]
)


def outcome(
    scripts: list[list[int]], request: TurnRequest, reading: Reading, sizes: tuple[int, ...]
) -> Told | tuple[int, str | None]:
    engine = LimitedEngine([*scripts, [RETURN], [RETURN]], reading=reading, chunking=sizes)
    engine.given = {"grammar": None}
    try:
        return turn(engine, request)
    except ApiError as error:
        return error.status, error.code


@given(st.lists(SCRIPTS, min_size=1, max_size=3), REQUESTS, st.sampled_from(READINGS))
@settings(deadline=None, max_examples=150)
def test_every_turn_ends_well(
    scripts: list[list[int]], request: TurnRequest, reading: Reading
) -> None:
    result = outcome(scripts, request, reading, (1,))
    if not isinstance(result, Told):
        assert result[0] == 502
        return
    for part in result.parts:
        assert part.kind != "call" or part.name == "get_weather"
    calls = [part for part in result.parts if part.kind == "call"]
    if request.choice == NONE:
        assert not calls
    if not request.parallel:
        assert len(calls) <= 1
    if request.choice == REQUIRED:
        assert calls or result.end.finish_reason == "length"
    if request.output is not None and result.end.finish_reason == "stop":
        answers = [part.text for part in result.parts if part.kind == "answer"]
        assert all(isinstance(msgspec.json.decode(text), dict) for text in answers)
    usage = result.end.usage
    assert 0 <= usage.reasoning_tokens <= usage.completion_tokens


@given(
    st.lists(SCRIPTS, min_size=1, max_size=3),
    REQUESTS,
    st.sampled_from(READINGS),
    st.lists(st.integers(1, 9), min_size=1, max_size=20),
)
@settings(deadline=None, max_examples=150)
def test_chunking_changes_nothing_but_where_deltas_are_cut(
    scripts: list[list[int]], request: TurnRequest, reading: Reading, sizes: list[int]
) -> None:
    one = outcome(scripts, request, reading, (1,))
    other = outcome(scripts, request, reading, tuple(sizes))
    if isinstance(one, Told) and isinstance(other, Told):
        assert (one.parts, one.codes) == (other.parts, other.codes)
        assert one.end.messages == other.end.messages
        assert one.end.finish_reason == other.end.finish_reason
    else:
        assert one == other
