from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.api.chat_events import RECOVERED, accumulate, frames, turns

from antiphon.api.chat.request import decode_chat
from antiphon.api.chat.response import ChatFold
from antiphon.api.chat.stream import KEEP_ALIVE, ChatStream
from antiphon.api.errors import ApiError
from antiphon.api.policy import PromptPolicy, Visibility
from antiphon.api.turn import (
    FinishReason,
    Logprob,
    PartDelta,
    PartEnd,
    PartKind,
    PartStart,
    TurnEnd,
    TurnEvent,
    TurnUsage,
)
from antiphon.net.sse import ServerSentEventDecoder

HEAD: dict[str, Any] = {"id": "chatcmpl-1", "created": 5, "model": "gpt-oss-20b"}
VIEWS = st.builds(
    Visibility,
    reasoning=st.booleans(),
    preambles=st.sampled_from(["content", "reasoning", "hidden"]),
    reasoning_fields=st.sampled_from(["both", "reasoning", "reasoning_content"]),
)


def part(kind: PartKind, *texts: str, **start: Any) -> list[TurnEvent]:
    return [PartStart(kind, **start), *map(PartDelta, texts), PartEnd("".join(texts))]


def thought(*texts: str) -> list[TurnEvent]:
    return part(PartKind.REASONING, *texts)


def preamble(*texts: str) -> list[TurnEvent]:
    return part(PartKind.PREAMBLE, *texts)


def answer(*texts: str) -> list[TurnEvent]:
    return part(PartKind.ANSWER, *texts)


def call(*texts: str, name: str = "f", call_id: str = "call_1", custom: bool = False) -> list[Any]:
    return part(PartKind.CALL, *texts, call_id=call_id, name=name, custom=custom)


def end(reason: FinishReason = "stop", **usage: int) -> TurnEnd:
    return TurnEnd(finish_reason=reason, usage=TurnUsage(**usage), messages=())


def streamed(events: list[TurnEvent], **how: Any) -> list[Any]:
    stream = ChatStream(**HEAD, **how)
    return frames(stream.feed(0, events) + stream.finish())


def deltas(events: list[TurnEvent], **how: Any) -> list[Any]:
    return [chunk["choices"][0]["delta"] for chunk in streamed(events, **how)]


def message(events: list[TurnEvent], **how: Any) -> Any:
    fold = ChatFold(**HEAD, **how)
    fold.feed(0, events)
    return json.loads(fold.body())["choices"][0]["message"]


# One accumulator


@settings(deadline=None)
@given(st.lists(turns(), min_size=1, max_size=3), VIEWS, st.booleans(), st.data())
def test_what_a_client_puts_together_is_the_whole_answer(choices, view, logprobs, data):
    how: dict[str, Any] = {"n": len(choices), "view": view, "logprobs": logprobs}
    stream = ChatStream(**HEAD, **how, include_usage=True)
    fold = ChatFold(**HEAD, **how)
    sent = b""
    waiting = [list(events) for events in choices]
    while any(waiting):
        index = data.draw(st.sampled_from([i for i, events in enumerate(waiting) if events]))
        size = data.draw(st.integers(1, len(waiting[index])))
        batch, waiting[index] = waiting[index][:size], waiting[index][size:]
        sent += stream.feed(index, batch)
    sent += stream.finish()
    for index, events in enumerate(choices):
        fold.feed(index, events)
    whole = json.loads(fold.body())
    pieces = accumulate(frames(sent))
    assert pieces["usage"] == whole["usage"]
    assert len(pieces["choices"]) == len(whole["choices"])
    for choice in whole["choices"]:
        got, expected = pieces["choices"][choice["index"]], choice["message"]
        assert expected.pop("annotations") == []
        expected["content"] = expected["content"] or ""
        assert got["message"] == expected
        assert got["finish_reason"] == choice["finish_reason"]
        assert got["logprobs"] == (choice["logprobs"] or {}).get("content", [])


@settings(deadline=None)
@given(turns(), st.data())
def test_batches_do_not_change_the_stream(events, data):
    whole, parts = ChatStream(**HEAD), ChatStream(**HEAD)
    expected = whole.feed(0, events)
    got, at = b"", 0
    while at < len(events):
        size = data.draw(st.integers(1, len(events) - at))
        got += parts.feed(0, events[at : at + size])
        at += size
    assert got == expected


@settings(deadline=None)
@given(turns())
def test_every_frame_is_one_server_sent_event(events):
    stream = ChatStream(**HEAD, include_usage=True)
    sent = stream.feed(0, events) + stream.finish()
    decoder = ServerSentEventDecoder()
    read = [event.data for event in decoder.feed(sent)]
    assert [json.loads(data) for data in read[:-1]] == frames(sent)
    assert read[-1] == "[DONE]"


# The stream


def test_the_first_chunk_says_who_speaks_and_the_last_why_it_ends():
    chunks = streamed([*answer("Hel", "lo"), end()])
    assert [chunk["choices"][0] for chunk in chunks] == [
        {
            "index": 0,
            "delta": {"role": "assistant", "content": "", "refusal": None},
            "finish_reason": None,
        },
        {"index": 0, "delta": {"content": "Hel"}, "finish_reason": None},
        {"index": 0, "delta": {"content": "lo"}, "finish_reason": None},
        {"index": 0, "delta": {}, "finish_reason": "stop"},
    ]
    assert {(c["id"], c["object"], c["created"], c["model"]) for c in chunks} == {
        ("chatcmpl-1", "chat.completion.chunk", 5, "gpt-oss-20b")
    }


def test_reasoning_has_both_names_or_the_one_that_is_wanted():
    both = {"reasoning": "Hm", "reasoning_content": "Hm"}
    assert deltas([*thought("Hm"), end()])[1] == both
    for field in ("reasoning", "reasoning_content"):
        view = Visibility(reasoning_fields=field)
        assert deltas([*thought("Hm"), end()], view=view)[1] == {field: "Hm"}
        got = message([*thought("Hm"), end()], view=view)
        assert got[field] == "Hm"
        assert len({"reasoning", "reasoning_content"} & got.keys()) == 1


def test_a_call_is_named_once_and_its_index_is_stable():
    events = [
        *call('{"a"', ":1}", name="f", call_id="call_1"),
        *call("{}", name="g", call_id="call_2"),
        end("tool_calls"),
    ]
    assert deltas(events)[1:] == [
        {
            "tool_calls": [
                {
                    "index": 0,
                    "id": "call_1",
                    "type": "function",
                    "function": {"name": "f", "arguments": ""},
                }
            ]
        },
        {"tool_calls": [{"index": 0, "function": {"arguments": '{"a"'}}]},
        {"tool_calls": [{"index": 0, "function": {"arguments": ":1}"}}]},
        {
            "tool_calls": [
                {
                    "index": 1,
                    "id": "call_2",
                    "type": "function",
                    "function": {"name": "g", "arguments": ""},
                }
            ]
        },
        {"tool_calls": [{"index": 1, "function": {"arguments": "{}"}}]},
        {},
    ]


def test_a_custom_tools_call_carries_its_input():
    events = [*call("select", " 1", name="sql", custom=True), end("tool_calls")]
    opening, *rest = [delta["tool_calls"][0] for delta in deltas(events)[1:-1]]
    assert opening == {
        "index": 0,
        "id": "call_1",
        "type": "custom",
        "custom": {"name": "sql", "input": ""},
    }
    assert rest == [
        {"index": 0, "custom": {"input": "select"}},
        {"index": 0, "custom": {"input": " 1"}},
    ]
    assert message(events)["tool_calls"] == [
        {"id": "call_1", "type": "custom", "custom": {"name": "sql", "input": "select 1"}}
    ]


def test_deprecated_functions_are_answered_the_old_way():
    events = [*call('{"a"', ":1}"), end("tool_calls")]
    chunks = streamed(events, deprecated_functions=True)
    assert [chunk["choices"][0]["delta"] for chunk in chunks[1:]] == [
        {"function_call": {"name": "f", "arguments": ""}},
        {"function_call": {"arguments": '{"a"'}},
        {"function_call": {"arguments": ":1}"}},
        {},
    ]
    assert chunks[-1]["choices"][0]["finish_reason"] == "function_call"
    got = message(events, deprecated_functions=True)
    assert got["function_call"] == {"name": "f", "arguments": '{"a":1}'}
    assert "tool_calls" not in got


def test_usage_comes_in_a_last_chunk_without_choices_if_it_was_asked_for():
    events = [*answer("Hi"), end(prompt_tokens=3, completion_tokens=4, cached_tokens=2)]
    assert all("usage" not in chunk for chunk in streamed(events))
    *others, last = streamed(events, include_usage=True)
    assert all(chunk["usage"] is None for chunk in others)
    assert last["choices"] == []
    assert last["usage"]["total_tokens"] == 7
    assert last["usage"]["prompt_tokens_details"]["cached_tokens"] == 2


def test_logprobs_are_on_the_chunks_of_visible_text():
    top = (Logprob("Ho", (72, 111), -2.0),)
    hi = Logprob("Hi", (72, 105), -0.5, top)
    events = [
        *thought("Hm"),
        PartStart(PartKind.ANSWER),
        PartDelta("Hi", (hi,)),
        PartEnd("Hi"),
        end(),
    ]
    expected = {
        "token": "Hi",
        "bytes": [72, 105],
        "logprob": -0.5,
        "top_logprobs": [{"token": "Ho", "bytes": [72, 111], "logprob": -2.0}],
    }
    choices = [chunk["choices"][0] for chunk in streamed(events, logprobs=True)]
    assert [choice["logprobs"] for choice in choices] == [
        None,
        None,
        {"content": [expected], "refusal": None},
        None,
    ]
    assert all("logprobs" not in chunk["choices"][0] for chunk in streamed(events))


def test_a_failure_in_the_middle_is_an_error_event_and_the_end():
    error = ApiError("the engine died", status=502, type="engine_error", code="engine_error")
    [event] = frames(ChatStream(**HEAD).error(error))
    assert event == {
        "error": {
            "message": "the engine died",
            "type": "engine_error",
            "param": None,
            "code": "engine_error",
        }
    }


def test_a_keep_alive_is_a_comment():
    assert ChatStream(**HEAD).keep_alive() == KEEP_ALIVE
    assert KEEP_ALIVE.startswith(b":")
    assert list(ServerSentEventDecoder().feed(KEEP_ALIVE)) == []


def test_no_events_are_no_bytes():
    stream = ChatStream(**HEAD)
    assert stream.feed(0, []) == b""
    assert stream.feed(0, [RECOVERED]).count(b"data:") == 1


def test_a_fingerprint_is_on_every_chunk_and_on_the_answer():
    events = [*answer("Hi"), end()]
    chunks = streamed(events, system_fingerprint="fp_1")
    assert {chunk["system_fingerprint"] for chunk in chunks} == {"fp_1"}
    fold = ChatFold(**HEAD, system_fingerprint="fp_1")
    fold.feed(0, events)
    assert fold.answer().system_fingerprint == "fp_1"


@pytest.mark.parametrize(
    "text", ['"\\\n\r', "\u2028\u2029\x85", "\x00\x1b", "data: [DONE]\n\n", "é😀"]
)
def test_any_text_arrives_as_it_was(text):
    assert deltas([*answer(text), end()])[1] == {"content": text}
    assert message([*answer(text), end()])["content"] == text


# What is shown


@pytest.mark.parametrize("preambles", ["content", "reasoning", "hidden"])
def test_hidden_reasoning_is_nowhere(preambles):
    view = Visibility(reasoning=False, preambles=preambles)
    events = [*thought("secret"), *preamble("Look."), *answer("Yes."), end()]
    got = message(events, view=view)
    assert "secret" not in json.dumps([got, streamed(events, view=view)])
    assert "reasoning" not in got
    assert got["content"] == ("Look.\n\nYes." if preambles == "content" else "Yes.")


def test_preambles_go_where_they_are_wanted():
    events = [*thought("Hm."), *preamble("Look."), *call("{}"), end("tool_calls")]

    def fields(preambles: Any) -> tuple[Any, Any]:
        got = message(events, view=Visibility(preambles=preambles))
        return got["content"], got["reasoning"]

    assert fields("content") == ("Look.", "Hm.")
    assert fields("reasoning") == (None, "Hm.\n\nLook.")
    assert fields("hidden") == (None, "Hm.")


def test_parts_of_one_field_are_kept_apart_but_empty_ones_leave_nothing():
    events = [*answer("a"), *answer(), *thought(), *thought("x", "y"), *answer("b", "c"), end()]
    got = message(events)
    assert got["content"] == "a\n\nbc"
    assert got["reasoning"] == "xy"


# The whole answer


def test_a_whole_answer():
    events = [
        *thought("Hm."),
        *answer("Yes."),
        end(prompt_tokens=9, cached_tokens=4, completion_tokens=6, reasoning_tokens=3),
    ]
    fold = ChatFold(**HEAD)
    fold.feed(0, events)
    assert json.loads(fold.body()) == {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "created": 5,
        "model": "gpt-oss-20b",
        "choices": [
            {
                "index": 0,
                "message": {
                    "role": "assistant",
                    "content": "Yes.",
                    "refusal": None,
                    "annotations": [],
                    "reasoning": "Hm.",
                    "reasoning_content": "Hm.",
                },
                "logprobs": None,
                "finish_reason": "stop",
            }
        ],
        "usage": {
            "prompt_tokens": 9,
            "completion_tokens": 6,
            "total_tokens": 15,
            "prompt_tokens_details": {
                "cached_tokens": 4,
                "cache_write_tokens": 0,
                "audio_tokens": 0,
            },
            "completion_tokens_details": {
                "reasoning_tokens": 3,
                "audio_tokens": 0,
                "accepted_prediction_tokens": 0,
                "rejected_prediction_tokens": 0,
            },
        },
        "service_tier": "default",
    }


def test_content_is_null_beside_calls_and_empty_otherwise():
    assert message([*call("{}"), end("tool_calls")])["content"] is None
    assert message([end("length")])["content"] == ""


def test_several_choices_share_one_prompt():
    fold = ChatFold(**HEAD, n=2)
    for index in (0, 1):
        fold.feed(index, [*answer(str(index)), end(prompt_tokens=5, completion_tokens=index + 1)])
    usage = fold.usage
    assert (usage.prompt_tokens, usage.completion_tokens, usage.total_tokens) == (5, 3, 8)
    assert [choice.message.content for choice in fold.answer().choices] == ["0", "1"]


def test_an_unfinished_answer_is_not_an_answer():
    fold = ChatFold(**HEAD)
    fold.feed(0, answer("Hi"))
    with pytest.raises(ValueError, match="not complete"):
        fold.body()


def test_a_request_decides_what_its_answer_looks_like():
    body = {
        "model": "some-alias",
        "messages": [{"role": "user", "content": "Hi"}],
        "n": 2,
        "logprobs": True,
        "include_reasoning": False,
        "stream": True,
        "stream_options": {"include_usage": True},
        "functions": [{"name": "f"}],
    }
    request = decode_chat(json.dumps(body).encode(), policy=PromptPolicy())
    stream = ChatStream.for_request(request, id="chatcmpl-2", created=7)
    fold = ChatFold.for_request(request, id="chatcmpl-2", created=7)
    sent = b""
    for index in (0, 1):
        events = [*thought("secret"), *call("{}"), end("tool_calls", completion_tokens=1)]
        sent += stream.feed(index, events)
        fold.feed(index, events)
    chunks = frames(sent + stream.finish())
    assert {chunk["model"] for chunk in chunks} == {"some-alias"}
    assert chunks[-1]["usage"]["completion_tokens"] == 2
    assert chunks[0]["choices"][0]["logprobs"] is None
    whole = json.loads(fold.body())
    assert [choice["finish_reason"] for choice in whole["choices"]] == ["function_call"] * 2
    assert b"secret" not in sent + fold.body()
