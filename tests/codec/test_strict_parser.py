"""The reference-exact parser against what openai-harmony 0.0.8 was seen to do."""

from __future__ import annotations

import copy
import json
import pickle
from pathlib import Path
from typing import Any

import pytest

from antiphon.codec.strict import (
    StrictMessage,
    StrictParser,
    StrictState,
    parse_strict,
)
from antiphon.errors import ParseError
from antiphon.model.message import Role
from antiphon.vocab.control import CALL, CHANNEL, END, MESSAGE, RETURN, START
from antiphon.vocab.table import ordinary_bytes

GOLDEN = Path(__file__).parents[1] / "golden"
STREAMS: list[dict[str, Any]] = json.loads((GOLDEN / "malformed_streams.json").read_text())
TRACES: dict[str, dict[str, Any]] = json.loads((GOLDEN / "parse.json").read_text())
BYTES = {spelling: i for i, spelling in enumerate(ordinary_bytes()) if len(spelling) == 1}
ASSISTANT, ANALYSIS, FINAL, HELLO = 173781, 35644, 17196, 24912
OPENING = [CHANNEL, FINAL, MESSAGE]


def described(message: StrictMessage) -> dict[str, str]:
    header = message.header
    fields = {
        "role": header.role.value,
        "name": header.name,
        "channel": header.channel,
        "recipient": header.recipient,
        "content_type": header.content_type,
        "text": message.text,
    }
    return {key: value for key, value in fields.items() if value is not None}


def batch(case: dict[str, Any], *, lenient: bool) -> list[dict[str, str]] | dict[str, str]:
    role = None if case["role"] is None else Role(case["role"])
    try:
        return [described(m) for m in parse_strict(case["tokens"], role, lenient=lenient)]
    except ParseError as error:
        return {"error": str(error)}


@pytest.mark.parametrize("case", STREAMS, ids=lambda case: f"{case['case']:03}")
def test_a_surprising_stream_parses_as_the_reference_parses_it(case: dict[str, Any]) -> None:
    assert batch(case, lenient=False) == case["strict"]
    assert batch(case, lenient=True) == case.get("lenient", case["strict"])


def message_of_trace(message: dict[str, str]) -> dict[str, str]:
    return {{"ct": "content_type"}.get(key, key): value for key, value in message.items()}


@pytest.mark.parametrize("lenient", [False, True], ids=["strict", "lenient"])
@pytest.mark.parametrize("name", TRACES)
def test_a_stream_gives_the_references_deltas_state_and_messages(name: str, lenient: bool) -> None:
    case = TRACES[name]
    trace = case["stream_lenient" if lenient else "stream_strict"]
    parser = StrictParser(None if case["role"] is None else Role(case["role"]), lenient=lenient)
    deltas, error = [], None
    for token in case["tokens"]:
        try:
            deltas.append(parser.feed(token))
        except ParseError as refused:
            error = str(refused)
            break
    assert deltas == trace["deltas"]
    assert (error is None) == (trace["exc"] is None)
    assert error is None or error in trace["exc"]
    assert parser.state.value == trace["state"]
    assert [described(m) for m in parser.messages] == [message_of_trace(m) for m in trace["msgs"]]
    header = parser.header
    assert trace["cur"] == {
        "content": parser.content,
        "role": parser.role,
        "channel": header and header.channel,
        "recipient": header and header.recipient,
        "ct": header and header.content_type,
    }


@pytest.mark.parametrize("name", TRACES)
def test_a_whole_completion_gives_the_references_messages(name: str) -> None:
    case = TRACES[name]
    for mode in ("strict", "lenient"):
        seen = batch(case, lenient=mode == "lenient")
        if isinstance(seen, dict):
            assert seen["error"] in case[mode]
        else:
            assert seen == [message_of_trace(m) for m in case[mode]]


@pytest.mark.parametrize("stop", [END, RETURN, CALL])
def test_the_stop_token_of_each_message_is_known(stop: int) -> None:
    ids = [*OPENING, HELLO, stop, START, ASSISTANT, *OPENING, HELLO]
    assert [m.stop for m in parse_strict(ids, Role.ASSISTANT)] == [stop, None]


def test_text_behind_a_broken_character_lags_one_token_behind() -> None:
    ids = [*OPENING, *(BYTES[bytes([b])] for b in (0xF0, 0x9F, 0x41)), HELLO, HELLO]
    parser = StrictParser(Role.ASSISTANT)
    deltas = [parser.feed(i) for i in ids]
    assert deltas == [None, None, None, None, None, "�", "Ahello", "hello"]


def test_what_is_undecided_when_a_message_ends_is_in_its_text_but_in_no_delta() -> None:
    parser = StrictParser(Role.ASSISTANT)
    ids = [*OPENING, *(BYTES[bytes([b])] for b in (0xF0, 0x9F, 0x41)), END]
    assert [parser.feed(i) for i in ids] == [None, None, None, None, None, "�", None]
    assert parser.messages[0].text == "�A"


def test_an_unknown_token_swallows_the_rest_of_its_message_only() -> None:
    ids = [*OPENING, HELLO, 201_089, HELLO, END, START, ASSISTANT, MESSAGE, HELLO, END]
    assert [m.text for m in parse_strict(ids, Role.ASSISTANT)] == ["hello�", "hello"]


@pytest.mark.parametrize("bad", [-1, -300_000, 2**32, 2**80])
def test_an_integer_that_is_no_token_counts_as_an_unknown_token(bad: int) -> None:
    ids = [*OPENING, HELLO, bad, HELLO, END]
    assert [m.text for m in parse_strict(ids, Role.ASSISTANT)] == ["hello�"]
    parser = StrictParser(Role.ASSISTANT)
    parser.feed_many(ids)
    assert [m.text for m in parser.messages] == ["hello�"]


def test_a_refused_token_leaves_the_parser_ready_for_the_next_message() -> None:
    parser = StrictParser()
    with pytest.raises(ParseError) as caught:
        parser.feed(HELLO)
    assert caught.value.position == 0
    assert caught.value.recovery
    parser.feed_many([START, ASSISTANT, MESSAGE, HELLO, END])
    assert [m.text for m in parser.messages] == ["hello"]


def test_a_refused_header_is_forgotten_but_the_given_role_stays() -> None:
    parser = StrictParser(Role.ASSISTANT)
    parser.feed(CHANNEL)
    with pytest.raises(ParseError) as caught:
        parser.feed(MESSAGE)
    assert caught.value.position == 1
    assert parser.state is StrictState.EXPECT_START
    assert parser.role is Role.ASSISTANT
    parser.feed_many([START, 1428, MESSAGE, HELLO, END])
    header = parser.messages[0].header
    assert (header.role, header.recipient) == (Role.ASSISTANT, "user")


def test_the_end_of_input_inside_a_header_is_refused_without_a_position() -> None:
    parser = StrictParser(Role.ASSISTANT)
    with pytest.raises(ParseError) as caught:
        parser.eof()
    assert caught.value.position is None
    assert parser.state is StrictState.HEADER


def test_a_parser_can_go_on_after_the_end_of_input() -> None:
    parser = StrictParser(Role.ASSISTANT)
    parser.feed_many([*OPENING, HELLO])
    parser.eof()
    parser.eof()
    parser.feed_many([START, ASSISTANT, *OPENING, HELLO])
    parser.eof()
    assert [m.text for m in parser.messages] == ["hello", "hello"]


def test_content_can_be_read_after_every_token() -> None:
    parser = StrictParser(Role.ASSISTANT)
    parser.feed_many(OPENING)
    for n in range(1, 200):
        parser.feed(HELLO)
        assert parser.content == "hello" * n


def test_more_headers_than_are_remembered_parse_all_the_same() -> None:
    ids, expected = [], []
    for n in range(4_500):
        digits = [BYTES[b"%c" % c] for c in b"%d" % n]
        ids += [START, ASSISTANT, CHANNEL, *digits, MESSAGE, HELLO, END]
        expected.append(str(n))
    assert [m.header.channel for m in parse_strict(ids)] == expected
    parser = StrictParser()
    parser.feed_many(ids)
    assert [m.header.channel for m in parser.messages] == expected


@pytest.mark.parametrize("at", range(9))
def test_a_copy_of_a_parser_goes_on_where_the_parser_stood(at: int) -> None:
    broken = [BYTES[bytes([b])] for b in (0xF0, 0x9F, 0x41)]
    ids = [*OPENING, HELLO, *broken, 201_089, HELLO, END]
    parser = StrictParser(Role.ASSISTANT)
    parser.feed_many(ids[:at])
    copies = [copy.deepcopy(parser), pickle.loads(pickle.dumps(parser))]
    parser.feed_many(ids[at:])
    for twin in copies:
        twin.feed_many(ids[at:])
        assert twin.messages == parser.messages


def test_half_a_surrogate_is_broken_as_soon_as_it_is_seen() -> None:
    parser = StrictParser(Role.ASSISTANT)
    ids = [*OPENING, *(BYTES[bytes([b])] for b in (0xED, 0xAA)), HELLO, HELLO]
    deltas = [parser.feed(i) for i in ids]
    assert deltas == [None, None, None, None, "�", "�", "hellohello"]
