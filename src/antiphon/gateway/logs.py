"""Structured logs: JSON lines for machines, text for terminals, one request id throughout.

A log says what happened and why, and never what users or models wrote: what may hold their words is
logged under the one name ``content``, which is dropped unless ``log.content`` is on.
"""

from __future__ import annotations

import logging
import sys
import traceback
from collections.abc import Mapping, MutableMapping
from contextvars import Token
from datetime import UTC, datetime
from typing import Any, Final, TextIO

import msgspec
import structlog
from structlog.contextvars import bind_contextvars, merge_contextvars, reset_contextvars

from antiphon.settings.model import LogSettings

__all__ = ["CONTENT", "Log", "bind_request", "unbind_request"]

CONTENT: Final = "content"
"""The one field of a log line that may hold what users and models say."""
MAX_VALUE_CHARS: Final = 2000
"""A longer value is cut: a log line is not the place for a prompt."""
_LEVELS: Final = {"debug": 10, "info": 20, "warning": 30, "error": 40}
_LOGGERS: Final = ("antiphon", "uvicorn.error", "asyncio")
_COLORS: Final = {"debug": "2", "info": "32", "warning": "33", "error": "31", "critical": "31"}


class Log:
    """Where log lines go. `configure` may be called again, after a reload."""

    def __init__(
        self,
        settings: LogSettings | None = None,
        stream: TextIO | None = None,
        *,
        worker: int | None = None,
    ) -> None:
        """``worker``: which of several writes these lines."""
        self._always = {} if worker is None else {"worker": worker}
        self._stream = sys.stderr if stream is None else stream
        self.configure(settings or LogSettings())

    def configure(self, settings: LogSettings) -> None:
        """Write as these settings say from now on."""
        self._settings = settings
        self._level = _LEVELS[settings.level]
        json = settings.format == "json" or (
            settings.format == "auto" and not self._stream.isatty()
        )
        color = not json and self._stream.isatty()
        self._logger: Any = structlog.wrap_logger(
            structlog.WriteLogger(self._stream),
            processors=[merge_contextvars, _Line(settings, json=json, color=color)],
            wrapper_class=structlog.make_filtering_bound_logger(self._level),
            cache_logger_on_first_use=False,
        ).bind()

    @property
    def content(self) -> bool:
        """Whether lines may hold what users and models say."""
        return self._settings.content

    def debug(self, event: str, **fields: Any) -> None:
        self._write("debug", event, fields)

    def info(self, event: str, **fields: Any) -> None:
        self._write("info", event, fields)

    def warning(self, event: str, **fields: Any) -> None:
        self._write("warning", event, fields)

    def error(self, event: str, **fields: Any) -> None:
        self._write("error", event, fields)

    def handler(self) -> logging.Handler:
        """For the standard library's loggers: their records become lines here."""
        return _Bridge(self)

    def capture(self) -> None:
        """Take over what antiphon's libraries and uvicorn log, for the life of the process."""
        for name in _LOGGERS:
            logger = logging.getLogger(name)
            logger.handlers[:] = [self.handler()]
            logger.propagate = False
            logger.setLevel(self._level)

    def _write(self, level: str, event: str, fields: Mapping[str, Any]) -> None:
        if _LEVELS[level] >= self._level:
            try:
                getattr(self._logger, level)(event, **self._always, **fields)
            except (OSError, ValueError):
                return  # A closed pipe or a full disk must not end a request.


def bind_request(request_id: str) -> Mapping[str, Token[Any]]:
    """Give every line of this task the request's id, until `unbind_request`."""
    return bind_contextvars(request_id=request_id)


def unbind_request(tokens: Mapping[str, Token[Any]]) -> None:
    reset_contextvars(**tokens)


class _Bridge(logging.Handler):
    """Standard log records as lines of a `Log`."""

    def __init__(self, log: Log) -> None:
        super().__init__()
        self._log = log

    def emit(self, record: logging.LogRecord) -> None:
        fields: dict[str, Any] = {"logger": record.name}
        if record.exc_info and record.exc_info[1] is not None:
            fields["traceback"] = "".join(traceback.format_exception(record.exc_info[1]))
        level = "error" if record.levelno >= logging.ERROR else record.levelname.lower()
        try:
            message = record.getMessage()
        except (TypeError, ValueError):
            message = str(record.msg)
        self._log._write(level if level in _LEVELS else "info", message, fields)  # noqa: SLF001


class _Line:
    """The last processor: an event with its fields → one line.

    ``{"time": …, "level": "info", "event": "request", …}``, or as text
    ``07:12:29.123 info    request model=gpt-oss-20b status=200``.
    """

    def __init__(self, settings: LogSettings, *, json: bool, color: bool) -> None:
        self._content = settings.content
        self._json = json
        self._color = color

    def __call__(self, logger: Any, method: str, event: MutableMapping[str, Any]) -> str:
        time = datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        if not self._content:
            event.pop(CONTENT, None)
        name, trace = str(event.pop("event")), event.pop("traceback", None)
        fields = {key: _cut(value) for key, value in event.items()}
        if not self._json:
            return self._text(time[11:23], method, name, fields, trace)
        line = {"time": time, "level": method, "event": name, **fields}
        if trace is not None:
            line["traceback"] = trace
        return msgspec.json.encode(line, enc_hook=str).decode()

    def _text(
        self, time: str, level: str, name: str, fields: Mapping[str, Any], trace: str | None
    ) -> str:
        shown = f"{level:<7}"
        if self._color:
            shown = f"\x1b[{_COLORS.get(level, '0')}m{shown}\x1b[0m"
        rest = "".join([f" {key}={_plain(value)}" for key, value in fields.items()])
        line = f"{time} {shown} {_one_line(name)}{rest}"
        if trace is None:
            return line
        return "\n".join([line, *(f"    {_one_line(part)}" for part in trace.splitlines())])


def _cut(value: Any) -> Any:
    if isinstance(value, str) and len(value) > MAX_VALUE_CHARS:
        return f"{value[:MAX_VALUE_CHARS]}… ({len(value)} characters)"
    return value


def _plain(value: Any) -> str:
    if not isinstance(value, str):
        return _one_line(msgspec.json.encode(value, enc_hook=str).decode())
    if value and value.isascii() and value.isprintable() and not set(value) & set(' "='):
        return value
    return msgspec.json.encode(_one_line(value)).decode()


def _one_line(text: str) -> str:
    """``text`` with what could break the line or drive the terminal escaped."""
    if text.isprintable():
        return text
    return "".join(
        [c if c.isprintable() else c.encode("unicode_escape", "replace").decode() for c in text]
    )
