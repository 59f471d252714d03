"""What goes wrong at the command line, and how it is said: one line on stderr, never a traceback.

CommandLineError   exit code 2   the command line is wrong: no such file, options that clash
DataError          exit code 1   what was read is wrong: not JSON, not UTF-8, a bad field
"""

from __future__ import annotations

import os
import sys
import traceback

from antiphon.errors import AntiphonError, MissingExtraError

__all__ = ["CommandLineError", "DataError", "one_line", "report"]

_OK, _DATA, _USAGE, _INTERRUPTED = 0, 1, 2, 130
_MAX_LINE = 500


class CommandLineError(Exception):
    """The command line asks for something that cannot be done."""


class DataError(Exception):
    """The input was read but is wrong. The message says where."""


class EndedError(Exception):
    """A process that does our work could not do it: its message and its exit code."""

    def __init__(self, message: str, code: int) -> None:
        super().__init__(message)
        self.code = code


def described(error: BaseException) -> tuple[int, str]:
    """The exit code for ``error`` and what to say of it, in one line."""
    code, message = _describe(error)
    if code is None:
        code, message = _DATA, "".join(traceback.format_exception(error))
    return code, message


def report(error: BaseException, program: str) -> int:
    """Say ``error`` in one line on stderr and return the exit code.

    With ANTIPHON_TRACEBACK set, an error that is a bug of ours is raised again instead.
    """
    if isinstance(error, BrokenPipeError):
        _silence_stdout()
        return _OK
    code, message = _describe(error)
    if code is None:
        raise error
    _flush_stdout()
    if message:
        try:
            sys.stderr.write(f"{_command(program)}: {one_line(message)}\n")
            sys.stderr.flush()
        except OSError:
            pass
    return code


def one_line(text: str) -> str:
    """``text`` with control characters escaped, and cut in the middle if very long."""
    shown = "".join([c if c.isprintable() else _escape(c) for c in text])
    if len(shown) > _MAX_LINE:
        half = _MAX_LINE // 2
        shown = f"{shown[:half]} … {shown[-half:]}"
    return shown


def _escape(character: str) -> str:
    return " " if character in "\r\n\t" else character.encode("unicode_escape").decode("ascii")


def _describe(error: BaseException) -> tuple[int | None, str]:
    if isinstance(error, EndedError):
        return error.code, str(error)
    if isinstance(error, CommandLineError | MissingExtraError):
        return _USAGE, str(error)
    if isinstance(error, DataError | AntiphonError):
        return _DATA, str(error)
    if isinstance(error, KeyboardInterrupt):
        return _INTERRUPTED, "interrupted"
    if isinstance(error, SystemExit):
        return (error.code if isinstance(error.code, int) else _OK), ""
    if isinstance(error, MemoryError):
        return _DATA, "out of memory"
    if isinstance(error, OSError):
        what = f"{error.filename}: " if error.filename else "cannot write the output: "
        return _DATA, f"{what}{error.strerror or error}"
    return _describe_click(error)


def _describe_click(error: BaseException) -> tuple[int | None, str]:
    click = sys.modules.get("click")
    if click is not None and isinstance(error, click.exceptions.Abort):
        return _INTERRUPTED, "interrupted"
    if click is not None and isinstance(error, click.ClickException):
        message = error.format_message().rstrip()
        context = getattr(error, "ctx", None)
        if context is not None:
            message = f"{message.removesuffix('.')} (see: {context.command_path} --help)"
        return error.exit_code, message
    if os.environ.get("ANTIPHON_TRACEBACK"):
        return None, ""
    what = f"{type(error).__name__}: {error}"
    return _DATA, f"internal error, please report it (ANTIPHON_TRACEBACK=1 shows where): {what}"


def _command(program: str) -> str:
    """``antiphon parse`` once the subcommand is known, else ``antiphon``."""
    app = sys.modules.get("antiphon.cli.app")
    running: str | None = None if app is None else app.running
    return f"{program} {running}" if running else program


def _flush_stdout() -> None:
    """Keep what was written before the error, in front of the error."""
    try:
        sys.stdout.flush()
    except OSError:
        _silence_stdout()


def _silence_stdout() -> None:
    """Point stdout at nothing, so that the interpreter's last flush cannot fail."""
    try:
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, sys.stdout.fileno())
    except (OSError, ValueError):
        pass
