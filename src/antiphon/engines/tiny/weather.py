"""The tool that the tiny model was trained to call, as the prompt shows it."""

from __future__ import annotations

from typing import Final

from antiphon.model.tools import Tool

__all__ = ["WEATHER"]

WEATHER: Final = Tool(
    "get_current_weather",
    "Gets the current weather in the provided location.",
    {
        "type": "object",
        "properties": {
            "location": {
                "type": "string",
                "description": "The city and state, e.g. San Francisco, CA",
            },
            "format": {
                "type": "string",
                "enum": ["celsius", "fahrenheit"],
                "default": "celsius",
            },
        },
        "required": ["location"],
    },
)
