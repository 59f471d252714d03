"""Every setting as an entry of a list: its path, names, type, default and meaning.

The list is read off `antiphon.settings.model`, so that no setting can be missing from the
environment, the command line or docs/settings.md.
"""

from __future__ import annotations

import ast
import inspect
import textwrap
import types
from functools import cache
from typing import Annotated, Any, Final, Literal, Union, get_args, get_origin, get_type_hints

import msgspec

from antiphon.settings.model import EngineSettings, ModelSettings, Settings

__all__ = [
    "ENVIRONMENT_PREFIX",
    "SHORT_FLAGS",
    "Option",
    "engine_options",
    "model_options",
    "options",
]

ENVIRONMENT_PREFIX: Final = "ANTIPHON_"
SHORT_FLAGS: Final = {
    "host": "server.host",
    "port": "server.port",
    "reasoning-events": "responses.reasoning_events",
    "seal": "seal.enabled",
    "trace": "log.trace",
    "workers": "server.workers",
}
"""Flags that have a second, shorter name."""

_SECRET: Final = frozenset({"api_key"})
_SIMPLE: Final = {str: "text", int: "a whole number", float: "a number", bool: "true or false"}


class Option(msgspec.Struct, frozen=True, kw_only=True):
    """One setting. ``type`` is its annotation; ``default`` is `msgspec.NODEFAULT` if it needs a
    value.
    """

    path: str
    type: Any
    default: Any
    doc: str

    @property
    def variable(self) -> str:
        """Its environment variable."""
        return ENVIRONMENT_PREFIX + self.path.replace(".", "_").upper()

    @property
    def flag(self) -> str:
        """Its flag on the command line."""
        return "--" + self.path.replace(".", "-").replace("_", "-")

    @property
    def secret(self) -> bool:
        """Whether its value must not be shown."""
        return self.path.rpartition(".")[2] in _SECRET

    @property
    def expected(self) -> str:
        """Its type in words, for error messages and the documentation."""
        return words(self.type)


@cache
def options() -> tuple[Option, ...]:
    """Every setting of a server, in the order of the model. ``engines`` and ``models`` count as
    one each; what they hold is in `engine_options` and `model_options`.
    """
    return tuple(_walk(Settings, ""))


@cache
def engine_options() -> tuple[Option, ...]:
    """What an entry of ``[[engines]]`` holds."""
    return tuple(_walk(EngineSettings, ""))


@cache
def model_options() -> tuple[Option, ...]:
    """What a table ``[models.NAME]`` holds."""
    return tuple(_walk(ModelSettings, ""))


def _walk(struct: type[msgspec.Struct], prefix: str) -> list[Option]:
    hints = get_type_hints(struct, include_extras=True)
    docs = _docs(struct)
    found: list[Option] = []
    for field in msgspec.structs.fields(struct):
        kind = hints[field.name]
        path = prefix + field.name
        if isinstance(kind, type) and issubclass(kind, msgspec.Struct):
            found += _walk(kind, f"{path}.")
            continue
        default = field.default
        if field.default_factory is not msgspec.NODEFAULT:
            default = field.default_factory()
        found.append(Option(path=path, type=kind, default=default, doc=docs.get(field.name, "")))
    return found


def _docs(struct: type) -> dict[str, str]:
    """Field → the string below it in the source, on one line."""
    (definition,) = ast.parse(textwrap.dedent(inspect.getsource(struct))).body
    assert isinstance(definition, ast.ClassDef)
    found: dict[str, str] = {}
    name = None
    for statement in definition.body:
        match statement:
            case ast.AnnAssign(target=ast.Name(id=field)):
                name = field
            case ast.Expr(value=ast.Constant(value=str(text))) if name is not None:
                found[name] = " ".join(text.split())
                name = None
            case _:
                name = None
    return found


def words(kind: Any) -> str:
    """A type in words: ``a whole number of at least 1``."""
    origin, arguments = get_origin(kind), get_args(kind)
    if origin is Annotated:
        return words(arguments[0]) + _bounds(kind.__metadata__[0])
    if origin is Literal:
        return "one of " + ", ".join(str(value) for value in arguments)
    if origin in (Union, types.UnionType):
        (inner,) = (argument for argument in arguments if argument is not type(None))
        return words(inner)
    if origin is tuple:
        inner = arguments[0]
        return "a list of tables" if _is_struct(inner) else f"a list of {words(inner)}"
    if origin is dict:
        return (
            "a table of tables" if _is_struct(arguments[1]) else f"a table of {words(arguments[1])}"
        )
    return _SIMPLE[kind]


def _is_struct(kind: Any) -> bool:
    return isinstance(kind, type) and issubclass(kind, msgspec.Struct)


def _bounds(meta: msgspec.Meta) -> str:
    if meta.ge is not None and meta.le is not None:
        return f" from {meta.ge} to {meta.le}"
    if meta.ge is not None:
        return f" of at least {meta.ge}"
    if meta.gt is not None:
        return f" greater than {meta.gt}"
    return f" of at most {meta.le}" if meta.le is not None else ""
