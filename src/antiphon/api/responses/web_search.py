"""The tool ``web_search`` of the Responses API over gpt-oss's browser: its parameters and its item.

browser.search → action search      browser.open → open_page      browser.find → find_in_page
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar, Final, Literal

import msgspec

from antiphon.api.responses.output_item import ItemStatus
from antiphon.api.responses.served import ServedItem
from antiphon.api.turn import CallRan
from antiphon.errors import MessageError

__all__ = [
    "SIZES",
    "TYPES",
    "Describe",
    "Location",
    "SearchOptions",
    "WebSearchItem",
    "location_line",
    "read_search_options",
]

TYPES: Final = frozenset(
    {
        "web_search",
        "web_search_2025_08_26",
        "web_search_preview",
        "web_search_preview_2025_03_11",
    }
)
SIZES: Final = {"low": 5, "medium": 10, "high": 20}
"""``search_context_size`` → results of a search."""
MAX_DOMAINS: Final = 100
MAX_PLACE_CHARS: Final = 100
_DOMAIN: Final = re.compile(r"(?:[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?\.)*[a-z0-9-]{1,63}\Z")
_PRINTABLE: Final = re.compile(r"[^\x00-\x1f\x7f-\x9f\u2028\u2029]+\Z")

Describe = Callable[[str, Mapping[str, Any]], dict[str, Any]]
"""A built-in's recipient and arguments → the ``action`` that this will be."""


class Location(msgspec.Struct, frozen=True):
    """``user_location``. ``type`` is ``approximate``; Chat has the rest inside ``approximate``."""

    type: Literal["approximate"] = "approximate"
    city: str | None = None
    region: str | None = None
    country: str | None = None
    timezone: str | None = None


class _Filters(msgspec.Struct, frozen=True):
    allowed_domains: list[str] | None = None
    blocked_domains: list[str] | None = None


class _Wire(msgspec.Struct, frozen=True):
    type: str = "web_search"
    search_context_size: Literal["low", "medium", "high"] | None = None
    user_location: Location | None = None
    filters: _Filters | None = None
    external_web_access: bool | None = None
    search_content_types: list[str] | None = None


class SearchOptions(msgspec.Struct, frozen=True, kw_only=True):
    """What a request says of its searches."""

    results: int = SIZES["medium"]
    location: Location | None = None
    allowed: tuple[str, ...] = ()
    """Domains; empty: all."""
    blocked: tuple[str, ...] = ()
    live: bool = True
    """False: nothing is fetched from the web, only what the search backend has itself."""


def read_search_options(fields: Mapping[str, Any], where: str) -> SearchOptions:
    """Raises MessageError naming the field that is wrong."""
    try:
        wire = msgspec.convert(dict(fields), _Wire)
    except msgspec.ValidationError as error:
        text, _, path = str(error).rpartition(" - at `$")
        field = f"{where}{path.rstrip('`')}" if text else where
        raise MessageError(f"{field}: {text or error}", field=field) from error
    for kind in wire.search_content_types or ():
        if kind != "text":
            field = f"{where}.search_content_types"
            raise MessageError(f"{field}: only text is possible, got {kind[:40]!r}", field=field)
    location = wire.user_location
    if location is not None:
        for name in ("city", "region", "country", "timezone"):
            value = getattr(location, name)
            if value and (len(value) > MAX_PLACE_CHARS or not _PRINTABLE.match(value)):
                field = f"{where}.user_location.{name}"
                raise MessageError(
                    f"{field}: expected at most {MAX_PLACE_CHARS} printable characters", field=field
                )
    filters = wire.filters or _Filters()
    return SearchOptions(
        results=SIZES[wire.search_context_size or "medium"],
        location=location,
        allowed=_domains(filters.allowed_domains, f"{where}.filters.allowed_domains"),
        blocked=_domains(filters.blocked_domains, f"{where}.filters.blocked_domains"),
        live=wire.external_web_access is not False,
    )


def location_line(location: Location | None) -> str:
    """What the model is told of where the user is; empty if nothing is known."""
    if location is None:
        return ""
    place = ", ".join(filter(None, (location.city, location.region, location.country)))
    parts = [f"The user is approximately in {place}." if place else ""]
    if location.timezone:
        parts.append(f"The user's time zone is {location.timezone}.")
    return " ".join(filter(None, parts))


def _domains(given: Sequence[str] | None, field: str) -> tuple[str, ...]:
    if given is None:
        return ()
    if len(given) > MAX_DOMAINS:
        raise MessageError(f"{field}: at most {MAX_DOMAINS}, got {len(given)}", field=field)
    made = []
    for i, name in enumerate(given):
        plain = name.strip().lower().rstrip(".")
        if len(plain) > 253 or not _DOMAIN.match(plain):
            where = f"{field}[{i}]"
            raise MessageError(
                f"{where}: expected a domain such as example.com, got {name[:60]!r}", field=where
            )
        made.append(plain)
    return tuple(made)


class WebSearchItem(ServedItem):
    """``web_search_call``. ``describe`` knows what a call leads to; ``sources`` are shown if the
    request asks for them.
    """

    prefix: ClassVar[str] = "ws"

    __slots__ = ("_action", "_describe", "_recipient", "_sources")

    def __init__(
        self, number: str, index: int, *, recipient: str, describe: Describe, sources: bool
    ) -> None:
        super().__init__(f"{self.prefix}_{number}", index)
        self._recipient = recipient
        self._describe = describe
        self._sources = sources
        self._action: dict[str, Any] | None = None

    @property
    def type(self) -> str:
        return "web_search_call"

    def fields(self, status: str) -> dict[str, Any]:
        if self._action is None:
            self._action = self._shown(self._describe(self._recipient, self.arguments))
        return {"action": self._action}

    def opening(self) -> list[bytes]:
        return [self.event("response.web_search_call.in_progress", content=False)]

    def written(self) -> list[bytes]:
        self.state = "searching"
        return [self.event("response.web_search_call.searching", content=False)]

    def ran(self, outcome: CallRan) -> list[bytes]:
        super().ran(outcome)
        action = outcome.details.get("action")
        if isinstance(action, dict):
            self._action = self._shown(action)
        if outcome.failed:
            return []
        return [self.event("response.web_search_call.completed", content=False)]

    def ended(self, status: ItemStatus) -> str:
        # OpenAI has no word for a search that was broken off.
        return "failed" if status == "incomplete" else super().ended(status)

    def _shown(self, action: Mapping[str, Any]) -> dict[str, Any]:
        shown = dict(action)
        if not self._sources:
            shown.pop("sources", None)
        if shown["type"] == "search":
            shown["queries"] = [shown.get("query") or ""]
        elif shown["type"] == "find_in_page":
            shown["url"] = shown.get("url") or "about:blank"
        elif not shown.get("url"):
            shown["url"] = None
        return shown
