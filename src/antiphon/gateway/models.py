"""``GET /v1/models`` and ``GET /v1/models/{id}``."""

from __future__ import annotations

from starlette.types import Receive, Scope, Send

from antiphon.api.chat.models import Model, model_body, models_body, served_model
from antiphon.engines.served import ModelCard
from antiphon.gateway.auth import require_model
from antiphon.gateway.context import context_of
from antiphon.gateway.errors import send_json
from antiphon.gateway.services import Services

__all__ = ["ModelRoute", "ModelsRoute"]


class ModelsRoute:
    """All models that the caller may use."""

    def __init__(self, services: Services) -> None:
        self._services = services

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        key = context_of(scope).key
        cards = [
            card
            for card in self._services.catalog.list()
            if key is None or any(key.may_use(name) for name in (card.id, *card.aliases))
        ]
        await send_json(send, models_body([_model(card) for card in cards]))


class ModelRoute:
    """One model, by name or alias."""

    def __init__(self, services: Services) -> None:
        self._services = services

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        catalog = self._services.catalog
        served = catalog.find(scope["path_params"]["model"])
        require_model(context_of(scope).key, (served.name, *served.settings.aliases))
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
