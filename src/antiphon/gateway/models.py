"""``GET /v1/models`` and ``GET /v1/models/{id}``."""

from __future__ import annotations

from starlette.types import Receive, Scope, Send

from antiphon.api.chat.models import Model, model_body, models_body, served_model
from antiphon.engines.served import ModelCard
from antiphon.gateway.errors import send_json
from antiphon.gateway.services import Services

__all__ = ["ModelRoute", "ModelsRoute"]


class ModelsRoute:
    """All models."""

    def __init__(self, services: Services) -> None:
        self._services = services

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        cards = self._services.catalog.list()
        await send_json(send, models_body([_model(card) for card in cards]))


class ModelRoute:
    """One model, by name or alias."""

    def __init__(self, services: Services) -> None:
        self._services = services

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        catalog = self._services.catalog
        served = catalog.find(scope["path_params"]["model"])
        cards = {card.id: card for card in catalog.list()}
        card = cards.get(served.name) or ModelCard(  # An engine that answers to any name.
            id=served.name,
            created=int(self._services.clock.now().timestamp()),
            gpt_oss=served.gpt_oss,
            context_length=served.context_length,
        )
        await send_json(send, model_body(_model(card)))


def _model(card: ModelCard) -> Model:
    return served_model(
        card.id,
        created=card.created,
        context_length=card.context_length,
        owned_by="openai" if card.gpt_oss else "antiphon",
    )
