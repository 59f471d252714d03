"""The guard that the settings ask for."""

from __future__ import annotations

import msgspec

from antiphon.errors import SettingsError
from antiphon.settings.tools import GuardSettings
from antiphon.tools.guard.fetch import Guard, Resolve, system_resolve
from antiphon.tools.guard.policy import GuardPolicy

__all__ = ["guard"]


def guard(settings: GuardSettings, *, resolve: Resolve = system_resolve) -> Guard:
    """Raises SettingsError for an entry of ``guard.allow`` that is none."""
    try:
        return Guard(GuardPolicy(**msgspec.structs.asdict(settings)), resolve=resolve)
    except SettingsError as error:
        raise SettingsError(f"guard.{error}") from error
