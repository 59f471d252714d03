"""A client's dealings with one gateway: keys, date, and the few reasons to seal a request again.

A request is sealed anew, at most twice, if the gateway does not know the key and there is another
to be trusted, or if it finds the date wrong and says, under seal, what the time is. Nothing else is
tried again here: the gateway has not acted on these two.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, Final

import msgspec

from antiphon.seal.errors import OuterError, PinError
from antiphon.seal.keyconfig import KeyConfig
from antiphon.seal.media import DATE_PROBLEM, KEY_PROBLEM, PROBLEM_JSON
from antiphon.seal.message import Field, RequestHead, ResponseHead
from antiphon.seal.padding import Padding
from antiphon.seal.replay import date_of
from antiphon.sealed.exchange import MAX_PROBLEM_BYTES, SealedExchange
from antiphon.sealed.known import KnownGateways
from antiphon.sealed.pins import Pins, read_pins
from antiphon.sealed.steps import Opened, Steps, attempt, dated, read_rest
from antiphon.sealed.target import Target
from antiphon.sealed.trust import FirstUse, Pinned, Trust

__all__ = ["Session"]

_ATTEMPTS: Final = 3


class Session:
    """Whom to seal for, and how."""

    def __init__(
        self,
        url: str,
        *,
        key: Pins | None = None,
        via: str | None = None,
        known: KnownGateways | None = None,
        padding: str = "none",
        chunked: bool = True,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """Raises SealError: PinError for a relay without a pin, KeyConfigError for a bad pin.
        Raises ValueError for a padding there is not.
        """
        self.target = Target.parse(url)
        self.via = Target.relay(via) if via is not None else None
        self._clock = clock
        self._offset = 0.0
        self._padding = Padding.parse(padding)
        self._chunked = chunked
        if key is not None:
            self._trust: Trust = Pinned(self.target, read_pins(key), self.via)
        elif via is not None:
            raise PinError(
                "through a relay the gateway's key must be pinned: the relay could name its own. "
                "Pass the fingerprint that 'antiphon serve --seal' prints"
            )
        else:
            self._trust = FirstUse(self.target, known or KnownGateways(), self._now)

    @property
    def config(self) -> KeyConfig | None:
        """The key in use, once there was a request."""
        return self._trust.config

    def key(self) -> Steps[KeyConfig]:
        """The key to seal for. Raises SealError."""
        return (yield from self._trust.current())

    def head(
        self, method: str, scheme: str, authority: str, path: str, fields: tuple[Field, ...]
    ) -> RequestHead:
        """What goes inside for a request to this URL. Raises SealError if it is not for us."""
        return self.own_head(method, self.target.inner_path(scheme, authority, path), fields)

    def own_head(self, method: str, path: str, fields: tuple[Field, ...]) -> RequestHead:
        """What goes inside for a request to this path of the gateway."""
        return RequestHead(
            method=method,
            scheme=self.target.scheme,
            authority=self.target.authority,
            path=path,
            fields=fields,
        )

    def exchange(self, config: KeyConfig, head: RequestHead, content: bytes) -> SealedExchange:
        """A request with today's date, sealed. Raises SealError."""
        return SealedExchange(
            config,
            dated(head, self._now()),
            content,
            padding=self._padding,
            chunked=self._chunked,
        )

    def request(self, head: RequestHead, content: bytes) -> Steps[Opened]:
        """Send a request; its answer, opened up to its head. Raises SealError."""
        config = yield from self._trust.current()
        url = self.via or self.target.resource
        for left in reversed(range(_ATTEMPTS)):
            try:
                opened = yield from attempt(url, self.exchange(config, head, content))
            except OuterError as error:
                if error.problem != KEY_PROBLEM or not left:
                    raise
                config = yield from self._trust.unknown(config)
                continue
            answer = opened.reader.head
            assert answer is not None
            if not left or not _is_problem(answer):
                return opened
            body = yield from read_rest(opened, MAX_PROBLEM_BYTES)
            gateways = date_of(answer.fields)
            if gateways is None or not _is_date_problem(body):
                return Opened(opened.reader, body, ended=True)
            self._offset = gateways - self._clock()
        raise AssertionError("the last attempt returns or raises")

    def _now(self) -> float:
        """The time as the gateway has it, as far as it has told."""
        return self._clock() + self._offset


def _is_problem(answer: ResponseHead) -> bool:
    kind = PROBLEM_JSON.encode("ascii")
    return answer.status == 400 and any(
        name == b"content-type" and value.partition(b";")[0].strip().lower() == kind
        for name, value in answer.fields
    )


def _is_date_problem(body: bytes) -> bool:
    try:
        found: Any = msgspec.json.decode(body)
    except (msgspec.DecodeError, RecursionError):
        return False
    return isinstance(found, dict) and found.get("type") == DATE_PROBLEM
