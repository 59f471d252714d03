"""The file that keeps API keys: TOML that people can read and edit, mode 0600."""

from __future__ import annotations

import tomllib
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, Final

import msgspec

from antiphon.errors import SettingsError
from antiphon.gateway.keys import ApiKey, KeyRing
from antiphon.gateway.secret_file import SecretFile, secret_path
from antiphon.settings import private_file

__all__ = ["FILE_NAME", "MAX_FILE_BYTES", "KeyFile", "key_file_path"]

FILE_NAME: Final = "keys.toml"
MAX_FILE_BYTES: Final = 64 * 1024 * 1024
"""A key file is no larger: more than 100,000 keys."""
_HEADER: Final = """\
# API keys of antiphon: only hashes, the keys themselves are nowhere. What a key may do can be
# edited here, and a running server takes it over. `antiphon keys add` and `revoke` drop comments.
"""


def key_file_path(configured: str | None, environ: Mapping[str, str]) -> Path:
    """Where the keys are: ``keys.file``, else in the user's configuration folder."""
    return secret_path(configured, FILE_NAME, environ)


class KeyFile(SecretFile):
    """The keys on disk."""

    max_bytes = MAX_FILE_BYTES

    def load(self) -> KeyRing:
        """The keys; none if there is no file."""
        data = self._read()
        return KeyRing() if data is None else KeyRing(self._decode(data))

    def add(self, key: ApiKey) -> None:
        """Keep a new key. Raises SettingsError if its name is taken."""

        def change(keys: tuple[ApiKey, ...]) -> Iterable[ApiKey]:
            if any(key.name in (each.name, each.id) or key.id == each.id for each in keys):
                raise SettingsError(f"there is a key named {key.name!r} already")
            return (*keys, key)

        self._change(change)

    def revoke(self, name: str) -> ApiKey:
        """Forget the key with this id or name, and return it. Raises SettingsError if unknown."""
        found: list[ApiKey] = []

        def change(keys: tuple[ApiKey, ...]) -> Iterable[ApiKey]:
            found.extend(each for each in keys if name in (each.id, each.name))
            if not found:
                raise SettingsError(f"{self.path}: there is no key {name!r}")
            return [each for each in keys if each is not found[0]]

        self._change(change)
        return found[0]

    def _change(self, change: Callable[[tuple[ApiKey, ...]], Iterable[ApiKey]]) -> None:
        with self._locked():
            private_file.replace(self.path, _encode(change(self.load().keys)))

    def _decode(self, data: bytes) -> list[ApiKey]:
        try:
            tables = tomllib.loads(data.decode("utf-8-sig"))
        except (tomllib.TOMLDecodeError, UnicodeDecodeError, RecursionError) as error:
            raise SettingsError(f"{self.path}: {error}") from error
        entries = tables.pop("keys", [])
        if tables or not isinstance(entries, list):
            raise SettingsError(f"{self.path}: only [[keys]] tables belong here")
        keys: list[ApiKey] = []
        for number, entry in enumerate(entries, 1):
            try:
                keys.append(msgspec.convert(entry, ApiKey))
            except msgspec.ValidationError as error:
                raise SettingsError(f"{self.path}: key {number}: {error}") from error
        for field in ("id", "sha256"):
            if len({getattr(key, field) for key in keys}) != len(keys):
                raise SettingsError(f"{self.path}: two keys have the same {field}")
        return keys


def _encode(keys: Iterable[ApiKey]) -> bytes:
    lines = [_HEADER]
    for key in keys:
        lines.append("[[keys]]")
        fields: dict[str, Any] = msgspec.to_builtins(key)
        lines.extend(f"{name} = {_toml(value)}" for name, value in fields.items())
        lines.append("")
    return "\n".join(lines).encode()


def _toml(value: Any) -> str:
    # JSON's strings, numbers, booleans and lists are TOML's, but for one character that TOML wants
    # escaped.
    return msgspec.json.encode(value).decode().replace("\x7f", "\\u007f")
