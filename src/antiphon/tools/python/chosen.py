"""The interpreter that the settings ask for: the first kind that works on this machine."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping
from pathlib import Path

import msgspec

from antiphon.errors import MissingExtraError, SettingsError
from antiphon.settings.tools import PythonSettings
from antiphon.tools.protocol import Emit
from antiphon.tools.python.interpreter import Interpreter, Ran
from antiphon.tools.python.sandboxed import DEFAULT_LIMITS, SandboxedPython

__all__ = ["FirstThatWorks", "interpreter"]

Make = Callable[[], Interpreter]


def interpreter(settings: PythonSettings, *, drive: Path | None = None) -> Interpreter:
    """What ``python.sandbox`` names; nothing runs before `check`. ``drive`` is the folder behind
    ``/mnt/data``, else one that goes when it is closed.

    Raises SettingsError for an interpreter that is none.
    """
    program = _program(settings)

    def bubblewrap() -> Interpreter:
        return SandboxedPython(
            python=program,
            limits=msgspec.structs.replace(DEFAULT_LIMITS, memory_bytes=settings.memory_bytes),
            call_s=settings.seconds,
            drive=drive,
        )

    def monty() -> Interpreter:
        from antiphon.tools.python.monty import MontyPython

        return MontyPython(memory_bytes=settings.memory_bytes, call_s=settings.seconds)

    kinds: dict[str, Make] = {"bubblewrap": bubblewrap, "monty": monty}
    if settings.sandbox != "auto":
        kinds = {settings.sandbox: kinds[settings.sandbox]}
    return FirstThatWorks(kinds)


def _program(settings: PythonSettings) -> Path | None:
    if settings.interpreter is None:
        return None
    if settings.sandbox == "monty":
        raise SettingsError("python.interpreter has no effect with the sandbox monty")
    found = shutil.which(Path(settings.interpreter).expanduser())
    if found is None:
        raise SettingsError(f"python.interpreter: {settings.interpreter!r} is no program")
    return Path(found).absolute()


class FirstThatWorks:
    """An `Interpreter` that becomes the first of several kinds that passes its check."""

    def __init__(self, kinds: Mapping[str, Make]) -> None:
        self._kinds = kinds
        self._chosen: Interpreter | None = None
        self._reason: str | None = None

    @property
    def notes(self) -> str:
        """Those of the one that was chosen."""
        return "" if self._chosen is None else self._chosen.notes

    async def check(self) -> str | None:
        """Why none works here, each with its reason; the first that works is chosen for good."""
        if self._chosen is None and self._reason is None:
            reasons = []
            for name, make in self._kinds.items():
                reason = await self._tried(make)
                if reason is None:
                    return None
                reasons.append(f"{name}: {reason}")
            self._reason = "; ".join(reasons)
        return self._reason

    async def run(self, code: str, *, emit: Emit) -> Ran:
        reason = await self.check()
        if self._chosen is None:
            return Ran(f"There is no sandbox to run it in: {reason}", failed=True)
        return await self._chosen.run(code, emit=emit)

    async def aclose(self) -> None:
        if self._chosen is not None:
            await self._chosen.aclose()

    async def _tried(self, make: Make) -> str | None:
        try:
            made = make()
        except MissingExtraError as error:
            return str(error)
        reason = await made.check()
        if reason is None:
            self._chosen = made
        else:
            await made.aclose()
        return reason
