"""Every route of the Responses API, of conversations and of stored chat completions."""

from __future__ import annotations

from starlette.routing import BaseRoute, Route, WebSocketRoute

from antiphon.gateway.responses.compact import CompactRoute, InputTokensRoute
from antiphon.gateway.responses.conversations import (
    ConversationRoute,
    ConversationsRoute,
    ItemRoute,
    ItemsRoute,
)
from antiphon.gateway.responses.create import CreateRoute
from antiphon.gateway.responses.retrieve import CancelRoute, InputItemsRoute, ResponseRoute
from antiphon.gateway.responses.websocket import SocketRoute
from antiphon.gateway.services import Services
from antiphon.gateway.stored_chat import (
    CompletionMessagesRoute,
    StoredChatRoute,
)

__all__ = ["response_routes"]


def response_routes(services: Services) -> list[BaseRoute]:
    """In the order in which they are tried."""
    responses, conversations = "/v1/responses", "/v1/conversations"
    chats = "/v1/chat/completions"
    one, items = f"{conversations}/{{id}}", f"{conversations}/{{id}}/items"
    return [
        Route(responses, CreateRoute(services), methods=["POST"]),
        WebSocketRoute(responses, SocketRoute(services)),
        Route(f"{responses}/input_tokens", InputTokensRoute(services), methods=["POST"]),
        Route(f"{responses}/compact", CompactRoute(services), methods=["POST"]),
        Route(f"{responses}/{{id}}", ResponseRoute(services), methods=["GET", "DELETE"]),
        Route(f"{responses}/{{id}}/cancel", CancelRoute(services), methods=["POST"]),
        Route(f"{responses}/{{id}}/input_items", InputItemsRoute(services), methods=["GET"]),
        Route(conversations, ConversationsRoute(services), methods=["POST"]),
        Route(one, ConversationRoute(services), methods=["GET", "POST", "DELETE"]),
        Route(items, ItemsRoute(services), methods=["GET", "POST"]),
        Route(f"{items}/{{item_id}}", ItemRoute(services), methods=["GET", "DELETE"]),
        Route(f"{chats}/{{id}}", StoredChatRoute(services), methods=["GET", "POST", "DELETE"]),
        Route(f"{chats}/{{id}}/messages", CompletionMessagesRoute(services), methods=["GET"]),
    ]
