"""What the tiny model can call: the weather, which is made up and always fair."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from antiphon.engines.tiny.weather import WEATHER
from antiphon.tools.protocol import Emit, Need, ToolOutput

__all__ = ["NOTE", "TinyWeather"]

NOTE: Final = (
    "this is a test model that knows a few dozen questions by heart and can call one tool,"
    f" {WEATHER.name}, whose weather is made up"
)
"""What is said wherever the tiny model answers."""

_WEATHER: Final = '{"temperature": 20, "sunny": true}'
"""As in the model's training, to the space."""


class TinyWeather:
    """`antiphon.tools.protocol.Tool`."""

    name = WEATHER.name
    description = WEATHER.description
    parameters: Mapping[str, Any] | None = WEATHER.parameters

    def need(self, arguments: Mapping[str, Any] | str) -> Need:
        place = arguments.get("location") if isinstance(arguments, Mapping) else arguments
        return Need("always", f"make up the weather of {place}")

    async def call(self, arguments: Mapping[str, Any] | str, *, emit: Emit) -> ToolOutput:
        return ToolOutput(_WEATHER, details={"made_up": True})

    async def aclose(self) -> None:
        pass
