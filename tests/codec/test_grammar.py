"""The three dialects on whole transcripts: right ones are taken, wrong ones refused where they err.

Each transcript is what follows ``<|start|>assistant``. A ``⟂`` marks the first character that
cannot be right; without one the transcript is complete.
"""

from __future__ import annotations

import json
import re
from typing import Any, NamedTuple

import pytest
from tests.codec.gbnf_recogniser import Gbnf
from tests.codec.tag_matcher import FORMATS, takes

from antiphon.codec.grammar import (
    AUTO,
    NONE,
    REQUIRED,
    AnyText,
    Call,
    GrammarText,
    JsonBody,
    Note,
    Plan,
    ToolChoice,
    ToolMode,
    gbnf,
    lark,
    plan,
    structural_tag,
)
from antiphon.codec.grammar.plan import MAX_CALLS
from antiphon.errors import MessageError, SchemaError
from antiphon.model.tools import BROWSER, PYTHON, Tool, ToolNamespace, functions
from antiphon.vocab.control import CONTROL_IDS, control_name, is_control
from antiphon.vocab.table import ordinary_bytes
from antiphon.vocab.tokenizer import default_tokenizer

WEATHER = Tool(
    "get_weather",
    "Weather now",
    {
        "type": "object",
        "properties": {
            "city": {"type": "string"},
            "unit": {"type": "string", "enum": ["celsius", "fahrenheit"]},
        },
        "required": ["city"],
        "additionalProperties": False,
    },
)
TIME = Tool("get_time")
PATCH = Tool("apply_patch", "", {"type": "string"})
ANSWER = {
    "type": "object",
    "properties": {"answer": {"type": "integer"}},
    "required": ["answer"],
    "additionalProperties": False,
}


class Case(NamedTuple):
    name: str
    plan: Plan
    transcript: str


BOTH = plan([WEATHER, TIME])
FORCED = plan([WEATHER, TIME], REQUIRED, parallel=False)
SEVERAL = plan([WEATHER, TIME], REQUIRED)
NAMED = plan([WEATHER, TIME], ToolChoice(ToolMode.REQUIRED, ("get_time",)))
SUBSET = plan([WEATHER, TIME], ToolChoice(ToolMode.AUTO, ("functions.get_weather",)))
NEVER = plan([WEATHER, TIME], NONE)
STRUCTURED = plan(response=ANSWER)
STRUCTURED_WITH_TOOLS = plan([WEATHER], response=ANSWER)
BUILT_IN = plan([BROWSER, PYTHON])
FREE_TEXT = plan([PATCH])
NO_ANALYSIS = plan(response=ANSWER, analysis=False)

ANALYSIS = "<|channel|>analysis<|message|>"
NEXT = "<|end|><|start|>assistant"
THOUGHT = f"{ANALYSIS}We need the weather. 3 < 4, a <| b, <<{NEXT}"
PREAMBLE = f"<|channel|>commentary<|message|>Let me look that up.{NEXT}"
CALL = "<|channel|>commentary to=functions.get_weather <|constrain|>json<|message|>"
JSON_FINAL = "<|channel|>final <|constrain|>json<|message|>"
FINAL = "<|channel|>final<|message|>"

CASES = [
    Case("an answer", BOTH, f"{THOUGHT}{FINAL}It is 4.<|return|>"),
    Case("an answer without analysis", BOTH, f"{FINAL}Hi<|return|>"),
    Case("several analysis messages", BOTH, f"{THOUGHT}{THOUGHT}{FINAL}Hi<|return|>"),
    Case("empty messages", BOTH, f"{ANALYSIS}{NEXT}{FINAL}<|return|>"),
    Case("a call", BOTH, f'{THOUGHT}{CALL}{{"city":"Paris"}}<|call|>'),
    Case("a call with a preamble", BOTH, f'{THOUGHT}{PREAMBLE}{CALL}{{"city":"Paris"}}<|call|>'),
    Case(
        "white space in arguments",
        BOTH,
        f'{CALL}{{\n  "city": "Paris",\n  "unit": "celsius"\n}}<|call|>',
    ),
    Case("less signs in arguments", BOTH, f'{CALL}{{"city":"a<b <| c<"}}<|call|>'),
    Case("a call ended by return", BOTH, f'{CALL}{{"city":"Paris"}}<|return|>'),
    Case(
        "the recipient before the channel",
        BOTH,
        " to=functions.get_weather<|channel|>commentary <|constrain|>json<|message|>"
        '{"city":"Paris"}<|call|>',
    ),
    Case(
        "no space before constrain",
        BOTH,
        f'{CALL.replace(" <|c", "<|c", 1)}{{"city":"Paris"}}<|call|>',
    ),
    Case(
        "json without constrain",
        BOTH,
        '<|channel|>commentary to=functions.get_weather json<|message|>{"city":"Paris"}<|call|>',
    ),
    Case(
        "no content type",
        BOTH,
        '<|channel|>commentary to=functions.get_weather<|message|>{"city":"Paris"}<|call|>',
    ),
    Case(
        "a tool without parameters",
        BOTH,
        "<|channel|>commentary to=functions.get_time json<|message|>{}<|call|>",
    ),
    Case("two calls", SEVERAL, f'{CALL}{{"city":"Paris"}}{NEXT}{CALL}{{"city":"Rome"}}<|call|>'),
    Case("a tool that is not there", BOTH, "<|channel|>commentary to=functions.⟂other<|message|>"),
    Case(
        "a namespace that is not there", BOTH, "<|channel|>commentary to=⟂browser.open<|message|>"
    ),
    Case("arguments that are no object", BOTH, f"{CALL}⟂[1]<|call|>"),
    Case("text before the arguments", BOTH, f'{CALL}⟂Sure: {{"city":"Paris"}}<|call|>'),
    Case("a wrong type", BOTH, f'{CALL}{{"city":⟂1}}<|call|>'),
    Case("a wrong value", BOTH, f'{CALL}{{"city":"Paris","unit":"⟂kelvin"}}<|call|>'),
    Case("a property too many", BOTH, f'{CALL}{{"city":"Paris","⟂days":1}}<|call|>'),
    Case("a property too few", BOTH, f"{CALL}{{⟂}}<|call|>"),
    Case("arguments cut off", BOTH, f'{CALL}{{"city":"Paris"⟂<|call|>'),
    Case("a bracket too many", BOTH, f'{CALL}{{"city":"Paris"}}⟂]<|call|>'),
    Case("an end token inside a string", BOTH, f'{CALL}{{"city":"Par⟂<|end|>'),
    Case("two channels in a header", BOTH, "<|channel|>commentary⟂<|channel|>analysis<|message|>"),
    Case("a channel that is none", BOTH, "<|channel|>⟂tool<|message|>x"),
    Case("a return inside the analysis", BOTH, f"{ANALYSIS}Hm⟂<|return|>"),
    Case("no start after end", BOTH, f"{ANALYSIS}Hm<|end|>⟂<|channel|>final<|message|>"),
    Case("a user message", BOTH, f"{ANALYSIS}Hm<|end|><|start|>⟂user<|message|>"),
    Case("a forced call", FORCED, f'{THOUGHT}{CALL}{{"city":"Paris"}}<|call|>'),
    Case("an answer instead of a forced call", FORCED, f"{THOUGHT}<|channel|>⟂final<|message|>Hi"),
    Case("a second call where only one may be", FORCED, f'{CALL}{{"city":"Paris"}}⟂{NEXT}'),
    Case(
        "the named tool", NAMED, "<|channel|>commentary to=functions.get_time<|message|>{}<|call|>"
    ),
    Case(
        "another than the named tool",
        NAMED,
        "<|channel|>commentary to=functions.get_⟂weather<|message|>",
    ),
    Case("a tool of the subset", SUBSET, f'{CALL}{{"city":"Paris"}}<|call|>'),
    Case("an answer with a subset", SUBSET, f"{FINAL}Hi<|return|>"),
    Case(
        "a tool outside the subset",
        SUBSET,
        "<|channel|>commentary to=functions.get_⟂time<|message|>",
    ),
    Case("an answer where calls are forbidden", NEVER, f"{THOUGHT}{FINAL}Hi<|return|>"),
    Case("a call where calls are forbidden", NEVER, "<|channel|>⟂commentary to=functions.get_time"),
    Case("a structured answer", STRUCTURED, f'{THOUGHT}{JSON_FINAL}{{"answer": 4}}<|return|>'),
    Case("a structured answer without type", STRUCTURED, f'{FINAL}{{"answer":-40}}<|return|>'),
    Case("prose instead of structure", STRUCTURED, f"{THOUGHT}{JSON_FINAL}⟂The answer is 4."),
    Case("a wrong type in the answer", STRUCTURED, f'{JSON_FINAL}{{"answer": ⟂"four"}}'),
    Case("text after the answer", STRUCTURED, f'{JSON_FINAL}{{"answer": 4}}⟂ Done.'),
    Case(
        "a structured answer with tools",
        STRUCTURED_WITH_TOOLS,
        f'{JSON_FINAL}{{"answer":4}}<|return|>',
    ),
    Case("a call before it", STRUCTURED_WITH_TOOLS, f'{THOUGHT}{CALL}{{"city":"Paris"}}<|call|>'),
    Case("an answer at once", NO_ANALYSIS, f'{FINAL}{{"answer":4}}<|return|>'),
    Case("analysis where there is none", NO_ANALYSIS, "<|channel|>⟂analysis<|message|>"),
    Case(
        "browser on analysis",
        BUILT_IN,
        '<|channel|>analysis to=browser.search code<|message|>{"query": "x", "topn": 3}<|call|>',
    ),
    Case(
        "browser on commentary",
        BUILT_IN,
        '<|channel|>commentary to=browser.open <|constrain|>json<|message|>{"id": "x"}<|call|>',
    ),
    Case(
        "python is free text",
        BUILT_IN,
        '<|channel|>analysis to=python code<|message|>print({"a": [1]} <| 2)\n<|call|>',
    ),
    Case(
        "browser wants its query",
        BUILT_IN,
        "<|channel|>analysis to=browser.search code<|message|>{⟂}",
    ),
    Case(
        "a custom tool takes text",
        FREE_TEXT,
        "<|channel|>commentary to=functions.apply_patch code<|message|>*** Begin Patch\n<|call|>",
    ),
]


def items_of(transcript: str) -> list[str | int]:
    """Characters and control tokens."""
    out: list[str | int] = []
    for i, part in enumerate(transcript.split("<|")):
        name, close, rest = part.partition("|>")
        token = CONTROL_IDS.get(f"<|{name}|>") if i and close else None
        if token is None:
            out += f"<|{part}" if i else part
        else:
            out += [token, *rest]
    return out


STOPS = {CONTROL_IDS["<|call|>"], CONTROL_IDS["<|return|>"]}


class Tokens(NamedTuple):
    """A transcript as token ids, and where it errs."""

    ids: list[int]
    wrong: int | None
    stop: int | None


def tokens_of(transcript: str) -> Tokens:
    before, marked, _ = transcript.partition("⟂")
    position = len(items_of(before)) if marked else None
    ids: list[int] = []
    wrong = None
    seen = 0
    run: list[str] = []
    encode = default_tokenizer().encode
    spans: list[int] = []
    for item in [*items_of(transcript.replace("⟂", "")), 0]:
        if isinstance(item, str):
            run.append(item)
            continue
        for token in encode("".join(run)):
            ids.append(token)
            spans.append(seen)
            seen += len(ordinary_bytes()[token].decode())
        run = []
        if item:
            ids.append(item)
            spans.append(seen)
            seen += 1
    if position is not None:
        wrong = max(i for i, start in enumerate(spans) if start <= position)
    stop = ids.pop() if wrong is None and ids[-1] in STOPS else None
    return Tokens(ids, wrong, stop)


def test_the_transcripts_are_read_as_meant() -> None:
    tokens = tokens_of(f'{FINAL}a <| b{{"x":⟂1}}<|return|>')
    assert [control_name(i) for i in tokens.ids if is_control(i)] == [
        "<|channel|>",
        "<|message|>",
        "<|return|>",
    ]
    assert tokens.wrong is not None
    assert default_tokenizer().encode("1") == [tokens.ids[tokens.wrong]]


@pytest.fixture(scope="session")
def tokenizer() -> Any:
    """Our vocabulary for llguidance, with the end tokens of the model's generation config."""
    llguidance = pytest.importorskip("llguidance")

    class Vocabulary:
        eos_token_id = CONTROL_IDS["<|return|>"]
        bos_token_id = CONTROL_IDS["<|startoftext|>"]
        special_token_ids = tuple(sorted(CONTROL_IDS.values()))
        tokens = (
            *ordinary_bytes(),
            *[control_name(i).encode() for i in sorted(CONTROL_IDS.values())],
        )

        def __call__(self, text: bytes | str) -> list[int]:
            return default_tokenizer().encode(text.decode() if isinstance(text, bytes) else text)

    return llguidance.LLTokenizer(
        llguidance.TokenizerWrapper(Vocabulary()),
        n_vocab=201_088,
        eos_token=[CONTROL_IDS[name] for name in ("<|return|>", "<|endoftext|>", "<|call|>")],
    )


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_lark_stops_llguidance_at_the_first_wrong_token(case: Case, tokenizer: Any) -> None:
    from llguidance import LLMatcher

    text = lark(case.plan).text
    assert LLMatcher.validate_grammar_with_warnings(text, tokenizer) == (False, [])
    matcher = LLMatcher(tokenizer, text)
    tokens = tokens_of(case.transcript)
    count = matcher.try_consume_tokens(tokens.ids)
    if tokens.wrong is None:
        assert count == len(tokens.ids), matcher.get_error()
        assert matcher.is_accepting()
        assert tokens.stop is not None
        assert matcher.try_consume_tokens([tokens.stop]) == 1
    else:
        assert count == tokens.wrong


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_gbnf_stops_at_the_first_wrong_token(case: Case) -> None:
    grammar = Gbnf(gbnf(case.plan).text)
    before, wrong, after = case.transcript.partition("⟂")
    items = items_of(before + after)
    if not wrong:
        assert items.pop() in STOPS
    count, complete = grammar.accepted(items)
    if wrong:
        assert count == len(items_of(before))
    else:
        assert count == len(items)
        assert complete


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_a_structural_tag_takes_what_is_right_and_nothing_else(case: Case) -> None:
    tag = json.loads(structural_tag(case.plan).text)
    text = case.transcript.replace("<|call|>", "").replace("<|return|>", "")
    assert takes(tag, text.replace("⟂", "")) is ("⟂" not in text)


@pytest.mark.parametrize(
    ("schema", "right", "wrong"),
    [
        (ANSWER, '{"answer": -12}', '{"answer": 1.5}'),
        (WEATHER.parameters, '{"city": "a<b <| c<"}', '{"city": "x", "unit": "kelvin"}'),
        ({"type": "array", "items": {"type": "number"}, "maxItems": 2}, "[1e3, -0.5]", "[1,2,3]"),
        ({"type": "string", "maxLength": 3}, '"a\\n<"', '"abcd"'),
        ({"type": "string", "pattern": "^(ab|[^c]){2}$"}, '"abé"', '"cc"'),
        ({"type": "object"}, '{"a": [{}, null]}', '{"a" 1}'),
    ],
)
def test_llguidance_reads_our_gbnf_as_we_do(
    schema: Any, right: str, wrong: str, tokenizer: Any
) -> None:
    """Its converter knows no token literals, so they become words here."""
    from llguidance import LLMatcher
    from llguidance.gbnf_to_lark import gbnf_to_lark

    text = gbnf(plan(response=schema, analysis=False)).text
    converted = gbnf_to_lark(re.sub(r"<\[(\d+)\]>", r'"-\1-"', text))
    assert LLMatcher.validate_grammar_with_warnings(converted, tokenizer) == (False, [])
    for body, fits in ((right, True), (wrong, False)):
        tokens = default_tokenizer().encode(f"-200005-final -200003-json-200008-{body}")
        matcher = LLMatcher(tokenizer, converted)
        assert (matcher.try_consume_tokens(tokens) == len(tokens)) is fits
        assert matcher.is_accepting() is fits


def test_gbnf_holds_no_stop_token() -> None:
    text = gbnf(plan([WEATHER, BROWSER, PYTHON], response=ANSWER)).text
    assert not any(f"[{stop}]" in text for stop in (200002, 200012, 199999))


def test_a_tag_ends_without_a_stop_token() -> None:
    text = structural_tag(plan([WEATHER, BROWSER, PYTHON], response=ANSWER)).text
    assert not any(stop in text for stop in ("<|return|>", "<|call|>", "<|endoftext|>"))


def tags(value: Any) -> list[Any]:
    if isinstance(value, dict):
        own = [value] if value.get("type") in FORMATS and "const" not in value else []
        return own + [tag for key, v in value.items() if key != "json_schema" for tag in tags(v)]
    return [tag for v in value for tag in tags(v)] if isinstance(value, list) else []


def test_structural_tags_have_the_documented_shape(golden: Any) -> None:
    """The file holds the shape that xgrammar documents and vLLM writes for Harmony."""
    expected = golden("grammar/structural-tags.json")
    for name, value in {
        "required": plan([WEATHER], REQUIRED, parallel=False),
        "auto": plan([WEATHER, TIME]),
        "structured": STRUCTURED,
        "built-in": BUILT_IN,
    }.items():
        assert json.loads(structural_tag(value).text) == expected[name], name
    for tag in expected.values():
        assert tag["type"] == "structural_tag"
        for form in tags(tag["format"]):
            assert set(form) - {"type"} == FORMATS[form["type"]]


def test_the_texts_are_pinned(golden: Any) -> None:
    expected = golden("grammar/texts.json")
    assert gbnf(FORCED).text.splitlines() == expected["gbnf"]
    assert lark(FORCED).text.splitlines() == expected["lark"]


def test_nothing_is_bound_without_tools_and_schema() -> None:
    assert plan().free
    assert plan([WEATHER], NONE).free
    assert not BOTH.free
    assert not STRUCTURED.free


def test_tools_come_as_a_mapping_as_namespaces_or_bare() -> None:
    namespaced = plan(functions(WEATHER, TIME))
    assert namespaced == plan([WEATHER, TIME]) == plan(list(functions(WEATHER, TIME).values()))
    assert [call.recipient for call in namespaced.calls] == [
        "functions.get_weather",
        "functions.get_time",
    ]


def test_built_in_tools_may_be_called_on_two_channels_and_functions_on_one() -> None:
    calls = {call.recipient: call for call in plan([WEATHER, BROWSER, PYTHON]).calls}
    assert calls["functions.get_weather"].channels == ("commentary",)
    assert calls["browser.open"].channels == ("analysis", "commentary")
    assert calls["python"] == Call("python", AnyText(), ("analysis", "commentary"))
    assert calls["functions.get_weather"].body == JsonBody(WEATHER.parameters or {})


def test_a_choice_that_cannot_be_met_is_an_error() -> None:
    with pytest.raises(SchemaError, match="no tool is offered"):
        plan([], REQUIRED)
    with pytest.raises(SchemaError, match="'other' is not among the tools"):
        plan([WEATHER], ToolChoice(ToolMode.REQUIRED, ("other",)))
    with pytest.raises(SchemaError, match="no tool is offered"):
        plan([WEATHER], ToolChoice(ToolMode.REQUIRED, ()))


def test_a_name_that_is_no_recipient_is_an_error() -> None:
    with pytest.raises(MessageError):
        plan([Tool("get weather")])
    with pytest.raises(MessageError):
        plan([ToolNamespace("<|end|>", None, (TIME,))])


def test_the_number_of_tools_is_bounded() -> None:
    with pytest.raises(SchemaError, match="tools are offered"):
        plan([Tool(f"t{i}") for i in range(MAX_CALLS + 1)])


def test_a_schema_that_is_no_object_is_an_error() -> None:
    with pytest.raises(SchemaError, match="must be an object"):
        plan(response=[])  # type: ignore[arg-type]
    with pytest.raises(SchemaError, match=r"functions\.f"):
        plan([Tool("f", "", {"type": "object", "x": object()})])


def test_a_plan_made_by_hand_is_checked_when_it_is_written() -> None:
    schema: dict[str, Any] = {}
    for _ in range(5000):
        schema = {"items": schema}
    value = Plan(final=JsonBody(schema))
    for write in (gbnf, lark, structural_tag):
        with pytest.raises(SchemaError, match="nested deeper"):
            write(value)


def test_references_that_leave_the_document_are_loosened_in_every_dialect() -> None:
    schema = {"type": "object", "properties": {"a": {"$ref": "https://example.com/s"}}}
    value = plan([Tool("f", "", schema)], REQUIRED)
    for write in (gbnf, lark, structural_tag):
        written: GrammarText = write(value)
        assert "example.com" not in written.text
        assert [(note.where, note.keyword) for note in written.notes] == [
            ("functions.f/properties/a", "$ref")
        ]
        assert isinstance(written.notes[0], Note)


def test_arguments_are_objects_whatever_their_schema_says() -> None:
    schemas: list[dict[str, Any]] = [
        {},
        {"properties": {"a": {}}},
        {"type": ["object", "null"]},
        {"$ref": "#/$defs/a", "$defs": {"a": True}},
    ]
    for schema in schemas:
        value = plan([Tool("f", "", schema)], REQUIRED)
        header = "<|channel|>commentary to=functions.f<|message|>"
        for body, right in (("{}", True), ("null", False), ("1", False)):
            grammar = Gbnf(gbnf(value).text)
            items = items_of(header + body)
            assert (grammar.accepted(items) == (len(items), True)) is right
            assert takes(json.loads(structural_tag(value).text), header + body) is right


def test_any_json_object_may_be_the_answer() -> None:
    assert ToolChoice() == AUTO
    grammar = Gbnf(gbnf(plan(response={"type": "object"})).text)
    for body, right in (('{"a": [1, {"b": null}]}', True), ("[]", False)):
        items = items_of(JSON_FINAL + body)
        assert (grammar.accepted(items) == (len(items), True)) is right
