"""Turn events → the whole answer of Chat Completions: the fold of what a stream would carry."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import msgspec
from msgspec import UNSET

from antiphon.api.chat.answer import (
    ChatCompletion,
    Choice,
    CustomInput,
    FunctionCall,
    Message,
    ToolCall,
    Usage,
    choice_logprobs,
    total_usage,
)
from antiphon.api.chat.request import ChatRequest
from antiphon.api.chat.served import annotation
from antiphon.api.chat.visible import ChoiceState, Target
from antiphon.api.policy import Visibility
from antiphon.api.turn import Annotated, Logprob, PartDelta, PartEnd, PartStart, TurnEnd, TurnEvent

__all__ = ["ChatFold"]

_ENCODE: Final = msgspec.json.Encoder().encode


class ChatFold:
    """One response. Feed it each choice's events, then take the body."""

    __slots__ = (
        "_choices",
        "_created",
        "_deprecated",
        "_fingerprint",
        "_id",
        "_logprobs",
        "_model",
        "_view",
    )

    def __init__(
        self,
        *,
        id: str,
        created: int,
        model: str,
        n: int = 1,
        view: Visibility = Visibility(),  # noqa: B008 - frozen
        logprobs: bool = False,
        deprecated_functions: bool = False,
        system_fingerprint: str | None = None,
    ) -> None:
        self._id = id
        self._created = created
        self._model = model
        self._view = view
        self._logprobs = logprobs
        self._deprecated = deprecated_functions
        self._fingerprint = system_fingerprint
        self._choices = [_Choice(index, view) for index in range(n)]

    @classmethod
    def for_request(
        cls,
        request: ChatRequest,
        *,
        id: str,
        created: int,
        visibility: Visibility = Visibility(),  # noqa: B008 - frozen
        system_fingerprint: str | None = None,
    ) -> ChatFold:
        """The answer that ``request`` asks for. ``id`` begins with ``chatcmpl-``."""
        return cls(
            id=id,
            created=created,
            model=request.model,
            n=request.n,
            view=request.view(visibility),
            logprobs=request.turn.logprobs is not None,
            deprecated_functions=request.deprecated_functions,
            system_fingerprint=system_fingerprint,
        )

    def feed(self, index: int, events: Sequence[TurnEvent]) -> None:
        """More of choice ``index``."""
        choice = self._choices[index]
        for event in events:
            if isinstance(event, PartDelta):
                choice.delta(event)
            elif isinstance(event, PartStart):
                choice.start(event)
            elif isinstance(event, PartEnd):
                choice.state.target = Target.HIDDEN
            elif isinstance(event, Annotated):
                choice.annotations.extend(map(annotation, event.annotations))
            elif isinstance(event, TurnEnd):
                choice.state.end(event, deprecated_functions=self._deprecated)

    @property
    def usage(self) -> Usage:
        """Tokens of the choices that are complete."""
        return total_usage([c.state.usage for c in self._choices if c.state.finish is not None])

    def answer(self) -> ChatCompletion:
        """The answer. Raises ValueError if a choice has not had its TurnEnd."""
        return ChatCompletion(
            id=self._id,
            created=self._created,
            model=self._model,
            choices=tuple([self._choice(choice) for choice in self._choices]),
            usage=self.usage,
            system_fingerprint=UNSET if self._fingerprint is None else self._fingerprint,
        )

    def body(self) -> bytes:
        """The answer as JSON. Raises ValueError if a choice has not had its TurnEnd."""
        return _ENCODE(self.answer())

    def _choice(self, choice: _Choice) -> Choice:
        finish = choice.state.finish
        if finish is None:
            raise ValueError(f"choice {choice.state.index} is not complete")
        return Choice(
            index=choice.state.index,
            message=self._message(choice),
            logprobs=choice_logprobs(choice.logprobs) if self._logprobs else None,
            finish_reason=finish,
        )

    def _message(self, choice: _Choice) -> Message:
        content = "".join(choice.content)
        reasoning = "".join(choice.reasoning) or UNSET
        fields = self._view.reasoning_fields
        calls = tuple([call.made() for call in choice.calls])
        function_call = calls[-1].function if calls and self._deprecated else UNSET
        return Message(
            content=content or (None if calls else ""),
            annotations=tuple(choice.annotations),
            reasoning=UNSET if fields == "reasoning_content" else reasoning,
            reasoning_content=UNSET if fields == "reasoning" else reasoning,
            tool_calls=calls if calls and not self._deprecated else UNSET,
            function_call=function_call,
        )


class _Call:
    __slots__ = ("part", "text")

    def __init__(self, part: PartStart) -> None:
        self.part: Final = part
        self.text: Final[list[str]] = []

    def made(self) -> ToolCall:
        part, text = self.part, "".join(self.text)
        call_id, name = part.call_id or "", part.name or ""
        if part.custom:
            return ToolCall(id=call_id, type="custom", custom=CustomInput(name, text))
        return ToolCall(id=call_id, function=FunctionCall(name, text))


class _Choice:
    __slots__ = (
        "_fresh",
        "_text",
        "annotations",
        "calls",
        "content",
        "logprobs",
        "reasoning",
        "state",
    )

    def __init__(self, index: int, view: Visibility) -> None:
        self.state: Final = ChoiceState(index, view)
        self.content: Final[list[str]] = []
        self.annotations: Final[list[dict[str, Any]]] = []
        self.reasoning: Final[list[str]] = []
        self.calls: Final[list[_Call]] = []
        self.logprobs: Final[list[Logprob]] = []
        self._text: list[str] = []
        self._fresh = False

    def start(self, part: PartStart) -> None:
        target = self.state.start(part)
        self._fresh = True
        if target is Target.CALL:
            self.calls.append(_Call(part))
            self._text = self.calls[-1].text
        else:
            self._text = self.content if target is Target.CONTENT else self.reasoning

    def delta(self, event: PartDelta) -> None:
        target = self.state.target
        if target is Target.HIDDEN:
            return
        if self._fresh:
            self._fresh = False
            self._text.append(self.state.said())
        self._text.append(event.text)
        if target is Target.CONTENT:
            self.logprobs.extend(event.logprobs)
