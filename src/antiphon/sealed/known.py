"""The gateways that were trusted on first use, in a file of the user's own.

    {"antiphon_known_gateways": 1,
     "gateways": {"https://gpt.example": {"config": "base64", "since": …, "checked": …}}}

Only who can write the file decides whom the client trusts: it is created for its owner alone.
"""

from __future__ import annotations

import binascii
import os
from base64 import b64decode, b64encode
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Final, Literal, NoReturn

import msgspec
from msgspec import Meta

from antiphon.seal.errors import KeyConfigError
from antiphon.seal.keyconfig import KeyConfig
from antiphon.settings.paths import data_directory
from antiphon.settings.private_file import locked, make_folder, replace

__all__ = ["FILE_NAME", "KnownGateway", "KnownGateways"]

FILE_NAME: Final = "known-gateways.json"

_MAX_BYTES: Final = 4 * 1024 * 1024


class KnownGateway(msgspec.Struct, frozen=True, kw_only=True):
    """What is remembered of one gateway. Times are seconds since 1970."""

    config: KeyConfig
    since: int
    """When this key was first trusted."""
    checked: int
    """When the gateway last said, under this key, which key to use next."""


class _Saved(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    config: str
    since: int
    checked: int


class _File(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    antiphon_known_gateways: Literal[1] = 1
    gateways: Annotated[dict[str, _Saved], Meta(max_length=10_000)] = msgspec.field(
        default_factory=dict
    )


_decoder = msgspec.json.Decoder(_File)


class KnownGateways:
    """The file. Several processes may use it at a time; it is read anew each time."""

    def __init__(self, path: Path | None = None) -> None:
        """``path``: by default ``known-gateways.json`` in the user's data folder."""
        self.path = path or data_directory(os.environ) / FILE_NAME

    def all(self) -> dict[str, KnownGateway]:
        """Every gateway by its URL. Raises KeyConfigError if the file is damaged."""
        return {url: self._known(saved) for url, saved in self._read().gateways.items()}

    def get(self, url: str) -> KnownGateway | None:
        """Raises KeyConfigError if the file is damaged."""
        saved = self._read().gateways.get(url)
        return None if saved is None else self._known(saved)

    def add(self, url: str, config: KeyConfig, now: int) -> KnownGateway:
        """Remember a gateway that is seen for the first time, and give what is remembered: if
        another process was quicker, what that one saw.
        """

        def change(file: _File) -> None:
            if url not in file.gateways:
                file.gateways[url] = _saved(config, since=now, checked=now)

        return self._known(self._change(change).gateways[url])

    def follow(self, url: str, old: KeyConfig, new: KeyConfig, now: int) -> KnownGateway:
        """Remember that the gateway itself, under the key ``old``, named ``new`` as the one to use.
        Nothing happens if ``old`` is no longer the one that is remembered.
        """

        def change(file: _File) -> None:
            saved = file.gateways.get(url)
            if saved is not None and self._known(saved).config == old:
                since = saved.since if new == old else now
                file.gateways[url] = _saved(new, since=since, checked=now)

        saved = self._change(change).gateways.get(url)
        return KnownGateway(config=new, since=now, checked=now) if not saved else self._known(saved)

    def forget(self, url: str) -> bool:
        """Whether there was anything to forget."""
        if url not in self._read().gateways:
            return False
        self._change(lambda file: file.gateways.pop(url, None))
        return True

    def _change(self, change: Callable[[_File], object]) -> _File:
        try:
            make_folder(self.path)
            with locked(self.path):
                file = self._read()
                change(file)
                replace(self.path, msgspec.json.format(msgspec.json.encode(file)) + b"\n")
        except OSError as error:
            raise KeyConfigError(
                f"{self.path}: the gateway's key cannot be remembered ({error.strerror}); "
                "pin it instead"
            ) from error
        return file

    def _read(self) -> _File:
        try:
            data = self.path.read_bytes()
            return _decoder.decode(data) if len(data) <= _MAX_BYTES else self._damaged()
        except FileNotFoundError:
            return _File()
        except OSError as error:
            raise KeyConfigError(f"{self.path}: cannot be read ({error.strerror})") from error
        except msgspec.DecodeError:
            return self._damaged()

    def _known(self, saved: _Saved) -> KnownGateway:
        try:
            config = KeyConfig.decode(b64decode(saved.config, validate=True))
        except (binascii.Error, ValueError, KeyConfigError):
            self._damaged()
        return KnownGateway(config=config, since=saved.since, checked=saved.checked)

    def _damaged(self) -> NoReturn:
        raise KeyConfigError(
            f"{self.path}: not a file of known gateways, or damaged; mend it or move it away"
        )


def _saved(config: KeyConfig, *, since: int, checked: int) -> _Saved:
    return _Saved(config=b64encode(config.encode()).decode("ascii"), since=since, checked=checked)
