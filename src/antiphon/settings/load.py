"""Settings from a file, the environment and flags, each stronger than the one before.

A mistake is said once and exactly: where it stands, which setting it is, what was expected.
"""

from __future__ import annotations

import os
import re
import tomllib
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final

import msgspec

from antiphon.errors import SettingsError
from antiphon.settings.model import Settings
from antiphon.settings.options import (
    ENVIRONMENT_PREFIX,
    SHORT_FLAGS,
    Option,
    engine_options,
    model_options,
    options,
)
from antiphon.settings.paths import FILE_NAME, config_directory
from antiphon.settings.values import closest, convert_text, convert_value

__all__ = [
    "CONFIG_VARIABLE",
    "OTHER_VARIABLES",
    "describe",
    "load",
    "read_toml",
    "settings_file",
]

CONFIG_VARIABLE: Final = "ANTIPHON_CONFIG"
"""Environment variable that names the settings file."""
OTHER_VARIABLES: Final = frozenset(
    {CONFIG_VARIABLE, "ANTIPHON_API_KEY", "ANTIPHON_CACHE", "ANTIPHON_TRACEBACK"}
)
"""Variables of ours that are no settings."""
_FOREIGN: Final = ("ANTIPHON_SERVICE_", "ANTIPHON_PORT", "ANTIPHON_TEST_", "ANTIPHON_COMMAND")
"""What Kubernetes puts into every container beside a service named antiphon, and test runs."""
_PASSWORD: Final = re.compile(r"(://[^/?#:@]*:).*@")
MAX_FILE_BYTES: Final = 1024 * 1024
"""A settings file is no larger."""


def settings_file(
    file: Path | None = None, environ: Mapping[str, str] = MappingProxyType({})
) -> Path | None:
    """The file that settings are read from: ``file``, else ANTIPHON_CONFIG, else antiphon.toml in
    the working directory, else in the user's configuration folder; None if there is none.
    """
    if file is not None:
        return file
    if chosen := environ.get(CONFIG_VARIABLE):
        return Path(chosen).expanduser()
    for candidate in (Path(FILE_NAME), config_directory(environ) / FILE_NAME):
        if candidate.is_file():
            return candidate
    return None


def load(
    file: Path | None = None,
    environ: Mapping[str, str] | None = None,
    flags: Mapping[str, str] = MappingProxyType({}),
) -> Settings:
    """The settings that ``file``, ``environ`` (None: the process's) and ``flags`` make together.

    ``flags`` are named by path or as on the command line: ``turn.seconds``, ``--turn-seconds``. A
    list is written with commas. An empty environment variable counts as not set. Raises
    SettingsError for an unknown name and for a value of the wrong type or out of range.
    """
    environ = os.environ if environ is None else environ
    known = {option.path: option for option in options()}
    values: dict[str, Any] = {}
    path = settings_file(file, environ)
    if path is not None:
        values |= _from_file(path, known)
    values |= _from_environment(environ, known)
    values |= _from_flags(flags, known)
    return _build(values)


def describe(settings: Settings) -> list[tuple[str, str]]:
    """Path and value of every setting that is not at its default. Secrets are not shown."""
    shown: list[tuple[str, str]] = []
    for option in options():
        value: Any = settings
        for name in option.path.split("."):
            value = getattr(value, name)
        if value != option.default:
            plain = msgspec.to_builtins(value)
            if option.path == "engines":
                plain = [
                    {k: "***" if k == "api_key" and v else v for k, v in engine.items()}
                    for engine in plain
                ]
            if option.path == "store.url":
                plain = _PASSWORD.sub(r"\1***@", plain)
            shown.append((option.path, msgspec.json.encode(plain).decode()))
    return shown


def _build(values: Mapping[str, Any]) -> Settings:
    tree: dict[str, Any] = {}
    for path, value in values.items():
        *tables, name = path.split(".")
        table = tree
        for part in tables:
            table = table.setdefault(part, {})
        table[name] = msgspec.to_builtins(value)
    return msgspec.convert(tree, Settings)


# The file


def _from_file(path: Path, known: Mapping[str, Option]) -> dict[str, Any]:
    values: dict[str, Any] = {}
    _take_table(read_toml(path), "", known, path, values)
    return values


def read_toml(path: Path) -> dict[str, Any]:
    """A TOML file of ours. Raises SettingsError if it cannot be read."""
    try:
        if path.stat().st_size > MAX_FILE_BYTES:
            raise SettingsError(f"{path}: larger than {MAX_FILE_BYTES} bytes; not a settings file")
        return tomllib.loads(path.read_text(encoding="utf-8-sig"))
    except OSError as error:
        raise SettingsError(f"{path}: {error.strerror or error}") from error
    except UnicodeDecodeError as error:
        raise SettingsError(f"{path}: not UTF-8 at byte {error.start}") from error
    except tomllib.TOMLDecodeError as error:
        raise SettingsError(f"{path}: not TOML: {error}") from error
    except RecursionError as error:
        raise SettingsError(f"{path}: nested too deeply") from error


def _take_table(
    table: Mapping[str, Any],
    prefix: str,
    known: Mapping[str, Option],
    source: Path,
    values: dict[str, Any],
) -> None:
    for name, value in table.items():
        path = prefix + name
        where = f"{source}: {path}"
        if path == "engines":
            values[path] = _engines(where, value)
        elif path == "models":
            values[path] = _models(where, value)
        elif path in known:
            values[path] = convert_value(known[path], value, where)
        elif any(other.startswith(f"{path}.") for other in known):
            if not isinstance(value, dict):
                raise SettingsError(f"{where}: expected a table, got {value!r}")
            _take_table(value, f"{path}.", known, source, values)
        else:
            names = {
                p.removeprefix(prefix).partition(".")[0] for p in known if p.startswith(prefix)
            }
            raise _unknown(
                f"{source}: unknown setting {path}", path, {prefix + n for n in names}, known
            )


def _engines(where: str, value: Any) -> tuple[Any, ...]:
    if not isinstance(value, list):
        raise SettingsError(f"{where}: expected a list of tables ([[engines]]), got {value!r}")
    return tuple(
        _table(f"{where}[{number}]", entry, engine_options()) for number, entry in enumerate(value)
    )


def _models(where: str, value: Any) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise SettingsError(f"{where}: expected tables ([models.NAME]), got {value!r}")
    return {
        name: _table(f"{where}.{name}", entry, model_options()) for name, entry in value.items()
    }


def _table(where: str, value: Any, allowed: tuple[Option, ...]) -> dict[str, Any]:
    """A table whose settings are ``allowed``, checked one by one."""
    if not isinstance(value, dict):
        raise SettingsError(f"{where}: expected a table, got {value!r}")
    known = {option.path: option for option in allowed}
    taken = {}
    for name, item in value.items():
        if name not in known:
            raise _unknown(f"{where}: unknown setting {name}", name, known, known)
        taken[name] = convert_value(known[name], item, f"{where}.{name}")
    for option in allowed:
        if option.default is msgspec.NODEFAULT and option.path not in taken:
            raise SettingsError(f"{where}: {option.path} is missing")
    return taken


# The environment and the command line


def _from_environment(environ: Mapping[str, str], known: Mapping[str, Option]) -> dict[str, Any]:
    by_variable = {option.variable: option for option in known.values()}
    values: dict[str, Any] = {}
    for name in sorted(environ):
        if not name.startswith(ENVIRONMENT_PREFIX) or name in OTHER_VARIABLES:
            continue
        if (option := by_variable.get(name)) is not None:
            if environ[name]:
                values[option.path] = _from_text(option, environ[name], name)
        elif not name.startswith(_FOREIGN):
            # Compared without the prefix, which would make all of them look alike.
            rest = {variable.removeprefix(ENVIRONMENT_PREFIX) for variable in by_variable}
            near = closest(name.removeprefix(ENVIRONMENT_PREFIX), rest)
            meant = f"; did you mean {ENVIRONMENT_PREFIX}{near}?" if near else ""
            raise SettingsError(f"environment: unknown variable {name}{meant}")
    return values


def _from_flags(flags: Mapping[str, str], known: Mapping[str, Option]) -> dict[str, Any]:
    by_flag = {option.flag: option for option in known.values()}
    by_flag |= {f"--{short}": known[path] for short, path in SHORT_FLAGS.items()}
    values: dict[str, Any] = {}
    for name, text in flags.items():
        flag = "--" + name.lstrip("-").replace(".", "-").replace("_", "-")
        if (option := by_flag.get(flag)) is None and "." in name:
            raise _unknown(f"command line: unknown setting {name}", name, known, known)
        if option is None:
            raise _unknown(f"command line: unknown option {flag}", flag, by_flag, by_flag)
        values[option.path] = _from_text(option, text, flag)
    return values


def _from_text(option: Option, text: str, where: str) -> Any:
    """What a variable or flag says: ``engines`` are URLs with commas or JSON, ``models`` JSON."""
    if option.path not in ("engines", "models"):
        return convert_text(option, text, where)
    if option.path == "engines" and not text.lstrip().startswith("["):
        urls = [url.strip() for url in text.split(",")]
        return _engines(where, [{"url": url} for url in urls if url])
    try:
        value = msgspec.json.decode(text)
    except msgspec.DecodeError as error:
        raise SettingsError(f"{where}: not JSON: {error}") from None
    return _engines(where, value) if option.path == "engines" else _models(where, value)


def _unknown(
    message: str, name: str, siblings: Iterable[str], everything: Iterable[str]
) -> SettingsError:
    """With the name that was probably meant: in the same table, else anywhere."""
    meant = closest(name, siblings) or closest(name, everything)
    return SettingsError(f"{message}; did you mean {meant}?" if meant else message)
