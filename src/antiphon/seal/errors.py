"""What can go wrong with sealed messages: on which layer, and what the client should do about it.

    SealError
    ├── KeyConfigError        a key configuration, key list, pin or key file that cannot be used
    │   └── PinError          a configuration that is not the one that was pinned
    ├── UnknownKeyError       a request for a key the gateway does not have: fetch the keys again
    ├── OpenError             what was sealed does not open: altered, cut, reordered or forged
    │   └── TruncatedError    a sealed answer that ends before its final chunk
    ├── OuterError            an answer in the clear to a sealed request: it did not get through
    └── BinaryHttpError       the message inside is not a valid HTTP message, or too large

`layer` says who saw it and therefore how a server answers (RFC 9458, section 5.2): an error of the
``key`` or ``seal`` layer goes back in the clear, because there is nothing to seal an answer with;
an error of the ``message`` layer goes back sealed. `advice` is a sentence for the developer at the
client. An unknown key is public knowledge. Under a known key every failure of a request is an
`OpenError` with one and the same text, whatever failed, so that an answer tells nobody which step
it was.
"""

from __future__ import annotations

from typing import ClassVar, Literal

from antiphon.errors import SealError as _SealError

__all__ = [
    "BinaryHttpError",
    "KeyConfigError",
    "Layer",
    "OpenError",
    "OuterError",
    "PinError",
    "SealError",
    "TruncatedError",
    "UnknownKeyError",
]

Layer = Literal["key", "seal", "message"]


class SealError(_SealError):
    """Base of the errors of this package. ``status_hint`` is for a server's answer."""

    status_hint = 400
    layer: ClassVar[Layer] = "seal"
    advice: ClassVar[str] = ""


class KeyConfigError(SealError):
    """A key configuration, a list of them, a pin or a private key file that cannot be used."""

    status_hint = 500
    layer = "key"
    advice = "Check where the key configuration came from and fetch it again."


class PinError(KeyConfigError):
    """The gateway's key configuration is not the pinned one: someone may be in between."""

    status_hint = 502
    advice = (
        "Ask the gateway's operator, over another channel, for the fingerprint that "
        "`antiphon serve --seal` prints. If the key was rotated, pin the new one."
    )


class UnknownKeyError(SealError):
    """A request for a key identifier that the gateway does not have. Public: it reveals nothing
    that the list of key configurations does not.
    """

    layer = "key"
    advice = "Fetch the gateway's key configuration again and seal the request anew."

    def __init__(self, key_id: int) -> None:
        super().__init__(f"key identifier {key_id} unknown")
        self.key_id = key_id


class OpenError(SealError):
    """What was sealed does not open."""

    advice = (
        "Seal the request anew: a new encapsulated key for each request, for the media type it is "
        "sent with, all chunks in order, and nothing changed on the way."
    )


class TruncatedError(OpenError):
    """A sealed answer that ends before its final chunk. What came before it is authentic and in
    order, but it is not the whole answer.
    """

    status_hint = 502
    advice = "The connection or a proxy cut the answer off: ask again."


class OuterError(SealError):
    """An answer in the clear to a sealed request. Anyone on the way can have given it, so it says
    only that the request did not get through.

    ``status`` is its HTTP status, ``problem`` the type of its problem document (RFC 9457) if it has
    one, ``retry_after`` the seconds it asks to wait.
    """

    status_hint = 502
    advice = "Look at what is between the client and the gateway: a proxy, a relay, its limits."

    def __init__(
        self,
        message: str,
        *,
        status: int,
        problem: str | None = None,
        retry_after: float | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.problem = problem
        self.retry_after = retry_after


class BinaryHttpError(SealError):
    """The message inside the seal is not valid Binary HTTP, not valid HTTP, or over a limit.

    ``status_hint`` is 400, 413 (content) or 431 (fields).
    """

    layer = "message"
    advice = "Check how the inner request is written (RFC 9292)."

    def __init__(self, message: str, *, status: int = 400) -> None:
        super().__init__(message)
        self.status_hint = status
