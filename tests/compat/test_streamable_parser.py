"""The drop-in's incremental parser, as a server uses it."""

from __future__ import annotations

import copy
import pickle
from pathlib import Path
from typing import Any

import pytest

ours: Any = pytest.importorskip("antiphon.openai_harmony")

START, CHANNEL, MESSAGE, END = 200_006, 200_005, 200_008, 200_007
ASSISTANT, FINAL, HELLO = 173_781, 17_196, 24_912
TRANSCRIPTS = Path(__file__).parents[1] / "golden" / "transcripts"


@pytest.fixture(scope="module")
def encoding() -> Any:
    return ours.load_harmony_encoding("HarmonyGptOss")


def opened(encoding: Any) -> Any:
    parser = ours.StreamableParser(encoding, ours.Role.ASSISTANT)
    for token in (CHANNEL, FINAL, MESSAGE):
        parser.process(token)
    return parser


def test_the_references_own_transcript_streams(encoding: Any) -> None:
    text = (TRANSCRIPTS / "test_streamable_parser.txt").read_text()
    ids = encoding.encode(text, allowed_special="all")
    parser = ours.StreamableParser(encoding, ours.Role.ASSISTANT)
    deltas: list[list[str]] = [[]]
    for token in ids:
        before = len(parser.messages)
        parser.process(token)
        if parser.last_content_delta is not None:
            deltas[-1].append(parser.last_content_delta)
        if len(parser.messages) > before:
            deltas.append([])
    parser.process_eos()
    texts = [message.content[0].text for message in parser.messages]
    assert len(texts) > 1
    assert ["".join(pieces) for pieces in deltas[: len(texts)]] == texts
    whole = encoding.parse_messages_from_completion_tokens(ids, ours.Role.ASSISTANT)
    assert parser.messages == whole


def test_the_state_changes_as_tokens_come(encoding: Any) -> None:
    parser = ours.StreamableParser(encoding, None)
    fed = (START, ASSISTANT, MESSAGE, HELLO, END)
    seen = [parser.state, *(parser.process(token).state for token in fed)]
    state = ours.StreamState
    assert seen == [
        state.EXPECT_START,
        state.HEADER,
        state.HEADER,
        state.CONTENT,
        state.CONTENT,
        state.EXPECT_START,
    ]


def test_fields_are_known_from_the_message_marker_on(encoding: Any) -> None:
    parser = ours.StreamableParser(encoding, None)
    header = encoding.encode(
        "<|start|>functions.f to=assistant<|channel|>final json", allowed_special="all"
    )
    for token in header:
        parser.process(token)
        assert parser.current_role is None
        assert parser.current_channel is None
    parser.process(MESSAGE)
    assert parser.current_role is ours.Role.TOOL
    assert parser.current_channel == "final"
    assert parser.current_recipient == "assistant"
    assert parser.current_content_type == "json"
    assert parser.state_data["header"]["author"] == {"role": "tool", "name": "functions.f"}
    parser.process(END)
    assert parser.current_role is None
    assert parser.current_recipient is None


def test_a_given_role_is_known_at_once(encoding: Any) -> None:
    assert ours.StreamableParser(encoding, ours.Role.USER).current_role is ours.Role.USER


def test_everything_can_be_read_after_every_token(encoding: Any) -> None:
    parser = opened(encoding)
    fed = [CHANNEL, FINAL, MESSAGE]
    for n in range(1, 400):
        parser.process(HELLO)
        fed.append(HELLO)
        assert parser.last_content_delta == "hello"
        assert parser.current_content == "hello" * n
        assert parser.state is ours.StreamState.CONTENT
        assert parser.state_data["content_tokens"] == [HELLO] * n
        assert parser.tokens == fed
        assert parser.messages == []


def test_a_list_of_tokens_that_was_kept_does_not_grow(encoding: Any) -> None:
    parser = opened(encoding)
    kept = parser.tokens
    parser.process(HELLO)
    assert kept == [CHANNEL, FINAL, MESSAGE]
    assert parser.tokens == [CHANNEL, FINAL, MESSAGE, HELLO]
    kept.clear()
    assert len(parser.tokens) == 4


def test_a_list_of_tokens_that_nobody_kept_is_continued(encoding: Any) -> None:
    parser = opened(encoding)
    first = id(parser.tokens)
    parser.process(HELLO)
    assert id(parser.tokens) == first


def test_a_list_of_messages_belongs_to_the_caller(encoding: Any) -> None:
    parser = opened(encoding)
    parser.process(HELLO).process(END)
    parser.messages.clear()
    assert len(parser.messages) == 1


def test_a_refused_token_stays_in_the_tokens_and_the_parser_goes_on(encoding: Any) -> None:
    parser = ours.StreamableParser(encoding, None)
    with pytest.raises(
        ours.HarmonyError, match=r"^Unexpected token 24912 while expecting start token 200006$"
    ):
        parser.process(HELLO)
    assert parser.tokens == [HELLO]
    for token in (START, ASSISTANT, MESSAGE, HELLO):
        parser.process(token)
    assert parser.process_eos().messages[0].content[0].text == "hello"


def test_the_end_inside_a_header_is_refused(encoding: Any) -> None:
    parser = ours.StreamableParser(encoding, ours.Role.ASSISTANT)
    with pytest.raises(
        ours.HarmonyError, match=r"^Unexpected EOS while waiting for message header"
    ):
        parser.process_eos()


def test_the_lenient_parser_keeps_a_message_without_its_marker(encoding: Any) -> None:
    ids = [CHANNEL, FINAL, *encoding.encode(" I must refuse"), END]
    parser = ours.StreamableParser(encoding, ours.Role.ASSISTANT, strict=False)
    for token in ids:
        parser.process(token)
    assert parser.messages[0].content[0].text == "I must refuse"
    given = encoding.parse_messages_from_completion_tokens(ids, ours.Role.ASSISTANT, strict=False)
    assert given == parser.messages


@pytest.mark.parametrize("fed", range(8))
def test_a_copy_goes_on_by_itself(fed: int, encoding: Any) -> None:
    ids = [CHANNEL, FINAL, MESSAGE, HELLO, 9552, HELLO, END, START, ASSISTANT, MESSAGE, HELLO]
    parser = ours.StreamableParser(encoding, ours.Role.ASSISTANT)
    for token in ids[:fed]:
        parser.process(token)
    copies = [copy.deepcopy(parser), pickle.loads(pickle.dumps(parser))]
    for token in ids[fed:]:
        parser.process(token)
    for twin in copies:
        assert twin.tokens == ids[:fed]
        for token in ids[fed:]:
            twin.process(token)
        assert twin.last_content_delta == parser.last_content_delta
        assert twin.process_eos().tokens == parser.tokens
        assert twin.state_data == copy.deepcopy(parser).process_eos().state_data
        assert twin.messages == copy.deepcopy(parser).process_eos().messages
