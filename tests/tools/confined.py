"""Helpers of the sandbox tests: run as root and as a plain user, in folders of such a user."""

from __future__ import annotations

import asyncio
import encodings.ascii
import encodings.idna
import json
import os
import shutil
import signal
import warnings
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

# A forked user may not be able to read the interpreter that runs the tests: these are read now.
LOADED = (encodings.ascii, encodings.idna)

PLAIN_UID = 61123
"""A user that nothing else on the machine is."""

# In CI a sandbox that is missing is a failure and not a reason to skip.
needs_sandbox = pytest.mark.skipif(
    shutil.which("bwrap") is None and not os.environ.get("ANTIPHON_TEST_EVERYTHING"),
    reason="bubblewrap is not installed",
)


def starters() -> list[str]:
    """Who tests run as. Root drops by itself; it also becomes a plain user, as others are."""
    return ["root", "user"] if os.geteuid() == 0 else ["user"]


def run_as(who: str, work: Callable[[], Coroutine[Any, Any, Any]], *, seconds: int = 60) -> Any:
    """Run `work` as this user and give what it returns, which must be JSON."""
    if (who == "root") == (os.geteuid() == 0):
        return asyncio.run(_in_time(work, seconds))
    read, write = os.pipe()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # threads of other tests are asleep
        child = os.fork()
    if child == 0:
        status = 1
        try:
            os.close(read)
            os.setgroups([])
            os.setgid(PLAIN_UID)
            os.setuid(PLAIN_UID)
            os.environ["HOME"] = "/nonexistent"
            result = asyncio.run(_in_time(work, seconds))
            with os.fdopen(write, "w") as file:
                json.dump(result, file)
            status = 0
        except BaseException as error:  # noqa: BLE001 - told to the parent
            with os.fdopen(write, "w") as file:
                json.dump({"failed": repr(error)}, file)
        finally:
            os._exit(status)
    os.close(write)
    try:
        with os.fdopen(read) as file:
            said = file.read()
    except BaseException:
        os.kill(child, signal.SIGKILL)
        raise
    finally:
        _, status = os.waitpid(child, 0)
    assert status == 0, said
    return json.loads(said)


async def _in_time(work: Callable[[], Coroutine[Any, Any, Any]], seconds: int) -> Any:
    async with asyncio.timeout(seconds):
        return await work()
