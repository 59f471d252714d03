"""The drop-in and the strict parser against the reference library, on generated token streams."""

from __future__ import annotations

import json
from collections.abc import Callable
from random import Random
from typing import Any

import pytest
from tests.compat.token_streams import stream

from antiphon.codec.strict import parse_strict
from antiphon.errors import ParseError
from antiphon.model.message import Role

reference: Any = pytest.importorskip("openai_harmony")
ours: Any = pytest.importorskip("antiphon.openai_harmony")

SEED = 7


def outcome(call: Callable[..., Any], *args: Any) -> Any:
    """What ``call`` returns, or the type and text of what it raises."""
    try:
        return call(*args)
    except Exception as error:  # noqa: BLE001 - the error is the outcome that is compared
        return type(error).__name__, str(error)


def plain(messages: list[Any]) -> list[Any]:
    return [m.to_dict() for m in messages]


def snapshot(parser: Any) -> dict[str, Any]:
    role = parser.current_role
    return {
        "delta": parser.last_content_delta,
        "content": parser.current_content,
        "state": parser.state.value,
        "state_data": parser.state_data,
        "role": None if role is None else role.value,
        "channel": parser.current_channel,
        "recipient": parser.current_recipient,
        "content_type": parser.current_content_type,
        "messages": plain(parser.messages),
        "tokens": parser.tokens,
    }


def batch(library: Any, encoding: Any, ids: list[int], role: str | None, strict: bool) -> Any:
    given = None if role is None else library.Role(role)
    parse = encoding.parse_messages_from_completion_tokens
    return outcome(lambda: plain(parse(ids, given, strict=strict)))


def stream_parser(library: Any, encoding: Any, role: str | None, strict: bool) -> Any:
    given = None if role is None else library.Role(role)
    return library.StreamableParser(encoding, given, strict=strict)


def codec(ids: list[int], role: str | None, strict: bool) -> Any:
    """The codec's own strict parser, in the reference's JSON."""
    try:
        parsed = parse_strict(ids, None if role is None else Role(role), lenient=not strict)
    except ParseError as error:
        return "HarmonyError", str(error)
    out = []
    for header, text, _ in parsed:
        message = {
            "role": header.role.value,
            "name": header.name,
            "content": [{"type": "text", "text": text}],
            "channel": header.channel,
            "recipient": header.recipient,
            "content_type": header.content_type,
        }
        out.append({k: v for k, v in message.items() if v is not None or k == "name"})
    return out


def compare(oracle: Any, seeds: range) -> None:
    encoding = ours.load_harmony_encoding("HarmonyGptOss")
    for seed in seeds:
        ids, role = stream(Random(seed))
        for strict in (True, False):
            expected = batch(reference, oracle, ids, role, strict)
            assert batch(ours, encoding, ids, role, strict) == expected, seed
            assert codec(ids, role, strict) == expected, seed
            raw = encoding._inner.parse_messages_from_completion_tokens
            raw_expected = oracle._inner.parse_messages_from_completion_tokens
            assert outcome(raw, ids, role, strict) == outcome(raw_expected, ids, role, strict), seed

            parser = stream_parser(ours, encoding, role, strict)
            twin = stream_parser(reference, oracle, role, strict)
            for token in ids:
                assert fed(parser, token) == fed(twin, token), seed
                assert snapshot(parser) == snapshot(twin), seed
            assert fed(parser, None) == fed(twin, None), seed
            assert snapshot(parser) == snapshot(twin), seed


def fed(parser: Any, token: int | None) -> Any:
    """Whether a call returned the parser, or the error it raised."""
    result = outcome(parser.process_eos) if token is None else outcome(parser.process, token)
    return result if isinstance(result, tuple) else result is parser


def test_generated_streams_parse_as_the_reference_parses_them(reference_encoding: Any) -> None:
    compare(reference_encoding, range(SEED, SEED + 400))


@pytest.mark.slow
def test_twenty_thousand_streams_parse_as_the_reference_parses_them(
    reference_encoding: Any,
) -> None:
    compare(reference_encoding, range(SEED, SEED + 20_000))


def test_the_generated_streams_reach_every_kind_of_outcome(reference_encoding: Any) -> None:
    kinds = set()
    for seed in range(SEED, SEED + 400):
        ids, role = stream(Random(seed))
        result = batch(reference, reference_encoding, ids, role, True)
        kinds.add(result[1].split()[0] if isinstance(result, tuple) else bool(result))
    assert kinds == {
        True,
        False,
        "Unexpected",
        "Unknown",
        "could",
        "channel",
        "message",
        "unexpected",
    }


def test_long_completions_parse_as_the_reference_parses_them(reference_encoding: Any) -> None:
    """Long enough that the whole table of spellings is in use."""
    encoding = ours.load_harmony_encoding("HarmonyGptOss")
    rng = Random(SEED)
    ids = []
    for _ in range(40):
        words = json.dumps([rng.random() for _ in range(20)]) + " größer 東京 🙂 "
        body = encoding.encode(words * rng.randrange(1, 8))
        ids += [200_006, 173_781, 200_005, 35_644, 200_008, *body, 200_007]
    expected = batch(reference, reference_encoding, ids, None, True)
    assert len(ids) > 10_000
    assert batch(ours, encoding, ids, None, True) == expected
    assert codec(ids, None, True) == expected
