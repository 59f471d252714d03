"""What ``antiphon serve`` says: on a terminal for people, in a pipe one plain fact a line."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING, TextIO

from antiphon import __version__
from antiphon.cli.terminal import Terminal, printable

if TYPE_CHECKING:
    from antiphon.gateway.logs import Log
    from antiphon.gateway.services import Services

__all__ = ["ServeView"]

MAKESHIFT = (
    "no engine was found on the usual ports, so this is a test model that knows next to nothing."
    " A real one: --engine URL, or --model FILE.gguf"
)
"""What is said where nothing was configured and nothing was found."""

MAX_MODELS = 20
"""Most models that are listed."""
FIRST_SECONDS = 2.0
"""In a pipe, what is waited for is not worth a line before so long,"""
AGAIN_SECONDS = 10.0
"""and not another one before so long."""


class ServeView:
    """Writes to ``stream``, which is stderr: the log goes there too."""

    def __init__(self, stream: TextIO, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._terminal = Terminal(stream)
        self._open_line = False
        self._clock = clock
        self._due = clock() + FIRST_SECONDS
        self._log: Log | None = None

    def log_to(self, log: Log) -> None:
        """The server runs: what engines do from now on is for its log."""
        self._log = log

    def progress(self, text: str) -> None:
        """What is being waited for, or has become of an engine. Of what repeats itself, little."""
        repeats = text.startswith("loading ") and text.endswith(" s")
        now = self._clock()
        if self._log is not None:
            if not repeats or now >= self._due:
                self._due = now + AGAIN_SECONDS
                self._log.info("engine", why=text)
        elif not self._terminal.is_tty:
            if now >= self._due:
                self._due = now + AGAIN_SECONDS
                self.line(text)
        else:
            line = printable(text)[: max(20, self._terminal.width - 1)]
            self._terminal.write(f"\r\x1b[K{self._terminal.style(line, 'dim')}")
            self._terminal.flush()
            self._open_line = True

    def line(self, text: str) -> None:
        """One line."""
        if self._open_line:
            self._terminal.write("\r\x1b[K")
            self._open_line = False
        self._terminal.write(printable(text) + "\n")
        self._terminal.flush()

    def ready(self, url: str, services: Services, keys: str) -> None:
        """The first lines: where it serves, then what."""
        style = self._terminal.style
        if self._terminal.is_tty:
            self._raw(
                f"{style('antiphon', 'bold')} {__version__}   {style(f'{url}/v1', 'green')}\n"
            )
        else:
            self.line(f"antiphon {__version__} serves {url}/v1")
        for name, what in _models(services):
            self._pair(name, what)
        self._pair("keys", keys)
        for name, what in _sealing(services):
            self._pair(name, what)
        if services.tools.offered:
            self._pair("tools", _tools(services))
        if _is_makeshift(services):
            self._pair("note", MAKESHIFT)

    def checked(self, settings: list[tuple[str, str]], facts: list[str]) -> None:
        """The settings that are not at their defaults, and that all is well."""
        for name, value in settings:
            self.line(f"{name} = {value}")
        for fact in facts:
            self.line(fact)
        self.line("the settings are good")

    def _pair(self, name: str, what: str) -> None:
        if self._terminal.is_tty:
            self._raw(f"  {self._terminal.style(printable(name), 'bold')}  {printable(what)}\n")
        else:
            self.line(f"{name}: {what}")

    def _raw(self, text: str) -> None:
        if self._open_line:
            self._terminal.write("\r\x1b[K")
            self._open_line = False
        self._terminal.write(text)
        self._terminal.flush()


def _tools(services: Services) -> str:
    """What the server itself runs, and for whom."""
    names = ", ".join(services.tools.offered)
    if services.policy.has_keys:
        return f"{names}: for requests with an API key"
    return f"{names}: for nobody, as there are no API keys (antiphon keys add)"


def _sealing(services: Services) -> list[tuple[str, str]]:
    """What clients pin: the fingerprint of each key that is published, the current one first."""
    sealed = services.sealed
    if sealed is None:
        return []
    from antiphon.gateway.sealed.keyfile import kem_name

    keys = [key for key in sealed.ring.keys if not key.expired(sealed.now())]
    required = ", required" if services.settings.seal.required else ""
    return [
        ("seal" if n == 0 else "seal, too", f"{key.config.fingerprint} ({kem_name(key)}){required}")
        for n, key in enumerate(keys)
    ] + [("sealing keys", str(sealed.file.path))]


def _is_makeshift(services: Services) -> bool:
    """Whether the tiny model is served though nobody asked for it."""
    from antiphon.engines.tiny.model import MODEL_NAME

    settings = services.settings
    asked = settings.engine or settings.model or settings.engines
    return not asked and [card.id for card in services.catalog.list()] == [MODEL_NAME]


def _models(services: Services) -> list[tuple[str, str]]:
    """A line for each model: how it is served, where, and why."""
    from antiphon.errors import AntiphonError
    from antiphon.gateway.modes import decide

    lines: list[tuple[str, str]] = []
    cards = services.catalog.list()
    for card in cards[:MAX_MODELS]:
        served = services.catalog.find(card.id)
        try:
            mode: str = decide(
                model=served.name,
                gpt_oss=served.gpt_oss,
                has_standard=served.passthrough is not None,
                settings=served.settings,
                server=services.settings.mode,
            ).mode
        except AntiphonError as error:
            mode = str(error)
        kind = "gpt-oss" if served.gpt_oss else "not gpt-oss"
        why = f" ({'; '.join(served.reasons)})" if served.reasons else ""
        length = f", {card.context_length:,} tokens" if card.context_length else ""
        lines.append(
            (f"model {card.id}", f"mode {mode}, {kind}{why}{length}, on {served.engine.name}")
        )
    if len(cards) > MAX_MODELS:
        lines.append(("more models", str(len(cards) - MAX_MODELS)))
    lines += [
        (
            "engine " + engine.name.removeprefix("engine at "),
            f"{engine.state}: {engine.detail}",
        )
        for engine in services.catalog.health()
        if engine.state not in ("up", "idle")
    ]
    return lines
