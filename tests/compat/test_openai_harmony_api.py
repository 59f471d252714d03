"""The drop-in's surface beside the reference's: names, signatures, tokens, errors."""

from __future__ import annotations

import copy
import enum
import inspect
import pickle
import subprocess
import sys
from random import Random
from typing import Any

import pytest

reference: Any = pytest.importorskip("openai_harmony")
ours: Any = pytest.importorskip("antiphon.openai_harmony")

ALSO_PUBLIC = (
    "ChannelConfig",
    "ReasoningEffort",
    "RenderConversationConfig",
    "RenderOptions",
    "ToolNamespaceConfig",
    "raise_disallowed_special_token",
)
CLASSES = [
    name
    for name in (*reference.__all__, *ALSO_PUBLIC)
    if inspect.isclass(getattr(reference, name)) and name != "HarmonyError"
]


@pytest.fixture(scope="module")
def encoding() -> Any:
    return ours.load_harmony_encoding("HarmonyGptOss")


def test_a_star_import_brings_the_same_names() -> None:
    assert sorted(ours.__all__) == sorted(reference.__all__)
    for name in (*reference.__all__, *ALSO_PUBLIC):
        assert hasattr(ours, name)


def members(cls: type) -> dict[str, Any]:
    own = vars(cls)
    base = cls.__mro__[1] if cls.__mro__[1].__name__ == "Content" else object
    names = {n for n in (*own, *vars(base)) if not n.startswith(("_", "model_"))}
    return {name: inspect.getattr_static(cls, name) for name in names}


@pytest.mark.parametrize("name", CLASSES)
def test_a_class_has_the_members_and_signatures_of_the_references(name: str) -> None:
    theirs, mine = getattr(reference, name), getattr(ours, name)
    for member in members(theirs):
        attribute = getattr(theirs, member)
        assert hasattr(mine, member), member
        if callable(attribute) and not isinstance(attribute, enum.Enum):
            expected = inspect.signature(attribute).parameters
            found = inspect.signature(getattr(mine, member)).parameters
            assert list(found) == list(expected), member
            for parameter, is_expected in expected.items():
                is_found = found[parameter]
                assert is_found.kind == is_expected.kind, member
                assert is_found.default == is_expected.default, member


@pytest.mark.parametrize(
    "name", [n for n in CLASSES if hasattr(getattr(reference, n), "model_fields")]
)
def test_a_data_class_has_the_fields_and_defaults_of_the_references(name: str) -> None:
    theirs, mine = getattr(reference, name), getattr(ours, name)
    assert list(mine.model_fields) == list(theirs.model_fields)
    for field, expected in theirs.model_fields.items():
        found = mine.model_fields[field]
        assert found.is_required() == expected.is_required()
        if not expected.is_required():
            assert dumped(found.get_default(call_default_factory=True)) == dumped(
                expected.get_default(call_default_factory=True)
            )


def dumped(value: Any) -> Any:
    return value.model_dump() if hasattr(value, "model_dump") else value


@pytest.mark.parametrize(
    "name", [n for n in CLASSES if issubclass(getattr(reference, n), enum.Enum)]
)
def test_an_enum_has_the_references_members_and_looks(name: str) -> None:
    theirs, mine = getattr(reference, name), getattr(ours, name)
    assert {m.name: m.value for m in mine} == {m.name: m.value for m in theirs}
    assert [str(m) for m in mine] == [str(m) for m in theirs]
    assert [repr(m) for m in mine] == [repr(m) for m in theirs]
    assert mine.__bases__ == theirs.__bases__


def test_an_unknown_role_is_named_in_the_error() -> None:
    with pytest.raises(ValueError, match=r"^Unknown role: 'x'$"):
        ours.Role("x")


@pytest.mark.parametrize("tool", ["browser", "python"])
def test_the_built_in_tools_are_the_references(tool: str) -> None:
    mine = getattr(ours.ToolNamespaceConfig, tool)()
    assert mine.model_dump() == getattr(reference.ToolNamespaceConfig, tool)().model_dump()
    mine.tools.clear()
    assert getattr(ours.ToolNamespaceConfig, tool)() != mine or tool == "python"


# The encoding


def test_loading_gives_one_encoding_by_either_kind_of_name(encoding: Any) -> None:
    assert ours.load_harmony_encoding(ours.HarmonyEncodingName.HARMONY_GPT_OSS) is encoding
    assert encoding.name == "HarmonyGptOss"


@pytest.mark.parametrize("name", ["foo", "", 5, None])
def test_an_unknown_encoding_is_a_value_error(name: Any) -> None:
    with pytest.raises(ValueError, match=f"^Invalid HarmonyEncodingName: {name}$"):
        ours.load_harmony_encoding(name)


_OFFLINE = """
import socket
def refuse(*args, **kwargs):
    raise OSError("no network")
socket.socket = refuse
import antiphon.openai_harmony as h
e = h.load_harmony_encoding("HarmonyGptOss")
assert e.decode(e.encode("hello")) == "hello"
"""


def test_loading_needs_no_network_and_no_environment() -> None:
    subprocess.run([sys.executable, "-c", _OFFLINE], check=True, env={})


def test_a_missing_pydantic_is_named_with_its_extra() -> None:
    code = (
        "import sys; sys.modules['pydantic'] = None\n"
        "from antiphon.errors import MissingExtraError\n"
        "try:\n    import antiphon.openai_harmony\n"
        "except MissingExtraError as e:\n    assert 'antiphon[compat]' in str(e), e\n"
        "else:\n    raise SystemExit('imported')\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_antiphon_itself_imports_neither_the_drop_in_nor_pydantic() -> None:
    code = (
        "import sys, antiphon, antiphon.codec.parse, antiphon.codec.render\n"
        "assert not {'pydantic', 'antiphon.openai_harmony'} & set(sys.modules)\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_an_encoding_can_be_copied_and_pickled(encoding: Any) -> None:
    for twin in (copy.deepcopy(encoding), pickle.loads(pickle.dumps(encoding))):
        assert twin.encode("hello") == encoding.encode("hello")


def test_the_special_and_stop_tokens_are_the_references(
    encoding: Any, reference_encoding: Any
) -> None:
    assert encoding.special_tokens_set == reference_encoding.special_tokens_set
    assert set(encoding._inner.special_tokens()) == set(reference_encoding._inner.special_tokens())
    assert set(encoding.stop_tokens()) == set(reference_encoding.stop_tokens())
    actions = encoding.stop_tokens_for_assistant_actions()
    assert set(actions) == set(reference_encoding.stop_tokens_for_assistant_actions())
    for token in (0, 199_997, 199_998, 200_013, 200_014, 201_088, 201_089, 2**32 - 1):
        assert encoding.is_special_token(token) == reference_encoding.is_special_token(token)


def outcome(call: Any, *args: Any, **kwargs: Any) -> Any:
    try:
        return call(*args, **kwargs)
    except Exception as error:  # noqa: BLE001 - the error is the outcome that is compared
        return type(error).__name__, str(error)


TEXTS = (
    "",
    "hello world",
    "a<|start|>b<|end|>",
    "<|end|>",
    "<|endofprompt|><|refusal|> <|nothing|>",
    "<|reserved_200017|>x<|reserved_2|>",
    "<<|start|>|><|start<|start|>",
    "日本 😀",
    "a\ud83d\ude00 \ud800<|call|>\udc00",
)
ALLOWED: tuple[Any, ...] = (
    set(),
    {"<|start|>"},
    {"<|start|>", "<|end|>", "foo"},
    "all",
    frozenset({"<|call|>"}),
)
DISALLOWED: tuple[Any, ...] = (
    "all",
    (),
    {"<|end|>"},
    ["hello", "<|start|>"],
    frozenset({"<|endofprompt|>"}),
)


def _id(value: Any) -> str:
    """A set in a fixed order: parallel runs must agree on the names of the tests."""
    return value if isinstance(value, str) else " ".join([type(value).__name__, *sorted(value)])


@pytest.mark.parametrize("disallowed", DISALLOWED, ids=_id)
@pytest.mark.parametrize("allowed", ALLOWED, ids=_id)
def test_encode_treats_control_text_as_the_reference_does(
    allowed: Any, disallowed: Any, encoding: Any, reference_encoding: Any
) -> None:
    for text in TEXTS:
        arguments = {"allowed_special": allowed, "disallowed_special": disallowed}
        expected = outcome(reference_encoding.encode, text, **arguments)
        assert outcome(encoding.encode, text, **arguments) == expected, text
    for text in TEXTS[:-1]:
        names = [] if allowed == "all" else list(allowed)
        expected = reference_encoding._inner.encode(text, names)
        assert encoding._inner.encode(text, names) == expected


def test_encode_refuses_control_text_with_the_references_advice(encoding: Any) -> None:
    with pytest.raises(ours.HarmonyError, match=r"disallowed special token '<\|start\|>'"):
        encoding.encode("<|start|>")
    with pytest.raises(RuntimeError, match="disallowed special token"):
        encoding.encode("<|call|>")


def test_decoding_gives_the_references_results_and_errors(
    encoding: Any, reference_encoding: Any
) -> None:
    rng = Random(5)
    streams: list[list[Any]] = [
        [],
        [187],
        [9552],
        [201_089],
        [24_912, 4_294_967_295],
        [200_006, 24_912, 200_007],
        [-1],
        [2**32],
        ["a"],
        [1.5],
        [None],
    ]
    streams += [[rng.randrange(201_089) for _ in range(rng.randrange(9))] for _ in range(300)]
    for ids in streams:
        for call in ("decode", "decode_utf8"):
            expected = outcome(getattr(reference_encoding, call), ids)
            assert outcome(getattr(encoding, call), ids) == expected, (call, ids)
        for errors in ("strict", "ignore"):
            expected = outcome(reference_encoding.decode, ids, errors)
            assert outcome(encoding.decode, ids, errors) == expected, (errors, ids)
        expected = outcome(reference_encoding._inner.decode_bytes, ids)
        found = outcome(encoding._inner.decode_bytes, ids)
        assert (found if isinstance(found, tuple) else bytes(found)) == (
            expected if isinstance(expected, tuple) else bytes(expected)
        )


@pytest.mark.parametrize("bad", [-1, 2**32, "a", 1.5, None])
def test_what_is_no_token_is_refused_as_the_reference_refuses_it(
    bad: Any, encoding: Any, reference_encoding: Any
) -> None:
    parse = "parse_messages_from_completion_tokens"
    expected = outcome(getattr(reference_encoding, parse), [5, bad])
    assert outcome(getattr(encoding, parse), [5, bad]) == expected
    assert outcome(encoding.is_special_token, bad) == outcome(
        reference_encoding.is_special_token, bad
    )
    mine = ours.StreamableParser(encoding, None)
    theirs = reference.StreamableParser(reference_encoding, None)
    assert outcome(mine.process, bad) == outcome(theirs.process, bad)
    assert mine.tokens == theirs.tokens == []


def test_tokens_may_come_as_any_sequence(encoding: Any) -> None:
    ids = [200_006, 173_781, 200_008, 24_912, 200_007]
    expected = encoding.parse_messages_from_completion_tokens(ids)
    numpy = pytest.importorskip("numpy")
    for tokens in (tuple(ids), numpy.array(ids), iter(ids), dict.fromkeys(ids)):
        assert encoding.parse_messages_from_completion_tokens(tokens) == expected


def test_a_role_must_be_a_role(encoding: Any) -> None:
    with pytest.raises(AttributeError):
        encoding.parse_messages_from_completion_tokens([], "user")
    with pytest.raises(AttributeError):
        ours.StreamableParser(encoding, "user")
    with pytest.raises(ValueError, match=r"^unknown role: bob$"):
        encoding._inner.parse_messages_from_completion_tokens([], "bob", True)


def test_errors_of_rendering_have_the_references_kinds(encoding: Any) -> None:
    message = ours.Message.from_role_and_content(ours.Role.TOOL, "x")
    conv = ours.Conversation.from_messages([message])
    with pytest.raises(RuntimeError, match=r"^Tools should have a name!$") as caught:
        encoding.render(message)
    assert not isinstance(caught.value, ours.HarmonyError)
    with pytest.raises(ours.HarmonyError, match=r"^Tools should have a name!$"):
        encoding.render_conversation_for_completion(conv, ours.Role.ASSISTANT)


@pytest.mark.parametrize(
    "payload",
    [
        "{",
        "[]",
        "{}",
        '{"messages": 5}',
        '{"messages": [5]}',
        '{"messages": [{"role": "bob", "content": "x"}]}',
        '{"messages": [{"role": "user"}]}',
        '{"messages": [{"role": "user", "content": 5}]}',
        '{"messages": [{"role": "user", "content": [{"type": "x"}]}]}',
        '{"messages": [{"role": "user", "content": "a\\ud800',
        '{"messages": [{"role": "user", "content": "a\\ud800\\u',
        '{"messages": [{"role": "user", "content": NaN}]}',
        "[" * 100_000,
    ],
)
def test_bad_json_is_a_value_error_that_says_so(payload: str, encoding: Any) -> None:
    with pytest.raises(ValueError, match=r"^invalid conversation JSON: "):
        encoding._inner.render_conversation(payload, None)
