"""The request inside a seal as an ASGI request of its own, for the same application."""

from __future__ import annotations

from typing import Any, Final
from urllib.parse import unquote_to_bytes

from starlette.types import Message, Receive, Scope

from antiphon.gateway.context import DIRECT, PRESENCE, DirectBody
from antiphon.gateway.http import ABORT
from antiphon.gateway.lifecycle import Presence
from antiphon.gateway.sealed.scope import SEALED
from antiphon.seal import Request

__all__ = ["InnerReceive", "inner_scope"]

_KEPT: Final = ("asgi", "client", "http_version", "server", "state")


def inner_scope(outer: Scope, request: Request, direct: DirectBody | None = None) -> Scope:
    """The scope of ``request``. Of ``outer`` it has the connection, and nothing of its headers.
    ``direct`` is the short way into the seal.
    """
    extensions: dict[str, Any] = {SEALED: {}}
    # Nothing else: what writes to the connection would write past the seal.
    offered = outer.get("extensions") or {}
    extensions.update({name: offered[name] for name in (ABORT, PRESENCE) if name in offered})
    if direct is not None:
        extensions[DIRECT] = direct
    head = request.head
    path, _, query = head.path.partition("?")
    headers = list(head.fields)
    names = {name for name, _ in headers}
    if head.authority:
        headers = [(name, value) for name, value in headers if name != b"host"]
        headers.insert(0, (b"host", head.authority.encode("ascii")))
    if b"content-length" not in names and request.content:
        headers.append((b"content-length", b"%d" % len(request.content)))
    return {
        **{name: outer[name] for name in _KEPT if name in outer},
        "type": "http",
        "method": head.method,
        "scheme": head.scheme,
        "path": unquote_to_bytes(path).decode("utf-8", "replace"),
        "raw_path": path.encode("ascii"),
        "query_string": query.encode("ascii"),
        "root_path": "",
        "headers": headers,
        "extensions": extensions,
    }


class InnerReceive:
    """ASGI's ``receive`` for a request that is all there: its content, then the client's leaving.

    ``gone`` says whether the client has left.
    """

    def __init__(self, content: bytes, scope: Scope, outer: Receive) -> None:
        self._first: Message | None = {
            "type": "http.request",
            "body": content,
            "more_body": False,
        }
        self._outer = outer
        self._presence: Presence | None = (scope.get("extensions") or {}).get(PRESENCE)
        self._told = False

    @property
    def gone(self) -> bool:
        return self._told or (self._presence is not None and self._presence.gone)

    async def __call__(self) -> Message:
        if self._first is not None:
            message, self._first = self._first, None
            return message
        while True:
            message = await self._outer()
            if message["type"] == "http.disconnect":
                self._told = True
                return message
