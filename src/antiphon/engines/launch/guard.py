"""Stands between us and a program that must not outlive us. Run as a script; imports nothing ours.

    guard.py PARENT PROGRAM ARGUMENT…

On Linux the kernel is told to kill this process when the thread that started it ends, and then it
becomes the program. Elsewhere it stays, and ends the program when its standard input does.
"""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys
import threading
from typing import Final

PR_SET_PDEATHSIG: Final = 1


def main() -> None:
    parent, command = int(sys.argv[1]), sys.argv[2:]
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
        if os.getppid() != parent:
            os._exit(0)
        os.execv(command[0], command)  # noqa: S606 - what our parent chose
    child = subprocess.Popen(command, stdin=subprocess.DEVNULL)  # noqa: S603 - as above
    signal.signal(signal.SIGTERM, lambda *_: child.terminate())
    threading.Thread(target=_until_the_end, args=(child,), daemon=True).start()
    sys.exit(child.wait())


def _until_the_end(child: subprocess.Popen[bytes]) -> None:
    while os.read(0, 4096):
        pass
    child.kill()


if __name__ == "__main__":
    main()
