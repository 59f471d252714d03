"""Rendered messages are read back as they were, also where the reference fails to."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from antiphon.codec.parse import parse
from antiphon.codec.render import Renderer
from antiphon.model.content import TextContent
from antiphon.model.message import CONSTRAIN_JSON, Author, Message, Role

names = st.from_regex(r"[a-z_][a-z0-9_]{0,12}", fullmatch=True)
texts = st.text(max_size=60).map(lambda text: text.encode("utf-8", "replace").decode())
channels = st.sampled_from([None, "analysis", "commentary", "final"])
content_types = st.sampled_from([None, CONSTRAIN_JSON, "json", "code"])
recipients = st.one_of(st.none(), names.map("functions.".__add__), st.just("browser.search"))


@st.composite
def messages(draw: st.DrawFn) -> Message:
    role = draw(st.sampled_from(Role))
    name = draw(st.one_of(st.none(), names))
    recipient = None
    if role == Role.TOOL:
        name = "functions." + draw(names)
        recipient = draw(st.sampled_from([None, "assistant"]))
    elif role == Role.ASSISTANT:
        recipient = draw(recipients)
    content_type = draw(content_types)
    author = Author(role, name)
    content = (TextContent(draw(texts)),)
    return Message(author, content, draw(channels), recipient, content_type)


@pytest.mark.parametrize("dialect", ["reference", "emission"])
@settings(max_examples=100)
@given(conversation=st.lists(messages(), max_size=6))
def test_render_then_parse_gives_the_messages_back(
    dialect: str, conversation: list[Message]
) -> None:
    renderer = Renderer(dialect=dialect)  # type: ignore[arg-type]
    parsed = parse(renderer.conversation(conversation, history="keep"))
    assert [_bare(m) for m in parsed] == [_bare(m) for m in conversation]
    assert parsed.diagnostics == []


def _bare(message: Message) -> Message:
    """The emission dialect marks every json type; the reference keeps what it was given."""
    if message.content_type == "json":
        return Message(
            message.author, message.content, message.channel, message.recipient, CONSTRAIN_JSON
        )
    return message


@pytest.mark.parametrize(
    "message",
    [
        Message.user("hi", name="bob"),
        Message(Author(Role.ASSISTANT, "bob"), (TextContent("hi"),), "final"),
        Message(Author(Role.TOOL, "functions.f"), (TextContent("42"),)),
        Message(Author(Role.TOOL, "lookup"), (TextContent("42"),), "commentary", "assistant"),
        Message.assistant("{}", "final", None, CONSTRAIN_JSON),
        Message.assistant("1+1", "analysis", "python", "code"),
        Message.assistant("x", "final", None, "code"),
        Message.call("functions.f", "<|call|><|end|>"),
    ],
    ids=str,
)
def test_messages_that_the_reference_cannot_read_back(message: Message) -> None:
    for dialect in ("reference", "emission"):
        ids = Renderer(dialect=dialect).message(message)
        assert parse(ids).messages == [message]
