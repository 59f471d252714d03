"""A file of keys on disk: read whole, changed by one process at a time, replaced in one step.

Who reads at any moment sees the old file or the new one.
"""

from __future__ import annotations

from collections.abc import Generator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import ClassVar, Final

from antiphon.errors import SettingsError
from antiphon.settings import private_file
from antiphon.settings.paths import config_directory

__all__ = ["SecretFile", "secret_path"]


def secret_path(configured: str | None, name: str, environ: Mapping[str, str]) -> Path:
    """The path that the settings name, else ``name`` in the user's configuration folder."""
    if configured:
        return Path(configured).expanduser()
    return config_directory(environ) / name


class SecretFile:
    """What files of keys have in common. Any method may raise SettingsError, which says what is
    wrong where.
    """

    max_bytes: ClassVar[int]

    def __init__(self, path: Path) -> None:
        self.path: Final = path

    def stamp(self) -> tuple[int, ...] | None:
        """Differs when the file has changed; None without a file."""
        try:
            found = self.path.stat()
        except FileNotFoundError:
            return None
        except OSError as error:
            raise self._cannot("read", error) from error
        return (found.st_mtime_ns, found.st_size, found.st_ino)

    def open_to_others(self) -> bool:
        """Whether anyone but its owner can read or write the file."""
        return private_file.open_to_others(self.path)

    def _read(self) -> bytes | None:
        """Its bytes; None if there is no file."""
        try:
            with self.path.open("rb") as file:
                data = file.read(self.max_bytes + 1)
        except FileNotFoundError:
            return None
        except OSError as error:
            raise self._cannot("read", error) from error
        if len(data) > self.max_bytes:
            raise SettingsError(f"{self.path}: larger than {self.max_bytes} bytes")
        return data

    @contextmanager
    def _locked(self) -> Generator[None, None, None]:
        """No other process changes the file meanwhile."""
        try:
            private_file.make_folder(self.path)
            with private_file.locked(self.path):
                yield
        except OSError as error:
            raise self._cannot("write", error) from error

    def _cannot(self, what: str, error: OSError) -> SettingsError:
        return SettingsError(f"{self.path}: cannot {what} it: {error.strerror or error}")
