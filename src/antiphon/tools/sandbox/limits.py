"""What a command in the sandbox may take."""

from __future__ import annotations

from typing import Final, Literal

import msgspec

__all__ = ["Ended", "Finished", "Limits"]

_MIB: Final = 1 << 20

Ended = Literal["exit", "wall", "memory", "processes", "output", "disk", "sandbox"]
"""How a command came to its end: by itself, by a limit, or never began."""


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """Limits of one command with everything that it starts."""

    wall_s: float = 120.0
    cpu_s: int = 300
    """For each process."""
    memory_bytes: int = 1024 * _MIB
    """For all processes together, files in ``/tmp`` included where a cgroup counts them."""
    processes: int = 128
    """Processes and threads."""
    file_bytes: int = 256 * _MIB
    """Largest file that may be written."""
    open_files: int = 512
    scratch_bytes: int = 256 * _MIB
    """What ``/tmp`` holds; it is memory."""
    output_bytes: int = 256 * 1024
    """Output that is kept: of more than that the beginning and the end."""
    flood_bytes: int = 64 * _MIB
    """Output at which the command is ended."""
    free_disk_bytes: int = 512 * _MIB
    """The command is ended when a disk that it may write to has less room left."""


class Finished(msgspec.Struct, frozen=True):
    """What became of a command."""

    ended: Ended
    exit_code: int | None
    """128 and the signal's number where a signal ended it; None unless ``ended`` is ``exit``."""
    output: str
    """Both streams as they came."""
    seconds: float
