"""What the reference's compiled core offers to Python: plain values and JSON text in and out.

Programs reach for it as ``encoding._inner``. `HarmonyEncoding` uses it where nothing is gained by
going around JSON.
"""

from __future__ import annotations

import json
import re
from array import array
from collections.abc import Collection, Sequence
from functools import cached_property
from operator import index
from typing import Any, Final

from antiphon.codec.history import reference_history
from antiphon.codec.prompt import has_function_tools
from antiphon.codec.render import Renderer
from antiphon.codec.strict import StrictMessage, parse_unsigned
from antiphon.codec.strict_decode import DecodeError, decode_bytes, decode_utf8
from antiphon.errors import AntiphonError, ParseError, RenderError
from antiphon.model.message import Author, Message, Role
from antiphon.openai_harmony.error import HarmonyError
from antiphon.openai_harmony.json_form import content_from_json, invalid_json, loads
from antiphon.vocab.control import CALL, CONTROL_IDS, END, RETURN, START, is_control
from antiphon.vocab.tokenizer import Tokenizer, default_tokenizer

__all__ = ["LoneSurrogateError", "PyHarmonyEncoding", "checked_token", "checked_tokens", "renderer"]


class LoneSurrogateError(ValueError):
    """A text that JSON cannot carry."""


class _JsonTexts:
    """The default tokenizer for texts that would have crossed as JSON.

    A surrogate pair is the character it stands for, a lone surrogate is refused.
    """

    name = "json"

    @cached_property
    def _tokenizer(self) -> Tokenizer:
        return default_tokenizer()

    @property
    def safe_run(self) -> int:
        return self._tokenizer.safe_run

    def encode(self, text: str) -> list[int]:
        if not text.isascii():
            text = _without_surrogates(text)
        return self._tokenizer.encode(text)

    def encode_batch(self, texts: Sequence[str]) -> list[list[int]]:
        return [self.encode(text) for text in texts]


def _without_surrogates(text: str) -> str:
    try:
        text.encode()
    except UnicodeEncodeError:
        try:
            return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le")
        except UnicodeDecodeError:
            raise LoneSurrogateError(f"lone surrogate in {text[:60]!a}") from None
    return text


renderer: Final = Renderer(dialect="reference", check=False, tokenizer=_JsonTexts())
"""The one renderer of the drop-in, so that all encodings share its memo."""

_OUT_OF_RANGE: Final = "out of range integral type conversion attempted"


def checked_tokens(tokens: Sequence[int]) -> Sequence[int]:
    """``tokens`` as a list or tuple of unsigned 32-bit integers.

    Raises OverflowError or TypeError as the reference does.
    """
    if type(tokens) is not list and type(tokens) is not tuple:
        tokens = list(tokens)
    try:
        array("I", tokens)
    except OverflowError:
        raise OverflowError(_OUT_OF_RANGE) from None
    except TypeError:
        raise _not_integers(tokens, "tokens") from None
    return tokens


def checked_token(token: int) -> int:
    """``token`` as an unsigned 32-bit integer. Raises OverflowError or TypeError likewise."""
    try:
        value = index(token)
    except TypeError:
        raise _not_integers([token], "token") from None
    if not 0 <= value < 1 << 32:
        raise OverflowError(_OUT_OF_RANGE)
    return value


def _not_integers(tokens: Sequence[object], argument: str) -> TypeError:
    for token in tokens:
        if not hasattr(token, "__index__"):
            kind = type(token).__name__
            return TypeError(
                f"argument '{argument}': '{kind}' object cannot be interpreted as an integer"
            )
    return TypeError(f"argument '{argument}': not integers")


class PyHarmonyEncoding:
    """The encoding over plain values and JSON text."""

    name: Final = "HarmonyGptOss"

    def __reduce__(self) -> tuple[type[PyHarmonyEncoding], tuple[()]]:
        return PyHarmonyEncoding, ()

    # Tokens

    def encode(self, text: str, allowed_special: Collection[str]) -> list[int]:
        """Ordinary tokens, but for the control tokens that are allowed.

        Raises UnicodeEncodeError for lone surrogates.
        """
        if not text.isascii():
            text.encode()
        encode = default_tokenizer().encode
        allowed = [name for name in allowed_special if name in CONTROL_IDS]
        if not allowed or "<|" not in text:
            return encode(text)
        ids: list[int] = []
        for i, piece in enumerate(re.split(f"({'|'.join(map(re.escape, allowed))})", text)):
            if i % 2:
                ids.append(CONTROL_IDS[piece])
            elif piece:
                ids += encode(piece)
        return ids

    def decode_bytes(self, tokens: Sequence[int]) -> bytes:
        try:
            return decode_bytes(checked_tokens(tokens))
        except DecodeError as error:
            raise HarmonyError(str(error)) from None

    def decode_utf8(self, tokens: Sequence[int]) -> str:
        try:
            return decode_utf8(checked_tokens(tokens))
        except DecodeError as error:
            raise HarmonyError(str(error)) from None

    def special_tokens(self) -> list[str]:
        return list(CONTROL_IDS)

    def is_special_token(self, token: int) -> bool:
        return is_control(checked_token(token))

    def stop_tokens(self) -> list[int]:
        return [RETURN, END, CALL]

    def stop_tokens_for_assistant_actions(self) -> list[int]:
        return [RETURN, CALL]

    # Messages as JSON

    def parse_messages_from_completion_tokens(
        self, tokens: Sequence[int], role: str | None, strict: bool
    ) -> str:
        messages = self.parse(tokens, role, strict=strict)
        return json.dumps(
            [message_json(message) for message in messages],
            ensure_ascii=False,
            separators=(",", ":"),
        )

    def parse(
        self, tokens: Sequence[int], role: str | None, *, strict: bool
    ) -> list[StrictMessage]:
        """The messages of a completion. Raises HarmonyError, or ValueError for the role."""
        try:
            return parse_unsigned(
                checked_tokens(tokens),
                None if role is None else role_named(role),
                lenient=not strict,
            )
        except ParseError as error:
            raise HarmonyError(str(error)) from error

    def render(self, message_json: str, render_options: dict[str, Any] | None = None) -> list[int]:
        message = _message(loads(message_json, "message"), "message")
        flag = (render_options or {}).get("conversation_has_function_tools") is True
        try:
            return renderer.message(message, has_function_tools=flag)
        except LoneSurrogateError as error:
            raise invalid_json("message", str(error)) from None

    def render_conversation(
        self, conversation_json: str, config: dict[str, Any] | None = None
    ) -> list[int]:
        return _conversation(conversation_json, config)[0]

    def render_conversation_for_completion(
        self,
        conversation_json: str,
        next_turn_role: str,
        config: dict[str, Any] | None = None,
    ) -> list[int]:
        try:
            tokens, _ = _conversation(conversation_json, config)
        except RenderError as error:
            raise HarmonyError(str(error)) from error
        return [*tokens, START, *renderer.encode(role_named(next_turn_role).value)]

    def render_conversation_for_training(
        self, conversation_json: str, config: dict[str, Any] | None = None
    ) -> list[int]:
        tokens, last = _conversation(conversation_json, config)
        if last is not None and last.role is Role.ASSISTANT and last.channel == "final":
            tokens[-1] = RETURN
        return tokens


def role_named(name: str) -> Role:
    try:
        return Role(name)
    except ValueError:
        raise ValueError(f"unknown role: {name}") from None


def message_json(message: StrictMessage) -> dict[str, Any]:
    """The reference's JSON of a parsed message, fields in its order."""
    header = message.header
    out: dict[str, Any] = {"role": header.author.role.value}
    if header.author.name is not None:
        out["name"] = header.author.name
    if header.recipient is not None:
        out["recipient"] = header.recipient
    out["content"] = message.text
    if header.channel is not None:
        out["channel"] = header.channel
    if header.content_type is not None:
        out["content_type"] = header.content_type
    return out


def _conversation(
    conversation_json: str, config: dict[str, Any] | None
) -> tuple[list[int], Message | None]:
    """The tokens of a conversation, and its last message."""
    raw = loads(conversation_json, "conversation")
    try:
        raw_messages = raw["messages"]
    except (KeyError, TypeError):
        raise invalid_json("conversation", "missing field `messages`") from None
    if not isinstance(raw_messages, list):
        raise invalid_json("conversation", "expected a sequence")
    messages: Sequence[Message] = [_message(message, "conversation") for message in raw_messages]
    last = messages[-1] if messages else None
    flag = has_function_tools(messages)
    if config is not None and config.get("auto_drop_analysis") is True:
        messages = reference_history(messages)
    tokens: list[int] = []
    try:
        for message in messages:
            tokens += renderer.message(message, has_function_tools=flag)
    except LoneSurrogateError as error:
        raise invalid_json("conversation", str(error)) from None
    return tokens, last


def _message(raw: Any, what: str) -> Message:
    try:
        content = raw["content"]
        if isinstance(content, str):
            content = [{"type": "text", "text": content}]
        return Message(
            Author(Role(raw["role"]), raw.get("name")),
            tuple([content_from_json(part) for part in content]),
            raw.get("channel"),
            raw.get("recipient"),
            raw.get("content_type"),
        )
    except KeyError as error:
        raise invalid_json(what, f"missing field `{error.args[0]}`") from None
    except (AttributeError, TypeError, ValueError) as error:
        if isinstance(error, AntiphonError):
            raise
        raise invalid_json(what, str(error)) from None
