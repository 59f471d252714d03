"""models.toml: models by name, those that come with antiphon and the user's own."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Final

import msgspec
from msgspec import Meta

from antiphon.errors import SettingsError
from antiphon.settings.load import read_toml
from antiphon.settings.model import Effort, Settings
from antiphon.settings.paths import config_directory
from antiphon.settings.values import closest

__all__ = ["ModelEntry", "Registry", "registry_file"]

SHIPPED: Final = Path(__file__).with_name("models.toml")
FILE_NAME: Final = "models.toml"


class ModelEntry(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One model: a table of models.toml. Where it is silent, the settings ``launch.*`` hold."""

    checkpoint: str
    """A .gguf file (of several parts, any), or ``owner/repository[:quant]`` of one that Hugging
    Face, LM Studio or llama.cpp has downloaded. For an engine at a URL: its name there."""
    engine: str = "llama.cpp"
    """``llama.cpp``: as the setting ``launch.server`` says; ``embedded``; the path of a
    ``llama-server``; or the URL of an engine that runs."""
    labels: tuple[str, ...] = ()
    """Shown in the list of models."""
    aliases: tuple[str, ...] = ()
    """Other names for it."""
    effort: Effort | None = None
    """Reasoning effort where neither request nor key says one."""
    temperature: Annotated[float, Meta(ge=0, le=2)] | None = None
    top_p: Annotated[float, Meta(gt=0, le=1)] | None = None
    top_k: Annotated[int, Meta(ge=0)] | None = None
    min_p: Annotated[float, Meta(ge=0, le=1)] | None = None
    context: Annotated[int, Meta(ge=0)] | None = None
    """Tokens for each request that runs at a time."""
    parallel: Annotated[int, Meta(ge=1)] | None = None
    gpu_layers: Annotated[int, Meta(ge=-1)] | None = None
    threads: Annotated[int, Meta(ge=0)] | None = None
    extra_args: tuple[str, ...] = ()
    """More arguments for ``llama-server``, after those of ``launch.extra_args``."""
    ttl: Annotated[float, Meta(ge=0)] | None = None
    """Unload it after so many idle seconds; 0: never."""
    group: str | None = None
    """Of the models of one group, one is loaded at a time."""


class Registry(msgspec.Struct, frozen=True):
    """Every model known by name."""

    entries: Mapping[str, ModelEntry]
    own: frozenset[str]
    """Those of the user's file."""

    def find(self, name: str) -> tuple[str, ModelEntry] | None:
        """The entry of this name or alias, and its name."""
        if name in self.entries:
            return name, self.entries[name]
        for known, entry in self.entries.items():
            if name in entry.aliases:
                return known, entry
        return None

    @classmethod
    def read(cls, settings: Settings, environ: Mapping[str, str]) -> Registry:
        """What comes with antiphon, then the user's file. Raises SettingsError."""
        entries = _entries(SHIPPED)
        file = registry_file(settings, environ)
        own = {} if file is None else _entries(file)
        return cls({**own, **{n: e for n, e in entries.items() if n not in own}}, frozenset(own))


def registry_file(settings: Settings, environ: Mapping[str, str]) -> Path | None:
    """The user's models.toml; None if there is none. One that was named has to be there."""
    if settings.models_file is not None:
        return Path(settings.models_file).expanduser()
    path = config_directory(environ) / FILE_NAME
    return path if path.is_file() else None


def _entries(path: Path) -> dict[str, ModelEntry]:
    return {name: _entry(path, name, table) for name, table in read_toml(path).items()}


def _entry(path: Path, name: str, table: Any) -> ModelEntry:
    where = f"{path}: {name}"
    if not isinstance(table, dict):
        raise SettingsError(f"{where}: expected a table ([{name}]), got {table!r}")
    fields = ModelEntry.__struct_fields__
    for field in table:
        if field not in fields:
            meant = closest(field, fields)
            hint = f"; did you mean {meant}?" if meant else f"; there are {', '.join(fields)}"
            raise SettingsError(f"{where}: unknown setting {field}{hint}")
    try:
        return msgspec.convert(table, ModelEntry)
    except msgspec.ValidationError as error:
        raise SettingsError(f"{where}: {str(error).replace(' - at `$.', ', at `')}") from None
