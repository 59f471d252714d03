"""One model as its engine lists it, in the same words for all engines."""

from __future__ import annotations

import msgspec

from antiphon.engines.detect.report import Finding

__all__ = ["Listed"]


class Listed(msgspec.Struct, frozen=True, kw_only=True):
    """What an engine says of one of its models."""

    id: str
    aliases: tuple[str, ...] = ()
    other_names: tuple[str, ...] = ()
    """Names it does not answer to, but that say what it is: file, checkpoint, root."""
    labels: tuple[str, ...] = ()
    architecture: str | None = None
    template: str | None = None
    loaded: bool | None = None
    context: Finding[int | None] = Finding(None, "the engine does not tell")
    text_model: bool = True
    recipe: str | None = None
    """Lemonade: what runs it."""
    url: str | None = None
    """Lemonade: where it runs."""
