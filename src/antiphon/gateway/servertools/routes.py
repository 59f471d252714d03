"""``GET /v1/containers/{id}/files/{file}`` and its ``content``: files that code made."""

from __future__ import annotations

from typing import Final
from urllib.parse import quote

from starlette.routing import BaseRoute, Route
from starlette.types import Receive, Scope, Send

from antiphon.api.responses.code_interpreter import container_file_body
from antiphon.gateway.context import context_of
from antiphon.gateway.errors import send_json
from antiphon.gateway.responses.kept import not_found
from antiphon.gateway.servertools.containers import KeptFile, find_file
from antiphon.gateway.services import Services

__all__ = ["container_routes"]

MAX_ID_CHARS: Final = 128
_SHOWN: Final = frozenset(
    {"image/png", "image/jpeg", "image/gif", "image/webp", "text/csv", "application/json"}
)
"""Types that are told as they are; everything else is bytes, as a name may say anything."""


class FileRoute:
    """What is known of a file."""

    def __init__(self, services: Services) -> None:
        self._services = services

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        file, container, id_ = await _found(self._services, scope)
        await send_json(
            send,
            container_file_body(
                id_, container, name=file.name, size=len(file.data), created=file.created
            ),
        )


class ContentRoute:
    """The file itself, to be saved and not to be shown: code may have written a page."""

    def __init__(self, services: Services) -> None:
        self._services = services

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        file, _, _ = await _found(self._services, scope)
        kind = file.media_type if file.media_type in _SHOWN else "application/octet-stream"
        name = quote(file.name.rpartition("/")[2], safe="")
        headers = [
            (b"content-type", kind.encode("ascii")),
            (b"content-length", b"%d" % len(file.data)),
            (b"content-disposition", f"attachment; filename*=UTF-8''{name}".encode("ascii")),
            (b"x-content-type-options", b"nosniff"),
            (b"content-security-policy", b"sandbox"),
        ]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": file.data})


async def _found(services: Services, scope: Scope) -> tuple[KeptFile, str, str]:
    """Raises ApiError 404, for another key's files as well."""
    container: str = scope["path_params"]["id"]
    id_: str = scope["path_params"]["file_id"]
    file = None
    if len(container) <= MAX_ID_CHARS and len(id_) <= MAX_ID_CHARS:
        file = await find_file(services.store, context_of(scope).tenant, container, id_)
    if file is None:
        raise not_found(id_, "Container file")
    return file, container, id_


def container_routes(services: Services) -> list[BaseRoute]:
    """In the order in which they are tried."""
    one = "/v1/containers/{id}/files/{file_id}"
    return [
        Route(one, FileRoute(services), methods=["GET"]),
        Route(f"{one}/content", ContentRoute(services), methods=["GET"]),
    ]
