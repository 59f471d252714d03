"""A real terminal for tests: tmux, which draws what a program writes and can be asked for it."""

from __future__ import annotations

import contextlib
import os
import re
import shlex
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pytest
from tests.e2e.serving import command

__all__ = ["Pane", "pane"]

WAIT = 120.0
"""Seconds after which something will not come any more."""
_PAUSE = 0.05
_ENDED = "antiphon ended with"


class Pane:
    """A window in which one ``antiphon`` runs."""

    def __init__(self, socket: Path) -> None:
        self._socket = socket

    def tmux(self, *words: str) -> str:
        done = subprocess.run(
            ["tmux", "-S", str(self._socket), *words],
            capture_output=True,
            text=True,
            timeout=WAIT,
        )
        assert done.returncode == 0, (words, done.stderr)
        return done.stdout

    @property
    def screen(self) -> str:
        return self.tmux("capture-pane", "-p", "-t", "0")

    @property
    def coloured(self) -> str:
        """With its escape sequences, as tmux understood them."""
        return self.tmux("capture-pane", "-p", "-e", "-t", "0")

    def until(self, condition: str | Callable[[str], object]) -> str:
        """Wait for a text on the screen, however it is folded, or for something to be true."""
        end = time.monotonic() + WAIT
        while True:
            shown = self.screen
            plain = " ".join(shown.split())
            if condition in plain if isinstance(condition, str) else condition(plain):
                return shown
            assert time.monotonic() < end, f"{condition} never came:\n{shown}"
            time.sleep(_PAUSE)

    def type(self, text: str) -> None:
        self.tmux("send-keys", "-t", "0", "-l", text)

    def press(self, *keys: str) -> None:
        """Keys by the names that tmux has for them: Enter, C-c, PPage."""
        self.tmux("send-keys", "-t", "0", *keys)

    def ask(self, text: str) -> None:
        self.type(text)
        self.press("Enter")

    def resize(self, width: int, height: int) -> None:
        self.tmux("resize-window", "-t", "0", "-x", str(width), "-y", str(height))

    def ended(self) -> int:
        """Wait for the program's end; its exit code as a shell has it."""
        shown = " ".join(self.until(_ENDED).split())
        return int(shown.rpartition(_ENDED)[2].split()[0])

    @property
    def pid(self) -> int:
        """The program's, which is the only child of the shell that waits for it."""
        shell = self.about("#{pane_pid}")
        return int(subprocess.check_output(["ps", "-o", "pid=", "--ppid", shell], text=True))

    def about(self, what: str) -> str:
        """What tmux knows of the window, in a format of its own."""
        return self.tmux("display-message", "-p", "-t", "0", what).strip()


@contextlib.contextmanager
def pane(
    folder: Path, *arguments: str, env: Mapping[str, str], size: tuple[int, int] = (80, 24)
) -> Iterator[Pane]:
    """Run ``antiphon`` with these arguments in a window until the block ends."""
    if shutil.which("tmux") is None:
        if os.environ.get("ANTIPHON_TEST_EVERYTHING"):
            pytest.fail("tmux is not installed")
        pytest.skip("tmux is not installed")
    # A socket's path may not be long, as those of tests are.
    socket = Path(f"/tmp/antiphon-tmux-{os.getpid()}-{time.monotonic_ns()}")
    settings = [f"{name}={value}" for name, value in env.items()]
    words = ["env", "-i", *settings, *command(), *arguments]
    line = " ".join([shlex.quote(word) for word in words])
    # The window outlives the program: tmux moves what is seen in one that is dead.
    line = f"{line}; echo {_ENDED} $?; exec sleep 1000"
    made = Pane(socket)
    width, height = str(size[0]), str(size[1])
    subprocess.run(
        [
            *("tmux", "-S", str(socket), "-f", os.devnull, "start-server", ";"),
            *("set-option", "-g", "default-terminal", env["TERM"], ";"),
            *("new-session", "-d", "-x", width, "-y", height, "-c", str(folder), line),
        ],
        check=True,
        timeout=WAIT,
        stdin=subprocess.DEVNULL,
    )
    try:
        yield made
    finally:
        subprocess.run(["tmux", "-S", str(socket), "kill-server"], capture_output=True)
        socket.unlink(missing_ok=True)


def plain_environment(folder: Path, **more: str) -> dict[str, str]:
    """What the program gets: nothing of the tests' own but how Python is found."""
    names = ("PATH", "PYTHONPATH", "LD_LIBRARY_PATH")
    kept = {name: os.environ[name] for name in names if name in os.environ}
    better = Path("/usr/share/terminfo/t/tmux-256color").exists()
    return {
        **kept,
        "HOME": str(folder),
        "LANG": "C.UTF-8",
        "TERM": "tmux-256color" if better else "screen",
        "PYTHONDONTWRITEBYTECODE": "1",
        **more,
    }


COLOUR = re.compile(r"\x1b\[[0-9;]*\b(3[0-7]|9[0-7]|38|48|4[0-7])[;m]")
"""A colour of letters or of their background."""
