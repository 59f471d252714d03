"""`StreamableParser`: the incremental parser over completion tokens.

`StreamableParser.process` does itself what most tokens need, which is to look up their text;
everything else is the work of `antiphon.codec.strict.StrictParser`.
"""

from __future__ import annotations

from array import array
from enum import Enum
from sys import getrefcount
from typing import Any, Final

from antiphon.codec.strict import StrictParser, StrictState
from antiphon.errors import ParseError
from antiphon.openai_harmony.chat import Message, Role
from antiphon.openai_harmony.encoding import HarmonyEncoding, messages_of
from antiphon.openai_harmony.error import HarmonyError
from antiphon.openai_harmony.inner import checked_token, renderer, role_named

__all__ = ["StreamState", "StreamableParser"]


class StreamState(Enum):
    """Where the parser stands."""

    EXPECT_START = "ExpectStart"
    HEADER = "Header"
    CONTENT = "Content"


class _Holder:
    __slots__ = ("held",)

    def __init__(self) -> None:
        self.held: list[int] = []

    def references(self) -> int:
        held = self.held
        return getrefcount(held)


_UNSHARED: Final = _Holder().references()
"""What ``getrefcount`` gives in a method for an object that nobody but an attribute holds."""


class StreamableParser:
    """An incremental parser of completion tokens, as exact as the batch parser.

    ``role`` is the role of the first message when the tokens begin inside its header.
    """

    __slots__ = (
        "__weakref__",
        "_content_parts",
        "_content_tokens",
        "_encoding",
        "_messages",
        "_parser",
        "_parts",
        "_texts",
        "_token_list",
        "_tokens",
        "last_content_delta",
    )

    def __init__(
        self, encoding: HarmonyEncoding, role: Role | None, *, strict: bool = True
    ) -> None:
        given = None if role is None else role_named(str(role.value))
        self._encoding = encoding
        self._parser = StrictParser(given, lenient=not strict)
        self._tokens = array("I")
        self._token_list: list[int] = []
        self._messages: list[Message] = []
        self.last_content_delta: str | None = None
        """The text that the last token completed, or None."""
        self._follow()

    def _follow(self) -> None:
        """Share with the parser, which has just begun a message or ended one."""
        self._parts = self._parser.parts
        self._texts = self._parser.texts
        self._content_tokens: list[int] = []
        self._content_parts = 0

    def process(self, token: int) -> StreamableParser:
        """Take one token. Raises HarmonyError for a token that cannot stand here."""
        try:
            self._tokens.append(token)
            delta = self._texts[token]
        except (IndexError, OverflowError, TypeError):
            checked_token(token)
            delta = None
        if delta is None:
            return self._step()
        self._parts.append(delta)
        self.last_content_delta = delta
        return self

    def _step(self) -> StreamableParser:
        parser = self._parser
        try:
            self.last_content_delta = parser.step(self._tokens[-1])
        except ParseError as error:
            self.last_content_delta = None
            raise HarmonyError(str(error)) from error
        finally:
            self._texts = parser.texts
            if self._parts is not parser.parts:
                self._follow()
        return self

    def process_eos(self) -> StreamableParser:
        """Take the end of the completion. Raises HarmonyError inside a header."""
        self.last_content_delta = None
        try:
            self._parser.eof()
        except ParseError as error:
            raise HarmonyError(str(error)) from error
        finally:
            self._follow()
        return self

    @property
    def current_content(self) -> str:
        """The text of the open message so far, "" outside of one."""
        return self._parser.content

    @property
    def current_role(self) -> Role | None:
        """The role of the open message, or the given one while it waits for its message."""
        role = self._parser.role
        return None if role is None else Role(role.value)

    @property
    def current_content_type(self) -> str | None:
        header = self._parser.header
        return None if header is None else header.content_type

    @property
    def current_recipient(self) -> str | None:
        header = self._parser.header
        return None if header is None else header.recipient

    @property
    def current_channel(self) -> str | None:
        header = self._parser.header
        return None if header is None else header.channel

    @property
    def messages(self) -> list[Message]:
        """The finished messages; each is built once."""
        done = len(self._messages)
        if done < len(self._parser.messages):
            self._messages += messages_of(self._parser.messages[done:])
        return self._messages.copy()

    @property
    def tokens(self) -> list[int]:
        """All tokens that were fed, refused ones too.

        A list that nobody has kept is continued and returned again, so that reading it after every
        token stays cheap.
        """
        tokens = self._token_list
        done = len(tokens)
        if getrefcount(tokens) > _UNSHARED or done > len(self._tokens):
            tokens = self._tokens.tolist()
        else:
            tokens += self._tokens[done:]
        self._token_list = tokens
        return tokens

    @property
    def state(self) -> StreamState:
        state = self._parser.state
        if state is StrictState.CONTENT:
            return StreamState.CONTENT
        return StreamState.HEADER if state is StrictState.HEADER else StreamState.EXPECT_START

    @property
    def state_data(self) -> dict[str, Any]:
        """The state with what belongs to it, as plain values."""
        parser = self._parser
        state = parser.state
        if state is StrictState.HEADER:
            return {"state": "Header", "header_tokens": parser.header_ids.copy()}
        header = parser.header
        if header is None:
            return {"state": "ExpectStart"}
        for part in parser.parts[self._content_parts :]:
            self._content_tokens += renderer.encode(part)
        self._content_parts = len(parser.parts)
        author = {"role": header.author.role.value}
        if header.author.name is not None:
            author["name"] = header.author.name
        return {
            "state": "Content",
            "header": {
                "author": author,
                "recipient": header.recipient,
                "channel": header.channel,
                "content_type": header.content_type,
            },
            "content_tokens": self._content_tokens.copy(),
        }

    def __getstate__(self) -> dict[str, Any]:
        mine = ("_encoding", "_parser", "_tokens", "last_content_delta")
        return {name: getattr(self, name) for name in mine}

    def __setstate__(self, state: dict[str, Any]) -> None:
        for name, value in state.items():
            setattr(self, name, value)
        self._token_list = []
        self._messages = []
        self._follow()
