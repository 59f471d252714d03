"""A turn on every kind of engine, well formed: parts, finish reason, usage, prompts."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.codec.reading import encode
from tests.turn.turning import (
    CALL,
    READINGS,
    THOUGHT,
    WEATHER,
    Part,
    asked,
    refused,
    scripted,
    told,
    turn,
    weather,
)

from antiphon.api.turn import PartDelta, Sampling, TurnRequest
from antiphon.codec.grammar.plan import NONE, REQUIRED, ToolChoice, ToolMode
from antiphon.codec.render import Renderer
from antiphon.engines.protocol import Reading
from antiphon.model.content import DeveloperContent
from antiphon.model.message import Conversation, Message
from antiphon.model.tools import PYTHON, Tool
from antiphon.settings.model import ModelSettings, PromptSettings, Settings, TurnSettings
from antiphon.turn.prompt import LARGE_CHARS
from antiphon.vocab.control import CHANNEL, MESSAGE

ANSWER = THOUGHT + "<|channel|>final<|message|>Hi there 🫠<|return|>"


@pytest.mark.parametrize("reading", READINGS)
def test_thoughts_and_answer_arrive_in_every_reading(reading: Reading) -> None:
    result = turn(scripted(ANSWER, reading=reading))
    assert result.parts == [Part("reasoning", "Hm."), Part("answer", "Hi there 🫠")]
    assert result.codes == []
    assert result.end.finish_reason == "stop"
    assert result.end.messages == (Message.analysis("Hm."), Message.final("Hi there 🫠"))


@pytest.mark.parametrize("reading", READINGS)
def test_a_preamble_and_two_calls_arrive_in_every_reading(reading: Reading) -> None:
    script = (
        f"{THOUGHT}<|channel|>commentary<|message|>I look.<|end|><|start|>assistant{CALL}"
        '{"city": "Oslo"}<|end|><|start|>assistant' + CALL + '{"city": "Rome"}<|call|>'
    )
    result = turn(scripted(script, reading=reading), weather())
    assert result.parts == [
        Part("reasoning", "Hm."),
        Part("preamble", "I look."),
        Part("call", '{"city": "Oslo"}', "get_weather"),
        Part("call", '{"city": "Rome"}', "get_weather"),
    ]
    assert result.end.finish_reason == "tool_calls"
    ids = [e.call_id for e in result.events if hasattr(e, "call_id") and e.call_id]
    assert ids == ["call_1", "call_2"]


@given(
    sizes=st.lists(st.integers(1, 9), min_size=1, max_size=30),
    reading=st.sampled_from(READINGS),
    script=st.sampled_from(
        [
            ANSWER,
            THOUGHT + CALL + '{"city":"say "hi" 🫠", "n": 1.5e3}]<|call|>',
            THOUGHT + CALL + '{"city": "A"}{"city": "B"}<|call|>',
            '<|channel|>commentary<|message|> {"city":"Oslo"}<|call|>',
            "<|channel|>commentary to=functions.nope <|constrain|>json<|message|>{}<|call|>",
            "<|channel|>final<|message|>one STOP two<|return|>",
            THOUGHT + CALL + '{"city": "Os',
            THOUGHT + "<|channel|>final<|message|>" + "ab " * 400,
        ]
    ),
)
@settings(deadline=None, max_examples=150)
def test_chunking_never_changes_what_a_turn_tells(
    sizes: list[int], reading: Reading, script: str
) -> None:
    """Deltas may be cut elsewhere; parts, mends, reasons and messages may not."""

    def run(chunking: tuple[int, ...]) -> tuple[object, ...]:
        engine = scripted(script, "So.<|return|>", reading=reading, chunking=chunking)
        result = turn(engine, weather(stop=("STOP",)), repetition_guard=False)
        codes = [c for c in result.codes if c != "stray-control-token"]
        return result.parts, codes, result.end.finish_reason, result.end.messages

    assert run(tuple(sizes)) == run((1,))


def test_each_token_is_a_delta_of_its_own() -> None:
    result = turn("<|channel|>final<|message|>one two three<|return|>")
    deltas = [event.text for event in result.events if isinstance(event, PartDelta)]
    assert deltas == ["one", " two", " three"]


def test_usage_counts_tokens_by_channel_and_what_was_cached() -> None:
    engine = scripted(ANSWER, ANSWER)
    first, second = turn(engine), turn(engine)
    usage = second.end.usage
    prompt = len(engine.requests[0].prompt)
    assert (usage.prompt_tokens, first.end.usage.cached_tokens) == (prompt, 0)
    assert usage.cached_tokens == prompt - 1
    assert usage.completion_tokens == len(encode(ANSWER))
    # <|channel|>analysis<|message|>Hm.<|end|>
    assert usage.reasoning_tokens == 6


def test_the_next_prompt_begins_with_this_prompt_and_what_the_model_wrote() -> None:
    output = THOUGHT + CALL + '{"city": "Oslo"}<|call|>'
    engine = scripted(output, ANSWER)
    request = weather()
    first = turn(engine, request)
    history = (*request.conversation.messages, *first.end.messages)
    result = Message.tool("functions.get_weather", "Rain")
    turn(engine, TurnRequest(conversation=Conversation((*history, result)), model="m"))
    before = [*engine.requests[0].prompt, *encode(output)]
    assert list(engine.requests[1].prompt[: len(before)]) == before


def test_the_prompt_drops_the_reasoning_of_turns_that_are_over() -> None:
    engine = scripted(ANSWER)
    said = (Message.user("a"), Message.analysis("old"), Message.final("b"), Message.user("c"))
    request = asked(*said)
    turn(engine, request)
    expected = Renderer(dialect="emission").for_completion(request.conversation, history="guide")
    assert engine.requests[0].prompt == expected
    assert encode("old")[0] not in expected


def test_a_large_prompt_is_rendered_the_same() -> None:
    engine = scripted(ANSWER)
    request = asked(Message.user("word " * LARGE_CHARS))
    turn(engine, request)
    assert engine.requests[0].prompt == Renderer(dialect="emission").for_completion(
        request.conversation
    )


# Choice of tools


def test_no_call_comes_when_tools_are_off() -> None:
    script = THOUGHT + CALL + '{"city": "Oslo"}<|call|>'
    engine = scripted(script, "It rains.<|return|>")
    result = turn(engine, weather(choice=NONE))
    assert [part.kind for part in result.parts] == ["reasoning", "reasoning", "answer"]
    assert result.parts[1].text == '{"city": "Oslo"}'
    assert result.codes == ["unknown-recipient", "silent-turn"]
    assert result.end.finish_reason == "stop"


def test_a_tool_that_is_not_allowed_is_not_called() -> None:
    other = Tool("other", "", {"type": "object"})
    choice = ToolChoice(ToolMode.AUTO, ("functions.other",))
    request = asked(tools=(WEATHER, other), choice=choice)
    result = turn(scripted(CALL + "{}<|call|>", "No.<|return|>"), request)
    assert [part.kind for part in result.parts] == ["reasoning", "answer"]


def test_a_required_call_is_begun_for_a_model_that_answers_instead() -> None:
    engine = scripted("<|channel|>final<|message|>Sunny!<|return|>", '{"city": "Oslo"}<|call|>')
    result = turn(engine, weather(choice=REQUIRED))
    assert result.parts == [
        Part("reasoning", "Sunny!"),
        Part("call", '{"city": "Oslo"}', "get_weather"),
    ]
    assert result.codes == ["answer-instead-of-call", "missing-call"]
    assert list(engine.requests[1].prompt)[-len(encode(CALL)) :] == encode(CALL)


def test_of_several_required_tools_the_model_still_chooses() -> None:
    other = Tool("other", "", {"type": "object"})
    engine = scripted(
        "<|channel|>analysis<|message|>Hm.<|return|>",
        "=functions.other <|constrain|>json<|message|>{}<|call|>",
    )
    result = turn(engine, asked(tools=(WEATHER, other), choice=REQUIRED))
    assert result.parts == [Part("reasoning", "Hm."), Part("call", "{}", "other")]


def test_a_model_that_never_makes_the_required_call_is_an_error() -> None:
    other = Tool("other", "", {"type": "object"})
    request = asked(tools=(WEATHER, other), choice=REQUIRED)
    engine = scripted(ANSWER, "<|channel|>analysis<|message|>No.<|return|>")
    error = refused(engine, request)
    assert (error.status, error.code, error.param) == (502, "tool_call_missing", "tool_choice")
    assert len(engine.requests) == 2


def test_one_call_at_most_when_parallel_calls_are_off() -> None:
    script = CALL + '{"city": "A"}<|end|><|start|>assistant' + CALL + '{"city": "B"}<|call|>'
    result = turn(scripted(script), weather(parallel=False))
    assert result.parts == [Part("call", '{"city": "A"}', "get_weather")]
    assert result.end.finish_reason == "tool_calls"


# Effort none


def test_without_thinking_the_answer_is_begun() -> None:
    engine = scripted("Hi.<|return|>")
    result = turn(engine, asked(think=False))
    assert result.parts == [Part("answer", "Hi.")]
    assert list(engine.requests[0].prompt[-1:]) == [MESSAGE]


@pytest.mark.parametrize("reading", READINGS)
def test_without_thinking_tools_can_still_be_called(reading: Reading) -> None:
    engine = scripted(CALL + '{"city": "Oslo"}<|call|>', reading=reading)
    result = turn(engine, weather(think=False))
    assert result.parts == [Part("call", '{"city": "Oslo"}', "get_weather")]
    assert CHANNEL in engine.requests[0].prompt[-8:]


def test_without_thinking_a_named_call_is_begun() -> None:
    engine = scripted('{"city": "Oslo"}<|call|>')
    choice = ToolChoice(ToolMode.REQUIRED, ("functions.get_weather",))
    result = turn(engine, weather(think=False, choice=choice))
    assert result.parts == [Part("call", '{"city": "Oslo"}', "get_weather")]


# Sampling, limits, context


def test_gpt_oss_defaults_are_sent_and_requests_win() -> None:
    engine = scripted(ANSWER, ANSWER)
    configured = Settings(prompt=PromptSettings(temperature=0.7, top_k=5))
    turn(engine, settings=configured)
    turn(engine, asked(sampling=Sampling(temperature=0.0, seed=3)), settings=configured)
    first, second = engine.requests
    assert (first.temperature, first.top_p, first.top_k, first.min_p) == (0.7, 1.0, 5, 0.0)
    assert (second.temperature, second.top_k, second.seed) == (0.0, 5, 3)


@pytest.mark.parametrize(
    ("sampling", "param"),
    [
        (Sampling(presence_penalty=0.5), "presence_penalty"),
        (Sampling(logit_bias={1: 2.0}), "logit_bias"),
        (Sampling(top_k=3), "top_k"),
    ],
)
def test_a_parameter_the_engine_lacks_is_refused_by_name(sampling: Sampling, param: str) -> None:
    changes = {"sampling": frozenset({"temperature"})}
    error = refused(scripted(ANSWER, changes=changes), asked(sampling=sampling))
    assert (error.status, error.param, error.code) == (400, param, "unsupported_parameter")


def test_a_parameter_without_effect_is_accepted_anywhere() -> None:
    engine = scripted(ANSWER, changes={"sampling": frozenset()})
    neutral = Sampling(
        presence_penalty=0.0, repetition_penalty=1.0, top_k=-1, logit_bias={}, temperature=1.0
    )
    assert turn(engine, asked(sampling=neutral)).end.finish_reason == "stop"


@pytest.mark.parametrize("size", [1, 3, 50])
def test_log_probabilities_are_told_of_the_answer_alone(size: int) -> None:
    script = THOUGHT + "<|channel|>final<|message|>one two<|return|>"
    result = turn(scripted(script, chunking=(size,)), asked(logprobs=2))
    deltas = [event for event in result.events if isinstance(event, PartDelta)]
    told_of = [[value.token for value in delta.logprobs] for delta in deltas]
    assert told_of[0] == []
    assert [token for tokens in told_of for token in tokens] == ["one", " two"]
    assert all(len(v.top_logprobs) == 2 for d in deltas for v in d.logprobs)


def test_log_probabilities_that_the_engine_lacks_are_refused() -> None:
    error = refused(scripted(ANSWER, reading="marked"), asked(logprobs=0))
    assert (error.status, error.param) == (400, "logprobs")
    assert refused(ANSWER, asked(logprobs=21)).param == "top_logprobs"


def test_a_prompt_beyond_the_context_is_refused_with_both_counts() -> None:
    engine = scripted(ANSWER, context_length=50)
    error = refused(engine, asked(Message.user("word " * 100)))
    assert (error.status, error.code, error.param) == (400, "context_length_exceeded", "messages")
    assert "50 tokens" in str(error)
    assert any(int(word) > 100 for word in str(error).split() if word.isdigit())
    assert engine.requests == []


def test_the_output_is_clamped_to_what_the_context_leaves() -> None:
    engine = scripted(ANSWER, ANSWER, context_length=200)
    turn(engine, asked(max_tokens=1000))
    request = engine.requests[0]
    assert request.max_tokens == 200 - len(request.prompt)
    limits = Settings(
        turn=TurnSettings(output_tokens=50), models={"gpt-oss": ModelSettings(output_tokens=20)}
    )
    turn(engine, settings=limits)
    assert engine.requests[1].max_tokens == 20


def test_the_models_context_counts_where_it_is_smaller() -> None:
    models = {"gpt-oss": ModelSettings(context_length=10)}
    assert refused(ANSWER, settings=Settings(models=models)).code == "context_length_exceeded"


def test_a_turn_that_reaches_its_limit_ends_with_length() -> None:
    engine = scripted(THOUGHT + CALL + '{"city": "Oslo and Bergen"}<|call|>')
    result = turn(engine, weather(max_tokens=len(encode(THOUGHT + CALL)) + 5))
    call = result.parts[-1]
    assert call.kind == "call"
    assert not call.complete
    assert '{"city": "Oslo and Bergen"}'.startswith(call.text)
    assert result.end.finish_reason == "length"
    assert result.codes == ["arguments-truncated"]


def test_a_header_cut_by_the_limit_is_no_content() -> None:
    engine = scripted(THOUGHT + CALL)
    result = turn(engine, weather(max_tokens=len(encode(THOUGHT + CALL)) - 1))
    assert result.parts == [Part("reasoning", "Hm.")]
    assert (result.codes, result.end.finish_reason) == (["truncated-header"], "length")


def test_keys_have_their_own_cache_and_conversations_their_engine() -> None:
    engine = scripted(*[ANSWER] * 4)
    for tenant, key in (("a", None), ("b", None), ("a", "x"), ("", None)):
        turn(engine, asked(tenant=tenant, conversation_key=key))
    a, b, keyed, nobody = engine.requests
    assert len({a.cache_salt, b.cache_salt, nobody.cache_salt}) == 3
    assert nobody.cache_salt is None
    assert a.cache_salt == keyed.cache_salt
    assert len({a.affinity, b.affinity, keyed.affinity}) == 3


def test_conversations_that_go_on_keep_their_engine() -> None:
    engine = scripted(ANSWER, ANSWER)
    turn(engine, asked(Message.user("a")))
    turn(engine, asked(Message.user("a"), Message.final("b"), Message.user("c")))
    assert engine.requests[0].affinity == engine.requests[1].affinity


# Tools that are not functions


def test_a_free_text_tool_gets_its_text() -> None:
    request = TurnRequest(
        conversation=Conversation(
            (Message.developer(DeveloperContent(None, {"python": PYTHON})), Message.user("1+1?"))
        ),
        model="m",
        tools={"python": PYTHON},
    )
    result = turn("<|channel|>analysis to=python code<|message|>print(1 + 1)<|call|>", request)
    assert result.parts == [Part("call", "print(1 + 1)", "python")]
    assert result.end.messages[0].channel == "analysis"


def test_the_clients_own_name_comes_back() -> None:
    from antiphon.api.toolnames import ToolNames

    names = ToolNames(["web search"])
    tool = Tool(names.alias("web search"), "", {"type": "object"})
    written = f"<|channel|>commentary to={names.recipient('web search')}<|message|>{{}}<|call|>"
    result = turn(written, asked(tools=(tool,), names=names))
    assert result.parts == [Part("call", "{}", "web search")]


def test_told_refuses_parts_that_overlap() -> None:
    events = turn(ANSWER).events
    with pytest.raises(AssertionError):
        told([events[0], *events])
