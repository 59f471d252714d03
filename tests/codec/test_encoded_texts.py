"""Texts whose tokens are known render as if they were encoded, and are not encoded again."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from antiphon.codec.encoded import NOTHING_ENCODED, EncodedTexts, pack_texts
from antiphon.codec.render import Renderer
from antiphon.model.content import SystemContent, TextContent
from antiphon.model.message import Author, Message, Role
from antiphon.vocab.control import CONTROL_NAMES, FIRST_CONTROL_ID
from antiphon.vocab.tokenizer import default_tokenizer

encode = default_tokenizer().encode
TEXTS = st.one_of(
    st.text(max_size=80),
    st.lists(st.sampled_from([*CONTROL_NAMES.values(), " a", "é", "🙂", "\n", "\0"])).map("".join),
)


@st.composite
def message(draw: st.DrawFn) -> Message:
    author, channel, recipient = draw(
        st.sampled_from(
            [
                (Author(Role.USER), None, None),
                (Author(Role.ASSISTANT), "final", None),
                (Author(Role.ASSISTANT), "analysis", None),
                (Author(Role.ASSISTANT), "commentary", "functions.f"),
                (Author(Role.TOOL, "functions.f"), "commentary", "assistant"),
            ]
        )
    )
    parts = draw(st.lists(TEXTS, min_size=1, max_size=3))
    return Message(author, tuple([TextContent(part) for part in parts]), channel, recipient)


class _Counting:
    """A tokenizer that tells what it was asked for."""

    def __init__(self) -> None:
        self.asked: list[str] = []

    def encode(self, text: str) -> list[int]:
        self.asked.append(text)
        return encode(text)


def known(messages: Sequence[Message]) -> bytes:
    render = Renderer()
    found = [render.text_tokens(each) for each in messages]
    return pack_texts([each for each in found if each is not None])


@settings(deadline=None)
@given(st.lists(message(), max_size=8), st.data())
def test_a_prompt_is_the_same_with_any_of_its_texts_known(
    messages: list[Message], data: st.DataObject
) -> None:
    some = data.draw(st.lists(st.sampled_from(messages), max_size=8)) if messages else []
    layers = data.draw(st.integers(1, 4))
    encoded = NOTHING_ENCODED
    for at in range(layers):
        encoded = encoded.and_then(known(some[at::layers]))
    tokenizer = _Counting()
    ids = Renderer(tokenizer=tokenizer).for_completion(messages, encoded=encoded)  # type: ignore[arg-type]
    assert ids == Renderer().for_completion(messages)
    headers = {"user", "assistant", "analysis", "final", "functions.f", " to=assistant"}
    texts = {each.text for each in some} - headers - {""}
    assert not texts & set(tokenizer.asked)


@settings(deadline=None)
@given(st.lists(TEXTS.filter(bool), max_size=60, unique=True))
def test_what_is_packed_is_found(texts: list[str]) -> None:
    """Also when so many were added that they are put together."""
    together = EncodedTexts([pack_texts([(text, encode(text))]) for text in texts])
    one_by_one = NOTHING_ENCODED
    for text in texts:
        one_by_one = one_by_one.and_then(pack_texts([(text, encode(text))]))
    for encoded in (together, one_by_one):
        assert [encoded.find(text) for text in texts] == [encode(text) for text in texts]
        assert encoded.find("".join(texts) + "!") is None


def test_a_list_that_was_found_is_the_callers_own() -> None:
    encoded = EncodedTexts([pack_texts([("word", encode("word"))])])
    found = encoded.find("word")
    assert found is not None
    found.append(1)
    assert encoded.find("word") == encode("word")


@pytest.mark.parametrize("cut", range(40))
def test_what_is_damaged_is_not_there(cut: int) -> None:
    packed = pack_texts([("one", [1, 2]), ("two", [3, 4, 5])])
    encoded = EncodedTexts([packed[:cut], b"", b"\x02" + packed[1:]])
    assert encoded.find("one") in (None, [1, 2])
    assert encoded.find("two") is None


def test_no_text_is_ever_a_control_token() -> None:
    encoded = EncodedTexts([pack_texts([("<|end|>", [FIRST_CONTROL_ID + 8])])])
    assert encoded.find("<|end|>") is None


def test_settings_have_no_text_of_their_own() -> None:
    assert Renderer().text_tokens(Message.system(SystemContent())) is None
    assert Renderer(dialect="reference").text_tokens(Message.user("Hi")) is None
    assert Renderer().text_tokens(Message.user("Hi")) == ("Hi", encode("Hi"))
