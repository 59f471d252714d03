"""The system calls that the sandbox refuses, as a filter for the kernel.

Namespaces already take the effect from most of them. The filter takes away what is not behind a
namespace (memory that no process is charged for, keyrings, sockets to a virtual machine's host) and
parts of the kernel that programs hardly need and attackers like (BPF, io_uring, user faults).
"""

from __future__ import annotations

import platform
import struct
from typing import Final

__all__ = ["filter_program"]

_EPERM: Final = 1
_EAFNOSUPPORT: Final = 97
_ALLOW: Final = 0x7FFF0000
_ERRNO: Final = 0x00050000
_KILL: Final = 0x80000000
_X32: Final = 0x40000000

_LOAD: Final = 0x20
_EQUAL: Final = 0x15
_AT_LEAST: Final = 0x35
_RETURN: Final = 0x06

_NUMBER, _ARCH, _FIRST, _SECOND = 0, 4, 16, 24
"""Offsets in struct seccomp_data; the low halves of arguments, little-endian."""

_FAMILIES: Final = (1, 2, 10)
"""AF_UNIX, AF_INET, AF_INET6. Not AF_VSOCK: it reaches a machine's host past any namespace."""
_TIOCSTI: Final = 0x5412
_TIOCLINUX: Final = 0x541C

# name: (x86_64, aarch64); -1 where there is none. Source: asm/unistd.h of both.
_REFUSED: Final[dict[str, tuple[int, int]]] = {
    "acct": (163, 89),
    "add_key": (248, 217),
    "bpf": (321, 280),
    "chroot": (161, 51),
    "clock_adjtime": (305, 266),
    "clock_settime": (227, 112),
    "delete_module": (176, 106),
    "fanotify_init": (300, 262),
    "finit_module": (313, 273),
    "fsconfig": (431, 431),
    "fsmount": (432, 432),
    "fsopen": (430, 430),
    "fspick": (433, 433),
    "init_module": (175, 105),
    "io_uring_enter": (426, 426),
    "io_uring_register": (427, 427),
    "io_uring_setup": (425, 425),
    "ioperm": (173, -1),
    "iopl": (172, -1),
    "kcmp": (312, 272),
    "kexec_file_load": (320, 294),
    "kexec_load": (246, 104),
    "keyctl": (250, 219),
    "lookup_dcookie": (212, 18),
    "mbind": (237, 235),
    "memfd_create": (319, 279),
    "memfd_secret": (447, 447),
    "migrate_pages": (256, 238),
    "modify_ldt": (154, -1),
    "mount": (165, 40),
    "mount_setattr": (442, 442),
    "move_mount": (429, 429),
    "move_pages": (279, 239),
    "mq_open": (240, 180),
    "msgget": (68, 186),
    "name_to_handle_at": (303, 264),
    "nfsservctl": (180, 42),
    "open_by_handle_at": (304, 265),
    "open_tree": (428, 428),
    "perf_event_open": (298, 241),
    "pidfd_getfd": (438, 438),
    "pivot_root": (155, 41),
    "process_vm_readv": (310, 270),
    "process_vm_writev": (311, 271),
    "ptrace": (101, 117),
    "quotactl": (179, 60),
    "quotactl_fd": (443, 443),
    "reboot": (169, 142),
    "request_key": (249, 218),
    "semget": (64, 190),
    "set_mempolicy": (238, 237),
    "setdomainname": (171, 162),
    "sethostname": (170, 161),
    "setns": (308, 268),
    "settimeofday": (164, 170),
    "shmget": (29, 194),
    "swapoff": (168, 225),
    "swapon": (167, 224),
    "syslog": (103, 116),
    "umount2": (166, 39),
    "unshare": (272, 97),
    "uselib": (134, -1),
    "userfaultfd": (323, 282),
}

_MACHINES: Final = {
    # machine: (column above, AUDIT_ARCH, socket, ioctl)
    "x86_64": (0, 0xC000003E, 41, 16),
    "aarch64": (1, 0xC00000B7, 198, 29),
}


def filter_program(machine: str | None = None) -> bytes | None:
    """The filter as BPF for ``bwrap --seccomp``; None for a machine whose numbers are not known."""
    known = _MACHINES.get(machine or platform.machine())
    if known is None:
        return None
    column, arch, socket, ioctl = known
    code = [
        _step(_LOAD, _ARCH),
        _step(_EQUAL, arch, yes=1),
        _step(_RETURN, _KILL),
        _step(_LOAD, _NUMBER),
        # The same machine's other numbering would pass by everything below.
        _step(_AT_LEAST, _X32, no=1),
        _step(_RETURN, _ERRNO | _EPERM),
    ]
    for numbers in _REFUSED.values():
        if numbers[column] >= 0:
            code += [_step(_EQUAL, numbers[column], no=1), _step(_RETURN, _ERRNO | _EPERM)]
    families = [
        _step(_EQUAL, family, yes=len(_FAMILIES) - at) for at, family in enumerate(_FAMILIES)
    ]
    code += [
        _step(_EQUAL, socket, no=len(families) + 3),
        _step(_LOAD, _FIRST),
        *families,
        _step(_RETURN, _ERRNO | _EAFNOSUPPORT),
        _step(_RETURN, _ALLOW),
        _step(_EQUAL, ioctl, no=4),
        _step(_LOAD, _SECOND),
        _step(_EQUAL, _TIOCSTI, yes=1),
        _step(_EQUAL, _TIOCLINUX, no=1),
        _step(_RETURN, _ERRNO | _EPERM),
        _step(_RETURN, _ALLOW),
    ]
    return b"".join(code)


def _step(code: int, value: int, *, yes: int = 0, no: int = 0) -> bytes:
    return struct.pack("=HBBI", code, yes, no, value)
