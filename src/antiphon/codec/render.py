"""Messages → tokens (format rules 2.2 to 2.7), in two dialects.

``reference`` is token-identical with openai-harmony 0.0.8, where it is odd as well.

``emission`` writes what the model itself writes, so that replayed history equals what the model
produced and an engine's prefix cache holds. It differs from the reference in four places:

- An assistant's recipient follows the channel, ``<|channel|>commentary to=functions.f``; without a
  channel it follows the role. Tool results keep ``functions.f to=assistant<|channel|>commentary``,
  the order the format guide shows and the model was trained to read.
- An assistant's content type ``json`` gets its ``<|constrain|>`` marker, with no space after it;
  other bare types, as ``code``, stay bare.
- The recipients ``all`` and ``""``, which stand for nobody, do not turn a message into a call.
- The text parts of a message are encoded as one text, as the model would have written it, and tool
  schemas keep what the reference loses (`antiphon.codec.faithful`).

Every piece of text is encoded as ordinary text: nothing a message holds can become a control token.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Final, Literal

import msgspec

from antiphon.codec.encoded import NOTHING_ENCODED, EncodedTexts
from antiphon.codec.history import History, surviving
from antiphon.codec.memo import DEFAULT_MEMO_TOKENS, ByIdentity, TokenMemo
from antiphon.codec.prompt import (
    REFERENCE,
    PromptStyle,
    developer_text,
    has_function_tools,
    system_text,
)
from antiphon.codec.render_header import Header, build_header
from antiphon.codec.training import TrainingSample
from antiphon.errors import MessageError, RenderError
from antiphon.model.content import Content, DeveloperContent, SystemContent, TextContent
from antiphon.model.message import Conversation, Message, Role
from antiphon.model.validate import check_header, check_message, check_tools
from antiphon.vocab.control import END, RETURN, START
from antiphon.vocab.tokenizer import Tokenizer, default_tokenizer

__all__ = ["DEFAULT_MEMO_TOKENS", "Dialect", "History", "Renderer", "render"]

Dialect = Literal["reference", "emission"]

MAX_HEADERS: Final = 4096
"""Distinct headers a renderer remembers before it starts afresh."""


class Renderer:
    """Renders messages and remembers their tokens. Safe to share between threads.

    ``check`` refuses header fields and tool names that would not survive (MessageError); without
    it they are written as they are, as the reference does. ``memo_tokens`` bounds the memo; 0 turns
    it off. Messages are values: do not change a schema dict after a message with it was rendered.
    """

    def __init__(
        self,
        *,
        tokenizer: Tokenizer | None = None,
        dialect: Dialect = "emission",
        check: bool = True,
        memo_tokens: int = DEFAULT_MEMO_TOKENS,
    ) -> None:
        if dialect not in ("reference", "emission"):
            raise ValueError(f"unknown dialect {dialect!r}; use 'reference' or 'emission'")
        self.dialect: Final = dialect
        self._reference = dialect == "reference"
        self._check = check
        self._tokenizer = tokenizer
        self._headers: dict[tuple[str | None, ...], Header] = {}
        self._memo = TokenMemo(memo_tokens)

    # Primitives over plain values

    def encode(self, text: str) -> list[int]:
        """The ordinary tokens of ``text``. The tokenizer is loaded on first use."""
        tokenizer = self._tokenizer
        if tokenizer is None:
            tokenizer = self._tokenizer = default_tokenizer()
        return tokenizer.encode(text)

    def header(
        self,
        role: str,
        name: str | None = None,
        channel: str | None = None,
        recipient: str | None = None,
        content_type: str | None = None,
    ) -> list[int]:
        """``<|start|>`` to ``<|message|>``. Raises RenderError, or MessageError if checking."""
        return self._header(role, name, channel, recipient, content_type).tokens.copy()

    def text_message(
        self,
        role: str,
        name: str | None,
        channel: str | None,
        recipient: str | None,
        content_type: str | None,
        texts: Sequence[str],
    ) -> list[int]:
        """A whole message of plain text. Raises as ``header`` does."""
        return self._text_message(role, name, channel, recipient, content_type, texts).copy()

    def extend(
        self,
        out: list[int],
        role: str,
        name: str | None,
        channel: str | None,
        recipient: str | None,
        content_type: str | None,
        texts: Sequence[str],
    ) -> None:
        """Append the tokens of ``text_message`` to ``out``, without a copy in between."""
        out += self._text_message(role, name, channel, recipient, content_type, texts)

    # Messages and conversations

    def message(self, message: Message, *, has_function_tools: bool = False) -> list[int]:
        """One message. ``has_function_tools`` adds the note on functions to a system message.

        Raises RenderError for settings in the wrong role, MessageError for a field that would not
        survive, SchemaError for a schema the reference dialect cannot write.
        """
        return self._message(message, has_function_tools).copy()

    def conversation(
        self,
        conversation: Conversation | Sequence[Message],
        *,
        history: History | None = None,
    ) -> list[int]:
        """All messages that ``history`` keeps. Raises as ``message`` does.

        The default policy is the dialect's own: ``reference``, or ``guide`` for ``emission``.
        """
        messages = _messages(conversation)
        return self._render(self._kept(messages, history), messages)

    def for_completion(
        self,
        conversation: Conversation | Sequence[Message],
        role: Role | str = Role.ASSISTANT,
        *,
        history: History | None = None,
        encoded: EncodedTexts = NOTHING_ENCODED,
    ) -> list[int]:
        """``conversation``, then the start of the next message: ``<|start|>assistant``.

        ``encoded`` are texts that need not be encoded again.
        """
        messages = _messages(conversation)
        out = self._render(self._kept(messages, history), messages, encoded)
        out += [START, *self.encode(str(role))]
        return out

    def for_training(
        self,
        conversation: Conversation | Sequence[Message],
        *,
        history: History | None = None,
    ) -> TrainingSample:
        """``conversation`` as a sample to learn from, ending in ``<|return|>`` after a ``final``.

        The policy ``guide`` keeps the reasoning of the last turn here. The policy ``reference``
        drops it if it comes before the first ``final``, because the reference library does.
        """
        whole = _messages(conversation)
        messages = self._kept(whole, history, training=True)
        flag = has_function_tools(whole)
        tokens: list[int] = []
        mask = bytearray()
        last = len(messages) - 1
        goes_on = False
        for i, message in enumerate(messages):
            try:
                part = self._message(message, flag)
            except MessageError:
                check_message(message, where=f"messages[{i}].")
                raise
            if message.role != Role.ASSISTANT:
                tokens += part
                mask += bytes(len(part))
                goes_on = False
                continue
            prompt = 0 if goes_on else self._header_of(message).author
            learned = bytearray(prompt) + b"\1" * (len(part) - prompt)
            tokens += part
            if message.channel == "final":
                if i == last and (self._reference or part[-1] == END):
                    tokens[-1] = RETURN
                elif part[-1] == END:
                    learned[-1] = 0
            mask += learned
            goes_on = part[-1] == END and message.channel != "final"
        return TrainingSample(tokens, bytes(mask))

    # Inside

    def _kept(
        self, messages: Sequence[Message], history: History | None, *, training: bool = False
    ) -> Sequence[Message]:
        if history is None:
            history = "reference" if self._reference else "guide"
        return surviving(messages, history, training=training)

    def text_tokens(self, message: Message) -> tuple[str, list[int]] | None:
        """The text of a message and its tokens, as they are in what `message` gives; None if it is
        not plain text. Raises as ``message`` does.
        """
        if self._reference or not all(type(part) is TextContent for part in message.content):
            return None
        tokens = self._message(message, False)
        return message.text, tokens[len(self._header_of(message).tokens) : -1]

    def _render(
        self,
        messages: Sequence[Message],
        whole: Sequence[Message],
        encoded: EncodedTexts = NOTHING_ENCODED,
    ) -> list[int]:
        """The tokens of ``messages``, which a history policy kept of the ``whole`` conversation."""
        out: list[int] = []
        recall = self._memo.get
        flag: bool | None = None
        for i, message in enumerate(messages):
            try:
                tokens = recall(message)
            except TypeError:  # a tool table: its schema dicts have no hash
                tokens = None
            if tokens is None:
                if flag is None:
                    flag = has_function_tools(whole)
                try:
                    tokens = self._fresh(message, flag, encoded)
                except MessageError:
                    check_message(message, where=f"messages[{i}].")
                    raise
            out += tokens
        return out

    def _message(self, message: Message, flag: bool) -> list[int]:
        try:
            tokens = self._memo.get(message)
        except TypeError:
            tokens = None
        return self._fresh(message, flag) if tokens is None else tokens

    def _fresh(
        self, message: Message, flag: bool, encoded: EncodedTexts = NOTHING_ENCODED
    ) -> list[int]:
        """A message that is not in the memo as it is."""
        texts: list[str] = []
        for part in message.content:
            if type(part) is not TextContent:
                return self._with_settings(message, flag)
            texts.append(part.text)
        header = self._header_of(message)
        if not self._reference and len(texts) > 1:
            texts = ["".join(texts)]
        if len(texts) == 1:
            tokens = encoded.find(texts[0]) or self.encode(texts[0])
            # A list of our own: grown in place, not copied.
            tokens[:0] = header.tokens
            tokens.append(header.stop)
            self._memo.put(message, tokens, len(texts[0]))
        else:
            tokens = self._assemble(header, texts)
            self._memo.put(message, tokens, sum(map(len, texts)))
        return tokens

    def _with_settings(self, message: Message, flag: bool) -> list[int]:
        """A message with system or developer content: by identity, then by its JSON, then anew."""
        same = ByIdentity(message, flag)
        tokens = self._memo.get(same)
        if tokens is not None:
            return tokens
        try:
            equal = (flag, msgspec.json.encode(message))
        except (TypeError, ValueError, RecursionError, msgspec.MsgspecError):
            equal = None  # something JSON cannot carry; rendering may still manage, or says why
        tokens = None if equal is None else self._memo.get(equal)
        if tokens is None:
            texts = [self._content_text(part, message.role, flag) for part in message.content]
            tokens = self._assemble(self._header_of(message), texts)
            if equal is not None:
                self._memo.put(equal, tokens, len(equal[1]))
        self._memo.put(same, tokens)
        return tokens

    def _content_text(self, part: Content, role: Role, flag: bool) -> str:
        if isinstance(part, TextContent):
            return part.text
        kind = "System" if isinstance(part, SystemContent) else "Developer"
        if role != kind.lower():
            raise RenderError(
                f"{kind}Content may only appear in {kind.lower()} messages,"
                f" found in {role.value.capitalize()}"
            )
        if self._check:
            check_tools(part.tools)
        if isinstance(part, DeveloperContent):
            return developer_text(part, style=self._style())
        return system_text(part, has_function_tools=flag, style=self._style())

    def _style(self) -> PromptStyle:
        if self._reference:
            return REFERENCE
        from antiphon.codec.faithful import FAITHFUL

        return FAITHFUL

    def _text_message(
        self,
        role: str,
        name: str | None,
        channel: str | None,
        recipient: str | None,
        content_type: str | None,
        texts: Sequence[str],
    ) -> list[int]:
        key = (role, name, channel, recipient, content_type, *texts)
        tokens = self._memo.get(key)
        if tokens is None:
            header = self._header(role, name, channel, recipient, content_type)
            tokens = self._assemble(header, texts)
            self._memo.put(key, tokens, sum(map(len, texts)))
        return tokens

    def _assemble(self, header: Header, texts: Sequence[str]) -> list[int]:
        if not self._reference:
            texts = ["".join(texts)]
        out = header.tokens.copy()
        for text in texts:
            out += self.encode(text)
        out.append(header.stop)
        return out

    def _header_of(self, message: Message) -> Header:
        author = message.author
        return self._header(
            author.role, author.name, message.channel, message.recipient, message.content_type
        )

    def _header(
        self,
        role: str,
        name: str | None,
        channel: str | None,
        recipient: str | None,
        content_type: str | None,
    ) -> Header:
        key = (role, name, channel, recipient, content_type)
        header = self._headers.get(key)
        if header is None:
            if self._check:
                check_header(*key)
            header = build_header(self.encode, *key, reference=self._reference)
            if len(self._headers) >= MAX_HEADERS:
                self._headers = {}
            self._headers[key] = header
        return header


def _messages(conversation: Conversation | Sequence[Message]) -> Sequence[Message]:
    return conversation.messages if isinstance(conversation, Conversation) else conversation


@cache
def _shared(dialect: Dialect) -> Renderer:
    return Renderer(dialect=dialect)


def render(
    conversation: Conversation | Sequence[Message],
    *,
    dialect: Dialect = "emission",
    role: Role | str = Role.ASSISTANT,
    completion: bool = True,
    history: History | None = None,
) -> list[int]:
    """The tokens of a conversation, on a shared renderer for each dialect.

    With ``completion`` the prompt ends in ``<|start|>`` and ``role``, ready for the model to go on.
    Raises MessageError for a header field that would not survive, RenderError for settings in the
    wrong role, SchemaError for a schema the reference dialect cannot write.
    """
    renderer = _shared(dialect)
    if completion:
        return renderer.for_completion(conversation, role, history=history)
    return renderer.conversation(conversation, history=history)
