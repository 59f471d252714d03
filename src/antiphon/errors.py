"""The one error tree of the project.

    AntiphonError
    ├── MessageError          a message value that Harmony cannot carry (your misuse)
    ├── RenderError           a conversation that cannot be rendered (your misuse)
    ├── ParseError            malformed model output; raised only with ``strict=True``
    ├── SchemaError           a JSON Schema, grammar or tool table that cannot be used
    ├── VocabularyError       the vocabulary data is missing or damaged
    ├── MissingExtraError     an optional dependency is not installed
    ├── SettingsError         a setting, a settings file or a registry that is wrong
    ├── EngineError           an engine cannot be started, reached or understood
    ├── StoreError            what is kept for clients cannot be kept or read
    └── SealError             a sealed message or its keys; `antiphon.seal.errors` has the branches

Any other exception out of the codec is a bug.
"""

from __future__ import annotations

__all__ = [
    "AntiphonError",
    "EngineError",
    "MessageError",
    "MissingExtraError",
    "ParseError",
    "RenderError",
    "SchemaError",
    "SealError",
    "SettingsError",
    "StoreError",
    "VocabularyError",
]


class AntiphonError(Exception):
    """Base of every error this project raises on purpose.

    ``status_hint`` is the HTTP status a server would answer with.
    """

    status_hint: int = 500


class MessageError(AntiphonError, ValueError):
    """A field value that would break the format. ``field`` names it (a JSON path)."""

    status_hint = 400

    def __init__(self, message: str, *, field: str | None = None) -> None:
        super().__init__(message)
        self.field = field


class RenderError(AntiphonError, RuntimeError):
    """A conversation that cannot be rendered, for example system content in a user message."""

    status_hint = 400


class ParseError(AntiphonError, ValueError):
    """Model output that the strict parser refuses.

    ``position`` is the index of the token at which it failed (``None`` at the end of input),
    ``recovery`` says in a few words what the default, total parser does instead.
    """

    status_hint = 502

    def __init__(
        self, message: str, *, position: int | None = None, recovery: str | None = None
    ) -> None:
        super().__init__(message)
        self.position = position
        self.recovery = recovery


class SchemaError(AntiphonError, ValueError):
    """A JSON Schema, grammar or tool table that cannot be turned into what was asked for."""

    status_hint = 400


class VocabularyError(AntiphonError, RuntimeError):
    """The vocabulary data in the package is missing or does not match its checksum."""


class MissingExtraError(AntiphonError, ImportError):
    """An optional dependency is missing. The message holds the install command."""

    def __init__(self, package: str, extra: str) -> None:
        super().__init__(
            f"{package} is not installed; install it with: pip install 'antiphon[{extra}]'"
        )
        self.package = package
        self.extra = extra


class SettingsError(AntiphonError, ValueError):
    """A setting that is wrong. The message names the file, variable or flag it came from, its path
    and what was expected.
    """


class EngineError(AntiphonError, RuntimeError):
    """An engine that cannot be started, reached or understood.

    ``retry_after`` is when the engine asked to be tried again, in seconds; None if it did not say.
    """

    status_hint = 502
    retry_after: float | None = None


class StoreError(AntiphonError, RuntimeError):
    """What is kept for clients cannot be kept or read: ``status`` 503 if the store cannot be
    reached or used, 507 if it is full.
    """

    def __init__(self, message: str, *, status: int = 503) -> None:
        super().__init__(message)
        self.status_hint = status


class SealError(AntiphonError):
    """A sealed message that cannot be made or opened, or a key that cannot be used for it."""

    status_hint = 400
