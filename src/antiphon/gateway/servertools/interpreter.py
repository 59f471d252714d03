"""``code_interpreter``: gpt-oss's python as a tool of the server."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Sequence
from functools import partial
from typing import Any, Final

import msgspec

from antiphon.api.citations import CitedFile
from antiphon.api.errors import ApiError
from antiphon.api.responses.code_interpreter import (
    TYPES,
    CodeFunctionItem,
    CodeInterpreterItem,
    read_container,
)
from antiphon.api.responses.items import PlacedItem
from antiphon.api.responses.served import ServedTools, as_functions
from antiphon.api.responses.wire import OtherItem
from antiphon.api.turn import TurnEvent, TurnRequest
from antiphon.errors import StoreError
from antiphon.gateway.servertools.containers import Container, Containers
from antiphon.gateway.servertools.named import read_alike
from antiphon.gateway.servertools.protocol import Asked, Limited, NamedTool, Outcome, ServerCall
from antiphon.model.message import Message
from antiphon.model.tools import PYTHON
from antiphon.settings.tools import PythonSettings
from antiphon.tools.protocol import ToolFile

__all__ = ["CodeInterpreterKind"]

_INTERNET: Final = "Internet access for this session is UNKNOWN. Depends on the cluster."
_TRAINED: Final = "120.0 seconds"
_LOST: Final = "[a new interpreter: variables and files of earlier calls are gone]\n"
_NAMES: Final = frozenset((PYTHON.name,))


class CodeInterpreterKind:
    """The kind. Its interpreters are shared by the responses of one key."""

    name = "code_interpreter"
    types = TYPES

    def __init__(self, containers: Containers, settings: PythonSettings) -> None:
        self._containers = containers
        self._settings = settings

    async def check(self) -> str | None:
        return await self._containers.check()

    async def open(self, named: Sequence[NamedTool], asked: Asked) -> CodeInterpreter:
        wanted = read_alike(named, read_container, "a second container")
        where, tenant = named[0].where, asked.context.tenant
        memory = wanted.memory
        if memory is not None and memory > self._settings.memory_bytes:
            field = f"{where}.container.memory_limit"
            raise ApiError(
                f"{field}: containers have {self._settings.memory_bytes >> 20} MiB here"
                " (the server's setting python.memory_bytes)",
                param=field,
                code="invalid_value",
            )
        id_ = wanted.id
        before = _container_before([*asked.previous, *asked.own])
        if id_ is None:
            known = before if before and self._containers.find(tenant, before) else None
            id_ = known or self._containers.new_name()
        elif self._containers.find(tenant, id_) is None:
            field = f"{where}.container"
            raise ApiError(
                f"{field}: there is no container {id_[:80]!r} here, or no more; use"
                ' {"type": "auto"}',
                status=404,
                param=field,
                code="container_not_found",
            )
        return CodeInterpreter(
            self._containers, self._settings, named, asked, id_, lost=before not in (None, id_)
        )

    async def aclose(self) -> None:
        await self._containers.aclose()


class CodeInterpreter:
    """The tool of one request."""

    names = _NAMES

    def __init__(
        self,
        containers: Containers,
        settings: PythonSettings,
        named: Sequence[NamedTool],
        asked: Asked,
        id: str,
        *,
        lost: bool,
    ) -> None:
        self._containers = containers
        self._asked = asked
        self._id = id
        self._lost = lost
        self._known = containers.find(asked.context.tenant, id) is not None
        self._holding = asyncio.Lock()
        self._held: Container | None = None
        self._files: list[CitedFile] = []
        described = (PYTHON.description or "").replace(_INTERNET, containers.notes)
        described = described.replace(_TRAINED, f"{settings.seconds:.1f} seconds")
        item = CodeFunctionItem if asked.functions else CodeInterpreterItem
        tools = ServedTools(
            spaces={PYTHON.name: msgspec.structs.replace(PYTHON, description=described)},
            makers={
                PYTHON.name: partial(
                    item,
                    container=id,
                    outputs="code_interpreter_call.outputs" in asked.include,
                )
            },
            taken=frozenset([tool.index for tool in named]),
            choices={"code_interpreter": (PYTHON.name,)},
            files=lambda: self._files,
        )
        self.tools = as_functions(tools, named[0].where) if asked.functions else tools

    async def opening(
        self,
        request: TurnRequest,
        limited: Limited,
    ) -> AsyncGenerator[Sequence[TurnEvent | Message], None]:
        return
        yield

    async def call(self, call: ServerCall) -> Outcome:
        async with self._holding:
            if self._held is None:
                tenant = self._asked.context.tenant
                self._held, made = await self._containers.hold(tenant, self._id)
                # It may have been ended since, to make room for another.
                self._lost = made and (self._lost or self._known)
            container = self._held
        code = call.text
        if call.arguments is not None and call.arguments.value is not None:
            given: Any = call.arguments.value
        else:
            given = code
        done = await container.tool.call(given, emit=_nobody)
        text = done.text
        if self._lost:
            self._lost, text = False, _LOST + text
        kept = [await self._kept(container, file) for file in done.files]
        files = [file for file in kept if file is not None]
        return Outcome(text=text, failed=done.failed, details={"files": files})

    async def aclose(self) -> None:
        held, self._held = self._held, None
        if held is not None:
            await self._containers.release(held)

    async def _kept(self, container: Container, file: ToolFile) -> dict[str, str] | None:
        try:
            id_ = await self._containers.keep(container, file)
        except StoreError:
            return None
        if id_ is None:
            return None
        self._files.append(CitedFile(container.id, id_, file.name))
        return {"container_id": container.id, "file_id": id_, "media_type": file.media_type}


def _container_before(items: Sequence[PlacedItem]) -> str | None:
    """The container of the last call of code in a conversation."""
    for placed in reversed(items):
        if placed.type == "code_interpreter_call" and isinstance(placed.read.item, OtherItem):
            return placed.read.item.container_id
    return None


def _nobody(text: str) -> None:
    """Nobody watches."""
