"""`HarmonyEncoding`: render, parse, encode and decode, over the pydantic messages."""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Collection, Sequence
from collections.abc import Set as AbstractSet
from enum import Enum
from typing import Final, Literal

from pydantic import BaseModel

from antiphon.codec.strict import StrictMessage
from antiphon.errors import RenderError
from antiphon.model.message import Role as CodecRole
from antiphon.openai_harmony.chat import Conversation, Message, Role, built_message
from antiphon.openai_harmony.error import HarmonyError, raise_disallowed_special_token
from antiphon.openai_harmony.inner import LoneSurrogateError, PyHarmonyEncoding, renderer
from antiphon.openai_harmony.json_form import invalid_json, surrogate_error
from antiphon.openai_harmony.rendering import conversation_tokens, message_tokens, training_tokens
from antiphon.vocab.control import CONTROL_IDS, START

__all__ = [
    "HarmonyEncoding",
    "HarmonyEncodingName",
    "RenderConversationConfig",
    "RenderOptions",
    "load_harmony_encoding",
    "messages_of",
]


class RenderConversationConfig(BaseModel, defer_build=True):
    """Whether reasoning before the first final answer is left out."""

    auto_drop_analysis: bool = True


class RenderOptions(BaseModel, defer_build=True):
    """What a single message cannot know of its conversation."""

    conversation_has_function_tools: bool = False


class HarmonyEncodingName(str, Enum):  # noqa: UP042 - its str() is the reference's
    """The encodings there are."""

    HARMONY_GPT_OSS = "HarmonyGptOss"

    def __str__(self) -> str:
        return str(self.value)


_ROLES: Final = {role.value: role for role in Role}


def messages_of(parsed: Sequence[StrictMessage]) -> list[Message]:
    """The pydantic messages of parsed ones."""
    messages = []
    for header, text, _ in parsed:
        author = header.author
        role = author.role
        messages.append(
            built_message(
                Role.ASSISTANT if role is CodecRole.ASSISTANT else _ROLES[role.value],
                author.name,
                header.channel,
                header.recipient,
                header.content_type,
                text,
            )
        )
    return messages


class HarmonyEncoding:
    """The encoding that gpt-oss speaks. Get one from `load_harmony_encoding`."""

    def __init__(self, inner: PyHarmonyEncoding) -> None:
        self._inner = inner

    @property
    def name(self) -> str:
        return self._inner.name

    @functools.cached_property
    def special_tokens_set(self) -> set[str]:
        """The names of all control tokens."""
        return set(self._inner.special_tokens())

    # Rendering

    def render_conversation_for_completion(
        self,
        conversation: Conversation,
        next_turn_role: Role,
        config: RenderConversationConfig | None = None,
    ) -> list[int]:
        """The conversation and the start of the next message.

        Raises HarmonyError for a conversation that cannot be rendered, ValueError for text that
        JSON cannot carry.
        """
        role = next_turn_role.value
        try:
            tokens = _of_conversation(conversation_tokens, conversation, config)
        except RenderError as error:
            raise HarmonyError(str(error)) from error
        tokens += [START, *renderer.encode(role)]
        return tokens

    def render_conversation(
        self, conversation: Conversation, config: RenderConversationConfig | None = None
    ) -> list[int]:
        """The conversation. Raises RuntimeError if it cannot be rendered, ValueError as above."""
        return _of_conversation(conversation_tokens, conversation, config)

    def render_conversation_for_training(
        self, conversation: Conversation, config: RenderConversationConfig | None = None
    ) -> list[int]:
        """The conversation, ending in ``<|return|>`` after a final answer. Raises likewise."""
        return _of_conversation(training_tokens, conversation, config)

    def render(self, message: Message, render_options: RenderOptions | None = None) -> list[int]:
        """One message. Raises likewise."""
        flag = render_options is not None and render_options.conversation_has_function_tools
        try:
            return message_tokens(message, has_function_tools=flag)
        except (LoneSurrogateError, RenderError) as error:
            _refuse_surrogates("message", message)
            raise error from None

    # Parsing

    def parse_messages_from_completion_tokens(
        self,
        tokens: Sequence[int],
        role: Role | None = None,
        *,
        strict: bool = True,
    ) -> list[Message]:
        """The messages of a completion. Raises HarmonyError for tokens the reference refuses."""
        value = None if role is None else str(role.value)
        return messages_of(self._inner.parse(tokens, value, strict=strict))

    # Tokens and text

    def decode_utf8(self, tokens: Sequence[int]) -> str:
        """The text of tokens. Raises HarmonyError for invalid UTF-8 or an unknown token."""
        return self._inner.decode_utf8(tokens)

    def encode(
        self,
        text: str,
        *,
        allowed_special: Literal["all"] | AbstractSet[str] = frozenset(),
        disallowed_special: Literal["all"] | Collection[str] = "all",
    ) -> list[int]:
        """The tokens of a text.

        Text that spells a control token becomes that token if it is in ``allowed_special``, raises
        HarmonyError if it is in ``disallowed_special``, which by default holds all others, and is
        ordinary text otherwise. Lone surrogates become U+FFFD.
        """
        if allowed_special == "all":
            allowed_special = self.special_tokens_set
        if disallowed_special == "all":
            if "<|" in text:
                _refuse_control_text(text, allowed_special)
        elif disallowed_special:
            found = re.search("|".join(map(re.escape, disallowed_special)), text)
            if found:
                raise_disallowed_special_token(found.group())
        try:
            return self._inner.encode(text, allowed_special)
        except UnicodeEncodeError:
            text = text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
            return self._inner.encode(text, allowed_special)

    def decode(self, tokens: Sequence[int], errors: str = "replace") -> str:
        """The text of tokens; ``errors`` is what `bytes.decode` takes.

        Raises HarmonyError for an unknown token.
        """
        return self._inner.decode_bytes(tokens).decode("utf-8", errors=errors)

    def is_special_token(self, token: int) -> bool:
        """Whether ``token`` is a control token."""
        return self._inner.is_special_token(token)

    def stop_tokens(self) -> list[int]:
        """The tokens that end a message."""
        return self._inner.stop_tokens()

    def stop_tokens_for_assistant_actions(self) -> list[int]:
        """The tokens that end the assistant's turn."""
        return self._inner.stop_tokens_for_assistant_actions()


def _of_conversation(
    render: Callable[..., list[int]],
    conversation: Conversation,
    config: RenderConversationConfig | None,
) -> list[int]:
    drop = config is None or config.auto_drop_analysis
    try:
        return render(conversation.messages, drop_analysis=drop)
    except (LoneSurrogateError, RenderError) as error:
        _refuse_surrogates("conversation", conversation)
        raise error from None


def _refuse_surrogates(what: str, value: Message | Conversation) -> None:
    """Raise ValueError, as the reference does before all else, if JSON cannot carry a text."""
    found = surrogate_error(value.to_json())
    if found is not None:
        raise invalid_json(what, found)


_CONTROL_TEXT: Final = re.compile(r"<\|[a-z]+(?:_\d+)?\|>")


def _refuse_control_text(text: str, allowed: AbstractSet[str]) -> None:
    for found in _CONTROL_TEXT.finditer(text):
        if found.group() in CONTROL_IDS and found.group() not in allowed:
            raise_disallowed_special_token(found.group())


def load_harmony_encoding(name: str | HarmonyEncodingName) -> HarmonyEncoding:
    """The encoding of that name; there is one, and every call gives the same object.

    Raises ValueError for any other name. Needs no network and no environment variable.
    """
    if str(name) != HarmonyEncodingName.HARMONY_GPT_OSS.value:
        raise ValueError(f"Invalid HarmonyEncodingName: {name}")
    return _encoding()


@functools.cache
def _encoding() -> HarmonyEncoding:
    return HarmonyEncoding(PyHarmonyEncoding())
