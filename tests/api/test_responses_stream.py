"""What a Responses stream says, in which order, and that the whole response is the same."""

from __future__ import annotations

import itertools
import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.api.chat_events import turns
from tests.api.responses_grammar import GrammarError, check_events, check_response, read_sse

from antiphon.api.errors import ApiError
from antiphon.api.policy import PromptPolicy, Visibility
from antiphon.api.responses.request import ResponsesRequest, decode_response_request
from antiphon.api.responses.stream import ResponseStream, event_type, sse_frame
from antiphon.api.responses.summary import MARK
from antiphon.api.turn import (
    Logprob,
    PartDelta,
    PartEnd,
    PartKind,
    PartStart,
    TurnEnd,
    TurnEvent,
    TurnUsage,
)

USAGE = TurnUsage(prompt_tokens=7, cached_tokens=2, completion_tokens=5, reasoning_tokens=3)


def request(**body: Any) -> ResponsesRequest:
    whole = {"model": "gpt-oss-20b", "input": "hi", **body}
    return decode_response_request(json.dumps(whole).encode(), policy=PromptPolicy())


def stream(asked: ResponsesRequest | None = None, **how: Any) -> ResponseStream:
    numbers = itertools.count(1)
    return ResponseStream.for_request(
        asked or request(),
        id="resp_1",
        created=5,
        new_id=lambda: str(next(numbers)),
        **how,
    )


def part(kind: PartKind, *texts: str, complete: bool = True, **start: Any) -> list[TurnEvent]:
    return [
        PartStart(kind, **start),
        *[PartDelta(text) for text in texts],
        PartEnd("".join(texts), complete),
    ]


def ended(finish: Any = "stop") -> TurnEnd:
    return TurnEnd(finish_reason=finish, usage=USAGE, messages=())


THOUGHT = part(PartKind.REASONING, "Let me", " see.")
PREAMBLE = part(PartKind.PREAMBLE, "I look it up.")
CALL = part(PartKind.CALL, '{"a"', ":1}", call_id="call_9", name="f")
CUSTOM = part(PartKind.CALL, "*** ", "patch", call_id="call_8", name="apply_patch", custom=True)
ANSWER = part(PartKind.ANSWER, "It is", " 4.")


def played(writer: ResponseStream, *parts: list[TurnEvent], finish: Any = "stop") -> list[Any]:
    """The events of a whole response, checked."""
    sent = writer.begin()
    for events in parts:
        sent += writer.feed(events)
    sent += writer.feed([ended(finish)])
    sent += writer.finish(now=9)
    final = check_events(sent)
    assert json.loads(writer.response) == final
    return [json.loads(event) for event in sent]


def types(events: list[Any]) -> list[str]:
    return [event["type"].removeprefix("response.") for event in events]


def items(events: list[Any]) -> list[Any]:
    output: list[Any] = events[-1]["response"]["output"]
    return output


def test_a_response_has_its_events_in_openais_order():
    events = played(stream(), THOUGHT, PREAMBLE, CALL, finish="tool_calls")
    assert types(events) == [
        "created",
        "in_progress",
        "output_item.added",
        "content_part.added",
        "reasoning_text.delta",
        "reasoning_text.delta",
        "reasoning_text.done",
        "content_part.done",
        "output_item.done",
        "output_item.added",
        "content_part.added",
        "output_text.delta",
        "output_text.done",
        "content_part.done",
        "output_item.done",
        "output_item.added",
        "function_call_arguments.delta",
        "function_call_arguments.delta",
        "function_call_arguments.done",
        "output_item.done",
        "completed",
    ]
    assert items(events) == [
        {
            "id": "rs_1",
            "type": "reasoning",
            "status": "completed",
            "summary": [],
            "content": [{"type": "reasoning_text", "text": "Let me see."}],
        },
        {
            "id": "msg_2",
            "type": "message",
            "role": "assistant",
            "status": "completed",
            "phase": "commentary",
            "content": [
                {
                    "type": "output_text",
                    "text": "I look it up.",
                    "annotations": [],
                    "logprobs": [],
                }
            ],
        },
        {
            "id": "fc_3",
            "type": "function_call",
            "status": "completed",
            "call_id": "call_9",
            "name": "f",
            "arguments": '{"a":1}',
        },
    ]


def test_the_answer_is_a_message_of_the_final_phase_and_the_usage_has_its_details():
    events = played(stream(), THOUGHT, ANSWER)
    assert items(events)[1]["phase"] == "final_answer"
    final = events[-1]["response"]
    assert final["status"] == "completed"
    assert (final["created_at"], final["completed_at"]) == (5, 9)
    assert final["usage"] == {
        "input_tokens": 7,
        "input_tokens_details": {"cached_tokens": 2, "cache_write_tokens": 0},
        "output_tokens": 5,
        "output_tokens_details": {"reasoning_tokens": 3},
        "total_tokens": 12,
    }


def test_a_custom_tools_call_carries_its_input():
    events = played(stream(), CUSTOM, finish="tool_calls")
    assert types(events)[2:-1] == [
        "output_item.added",
        "custom_tool_call_input.delta",
        "custom_tool_call_input.delta",
        "custom_tool_call_input.done",
        "output_item.done",
    ]
    (item,) = items(events)
    assert item["id"] == "ctc_1"
    assert (item["call_id"], item["name"], item["input"]) == (
        "call_8",
        "apply_patch",
        "*** patch",
    )


def test_a_call_inside_a_namespace_gets_its_namespace_back():
    inner = {"type": "function", "name": "spawn", "parameters": None}
    asked = request(tools=[{"type": "namespace", "name": "agents", "tools": [inner]}])
    call = part(PartKind.CALL, "{}", call_id="call_1", name="agents.spawn")
    (item,) = items(played(stream(asked), call, finish="tool_calls"))
    assert (item["namespace"], item["name"]) == ("agents", "spawn")


def test_the_dialect_names_the_events_of_reasoning():
    events = types(played(stream(dialect="reasoning"), THOUGHT, ANSWER))
    assert "reasoning.delta" in events
    assert "reasoning.done" in events
    assert not [name for name in events if name.startswith("reasoning_text")]


@pytest.mark.parametrize("complete", [True, False])
def test_a_response_out_of_tokens_is_incomplete(complete):
    cut = part(PartKind.ANSWER, "It is", complete=complete)
    events = played(stream(), THOUGHT, cut, finish="length")
    final = events[-1]["response"]
    assert events[-1]["type"] == "response.incomplete"
    assert final["status"] == "incomplete"
    assert final["incomplete_details"] == {"reason": "max_output_tokens"}
    assert items(events)[0]["status"] == "completed"
    assert items(events)[1]["status"] == ("completed" if complete else "incomplete")


def test_a_part_that_was_cut_though_the_turn_went_well_is_complete():
    cut = part(PartKind.REASONING, "hm", complete=False)
    assert [item["status"] for item in items(played(stream(), cut, ANSWER))] == ["completed"] * 2


def test_thoughts_and_preambles_without_text_are_no_items_but_an_empty_answer_is_one():
    nothing = [part(PartKind.REASONING), part(PartKind.PREAMBLE), part(PartKind.ANSWER)]
    (item,) = items(played(stream(), *nothing))
    assert item["content"][0]["text"] == ""


def test_a_response_in_the_background_is_queued_first():
    writer = stream(request(background=True))
    sent = writer.enqueue()
    assert check_events(sent, terminal=False)["status"] == "queued"
    assert json.loads(writer.response)["background"] is True
    sent += writer.begin() + writer.feed([*ANSWER, ended()]) + writer.finish(now=6)
    assert types([json.loads(event) for event in sent])[:3] == ["created", "queued", "in_progress"]
    assert check_events(sent)["status"] == "completed"


def test_a_failure_ends_the_open_item_and_tells_the_code():
    writer = stream()
    sent = writer.begin() + writer.feed(THOUGHT) + writer.feed(ANSWER[:2])
    assert json.loads(writer.response)["output"][1]["status"] == "in_progress"
    sent += writer.fail(ApiError("broken", status=502, type="engine_error", code="engine_error"))
    final = check_events(sent)
    assert final["error"] == {"code": "server_error", "message": "broken"}
    assert [item["status"] for item in final["output"]] == ["completed", "incomplete"]
    assert final["output"][1]["content"][0]["text"] == "It is"
    assert writer.finished


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (ApiError("x", status=429, code="busy"), "rate_limit_exceeded"),
        (ApiError("x", code="context_length_exceeded"), "context_length_exceeded"),
        (ApiError("x", status=503, code="store_unavailable"), "store_unavailable"),
        (ApiError("x", status=500), "server_error"),
        (ApiError("x", code="invalid_value"), "invalid_prompt"),
    ],
)
def test_codes_of_failures_are_those_that_clients_know(error, code):
    writer = stream()
    final = check_events(writer.begin() + writer.fail(error))
    assert final["error"]["code"] == code


def test_a_failure_says_when_to_try_again_in_words_that_clients_look_for():
    writer = stream()
    error = ApiError("Too many requests.", status=429, retry_after=1.2)
    final = check_events(writer.begin() + writer.fail(error))
    assert final["error"]["message"] == "Too many requests. Please try again in 2s."


def test_a_failure_after_the_end_replaces_it():
    writer = stream()
    sent = writer.begin() + writer.feed([*ANSWER, ended()])
    held = writer.finish(now=9)
    assert json.loads(held[0])["type"] == "response.completed"
    sent += writer.fail(ApiError("full", status=503, code="store_unavailable"))
    final = check_events(sent)
    assert final["status"] == "failed"
    assert json.loads(writer.response) == final


def test_a_cancelled_response_keeps_what_there_is():
    writer = stream()
    sent = writer.begin() + writer.feed(ANSWER[:2]) + writer.cancel()
    final = check_events(sent)
    assert final["status"] == "cancelled"
    assert final["output"][0]["status"] == "incomplete"


def test_the_end_of_a_turn_that_did_not_end_cannot_be_told():
    writer = stream()
    writer.begin()
    with pytest.raises(ValueError, match="has not ended"):
        writer.finish(now=1)


def test_reasoning_is_sealed_where_that_is_asked_for():
    sealed: list[bytes] = []

    def seal(data: bytes) -> str:
        sealed.append(data)
        return f"sealed{len(sealed)}"

    plain = played(stream(seal=seal), THOUGHT, ANSWER)
    assert "encrypted_content" not in items(plain)[0]
    assert sealed == []
    asked = request(include=["reasoning.encrypted_content"], store=False)
    events = played(stream(asked, seal=seal), THOUGHT, ANSWER)
    assert items(events)[0]["encrypted_content"] == "sealed1"
    assert len(sealed) == 1
    assert b"Let me see." in sealed[0]


def test_hidden_reasoning_is_an_item_without_text_that_is_kept_whole():
    writer = stream(visibility=Visibility(reasoning=False))
    events = played(writer, THOUGHT, ANSWER)
    assert items(events)[0]["content"] == []
    assert "Let me" not in json.dumps(events)
    assert not [name for name in types(events) if name.startswith("reasoning")]
    assert json.loads(writer.kept[0])["content"][0]["text"] == "Let me see."
    assert json.loads(writer.kept[1]) == items(events)[1]


@pytest.mark.parametrize(
    ("preambles", "kinds"),
    [
        ("content", ["message", "function_call"]),
        ("reasoning", ["reasoning", "function_call"]),
        ("hidden", ["function_call"]),
    ],
)
def test_preambles_go_where_the_server_says(preambles, kinds):
    writer = stream(visibility=Visibility(preambles=preambles))
    made = items(played(writer, PREAMBLE, CALL, finish="tool_calls"))
    assert [item["type"] for item in made] == kinds


def test_no_message_but_the_answer_stands_beside_a_structured_answer():
    asked = request(text={"format": {"type": "json_object"}})
    made = items(played(stream(asked), PREAMBLE, part(PartKind.ANSWER, "{}")))
    assert [item["type"] for item in made] == ["reasoning", "message"]


def test_log_probabilities_are_in_the_deltas_and_in_the_item():
    token = Logprob("It", (73, 116), -0.5, (Logprob("It", (73, 116), -0.5),))
    answer: list[TurnEvent] = [
        PartStart(PartKind.ANSWER),
        PartDelta("It", (token,)),
        PartEnd("It"),
    ]
    shown = {
        "token": "It",
        "bytes": [73, 116],
        "logprob": -0.5,
        "top_logprobs": [{"token": "It", "bytes": [73, 116], "logprob": -0.5}],
    }
    asked = request(include=["message.output_text.logprobs"])
    events = played(stream(asked), answer)
    (delta,) = [e for e in events if e["type"] == "response.output_text.delta"]
    assert delta["logprobs"] == [shown]
    assert items(events)[0]["content"][0]["logprobs"] == [shown]
    assert items(played(stream(), answer))[0]["content"][0]["logprobs"] == []


def test_summaries_are_extracts_that_say_so_and_are_off_unless_asked_for_and_allowed():
    thought = part(PartKind.REASONING, "First, I add. Then more.\n\n", "It is 4! Sure.")
    asked = request(reasoning={"summary": "auto"})
    assert items(played(stream(asked), thought, ANSWER))[0]["summary"] == []
    assert items(played(stream(summaries=True), thought, ANSWER))[0]["summary"] == []
    events = played(stream(asked, summaries=True), thought, ANSWER)
    (summary,) = items(events)[0]["summary"]
    assert summary["text"] == f"{MARK}\n\nFirst, I add.\nIt is 4!"
    assert "reasoning_summary_text.delta" in types(events)


def test_what_the_request_said_is_repeated():
    tool = {"type": "function", "name": "f", "parameters": {"type": "object"}}
    asked = request(
        instructions="Be kind.",
        tools=[tool, {"type": "web_search"}],
        tool_choice={"type": "function", "name": "f"},
        parallel_tool_calls=False,
        max_output_tokens=3,
        max_tool_calls=2,
        temperature=0,
        top_p=0.5,
        presence_penalty=1,
        top_logprobs=2,
        truncation="auto",
        metadata={"a": "b"},
        conversation={"id": "conv_1"},
        reasoning={"effort": "high", "summary": "auto"},
        text={"verbosity": "low"},
        prompt_cache_key="k",
        safety_identifier="s",
        user="u",
        store=False,
    )
    final = json.loads(stream(asked).response)
    check_response(final)
    assert final["instructions"] == "Be kind."
    assert final["tools"] == [
        {**tool, "description": None, "strict": None},
        {"type": "web_search"},
    ]
    assert final["tool_choice"] == {"type": "function", "name": "f"}
    assert final["parallel_tool_calls"] is False
    assert (final["max_output_tokens"], final["max_tool_calls"]) == (3, 2)
    assert (final["temperature"], final["top_p"], final["presence_penalty"]) == (0, 0.5, 1)
    assert (final["top_logprobs"], final["truncation"]) == (2, "auto")
    assert (final["metadata"], final["conversation"]) == ({"a": "b"}, {"id": "conv_1"})
    assert final["reasoning"] == {"effort": "high", "summary": "auto"}
    assert final["text"] == {"format": {"type": "text"}, "verbosity": "low"}
    assert (final["prompt_cache_key"], final["safety_identifier"]) == ("k", "s")
    assert (final["user"], final["store"]) == ("u", False)


def test_what_the_request_left_out_is_there_with_its_default():
    final = json.loads(stream().response)
    check_response(final)
    assert (final["temperature"], final["top_p"], final["tool_choice"]) == (1, 1, "auto")
    assert (final["truncation"], final["store"], final["background"]) == ("disabled", True, False)
    assert final["reasoning"] == {"effort": "medium", "summary": None}
    assert final["tools"] == []
    assert "user" not in final


def test_events_are_framed_with_their_type():
    writer = stream()
    sent = writer.begin() + writer.feed([*ANSWER, ended()]) + writer.finish(now=1)
    body = b"".join([sse_frame(event) for event in sent]) + b"data: [DONE]\n\n"
    assert check_events(read_sse(body))["status"] == "completed"
    assert event_type(sent[0]) == b"response.created"


def test_text_that_needs_escapes_stays_what_it_is():
    text = 'a"b\\c\n\u2028\x00 {"type":"x"} <|end|> 😀 %d %s'
    made = items(played(stream(), part(PartKind.ANSWER, text)))
    assert made[0]["content"][0]["text"] == text


@settings(deadline=None, max_examples=150)
@given(
    turns(),
    st.booleans(),
    st.sampled_from(["content", "reasoning", "hidden"]),
    st.sampled_from(["reasoning_text", "reasoning"]),
    st.booleans(),
    st.data(),
)
def test_any_turn_in_any_batches_keeps_to_the_grammar(
    events, reasoning, preambles, dialect, sealing, data
):
    asked = request(
        include=["reasoning.encrypted_content", "message.output_text.logprobs"],
        reasoning={"summary": "auto"},
    )
    how: dict[str, Any] = {
        "visibility": Visibility(reasoning=reasoning, preambles=preambles),
        "dialect": dialect,
        "seal": (lambda text: text.hex()) if sealing else None,
        "summaries": sealing,
    }
    whole = stream(asked, **how)
    sent = whole.begin() + whole.feed(events) + whole.finish(now=9)
    final = check_events(sent)
    assert json.loads(whole.response) == final
    pieces = stream(asked, **how)
    again = pieces.begin()
    while events:
        cut = data.draw(st.integers(1, len(events)))
        again += pieces.feed(events[:cut])
        check_events(again, terminal=False)
        check_response(json.loads(pieces.response))
        events = events[cut:]
    assert again + pieces.finish(now=9) == sent


@settings(deadline=None, max_examples=80)
@given(turns(), st.data())
def test_a_turn_that_breaks_off_anywhere_keeps_to_the_grammar(events, data):
    writer = stream()
    cut = data.draw(st.integers(0, len(events) - 1))
    sent = writer.begin() + writer.feed(events[:cut])
    cancel = data.draw(st.booleans())
    sent += writer.cancel() if cancel else writer.fail(ApiError("gone", status=502))
    assert check_events(sent)["status"] == ("cancelled" if cancel else "failed")


def good_events() -> list[Any]:
    return played(stream(), THOUGHT, CALL, ANSWER)


@pytest.mark.parametrize("at", range(len(good_events())))
def test_the_checker_misses_no_event_that_is_left_out(at):
    events = good_events()
    del events[at]
    for number, event in enumerate(events):
        event["sequence_number"] = number
    with pytest.raises(GrammarError):
        check_events(events)


@pytest.mark.parametrize(
    ("at", "path", "value"),
    [
        (0, ("sequence_number",), 1),
        (2, ("output_index",), 1),
        (3, ("content_index",), 1),
        (4, ("item_id",), "rs_9"),
        (4, ("delta",), "other"),
        (6, ("text",), "other"),
        (7, ("part", "text"), "other"),
        (8, ("item", "id"), "rs_9"),
        (8, ("item", "status"), "incomplete"),
        (-1, ("response", "output", 0, "id"), "rs_9"),
        (-1, ("response", "status"), "incomplete"),
        (-1, ("response", "usage", "total_tokens"), 1),
        (-1, ("response", "tools"), None),
    ],
)
def test_the_checker_finds_what_is_changed(at, path, value):
    events = good_events()
    target: Any = events[at]
    for key in path[:-1]:
        target = target[key]
    target[path[-1]] = value
    with pytest.raises(GrammarError):
        check_events(events)
