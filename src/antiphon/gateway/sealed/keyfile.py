"""The file of a gateway's private sealing keys: mode 0600, the newest first.

    {"antiphon_seal_keys": 1, "keys": [KEY, …]}       each KEY as `antiphon.seal.keys` writes one

Several gateways may share it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Final, Literal

import msgspec
from msgspec.structs import replace

from antiphon.errors import SettingsError
from antiphon.gateway.secret_file import SecretFile, secret_path
from antiphon.seal import KeyConfigError, Keyring, SealKey
from antiphon.seal.suites import KEMS
from antiphon.settings import private_file
from antiphon.settings.model import SealSettings

__all__ = ["FILE_NAME", "MAX_FILE_BYTES", "SealKeyFile", "kem_name", "seal_key_path"]

FILE_NAME: Final = "ohttp-keys.json"
MAX_FILE_BYTES: Final = 1024 * 1024

_Keys = tuple[SealKey, ...]


class _File(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    antiphon_seal_keys: Literal[1]
    keys: list[msgspec.Raw]


_decoder = msgspec.json.Decoder(_File)


def seal_key_path(configured: str | None, environ: Mapping[str, str]) -> Path:
    """Where the keys are: ``seal.keys_file``, else in the user's configuration folder."""
    return secret_path(configured, FILE_NAME, environ)


def kem_name(key: SealKey) -> str:
    """For people: ``x25519``."""
    return KEMS[key.config.kem].name


class SealKeyFile(SecretFile):
    """The keys on disk."""

    max_bytes = MAX_FILE_BYTES

    def load(self) -> _Keys:
        """The keys, expired ones too; none if there is no file.

        A file that others can read is refused: its keys may be known to them.
        """
        data = self._read()
        if data is None:
            return ()
        if self.open_to_others():
            raise SettingsError(
                f"{self.path}: others can read or write these private keys: chmod 600 it, and if"
                " they may have been read, run 'antiphon keys seal revoke'"
            )
        try:
            keys = tuple(SealKey.decode(bytes(raw)) for raw in _decoder.decode(data).keys)
            if keys:
                Keyring(keys)
        except KeyConfigError as error:
            raise SettingsError(f"{self.path}: {error}") from None
        except msgspec.DecodeError:
            raise SettingsError(f"{self.path}: not a file of sealing keys, or damaged") from None
        return keys

    def ensure(self, settings: SealSettings, now: float) -> _Keys:
        """The keys, with a new one of each kind in ``seal.kems`` that has none without an end."""
        keys = self.load()
        if not _missing(keys, settings):
            return keys
        return self._change(lambda keys: _filled(keys, settings, now))

    def rotate(self, settings: SealSettings, now: float, *, grace: int) -> _Keys:
        """New keys in front; the others are good for ``grace`` more seconds, and those that are
        good no more are forgotten.
        """
        ends = int(now) + grace

        def change(keys: _Keys) -> _Keys:
            old = tuple(
                key
                if key.expires is not None and key.expires <= ends
                else replace(key, expires=ends)
                for key in keys
                if not key.expired(now)
            )
            return (*_new(settings.kems, keys, settings, now), *old)

        return self._change(change)

    def revoke(self, which: str, settings: SealSettings, now: float) -> tuple[SealKey, _Keys]:
        """Forget the key with this identifier or fingerprint, or its beginning; the key, and what
        is left. A new one takes its place if none of its kind is left.
        """
        found: list[SealKey] = []

        def change(keys: _Keys) -> _Keys:
            found.extend(key for key in keys if _is(key, which))
            if len(found) != 1:
                many = "more than one key" if found else "no key"
                raise SettingsError(f"{self.path}: there is {many} {which!r}")
            left = tuple(key for key in keys if key is not found[0])
            return _filled(left, settings, now, beside=keys)

        left = self._change(change)
        return found[0], left

    def _change(self, change: Callable[[_Keys], _Keys]) -> _Keys:
        with self._locked():
            before = self.load()
            try:
                keys = change(before)
            except KeyConfigError as error:
                raise SettingsError(f"{self.path}: {error}") from None
            if keys != before:
                private_file.replace(self.path, _encode(keys))
            return keys


def _missing(keys: _Keys, settings: SealSettings) -> list[str]:
    have = {kem_name(key) for key in keys if key.expires is None}
    return [kem for kem in settings.kems if kem not in have]


def _filled(
    keys: _Keys, settings: SealSettings, now: float, *, beside: _Keys | None = None
) -> _Keys:
    wanted = _missing(keys, settings)
    return (*_new(wanted, keys if beside is None else beside, settings, now), *keys)


def _new(kems: Sequence[str], beside: _Keys, settings: SealSettings, now: float) -> _Keys:
    """A new key of each kind, each with an identifier of its own that none of ``beside`` has."""
    made: list[SealKey] = []
    for kem in dict.fromkeys(kems):
        taken = (*beside[:1], *made, *beside[1:])
        key_id = Keyring(taken).free_key_id() if taken else 1
        made.append(
            SealKey.generate(key_id, created=int(now), kem=kem, ciphers=tuple(settings.ciphers))
        )
    return tuple(made)


def _is(key: SealKey, which: str) -> bool:
    digest = key.config.fingerprint.removeprefix("sha256:")
    start = which.lower().removeprefix("sha256:")
    return which == str(key.config.key_id) or (len(start) >= 8 and digest.startswith(start))


def _encode(keys: _Keys) -> bytes:
    file = _File(antiphon_seal_keys=1, keys=[msgspec.Raw(key.encode()) for key in keys])
    return msgspec.json.format(msgspec.json.encode(file), indent=2) + b"\n"
