"""The reasoning memory: a client that drops reasoning is served as one that keeps it."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest
from tests.turn.turning import CALL, THOUGHT, WEATHER, LimitedEngine, Told, asked, scripted, turn

from antiphon.api.turn import PastCall, TurnRequest
from antiphon.model.message import Message
from antiphon.settings.model import MemorySettings, Settings
from antiphon.store.memory import MemoryStore

PREAMBLE = "<|channel|>commentary<|message|>I look.<|end|><|start|>assistant"
FIRST = f'{THOUGHT}{PREAMBLE}{CALL}{{"city": "Oslo"}}<|call|>'
LAST = "<|channel|>final<|message|>Rain.<|return|>"
RESULT = Message.tool("functions.get_weather", "Rain")
USER = Message.user("Weather?")


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def said(*messages: Message, tenant: str = "", ids: Sequence[str | None] = ()) -> TurnRequest:
    """A request with this history; its calls get these ids."""
    request = asked(*messages, tools=(WEATHER,), tenant=tenant)
    whole = request.conversation.messages
    at = [i for i, message in enumerate(whole) if message.recipient and message.role == "assistant"]
    past = tuple(PastCall(call_id, i) for call_id, i in zip(ids, at, strict=True))
    return TurnRequest(
        conversation=request.conversation,
        model="m",
        tenant=tenant,
        tools=request.tools,
        past_calls=past,
    )


def prompts(
    engine: LimitedEngine, store: MemoryStore, *requests: TurnRequest, settings: Settings
) -> list[list[int]]:
    """The prompt of each request, after a first turn that calls the tool."""
    turn(engine, said(USER), store=store, settings=settings)
    for request in requests:
        turn(engine, request, store=store, settings=settings)
    return [list(request.prompt) for request in engine.requests]


def after(
    *requests: TurnRequest,
    first: str = FIRST,
    settings: Settings | None = None,
    store: MemoryStore | None = None,
) -> list[list[int]]:
    engine = scripted(first, *[LAST] * len(requests))
    return prompts(engine, store or MemoryStore(), *requests, settings=settings or Settings())[1:]


CALLED = Message.call("functions.get_weather", '{"city": "Oslo"}')
KEPT = (USER, Message.analysis("Hm."), Message.preamble("I look."), CALLED, RESULT)


def kept() -> list[int]:
    """The prompt of a client that keeps everything."""
    (prompt,) = after(said(*KEPT, ids=["call_1"]), settings=_OFF)
    return prompt


_OFF = Settings(memory=MemorySettings(enabled=False))


def test_a_client_that_drops_reasoning_gets_the_prompt_of_one_that_keeps_it() -> None:
    dropped, no_preamble = after(
        said(USER, Message.preamble("I look."), CALLED, RESULT, ids=["call_1"]),
        said(USER, CALLED, RESULT, ids=["call_1"]),
    )
    assert dropped == kept()
    assert no_preamble == kept()


def test_the_turn_tells_that_reasoning_was_put_back() -> None:
    engine, store = scripted(FIRST, LAST), MemoryStore()
    turn(engine, said(USER), store=store)
    result = turn(engine, said(USER, CALLED, RESULT, ids=["call_1"]), store=store)
    assert result.codes == ["reasoning-restored"]


def test_reasoning_that_the_client_sends_wins() -> None:
    own = (USER, Message.analysis("Mine."), CALLED, RESULT)
    with_memory = after(said(*own, ids=["call_1"]))
    without = after(said(*own, ids=["call_1"]), settings=_OFF)
    assert with_memory == without


def test_a_preamble_that_the_client_changed_stays_the_clients() -> None:
    changed = Message.preamble("Looking!")
    (prompt,) = after(said(USER, changed, CALLED, RESULT, ids=["call_1"]))
    (expected,) = after(
        said(USER, Message.analysis("Hm."), changed, CALLED, RESULT, ids=["call_1"]), settings=_OFF
    )
    assert prompt == expected


def test_a_client_that_changes_ids_and_json_is_recognised_by_its_history() -> None:
    rewritten = Message.call("functions.get_weather", '{ "city":"Oslo" }')
    (prompt,) = after(said(USER, rewritten, RESULT, ids=["other"]))
    (expected,) = after(said(*KEPT[:3], rewritten, RESULT, ids=["other"]), settings=_OFF)
    assert prompt == expected
    (without_id,) = after(said(USER, CALLED, RESULT, ids=[None]))
    assert without_id == kept()


def test_what_is_ambiguous_is_not_used() -> None:
    store = MemoryStore()
    other = FIRST.replace("Hm.", "Well.")
    engine = scripted(FIRST, other, LAST, LAST)
    for _ in range(2):
        turn(engine, said(USER), store=store)
    turn(engine, said(USER, CALLED, RESULT, ids=["unknown"]), store=store)
    (expected,) = after(said(USER, CALLED, RESULT, ids=["unknown"]), settings=_OFF)
    assert list(engine.requests[2].prompt) == expected


def test_another_key_remembers_nothing_of_it() -> None:
    (prompt,) = after(said(USER, CALLED, RESULT, ids=["call_1"], tenant="other"))
    (expected,) = after(said(USER, CALLED, RESULT, ids=["call_1"]), settings=_OFF)
    assert prompt == expected


def test_memory_expires_and_has_a_size() -> None:
    clock = Clock()
    store = MemoryStore(clock=clock)
    settings = Settings(memory=MemorySettings(seconds=10))
    engine = scripted(FIRST, LAST, LAST)
    request = said(USER, CALLED, RESULT, ids=["call_1"])
    turn(engine, said(USER), store=store, settings=settings)
    turn(engine, request, store=store, settings=settings)
    clock.now = 11.0
    turn(engine, request, store=store, settings=settings)
    (forgotten,) = after(request, settings=_OFF)
    assert list(engine.requests[1].prompt) == kept()
    assert list(engine.requests[2].prompt) == forgotten
    small = Settings(memory=MemorySettings(entry_bytes=10))
    assert after(request, settings=small) == [forgotten]


def test_the_next_final_answer_ends_it() -> None:
    over = (USER, CALLED, RESULT, Message.final("Rain."), Message.user("And now?"))
    assert after(said(*over, ids=["call_1"])) == after(said(*over, ids=["call_1"]), settings=_OFF)


def test_each_step_of_a_loop_gets_its_own_thoughts_back() -> None:
    second = FIRST.replace("Hm.", "Then Rome.").replace("Oslo", "Rome").replace(PREAMBLE, "")
    rome = Message.call("functions.get_weather", '{"city": "Rome"}')
    engine, store = scripted(FIRST, second, LAST), MemoryStore()
    ids = iter(["a", "b"])

    def step(request: TurnRequest) -> Told:
        from antiphon.turn.engine import TurnRunner

        runner = TurnRunner(engine, settings=Settings(), store=store, new_id=lambda: next(ids))
        return turn(engine, request, runner=runner)

    step(said(USER))
    step(said(USER, CALLED, RESULT, ids=["a"]))
    step(said(USER, CALLED, RESULT, rome, RESULT, ids=["a", "b"]))
    keeps = (*KEPT, Message.analysis("Then Rome."), rome, RESULT)
    (expected,) = after(said(*keeps, ids=["a", "b"]), settings=_OFF)
    assert list(engine.requests[2].prompt) == expected


def test_thoughts_between_parallel_calls_stand_where_they_stood() -> None:
    first = (
        f'{THOUGHT}{CALL}{{"city": "Oslo"}}<|end|><|start|>assistant'
        f'<|channel|>analysis<|message|>And Rome.<|end|><|start|>assistant{CALL}{{"city": "Rome"}}'
        "<|call|>"
    )
    rome = Message.call("functions.get_weather", '{"city": "Rome"}')
    ids = ["call_1", "call_2"]
    (prompt,) = after(said(USER, CALLED, rome, RESULT, RESULT, ids=ids), first=first)
    thoughts = (Message.analysis("Hm."), CALLED, Message.analysis("And Rome."), rome)
    (expected,) = after(said(USER, *thoughts, RESULT, RESULT, ids=ids), settings=_OFF)
    assert prompt == expected


@pytest.mark.parametrize("value", [b"garbage", b'{"a": 1}', b"[]"])
def test_what_the_store_holds_for_others_does_no_harm(value: bytes) -> None:
    class Odd(MemoryStore):
        async def get(self, space: str, key: str) -> bytes | None:
            return value

    request = said(USER, CALLED, RESULT, ids=["call_1"])
    assert after(request, store=Odd()) == after(request, settings=_OFF)


def test_a_store_keeps_nothing_of_a_turn_without_calls() -> None:
    class Counting(MemoryStore):
        puts = 0

        async def put(self, space: str, key: str, value: bytes, *, ttl: float) -> None:
            self.puts += 1
            await super().put(space, key, value, ttl=ttl)

    store = Counting()
    turn(scripted(THOUGHT + LAST), store=store)
    assert store.puts == 0
    assert asyncio.run(store.get("reasoning", "x")) is None
