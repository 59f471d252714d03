"""Pins as people give them: a fingerprint, a configuration, a file with either, or several."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Final

from antiphon.seal.errors import KeyConfigError
from antiphon.seal.keyconfig import KeyConfig, Pin, decode_keys

__all__ = ["Pins", "read_pins"]

Pins = str | bytes | Path | KeyConfig | Pin | Sequence[str | bytes | Path | KeyConfig | Pin]
"""What ``key=`` takes."""

_MAX_FILE_BYTES: Final = 64 * 1024


def read_pins(given: Pins) -> tuple[Pin, ...]:
    """The pins, at least one. Text that is no pin is the name of a file; a file holds pins one a
    line, ``#`` before remarks, or a gateway's list of configurations as it was fetched.

    Raises KeyConfigError.
    """
    if isinstance(given, str | bytes | Path | KeyConfig | Pin):
        given = (given,)
    pins = tuple(dict.fromkeys(pin for one in given for pin in _read(one)))
    if not pins:
        raise KeyConfigError("there is no pin in what was given as one")
    return pins


def _read(one: str | bytes | Path | KeyConfig | Pin) -> tuple[Pin, ...]:
    match one:
        case Pin():
            return (one,)
        case KeyConfig():
            return (Pin.of(one),)
        case bytes():
            return _from_bytes(one)
        case Path():
            return _from_file(one)
        case str():
            try:
                return (Pin.parse(one),)
            except KeyConfigError:
                if not _is_file(one):
                    raise
                return _from_file(Path(one))


def _is_file(text: str) -> bool:
    try:
        return Path(text).is_file()
    except (OSError, ValueError):
        return False


def _from_file(path: Path) -> tuple[Pin, ...]:
    try:
        with path.open("rb") as file:
            data = file.read(_MAX_FILE_BYTES + 1)
    except OSError as error:
        raise KeyConfigError(f"{path}: the pin cannot be read ({error.strerror})") from error
    if len(data) > _MAX_FILE_BYTES:
        raise KeyConfigError(f"{path}: too long to be a pin")
    try:
        return _from_bytes(data)
    except KeyConfigError as error:
        raise KeyConfigError(f"{path}: {error}") from error


def _from_bytes(data: bytes) -> tuple[Pin, ...]:
    """From lines of text, one configuration, or a list of them."""
    try:
        text = data.decode("ascii")
    except UnicodeDecodeError:
        text = "\0"
    if all(c.isprintable() or c in "\r\n\t" for c in text):
        lines = [line.partition("#")[0].strip() for line in text.splitlines()]
        return tuple(Pin.parse(line) for line in lines if line)
    if len(data) > 2 and int.from_bytes(data[:2], "big") <= len(data) - 2:
        try:
            return tuple(Pin.of(config) for config in decode_keys(data))
        except KeyConfigError:
            pass
    return (Pin.of(KeyConfig.decode(data)),)
