"""The kinds of tools that the settings offer."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from antiphon.gateway.servertools.protocol import ToolKind
from antiphon.gateway.servertools.web import Sessions
from antiphon.settings.model import Settings
from antiphon.store.protocol import StateStore
from antiphon.store.sealing import Sealer

__all__ = ["kinds_of"]


def kinds_of(
    settings: Settings,
    *,
    store: StateStore,
    sessions: Sessions,
    clock: Callable[[], float],
    now: Callable[[], int],
    new_id: Callable[[], str],
    sealer: Sealer,
) -> Iterator[ToolKind]:
    """Those that ``server_tools.offered`` names. Raises SettingsError for what is wrong or missing
    in their settings, MissingExtraError without their packages.
    """
    offered = settings.server_tools.offered
    if "web_search" in offered:
        from antiphon.gateway.servertools.web import WebSearchKind
        from antiphon.tools.browser.chosen import search_backend
        from antiphon.tools.guard.chosen import guard

        fetching = guard(settings.guard)
        backend = search_backend(settings.browser, fetching)
        yield WebSearchKind(backend, fetching, sessions, any_url=settings.server_tools.any_url)
    if "code_interpreter" in offered:
        from antiphon.gateway.servertools.containers import Containers
        from antiphon.gateway.servertools.interpreter import CodeInterpreterKind

        containers = Containers(settings.python, store, clock=clock, now=now, new_id=new_id)
        yield CodeInterpreterKind(containers, settings.python)
    if "mcp" in offered:
        from antiphon.gateway.servertools.mcp import McpKind
        from antiphon.tools.guard.chosen import guard

        yield McpKind(settings, guard(settings.guard), sealer)
