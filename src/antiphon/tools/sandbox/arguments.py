"""The command line of bubblewrap: what a command in the sandbox sees of the machine."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

import msgspec

from antiphon.tools.sandbox.limits import Limits

__all__ = ["FORBIDDEN", "Folder", "arguments", "limited"]

_USER: Final = 1000
_PASSWD: Final = b"user:x:1000:1000:user:/tmp:/bin/bash\nnobody:x:65534:65534::/:/bin/false\n"
_GROUP: Final = b"user:x:1000:\nnogroup:x:65534:\n"
_HOSTS: Final = b"127.0.0.1 localhost sandbox\n::1 localhost\n"
FILES: Final = {"/etc/passwd": _PASSWD, "/etc/group": _GROUP, "/etc/hosts": _HOSTS}
"""Files of our own making: nobody learns who else has an account."""

_SYSTEM: Final = ("bin", "lib", "lib32", "lib64", "libx32", "sbin")
_ETC: Final = (
    "/etc/alternatives",
    "/etc/fonts",
    "/etc/ld.so.cache",
    "/etc/ld.so.conf",
    "/etc/ld.so.conf.d",
    "/etc/localtime",
    "/etc/mime.types",
)
FORBIDDEN: Final = frozenset(
    "/ /bin /boot /dev /etc /lib /lib64 /proc /root /run /sbin /sys /usr /var /home".split()
)
"""Folders that are never handed in to be written to."""

_ENVIRONMENT: Final = {
    "PATH": "/usr/local/bin:/usr/bin:/bin",
    "HOME": "/tmp",  # noqa: S108 - its own
    "TMPDIR": "/tmp",  # noqa: S108
    "USER": "user",
    "LANG": "C.UTF-8",
    "TERM": "dumb",
    "NO_COLOR": "1",
    "PAGER": "cat",
    "GIT_PAGER": "cat",
    "GIT_OPTIONAL_LOCKS": "0",
    "GIT_CONFIG_NOSYSTEM": "1",
    # Whoever owns the folder, nothing that its configuration may name can do more than we let it.
    "GIT_CONFIG_COUNT": "1",
    "GIT_CONFIG_KEY_0": "safe.directory",
    "GIT_CONFIG_VALUE_0": "*",
    "PYTHONDONTWRITEBYTECODE": "1",
}


class Folder(msgspec.Struct, frozen=True):
    """A folder of the machine that is handed in."""

    path: Path
    writable: bool = False
    at: str | None = None
    """Where it appears; None: where it is outside."""

    @property
    def inside(self) -> str:
        return self.at or str(self.path)


def arguments(
    folders: Sequence[tuple[Folder, int]],
    files: Mapping[str, int],
    *,
    cwd: str,
    limits: Limits,
    environment: Mapping[str, str],
    seccomp: int | None,
    block: int,
    status: int,
) -> list[str]:
    """Everything between ``bwrap`` and the command. Folders and files come as descriptors, so that
    what is mounted is what was checked, and so that they are found by a user who could not walk to
    them.
    """
    said = ["--unshare-all", "--unshare-user", "--disable-userns", "--die-with-parent"]
    said += ["--new-session", "--cap-drop", "ALL", "--hostname", "sandbox"]
    said += ["--uid", str(_USER), "--gid", str(_USER), "--clearenv"]
    for name, value in {**_ENVIRONMENT, **environment}.items():
        said += ["--setenv", name, value]
    said += ["--ro-bind", "/usr", "/usr"]
    for name in _SYSTEM:
        path = Path("/", name)
        if path.is_symlink():
            said += ["--symlink", str(path.readlink()), str(path)]
        elif path.is_dir():
            said += ["--ro-bind", str(path), str(path)]
    for name in _ETC:
        said += ["--ro-bind-try", name, name]
    for name, descriptor in files.items():
        said += ["--ro-bind-data", str(descriptor), name]
    said += ["--proc", "/proc", "--dev", "/dev"]
    said += ["--size", str(limits.scratch_bytes), "--tmpfs", "/tmp"]  # noqa: S108 - its own
    said += ["--size", str(limits.scratch_bytes), "--tmpfs", "/dev/shm"]  # noqa: S108
    for folder, descriptor in folders:
        option = "--bind-fd" if folder.writable else "--ro-bind-fd"
        said += [option, str(descriptor), folder.inside]
    # What is left of the root is bubblewrap's own file system in memory, which nothing bounds.
    said += ["--remount-ro", "/dev", "--remount-ro", "/", "--chdir", cwd]
    if seccomp is not None:
        said += ["--seccomp", str(seccomp)]
    return [*said, "--block-fd", str(block), "--json-status-fd", str(status), "--"]


def limited(argv: Sequence[str], limits: Limits, *, address_space: int | None) -> list[str]:
    """A command under its limits for each process, set by the shell that becomes it: once set,
    nobody within can raise them.
    """
    set_ = [
        "ulimit -c 0",
        f"ulimit -t {limits.cpu_s}",
        f"ulimit -f {max(1, limits.file_bytes // 1024)}",
        f"ulimit -n {limits.open_files}",
        f"ulimit -u {limits.processes}",
    ]
    if address_space is not None:
        set_.append(f"ulimit -v {address_space // 1024}")
    # A command that takes all the CPU it can get must leave ours to us.
    script = " && ".join([*set_, 'exec nice -n 10 "$@"'])
    return ["/bin/bash", "--norc", "--noprofile", "-c", script, "sandbox", *argv]
