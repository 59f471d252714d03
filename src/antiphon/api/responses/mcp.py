"""The tool ``mcp`` of the Responses API: its parameters, and its items.

mcp_list_tools        added, in_progress, completed or failed, done
mcp_call              added, in_progress, arguments.delta*, arguments.done, completed or failed,
                      done
mcp_approval_request  added, done
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar, Final

import msgspec

from antiphon.api.responses.output_item import ItemStatus
from antiphon.api.responses.served import ServedItem
from antiphon.api.turn import CallRan
from antiphon.errors import MessageError

__all__ = [
    "SECRET_FIELDS",
    "TYPES",
    "McpApprovalItem",
    "McpCallItem",
    "McpListItem",
    "McpWanted",
    "ToolFilter",
    "read_mcp",
]

TYPES: Final = frozenset({"mcp"})
SECRET_FIELDS: Final = ("authorization", "headers")
"""What of a tool is never given back, nor kept."""
MAX_NAMES: Final = 1_000
MAX_HEADERS: Final = 50
MAX_HEADER_BYTES: Final = 16 * 1024
MAX_LABEL_CHARS: Final = 64
MAX_TEXT_CHARS: Final = 8_000

_KNOWN: Final = frozenset(
    "type server_label server_url server_description allowed_tools require_approval headers"
    " authorization allowed_callers connector_id tunnel_id defer_loading".split()
)
_OURS: Final = frozenset(
    "accept accept-encoding connection content-encoding content-length content-type host"
    " keep-alive last-event-id mcp-protocol-version mcp-session-id proxy-authorization"
    " proxy-connection te trailer transfer-encoding upgrade".split()
)
"""Headers that are the transport's own."""
_TOKEN: Final = frozenset(
    "!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
)


class ToolFilter(msgspec.Struct, frozen=True):
    """Some of a server's tools. Where both are given, both must hold."""

    names: frozenset[str] | None = None
    read_only: bool | None = None

    def takes(self, name: str, *, read_only: bool) -> bool:
        return (self.names is None or name in self.names) and (
            self.read_only is None or self.read_only == read_only
        )


ALL: Final = ToolFilter()
NONE: Final = ToolFilter(frozenset())


class McpWanted(msgspec.Struct, frozen=True, kw_only=True):
    """One server that a request names."""

    where: str
    label: str
    url: str | None = None
    headers: Mapping[str, str] = {}
    """Secret. With the one that ``authorization`` makes."""
    description: str | None = None
    allowed: ToolFilter = ALL
    always: ToolFilter = ALL
    """What needs an approval for each call; stronger than ``never``."""
    never: ToolFilter = NONE
    ignored: tuple[str, ...] = ()

    def __repr__(self) -> str:
        return f"McpWanted({self.label!r})"

    def asks(self, name: str, *, read_only: bool) -> bool:
        """Whether a call needs an approval."""
        if self.always.takes(name, read_only=read_only):
            return True
        return not self.never.takes(name, read_only=read_only)


def read_mcp(fields: Mapping[str, Any], where: str) -> McpWanted:
    """One entry of ``tools``. Raises MessageError naming what is wrong, or not possible here."""
    label = _text(fields, "server_label", where, limit=MAX_LABEL_CHARS)
    if label is None or not label.strip() or not label.isprintable():
        raise _wrong(f"{where}.server_label", "expected a name of printable characters")
    for name in ("connector_id", "tunnel_id"):
        if fields.get(name) is not None:
            raise _wrong(f"{where}.{name}", "only servers at a URL or of this gateway are possible")
    callers = fields.get("allowed_callers")
    if callers is not None and (not isinstance(callers, list) or "direct" not in callers):
        raise _wrong(f"{where}.allowed_callers", "expected a list with direct")
    ignored = [f"{where}.{name[:40]}" for name in fields if name not in _KNOWN]
    if fields.get("defer_loading"):
        ignored.append(f"{where}.defer_loading")
    always, never = _approval(fields.get("require_approval"), f"{where}.require_approval")
    return McpWanted(
        where=where,
        label=label,
        url=_text(fields, "server_url", where),
        headers=_headers(fields, where),
        description=_text(fields, "server_description", where),
        allowed=_allowed(fields.get("allowed_tools"), f"{where}.allowed_tools"),
        always=always,
        never=never,
        ignored=tuple(ignored),
    )


def _wrong(field: str, why: str) -> MessageError:
    return MessageError(f"{field}: {why}", field=field)


def _text(
    fields: Mapping[str, Any], name: str, where: str, *, limit: int = MAX_TEXT_CHARS
) -> str | None:
    value = fields.get(name)
    if value is None:
        return None
    if not isinstance(value, str) or len(value) > limit:
        raise _wrong(f"{where}.{name}", f"expected a text of at most {limit} characters")
    return value


def _allowed(value: Any, field: str) -> ToolFilter:
    if value is None:
        return ALL
    if isinstance(value, list):
        return ToolFilter(_names(value, field))
    return _filter(value, field)


def _filter(value: Any, field: str) -> ToolFilter:
    if not isinstance(value, Mapping):
        raise _wrong(field, "expected a list of names, or an object")
    unknown = [name for name in value if name not in ("tool_names", "read_only")]
    if unknown:
        raise _wrong(f"{field}.{unknown[0][:40]}", "is not known here")
    names, read_only = value.get("tool_names"), value.get("read_only")
    if read_only is not None and not isinstance(read_only, bool):
        raise _wrong(f"{field}.read_only", "expected true or false")
    return ToolFilter(None if names is None else _names(names, f"{field}.tool_names"), read_only)


def _names(value: Any, field: str) -> frozenset[str]:
    if (
        not isinstance(value, list)
        or len(value) > MAX_NAMES
        or not all(isinstance(name, str) for name in value)
    ):
        raise _wrong(field, f"expected a list of at most {MAX_NAMES} names")
    return frozenset(value)


def _approval(value: Any, field: str) -> tuple[ToolFilter, ToolFilter]:
    """What always needs an approval, and what never does."""
    if value is None or value == "always":
        return ALL, NONE
    if value == "never":
        return NONE, ALL
    if not isinstance(value, Mapping) or any(name not in ("always", "never") for name in value):
        raise _wrong(field, "expected always, never, or an object of filters")
    always, never = value.get("always"), value.get("never")
    return (
        NONE if always is None else _filter(always, f"{field}.always"),
        NONE if never is None else _filter(never, f"{field}.never"),
    )


def _headers(fields: Mapping[str, Any], where: str) -> dict[str, str]:
    """What is wrong is said without the value."""
    given, field = fields.get("headers"), f"{where}.headers"
    if given is None:
        given = {}
    if not isinstance(given, Mapping) or len(given) > MAX_HEADERS:
        raise _wrong(field, f"expected an object of at most {MAX_HEADERS} headers")
    headers: dict[str, str] = {}
    for name, value in given.items():
        if not name or not _TOKEN.issuperset(name) or name.lower() in _OURS:
            raise _wrong(f"{field}.{name[:60]}", "is not a header that can be given")
        if not isinstance(value, str) or not value.isascii() or not value.isprintable():
            raise _wrong(f"{field}.{name[:60]}", "expected printable ASCII characters")
        headers[name] = value
    token = fields.get("authorization")
    if token is not None:
        field = f"{where}.authorization"
        if any(name.lower() == "authorization" for name in headers):
            raise _wrong(field, "is given twice: it is among the headers too")
        if not isinstance(token, str) or not token.isascii() or not token.isprintable():
            raise _wrong(field, "expected printable ASCII characters")
        headers["Authorization"] = f"Bearer {token}"
    if sum(len(name) + len(value) for name, value in headers.items()) > MAX_HEADER_BYTES:
        raise _wrong(f"{where}.headers", f"more than {MAX_HEADER_BYTES} bytes")
    return headers


class _McpItem(ServedItem):
    __slots__ = ("_label",)

    def __init__(self, number: str, index: int, *, label: str) -> None:
        super().__init__(f"{self.prefix}_{number}", index)
        self._label = label


class McpListItem(_McpItem):
    """``mcp_list_tools``: what a server offers, or why that is not known."""

    prefix: ClassVar[str] = "mcpl"
    early: ClassVar[bool] = True

    __slots__ = ()

    @property
    def type(self) -> str:
        return "mcp_list_tools"

    def fields(self, status: str) -> dict[str, Any]:
        details: Mapping[str, Any] = {} if self.outcome is None else self.outcome.details
        return {
            "server_label": self._label,
            "tools": details.get("tools", []),
            "error": details.get("error"),
        }

    def opening(self) -> list[bytes]:
        return [self.event("response.mcp_list_tools.in_progress", content=False)]

    def ran(self, outcome: CallRan) -> list[bytes]:
        super().ran(outcome)
        word = "failed" if outcome.failed else "completed"
        return [self.event(f"response.mcp_list_tools.{word}", content=False)]

    def _members(self, status: ItemStatus) -> dict[str, Any]:
        members = super()._members(status)
        del members["status"]  # OpenAI's has none.
        return members


class McpCallItem(_McpItem):
    """``mcp_call``. ``request`` is the id of the approval that it was made by."""

    prefix: ClassVar[str] = "mcp"
    early: ClassVar[bool] = True

    __slots__ = ("_name", "_request")

    def __init__(
        self, number: str, index: int, *, label: str, name: str, request: str | None = None
    ) -> None:
        super().__init__(number, index, label=label)
        self._name = name
        self._request = request
        self._deltas("response.mcp_call_arguments.delta", content=False)

    @property
    def type(self) -> str:
        return "mcp_call"

    def fields(self, status: str) -> dict[str, Any]:
        outcome = self.outcome
        output: str | None = None
        error: Mapping[str, Any] | None = None
        if outcome is not None and outcome.failed:
            error = outcome.details.get("error") or _failure(outcome.text)
        elif outcome is not None:
            output = outcome.text
        return {
            "server_label": self._label,
            "name": self._name,
            "arguments": self.json,
            "output": output,
            "error": error,
            "approval_request_id": self._request,
        }

    def opening(self) -> list[bytes]:
        return [self.event("response.mcp_call.in_progress", content=False)]

    def written(self) -> list[bytes]:
        self.state = "calling"
        done = "response.mcp_call_arguments.done"
        return [self.event(done, content=False, arguments=self.json)]

    def ran(self, outcome: CallRan) -> list[bytes]:
        super().ran(outcome)
        word = "failed" if outcome.failed else "completed"
        return [self.event(f"response.mcp_call.{word}", content=False)]


class McpApprovalItem(_McpItem):
    """``mcp_approval_request``: the response ends with it. ``sign`` makes, of the id and of the
    arguments, the id that the approval has to name: nothing else can be approved by it.
    """

    prefix: ClassVar[str] = "mcpr"
    waits: ClassVar[bool] = False

    __slots__ = ("_name", "_sign")

    def __init__(
        self,
        number: str,
        index: int,
        *,
        label: str,
        name: str,
        sign: Callable[[str, str], str],
    ) -> None:
        super().__init__(number, index, label=label)
        self._name = name
        self._sign = sign

    @property
    def type(self) -> str:
        return "mcp_approval_request"

    def fields(self, status: str) -> dict[str, Any]:
        return {"server_label": self._label, "name": self._name, "arguments": self.json}

    def _members(self, status: ItemStatus) -> dict[str, Any]:
        members = super()._members(status)
        del members["status"]
        return {**members, "id": self._sign(self.id, self.text)}


def _failure(text: str) -> dict[str, Any]:
    content: Sequence[Any] = [{"type": "text", "text": text}]
    return {"type": "mcp_tool_execution_error", "content": content}
