"""One value of one setting: from TOML, or from text, with an error that says what was expected."""

from __future__ import annotations

import difflib
import math
import types
from collections.abc import Iterable
from typing import Annotated, Any, Final, Union, get_args, get_origin

import msgspec

from antiphon.errors import SettingsError
from antiphon.settings.options import Option

__all__ = ["closest", "convert_text", "convert_value"]

_TRUTH: Final = {
    **dict.fromkeys(("true", "yes", "on", "1"), True),
    **dict.fromkeys(("false", "no", "off", "0"), False),
}
_MAX_SHOWN: Final = 80
"""Characters of a wrong value that an error message repeats."""


def convert_value(option: Option, value: Any, where: str) -> Any:
    """``value`` as the setting's type. Raises SettingsError."""
    try:
        converted = msgspec.convert(value, option.type)
    except msgspec.ValidationError:
        raise _wrong(option, value, where) from None
    if isinstance(converted, float) and not math.isfinite(converted):
        raise _wrong(option, value, where)
    return converted


def convert_text(option: Option, text: str, where: str) -> Any:
    """What ``text`` says, as the setting's type: lists with commas, ``true`` and ``false``.

    Raises SettingsError.
    """
    try:
        value = _value(option.type, text)
    except ValueError:
        raise _wrong(option, text, where) from None
    return convert_value(option, value, where)


def _value(kind: Any, text: str) -> Any:
    """``text`` as TOML would have given it. Raises ValueError."""
    origin = get_origin(kind)
    if origin is Annotated:
        return _value(get_args(kind)[0], text)
    if origin in (Union, types.UnionType):
        if not text:
            return None
        (kind,) = (inner for inner in get_args(kind) if inner is not type(None))
        return _value(kind, text)
    if origin is tuple:
        item = get_args(kind)[0]
        return [_value(item, part.strip()) for part in text.split(",") if part.strip()]
    if kind is bool:
        if (truth := _TRUTH.get(text.strip().lower())) is None:
            raise ValueError(text)
        return truth
    if kind is int:
        return int(text)
    if kind is float:
        return float(text)
    return text


def _wrong(option: Option, value: Any, where: str) -> SettingsError:
    shown = "another value" if option.secret else repr(value)
    if len(shown) > _MAX_SHOWN:
        shown = f"{shown[:_MAX_SHOWN]}…"
    # A variable or flag does not spell the path; a file's place ends with it.
    path = "" if where.endswith(option.path) else f" ({option.path})"
    return SettingsError(f"{where}{path}: expected {option.expected}, got {shown}")


def closest(name: str, candidates: Iterable[str]) -> str | None:
    """The candidate that ``name`` was probably meant to be."""
    near = difflib.get_close_matches(name, list(candidates), n=1, cutoff=0.7)
    return near[0] if near else None
