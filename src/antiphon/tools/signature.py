"""A function's signature as a JSON Schema, and arguments read by it."""

from __future__ import annotations

import copy
import inspect
from collections.abc import Callable, Mapping
from typing import Annotated, Any, Final, get_type_hints

import msgspec

from antiphon.tools.docstring import described
from antiphon.tools.protocol import Emit

__all__ = ["ArgumentsError", "Signature"]

_POSITIONAL: Final = inspect.Parameter.POSITIONAL_ONLY
_STRUCT: Final = "_arguments_of_the_call"
_VARIADIC: Final = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)


class ArgumentsError(ValueError):
    """Arguments that do not fit, said so that the model can mend them."""


class Signature:
    """What a function takes.

    Types are those msgspec knows: the plain ones and their containers, ``Literal``, ``Enum``,
    unions, dataclasses, ``TypedDict``, ``msgspec.Struct``, dates, ``Annotated[T, msgspec.Meta]``.
    A parameter annotated `Emit` is not the model's: the caller's own is passed in.
    """

    def __init__(self, function: Callable[..., Any]) -> None:
        name = getattr(function, "__name__", type(function).__name__)
        try:
            signature = inspect.signature(function)
            hints = get_type_hints(function, include_extras=True)
        except (NameError, TypeError, ValueError) as error:
            raise TypeError(f"{name}: its signature cannot be read: {error}") from error
        doc = described(inspect.getdoc(function))
        self.description = doc.summary
        self._emit: str | None = None
        self._positional: list[str] = []
        self._names: list[str] = []
        fields: list[tuple[str, Any] | tuple[str, Any, Any]] = []
        defaults: dict[str, Any] = {}
        for parameter in signature.parameters.values():
            if parameter.kind in _VARIADIC:
                raise TypeError(f"{name}: *{parameter.name} has no schema; name the parameters")
            hint = hints.get(parameter.name, Any)
            if hint == Emit:
                self._emit = parameter.name
                continue
            if parameter.kind is _POSITIONAL:
                self._positional.append(parameter.name)
            self._names.append(parameter.name)
            if parameter.name in doc.parameters:
                hint = Annotated[hint, msgspec.Meta(description=doc.parameters[parameter.name])]
            if parameter.default is inspect.Parameter.empty:
                fields.append((parameter.name, hint))
            else:
                defaults[parameter.name] = parameter.default
                fields.append((parameter.name, hint, _default(parameter.default)))
        try:
            self._struct = msgspec.defstruct(
                _STRUCT, fields, kw_only=True, forbid_unknown_fields=True
            )
            self.schema = _schema(self._struct, defaults)
        except TypeError as error:
            raise TypeError(f"{name}: a parameter has a type without a schema: {error}") from error

    def read(self, arguments: Mapping[str, Any] | str) -> dict[str, Any]:
        """The values to call with, by parameter. Raises ArgumentsError."""
        if isinstance(arguments, str):
            text = arguments
            arguments = self._of_text(text)
        try:
            value = msgspec.convert(dict(arguments), self._struct, strict=False)
        except (msgspec.ValidationError, RecursionError) as error:
            raise ArgumentsError(f"Wrong arguments: {error}. {self.usage()}") from error
        # What the model left out is the function's to fill in, so that its default is its own.
        return {name: getattr(value, name) for name in self._names if name in arguments}

    def call(self, function: Callable[..., Any], values: Mapping[str, Any], emit: Emit) -> Any:
        """Call `function` with what `read` gave."""
        rest = dict(values)
        given: list[Any] = []
        for name in self._positional:
            if name not in rest:
                break
            given.append(rest.pop(name))
        if self._emit:
            rest[self._emit] = emit
        return function(*given, **rest)

    def usage(self) -> str:
        """The parameters in one sentence."""
        if not self._names:
            return "It takes no arguments."
        required = self.schema.get("required", [])
        words = [
            f"{name} ({_word(self.schema['properties'][name])}"
            f"{', required' if name in required else ''})"
            for name in self._names
        ]
        return f"It takes: {', '.join(words)}."

    def _of_text(self, text: str) -> Mapping[str, Any]:
        """Text where an object was due: JSON after all, or the one string that it wants."""
        try:
            decoded = msgspec.json.decode(text)
        except (msgspec.DecodeError, RecursionError):
            decoded = text
        if isinstance(decoded, dict):
            return decoded
        if len(self._names) == 1 and self.schema["properties"][self._names[0]].get("type") == (
            "string"
        ):
            return {self._names[0]: decoded if isinstance(decoded, str) else text}
        raise ArgumentsError(f"The arguments must be a JSON object. {self.usage()}")


def _default(value: Any) -> Any:
    # A factory in every case: msgspec refuses mutable defaults, and none of them is ever used.
    return msgspec.field(default_factory=lambda: copy.copy(value))


def _schema(struct: type[Any], defaults: Mapping[str, Any]) -> dict[str, Any]:
    (_,), components = msgspec.json.schema_components([struct], ref_template="#/$defs/{name}")
    schema: dict[str, Any] = components.pop(_STRUCT)
    schema.pop("title", None)
    for name, value in defaults.items():
        if value is None:
            continue
        try:
            schema["properties"][name]["default"] = msgspec.to_builtins(value)
        except TypeError:
            continue  # a default that JSON cannot say is still the function's default
    if components:
        schema["$defs"] = components
    return schema


def _word(schema: Mapping[str, Any]) -> str:
    if "enum" in schema:
        return " | ".join(repr(value) for value in schema["enum"])
    if "anyOf" in schema:
        return " | ".join(_word(part) for part in schema["anyOf"])
    if "$ref" in schema:
        return str(schema["$ref"]).rsplit("/", 1)[-1]
    return str(schema.get("type", "anything"))
