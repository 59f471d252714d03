"""What a shell command would do, as far as that can be told without running it.

A shell's language cannot be judged by looking: ``eval``, variables and aliases hide whatever they
like. So nothing rests on understanding it. A command is *reading* only if it is one plain program
with plain words, of a list, without a single character that means something to a shell; it is then
run without any shell and where nothing can be written. Everything else is asked about. The list of
refused programs is a courtesy to the person who is asked; the sandbox is what holds.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from typing import Final

__all__ = ["READING", "REFUSED", "plain_words", "programs", "reads_only"]

MAX_COMMAND_CHARS: Final = 64 << 10

_WORD: Final = re.compile(
    r"""(?:[\w@%+=:,./-]+|'[^'\x00-\x1f]*'|"[^"$`\\!\x00-\x1f]*")+""",
    re.ASCII,
)
_PIECE: Final = re.compile(r"""'([^']*)'|"([^"]*)"|([^'"]+)""")

READING: Final[dict[str, frozenset[str] | None]] = {
    # program: options that write or run something; None: first words that are allowed instead
    **dict.fromkeys(
        "basename cat cmp cut date df diff dirname du echo egrep false fgrep file grep head id ls"
        " md5sum nl pwd readlink realpath seq sha256sum stat tail tree true uname wc which"
        " whoami".split(),
        frozenset(),
    ),
    "find": frozenset("-delete -exec -execdir -fls -fprint -fprint0 -fprintf -ok -okdir".split()),
    "rg": frozenset(("--pre", "--hostname-bin", "--search-zip", "-z")),
    "sort": frozenset(("-o", "--output", "--compress-program", "-T")),
    "git": None,
}
"""Programs that read and do nothing else."""

_GIT: Final = frozenset(
    "blame describe diff grep log ls-files ls-tree rev-parse shortlog show status".split()
)
_GIT_OPTIONS: Final = frozenset(
    ("--ext-diff", "--textconv", "--output", "-o", "-O", "--open-files-in-pager", "--exec")
)

REFUSED: Final = frozenset(
    "chroot doas halt init insmod kexec mkfs modprobe mount nsenter pkexec poweroff reboot rmmod"
    " runuser setpriv shutdown su sudo swapoff swapon systemctl umount unshare".split()
)
"""Programs that are never run: they ask for rights or for the machine."""

_BEFORE: Final = frozenset("! command env exec nice nohup time xargs then do else".split())
_SPLIT: Final = re.compile(r"[;&|\n(){}`]+|\$\(")
_ASSIGNMENT: Final = re.compile(r"\w+=")


def plain_words(command: str) -> list[str] | None:
    """The words of one program's plain call; None for anything that needs a shell: operators,
    variables, globs, escapes, comments, ``~``, an assignment before the program.
    """
    if len(command) > MAX_COMMAND_CHARS:
        return None
    words: list[str] = []
    text = command.strip(" \n")
    at = 0
    while at < len(text):
        match = _WORD.match(text, at)
        if match is None:
            return None
        words.append("".join(a or b or c for a, b, c in _PIECE.findall(match[0])))
        at = match.end()
        if at < len(text) and text[at] not in " \t":
            return None
        while at < len(text) and text[at] in " \t":
            at += 1
    if not words or _ASSIGNMENT.match(words[0]) or words[0].startswith("-"):
        return None
    return words


def reads_only(words: list[str], allowed: Collection[str] = ()) -> bool:
    """Whether this call reads and does nothing else; or is one of ``allowed``, each the first words
    of a call.
    """
    for one in allowed:
        first = one.split()
        if first and words[: len(first)] == first:
            return True
    program, rest = words[0], words[1:]
    if program not in READING:
        return False
    refused = READING[program]
    if refused is None:
        if not rest or rest[0] not in _GIT:
            return False
        refused = _GIT_OPTIONS
    return not any(_is_option(word, option) for word in rest for option in refused)


def programs(command: str) -> list[str]:
    """The names at places where a shell would look for a program, roughly."""
    found: list[str] = []
    for piece in _SPLIT.split(command[:MAX_COMMAND_CHARS]):
        for word in piece.split():
            bare = word.strip("'\"\\")
            if _ASSIGNMENT.match(bare) or bare in _BEFORE or bare.startswith("-"):
                continue
            found.append(bare.rsplit("/", 1)[-1])
            break
    return found


def _is_option(word: str, option: str) -> bool:
    if option.startswith("--"):
        # Programs take any beginning of a long option that is clear.
        name = word.split("=", 1)[0]
        return len(name) > 3 and option.startswith(name)
    if len(option) == 2:
        return word.startswith("-") and not word.startswith("--") and option[1] in word
    return word == option
