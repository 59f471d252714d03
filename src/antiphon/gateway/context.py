"""What is known of one request while it is served: ``scope["antiphon"]``.

The outermost layer makes it; authentication says who asks; the routes say what for; logs, metrics
and the response's headers are made of it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, MutableMapping
from typing import TYPE_CHECKING, Any, Final, Protocol

if TYPE_CHECKING:
    from antiphon.engines.served import Served
    from antiphon.gateway.keys import ApiKey
    from antiphon.gateway.lifecycle import Presence
    from antiphon.gateway.ratelimit import Lease

__all__ = ["CONTEXT", "DIRECT", "PRESENCE", "DirectBody", "RequestContext", "context_of"]

CONTEXT: Final = "antiphon"
"""The key in the ASGI scope."""
DIRECT: Final = "antiphon.direct"
"""The ASGI extension that our server offers, and a seal around the request: a `DirectBody`."""
PRESENCE: Final = "antiphon.presence"
"""The ASGI extension that our server offers: an `antiphon.gateway.lifecycle.Presence`. It is of use
once the request's body is read: a connection that waits for its reader does not end."""

_CLIENT_ID: Final = re.compile(rb"[A-Za-z0-9._:/+=-]{1,128}\Z")
"""What a client's own ``x-request-id`` may look like to be taken over."""


class DirectBody(Protocol):
    """The shortest way for the body of a response that has begun."""

    def write(self, data: bytes, made: Callable[[bytes], bytes] | None = None) -> bool:
        """Send ``data``, which is not the last. False: it has to go the way of ASGI.

        What is sent is what ``made`` makes of it; that is called only if it is sent.
        """
        ...


class RequestContext:
    """One request. Mutable: each layer fills in what it finds out."""

    __slots__ = (
        "direct",
        "engine",
        "error",
        "headers",
        "ignored",
        "key",
        "lease",
        "mode",
        "model",
        "notes",
        "operator",
        "presence",
        "raw",
        "request_id",
        "started",
        "status",
        "streamed",
        "tenant",
        "trace",
        "who",
    )

    def __init__(self, request_id: str, started: float) -> None:
        self.request_id: Final = request_id
        self.started: Final = started
        """The server's monotonic clock."""
        self.direct: DirectBody | None = None
        """The shortest way for a stream's body, if the server offers one."""
        self.presence: Presence | None = None
        """Tells when the client leaves, once its body is read; None: ``receive`` must be asked."""
        self.tenant = ""
        """The API key's id; empty without keys."""
        self.who = ""
        """Whom limits count: the key's id, without keys the client's address."""
        self.key: ApiKey | None = None
        """The API key itself, with its own settings, if there is one."""
        self.lease: Lease | None = None
        """What was taken from the rate limits; told of the tokens that were used."""
        self.operator = True
        """Whether what is for operators is allowed: always, until keys say otherwise."""
        self.raw = False
        """Whether the answer is to hold the raw transcript."""
        self.trace: dict[str, str] = {}
        """The headers of the distributed trace that the request belongs to."""
        self.model: str | None = None
        self.mode: str | None = None
        self.engine: str | None = None
        self.streamed = False
        self.ignored: tuple[str, ...] = ()
        self.headers: dict[bytes, bytes] = {}
        """More headers of the response; names in lower case."""
        self.status = 0
        """0 until the response began."""
        self.error: str | None = None
        """The code of the error the client was told, also in the middle of a stream."""
        self.notes: dict[str, Any] = {}
        """Decisions worth a line in the log; never content."""

    def serves(self, served: Served) -> None:
        """It is for this model."""
        self.model, self.engine = served.name, served.engine.name


def context_of(scope: MutableMapping[str, Any]) -> RequestContext:
    """The context of the request that ``scope`` belongs to."""
    context = scope[CONTEXT]
    assert isinstance(context, RequestContext)
    return context


def client_request_id(scope: MutableMapping[str, Any]) -> str | None:
    """The id the client gave its request, if it is one that can be logged and sent back."""
    for name, value in scope["headers"]:
        if name == b"x-request-id":
            return value.decode("ascii") if _CLIENT_ID.match(value) else None
    return None
