"""The shell: commands in the sandbox, in the workspace, without network."""

from __future__ import annotations

import shlex
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any, Final

import msgspec

from antiphon.tools.commands import MAX_COMMAND_CHARS, REFUSED, plain_words, programs, reads_only
from antiphon.tools.protocol import Emit, Need, ToolOutput
from antiphon.tools.sandbox import Bubblewrap, Finished, Folder, Limits, SandboxError
from antiphon.tools.text import counted, one_line

__all__ = ["Shell"]

MAX_SUMMARY_CHARS: Final = 400

_DESCRIPTION: Final = """\
Run a command with bash in the workspace, which is the current folder. It runs in a sandbox: no \
network, no root, no other files than the workspace, the system's programs and a /tmp that is \
emptied after each command. Nothing can be typed into it. Output and errors come back together."""


class Shell:
    """The tool. Programs that only read run at once, without a shell and where nothing can be
    written; everything else asks, and runs where the workspace can be written to.

    `check` says why there is no sandbox; then this tool must not be offered.
    """

    def __init__(
        self,
        workspace: Path,
        *,
        limits: Limits | None = None,
        allowed: Collection[str] = (),
        refused: Collection[str] = REFUSED,
        cgroups: bool = True,
    ) -> None:
        """`allowed`: first words of calls that need no person, ``pytest`` or ``make test``;
        `refused`: programs that are never run.
        """
        self._limits = limits or Limits()
        self._allowed = tuple(allowed)
        self._refused = frozenset(refused)
        folder = Path(workspace).resolve()
        self._reading, self._writing = (
            Bubblewrap(
                [Folder(folder, writable=writable)],
                cwd=str(folder),
                limits=self._limits,
                cgroups=cgroups,
            )
            for writable in (False, True)
        )

    async def check(self) -> str | None:
        """Why it cannot be offered here; None: it can."""
        return await self._reading.check()

    @property
    def name(self) -> str:
        return "shell"

    @property
    def description(self) -> str:
        return _DESCRIPTION

    @property
    def parameters(self) -> Mapping[str, Any]:
        return {
            "type": "object",
            "properties": {
                "command": {"type": "string", "description": "The command line, for bash."},
                "timeout": {
                    "type": "integer",
                    "minimum": 1,
                    "maximum": int(self._limits.wall_s),
                    "description": "Seconds after which it is ended.",
                },
            },
            "required": ["command"],
            "additionalProperties": False,
        }

    def need(self, arguments: Mapping[str, Any] | str) -> Need:
        try:
            command, _ = self._read(arguments)
        except ValueError:
            return Need("always", "shell with wrong arguments")
        shown = one_line(command, MAX_SUMMARY_CHARS)
        if set(programs(command)) & self._refused:
            return Need("never", shown)
        words = plain_words(command)
        return Need("always" if words and reads_only(words, self._allowed) else "ask", shown)

    async def call(self, arguments: Mapping[str, Any] | str, *, emit: Emit) -> ToolOutput:
        try:
            command, seconds = self._read(arguments)
        except ValueError as error:
            return ToolOutput(str(error), failed=True)
        refused = sorted(set(programs(command)) & self._refused)
        if refused:
            return ToolOutput(f"{', '.join(refused)} is not run here", failed=True)
        limits = msgspec.structs.replace(self._limits, wall_s=seconds)
        words = plain_words(command)
        reading = words is not None and reads_only(words)
        box = self._reading if reading else self._writing
        argv = words if words and reading else ["/bin/bash", "-c", command]
        try:
            done = await box.run(argv, emit=emit, limits=limits)
        except SandboxError as error:
            return ToolOutput(f"There is no sandbox to run it in: {error}", failed=True)
        return _output(done, limits)

    async def aclose(self) -> None:
        """Nothing is held between calls."""

    def _read(self, arguments: Mapping[str, Any] | str) -> tuple[str, float]:
        """The command and its time. Models that know other shells' tools write theirs."""
        if isinstance(arguments, str):
            arguments = {"command": arguments}
        command = next(
            (arguments[key] for key in ("command", "cmd", "script") if key in arguments), None
        )
        if isinstance(command, list) and command and all(isinstance(c, str) for c in command):
            is_shell = command[0] in ("bash", "sh", "/bin/bash", "/bin/sh")
            is_script = len(command) == 3 and command[1] in ("-c", "-lc")
            command = command[2] if is_shell and is_script else shlex.join(command)
        if not isinstance(command, str) or not command.strip():
            raise ValueError("Expected `command`, the command line as a string")
        if len(command) > MAX_COMMAND_CHARS or "\0" in command:
            raise ValueError(f"A command may have {MAX_COMMAND_CHARS:,} characters and no NUL")
        try:
            command.encode()
        except UnicodeEncodeError:
            raise ValueError("The command holds half a surrogate pair") from None
        seconds = arguments.get("timeout", self._limits.wall_s)
        if not isinstance(seconds, (int, float)) or isinstance(seconds, bool) or not seconds > 0:
            raise ValueError("`timeout` is a number of seconds")
        return command, min(float(seconds), self._limits.wall_s)


def _output(done: Finished, limits: Limits) -> ToolOutput:
    why = {
        "exit": f"exit status {done.exit_code}",
        "wall": f"ended: it took longer than {limits.wall_s:g} s",
        "memory": f"ended: it took more than {counted(limits.memory_bytes >> 20, 'megabyte')}",
        "processes": f"ended: it started more than {limits.processes} processes",
        "output": f"ended: it wrote more than {counted(limits.flood_bytes >> 20, 'megabyte')}",
        "disk": "ended: the disk is nearly full",
        "sandbox": "ended: the sandbox failed",
    }[done.ended]
    failed = done.ended != "exit" or done.exit_code != 0
    text = done.output.rstrip("\n")
    if failed or not text:
        text = f"{text}\n[{why}]".lstrip("\n")
    details = {"ended": done.ended, "exit_code": done.exit_code, "seconds": round(done.seconds, 3)}
    return ToolOutput(text, failed=failed, details=details)
