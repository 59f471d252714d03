"""A gpt-oss made of rules and recordings, at token level: for testing agents without a GPU."""

from antiphon.engines.scripted.engine import ScriptedEngine

__all__ = ["ScriptedEngine"]
