"""Where the ``antiphon`` command starts, and the one place that decides its exit code.

Exit codes: 0 done (also when the reader of our output went away), 1 the data is wrong, 2 the
command line is wrong, 130 interrupted. Nothing here imports click before it must, so that a missing
extra is one clear line as well.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

__all__ = ["main"]

_PROGRAM = "antiphon"
_COMPLETE = "_ANTIPHON_COMPLETE"


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line ``argv`` (default: the process's own) and return the exit code."""
    from antiphon.cli.errors import report

    try:
        _prepare_streams()
        code = _run(list(sys.argv[1:] if argv is None else argv))
        sys.stdout.flush()
    except BaseException as error:
        return report(error, _PROGRAM)
    return code


def _run(args: list[str]) -> int:
    from antiphon.errors import MissingExtraError

    try:
        import click

        from antiphon.cli.app import app
    except ModuleNotFoundError as error:
        if error.name != "click":
            raise
        raise MissingExtraError("click", "cli") from error
    if _COMPLETE in os.environ:
        app.main(args, _PROGRAM, complete_var=_COMPLETE)
    try:
        with app.make_context(_PROGRAM, args) as context:
            app.invoke(context)
    except click.exceptions.Exit as done:
        return done.exit_code
    return 0


def _prepare_streams() -> None:
    """Make output UTF-8 with bare newlines on every platform, and never fail on a closed stream."""
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None:
            from pathlib import Path

            setattr(sys, name, Path(os.devnull).open("w", encoding="utf-8"))  # noqa: SIM115
        elif hasattr(stream, "reconfigure"):
            stream.reconfigure(encoding="utf-8", errors="backslashreplace", newline="\n")
