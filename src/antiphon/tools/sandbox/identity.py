"""Who a command in the sandbox runs as: never root.

A plain user's commands run as that user. Root drops to somebody else before bubblewrap starts, for
neither limits on processes nor file permissions hold root back: to the owner of the folder that is
handed in, else to a uid of its own that nobody has.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import msgspec

__all__ = ["Identity", "identity", "own_uid"]

_FIRST_UID: Final = 61184
_UIDS: Final = 4096
"""The range that systemd keeps for users who come and go (61184 to 65519)."""


class Identity(msgspec.Struct, frozen=True):
    """A user. ``change``: whether it is another than ours."""

    uid: int
    gid: int
    change: bool


def own_uid() -> int:
    """A uid for this process's sandboxes. Two processes share one only by chance."""
    return _FIRST_UID + os.getpid() % _UIDS


def identity(writable: Sequence[Path], readable: Sequence[Path] = ()) -> Identity | str:
    """Whom to run as, given the folders that are handed in; or why it is not possible."""
    uid = os.geteuid()
    if uid != 0:
        return Identity(uid, os.getegid(), change=False)
    owners = {(status.st_uid, status.st_gid) for status in map(os.stat, writable)}
    if not writable:
        owners = {(status.st_uid, status.st_gid) for status in map(os.stat, readable)}
        owners = {(uid, gid) for uid, gid in owners if uid != 0}
    if not owners or (not writable and len(owners) > 1):
        return Identity(own_uid(), own_uid(), change=True)
    roots = [str(folder) for folder in writable if folder.stat().st_uid == 0]
    if roots:
        return (
            f"this runs as root, and {', '.join(roots)} belongs to root: start it as a plain user,"
            " or give the folder to one"
        )
    if len({uid for uid, _ in owners}) > 1:
        return "this runs as root, and the folders to write to belong to different users"
    uid, gid = owners.pop()
    # Root's own group would bring back what the group may do.
    return Identity(uid, gid or uid, change=True)
