"""Arguments of tool calls: rows 68 to 75 of docs/recovery.md, and what holds for any text."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from antiphon.codec.arguments import (
    MAX_DEPTH,
    MAX_VALUES,
    Arguments,
    ArgumentsKind,
    Repair,
    parse_arguments,
)

SHELL: dict[str, Any] = {
    "type": "object",
    "properties": {"cmd": {"type": "string"}, "timeout": {"type": "integer"}},
    "required": ["cmd"],
}


def codes(arguments: Arguments) -> list[str]:
    return [repair.value for repair in arguments.repairs]


def test_valid_arguments_are_handed_on_as_they_were_written() -> None:
    text = ' {"b": 1.10, "a": "\\u00e9", "b": 2}\n'
    arguments = parse_arguments(text)
    assert arguments.kind is ArgumentsKind.VALID
    assert arguments.json == arguments.text == text
    assert arguments.value == {"b": 2, "a": "é"}
    assert arguments.repairs == ()


def test_row_68_a_bracket_too_many_is_left_out() -> None:
    patch = '{"input":"*** Begin Patch\\n…*** End Patch"}'
    arguments = parse_arguments(patch + "]")
    assert arguments.kind is ArgumentsKind.REPAIRED
    assert arguments.json == patch
    assert codes(arguments) == ["trailing-text"]


def test_row_68_a_bracket_too_many_after_raw_newlines() -> None:
    arguments = parse_arguments('{"input":"*** Begin Patch\n…*** End Patch"}]')
    assert arguments.value == {"input": "*** Begin Patch\n…*** End Patch"}
    assert codes(arguments) == ["raw-control-character", "trailing-text"]


@pytest.mark.parametrize("between", ["", "\n", ", ", " ; "])
def test_row_69_several_objects_are_exposed_so_that_they_can_become_calls(between: str) -> None:
    arguments = parse_arguments(f'{{"a":1}}{between}{{"b":2}}{between}{{"c":3}}')
    assert arguments.value == {"a": 1}
    assert [more.value for more in arguments.more] == [{"b": 2}, {"c": 3}]
    assert [more.json for more in arguments.more] == ['{"b":2}', '{"c":3}']
    assert codes(arguments) == ["several-values"]


def test_row_69_text_after_the_first_object_is_reported() -> None:
    arguments = parse_arguments('{"a":1} and that is all')
    assert arguments.value == {"a": 1}
    assert codes(arguments) == ["trailing-text"]
    assert arguments.text.endswith("and that is all")


def test_row_69_a_list_of_objects_is_several_calls() -> None:
    arguments = parse_arguments('[{"a":1},{"b":2}]')
    assert arguments.json == '{"a":1}'
    assert [more.json for more in arguments.more] == ['{"b":2}']
    assert codes(arguments) == ["list-of-objects"]


def test_row_69_the_number_of_objects_is_bounded() -> None:
    arguments = parse_arguments('{"a":1}' * (MAX_VALUES + 5))
    assert len(arguments.more) == MAX_VALUES - 1
    assert codes(arguments) == ["several-values", "trailing-text"]


CODE = "function f() {\n\t/** doc */\n  return [1, 2];\n}"


def test_row_70_raw_newlines_and_tabs_in_code_are_escaped() -> None:
    arguments = parse_arguments('{"path": "a.js", "content": "' + CODE + '"}')
    assert arguments.value == {"path": "a.js", "content": CODE}
    assert json.loads(arguments.json) == arguments.value
    assert codes(arguments) == ["raw-control-character"]


def test_row_70_a_bracket_of_the_wrong_kind_does_not_lose_the_object() -> None:
    assert parse_arguments('{"a":"b"]}').value == {"a": "b"}
    assert parse_arguments('{"a":[1,2}').value == {"a": [1, 2]}


@pytest.mark.parametrize(
    "text", ["ls -R\n", 'import sys, json\nprint(json.dumps({"a": 1}))', "{ ls; }"]
)
def test_row_71_shell_and_python_text_goes_into_the_only_string_parameter(text: str) -> None:
    arguments = parse_arguments(text, schema=SHELL)
    assert arguments.kind is ArgumentsKind.REPAIRED
    assert arguments.value == {"cmd": text}
    assert json.loads(arguments.json) == {"cmd": text}
    assert codes(arguments) == ["wrapped-text"]


@pytest.mark.parametrize("text", ["ls -R\n", "import sys, subprocess, json", "{ ls; }"])
def test_row_71_without_such_a_parameter_the_text_stays_raw(text: str) -> None:
    two = {"type": "object", "properties": {"a": {"type": "string"}, "b": {"type": "string"}}}
    for schema in (None, two, {"type": "object", "properties": {"n": {"type": "integer"}}}):
        arguments = parse_arguments(text, schema=schema)
        assert arguments.kind is ArgumentsKind.RAW
        assert arguments.json == text
        assert arguments.value is None
        assert codes(arguments) == ["not-json"]


def test_row_71_a_fenced_script_is_wrapped_without_its_fence() -> None:
    arguments = parse_arguments("```bash\nls -R\n```", schema=SHELL)
    assert arguments.value == {"cmd": "ls -R"}
    assert codes(arguments) == ["code-fence", "wrapped-text"]


def test_row_71_a_quoted_script_is_wrapped_without_its_quotes() -> None:
    assert parse_arguments('"ls -R"', schema=SHELL).value == {"cmd": "ls -R"}


def test_row_72_broken_arguments_are_a_value_and_never_an_error() -> None:
    arguments = parse_arguments("error parsing tool call")
    assert arguments.kind is ArgumentsKind.RAW
    assert arguments.json == "error parsing tool call"


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ('{"city":"Lima"}"', "trailing-text"),
        ('{"city":"Lima""}', "doubled-quote"),
        ("{'city':'Lima'}", "quote-style"),
        ("{“city”: “Lima”}", "quote-style"),
        ('{"city":"Lima\'s}', None),
    ],
)
def test_row_73_asymmetric_quotes(text: str, code: str | None) -> None:
    arguments = parse_arguments(text)
    if code is None:
        assert arguments.truncated
    else:
        assert arguments.value == {"city": "Lima"}
        assert codes(arguments) == [code]


def test_row_74_a_list_of_words_for_the_command_is_plain_json() -> None:
    text = '{"cmd":["bash","-lc","ls"]}'
    assert parse_arguments(text, schema=SHELL).kind is ArgumentsKind.VALID


def test_row_75_a_foreign_markup_body_stays_raw() -> None:
    text = "<ask_followup_question><question>Which?</question></ask_followup_question>"
    assert parse_arguments(text).json == text


@pytest.mark.parametrize("text", ["", " \n", "null"])
def test_empty_text_is_an_empty_object_unless_something_is_required(text: str) -> None:
    for schema in (None, {}, {"type": "object", "properties": {"a": {"type": "string"}}}):
        arguments = parse_arguments(text, schema=schema)
        assert (arguments.json, arguments.value) == ("{}", {})
        assert codes(arguments) == ["empty-arguments"]
    required = parse_arguments(text, schema=SHELL)
    assert required.kind is ArgumentsKind.RAW
    assert required.json == text


@pytest.mark.parametrize(
    ("text", "value", "code"),
    [
        ('{"a":1,}', {"a": 1}, "trailing-comma"),
        ('{"a":[1,2,],}', {"a": [1, 2]}, "trailing-comma"),
        ('{,"a":1}', {"a": 1}, "trailing-comma"),
        ('{"a":1 "b":2}', {"a": 1, "b": 2}, "missing-comma"),
        ('{"a":"x" "b":"y"}', {"a": "x", "b": "y"}, "missing-comma"),
        ('{"a":"x"\n"b":"y"}', {"a": "x", "b": "y"}, "missing-comma"),
        ('{"a" 1}', {"a": 1}, "missing-colon"),
        ('{"a":,"b":2}', {"a": None, "b": 2}, "missing-value"),
        ('{"a":True,"b":[None,False]}', {"a": True, "b": [None, False]}, "foreign-literal"),
        ('{"a":NaN,"b":-Infinity}', {"a": None, "b": None}, "foreign-literal"),
        ('{"a":undefined}', {"a": None}, "foreign-literal"),
        ("{a: 1}", {"a": 1}, "unquoted-key"),
        ('{"a": hello, "b": 1}', {"a": "hello", "b": 1}, "unquoted-value"),
        ('{"a": 2024-01-31}', {"a": "2024-01-31"}, "unquoted-value"),
        (
            '{"a": .5, "b": +1, "c": 0x1F, "d": 1_000}',
            {"a": 0.5, "b": 1, "c": 31, "d": 1000},
            "number-form",
        ),
        ('{"a": 1 /* one */}', {"a": 1}, "comment"),
        ('{"a": "x", // why\n "b": 2}', {"a": "x", "b": 2}, "comment"),
        ('{"a":\u00a01}', {"a": 1}, "foreign-space"),
        (r'{"a":"C:\dir","b":"\d+"}', {"a": r"C:\dir", "b": r"\d+"}, "invalid-escape"),
        (r'{"a":"it\'s"}', {"a": "it's"}, "invalid-escape"),
        (r'{"a":"\uZZ"}', {"a": r"\uZZ"}, "invalid-escape"),
        ('{"a":"x\x00y"}', {"a": "x\x00y"}, "raw-control-character"),
        ('{"a":"""x "y" z"""}', {"a": 'x "y" z'}, "quote-style"),
        ("{'a': 'say \"hi\"'}", {"a": 'say "hi"'}, "quote-style"),
        ('{"code": "print("hi")"}', {"code": 'print("hi")'}, "unescaped-quote"),
        (
            '{"code": "print("a", "b")", "n": 1}',
            {"code": 'print("a", "b")', "n": 1},
            "unescaped-quote",
        ),
        (
            '{"code": "d = {"k": "v"}", "x": 1}',
            {"code": 'd = {"k": "v"}', "x": 1},
            "unescaped-quote",
        ),
        ('{"code": "d = {"k": "v"}"}', {"code": 'd = {"k": "v"}'}, "unescaped-quote"),
        ('{"a": ["say "hi" now", "b"]}', {"a": ['say "hi" now', "b"]}, "unescaped-quote"),
        ('```json\n{"a":1}\n```', {"a": 1}, "code-fence"),
        ('```\n{"a":1}', {"a": 1}, "code-fence"),
        ('json{"a":1}', {"a": 1}, "leading-text"),
        ('\ufeff{"a":1}', {"a": 1}, "leading-text"),
        ('Here are the arguments:\n{"a":1}', {"a": 1}, "leading-text"),
        ('"{\\"a\\":1}"', {"a": 1}, "double-encoded"),
        ('[{"a":1}]', {"a": 1}, "list-of-objects"),
    ],
)
def test_one_fault_is_mended_under_its_own_code(text: str, value: Any, code: str) -> None:
    arguments = parse_arguments(text)
    assert arguments.kind is ArgumentsKind.REPAIRED
    assert arguments.value == value
    assert codes(arguments) == [code]
    assert json.loads(arguments.json) == value


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("{", {}),
        ('{"a', {}),
        ('{"a"', {}),
        ('{"a":', {}),
        ('{"a":tr', {}),
        ('{"a":-', {}),
        ('{"a":1.', {"a": 1}),
        ('{"a":1e+', {"a": 1}),
        ('{"a":"x', {"a": "x"}),
        ('{"a":"x\\', {"a": "x"}),
        ('{"a":"x\\u00', {"a": "x"}),
        ('{"a":"x\\ud83d', {"a": "x"}),
        ('{"a":"x","b":[1,{"c":2', {"a": "x", "b": [1, {"c": 2}]}),
        ('{"a":"x",', {"a": "x"}),
        ('{"a":"x","' + "long key " * 50, {"a": "x"}),
    ],
)
def test_cut_off_arguments_are_partial_and_say_so(text: str, value: Any) -> None:
    arguments = parse_arguments(text)
    assert arguments.value == value
    assert arguments.truncated
    assert arguments.text == text


@pytest.mark.parametrize("text", ["5", "[]", "[1,2]", "true", '"word"'])
def test_json_that_is_no_object_stays_raw(text: str) -> None:
    arguments = parse_arguments(text)
    assert arguments.kind is ArgumentsKind.RAW
    assert codes(arguments) == ["not-an-object"]


def test_an_unclosed_string_with_inner_quotes_is_too_doubtful_to_repair() -> None:
    assert parse_arguments('{"a": "x" oops "b": 1}').kind is ArgumentsKind.RAW


def test_numbers_keep_their_digits() -> None:
    text = '{"a":123456789012345678901234567890,"b":1.10,"c":1E5,}'
    assert parse_arguments(text).json == text.replace(",}", "}")


def test_an_integer_of_any_length_is_valid() -> None:
    text = '{"a":' + "1" * 10_000 + "}"
    assert parse_arguments(text).json == text
    assert parse_arguments(text).kind is ArgumentsKind.VALID


def test_an_object_behind_words_that_fits_no_parameter_is_part_of_the_script() -> None:
    text = 'echo {"a":1}'
    assert parse_arguments(text, schema=SHELL).value == {"cmd": text}


def test_depth_is_bounded() -> None:
    deepest = '{"a":' * MAX_DEPTH + "1" + "}" * MAX_DEPTH
    assert parse_arguments(deepest).kind is ArgumentsKind.VALID
    deeper = '{"a":' + deepest + "}"
    assert codes(parse_arguments(deeper)) == ["too-deep"]
    assert parse_arguments(deeper).json == deeper
    in_string = '{"a":"' + "[{" * MAX_DEPTH + '"}'
    assert parse_arguments(in_string).kind is ArgumentsKind.VALID


LONG = 100_000
"""Characters; in quadratic time none of these tests would end."""


@pytest.mark.parametrize(
    "piece",
    ["[", "{", '{"a":', '"', '",', '"," ', "'", "\\", '"\\', " ", '" ', "{}", '{"a":1}', "a", "1",
     "/*", "//\n", "#", "`", "```", "“", '", “', "', \"", '", \'',
     '"""', '{"a":"', '"}', '"]', ",", ":", '{"a":"x" ', "[[]", "-"],
)  # fmt: skip
@pytest.mark.parametrize("opening", ["", '{"a":"', '{"a":'])
def test_a_long_run_of_anything_is_read_in_linear_time(opening: str, piece: str) -> None:
    text = opening + piece * (LONG // len(piece))
    arguments = parse_arguments(text, schema=SHELL)
    assert arguments.text == text
    check(arguments, text)


def integer(digits: str) -> float:
    return int(digits) if len(digits) < 4000 else float(digits)


def check(arguments: Arguments, text: str) -> None:
    """What holds for every result."""
    assert arguments.text == text
    if arguments.kind is ArgumentsKind.RAW:
        assert arguments.value is None
        assert arguments.json == text
        assert arguments.repairs
    else:
        assert isinstance(arguments.value, dict)
        assert json.loads(arguments.json, parse_int=integer) == arguments.value
        assert bool(arguments.repairs) is (arguments.kind is ArgumentsKind.REPAIRED)
    for more in arguments.more:
        assert json.loads(more.json) == more.value


VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)
OBJECTS = st.dictionaries(st.text(), VALUES, max_size=5)


@given(OBJECTS, st.booleans(), st.sampled_from([None, 1, "\t"]))
def test_every_valid_object_is_valid_and_equals_what_json_reads(
    value: dict[str, Any], ascii_only: bool, indent: int | str | None
) -> None:
    text = json.dumps(value, ensure_ascii=ascii_only, indent=indent)
    arguments = parse_arguments(text, schema=SHELL)
    assert arguments.kind is ArgumentsKind.VALID
    assert arguments.json == text
    assert arguments.value == json.loads(text)


@given(st.text(alphabet="{}[]\",:' \n\\abtu01-.`/#“”é", max_size=60), st.booleans())
def test_any_text_gives_a_consistent_result(text: str, known: bool) -> None:
    check(parse_arguments(text, schema=SHELL if known else None), text)


@given(OBJECTS, st.data())
def test_any_prefix_of_valid_arguments_gives_a_consistent_result(
    value: dict[str, Any], data: st.DataObject
) -> None:
    text = json.dumps(value)
    cut = data.draw(st.integers(1, len(text)))
    arguments = parse_arguments(text[:cut])
    check(arguments, text[:cut])
    assert arguments.truncated is (cut < len(text))
    assert arguments.value is not None
    assert all(key in value for key in arguments.value)


@given(OBJECTS, st.data())
def test_one_character_taken_out_or_put_in_gives_a_consistent_result(
    value: dict[str, Any], data: st.DataObject
) -> None:
    text = json.dumps(value, ensure_ascii=False)
    at = data.draw(st.integers(0, len(text) - 1))
    other = data.draw(st.sampled_from(["", *"{}[]\",:'\\\n1a"]))
    broken = text[:at] + other + text[at + 1 :]
    check(parse_arguments(broken), broken)


PLAIN = st.text(alphabet=st.characters(categories=["L", "N", "Zs"], include_characters="{}[],:"))


@given(
    st.dictionaries(
        st.text("abc"), PLAIN | st.none() | st.booleans() | st.integers() | st.lists(PLAIN)
    )
)
def test_python_repr_is_read_as_the_same_object(plain: dict[str, Any]) -> None:
    arguments = parse_arguments(repr(plain))
    assert arguments.value == plain


def test_every_code_is_reached() -> None:
    texts = [
        "", '{"a":1}x', '{"a":1}{"b":2}', '[{"a":1}]', '"{\\"a\\":1}"', 'json{"a":1}',
        "```\n{}\n```",
        '{"a":"\n"}', '{"a":"\\q"}', '{"a":"b"c"d"}', '{"a":"b""}', "{'a':1}", '{"a":1,}',
        '{"a":1 "b":2}', '{"a" 1}', '{"a":}', '{"a":None}', "{a:1}", '{"a":b}', '{"a":.5}',
        '{"a":\u00a01}', '{"a":1/**/}', '{"a":1]}', '{"a":"b', '{"a":1', "5", "[" * 999, "x",
    ]  # fmt: skip
    seen = {repair for text in texts for repair in parse_arguments(text).repairs}
    seen.update(parse_arguments("ls", schema=SHELL).repairs)
    assert seen == set(Repair)


def test_every_code_is_documented() -> None:
    text = (Path(__file__).parents[2] / "docs" / "grammar.md").read_text(encoding="utf-8")
    assert [repair for repair in Repair if f"`{repair}`" not in text] == []
