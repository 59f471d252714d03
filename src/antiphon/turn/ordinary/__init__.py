"""Turns of ordinary models, through their engine's own chat route."""

from antiphon.turn.ordinary.runner import OrdinaryRunner

__all__ = ["OrdinaryRunner"]
