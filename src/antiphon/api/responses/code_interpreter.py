"""The tool ``code_interpreter`` of the Responses API over gpt-oss's python: parameters and item."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Final

import msgspec

from antiphon.api.responses.served import ServedItem
from antiphon.api.turn import CallRan
from antiphon.errors import MessageError

__all__ = [
    "TYPES",
    "CodeInterpreterItem",
    "ContainerOptions",
    "container_file_body",
    "content_path",
    "read_container",
]

TYPES: Final = frozenset({"code_interpreter"})
MAX_ID_CHARS: Final = 128


class ContainerOptions(msgspec.Struct, frozen=True, kw_only=True):
    """``container``. ``id`` is None for ``auto``."""

    id: str | None = None
    memory: int | None = None
    """Bytes that the request wants."""


_MEMORY: Final = {"1g": 1 << 30, "4g": 4 << 30, "16g": 16 << 30, "64g": 64 << 30}


def read_container(fields: Mapping[str, Any], where: str) -> ContainerOptions:
    """Raises MessageError naming the field that is wrong, or cannot be had here."""
    given, field = fields.get("container", {"type": "auto"}), f"{where}.container"
    if isinstance(given, str):
        if not 0 < len(given) <= MAX_ID_CHARS:
            raise MessageError(f"{field}: expected an id, or type auto", field=field)
        return ContainerOptions(id=given)
    if not isinstance(given, Mapping) or given.get("type", "auto") != "auto":
        raise MessageError(f"{field}: expected an id, or type auto", field=field)
    if given.get("file_ids"):
        raise MessageError(
            f"{field}.file_ids: files cannot be uploaded here; put them into the input",
            field=f"{field}.file_ids",
        )
    policy = given.get("network_policy")
    if policy is not None and (not isinstance(policy, Mapping) or policy.get("type") != "disabled"):
        raise MessageError(
            f"{field}.network_policy: there is no network in a container here",
            field=f"{field}.network_policy",
        )
    memory = given.get("memory_limit")
    if memory is not None and memory not in _MEMORY:
        raise MessageError(
            f"{field}.memory_limit: expected one of {', '.join(_MEMORY)}",
            field=f"{field}.memory_limit",
        )
    return ContainerOptions(memory=None if memory is None else _MEMORY[memory])


def container_file_body(id: str, container: str, *, name: str, size: int, created: int) -> bytes:
    """What is told of a file, as OpenAI does."""
    return msgspec.json.encode(
        {
            "id": id,
            "object": "container.file",
            "created_at": created,
            "bytes": size,
            "container_id": container,
            "path": f"/mnt/data/{name}",
            "source": "assistant",
        }
    )


def content_path(container: str, file: str) -> str:
    """Where a file of a container is to be had."""
    return f"/v1/containers/{container}/files/{file}/content"


class CodeInterpreterItem(ServedItem):
    """``code_interpreter_call``. Its outputs are shown if the request asks for them."""

    prefix: ClassVar[str] = "ci"
    early: ClassVar[bool] = True

    __slots__ = ("_container", "_with_outputs")

    def __init__(self, number: str, index: int, *, container: str, outputs: bool) -> None:
        super().__init__(f"{self.prefix}_{number}", index)
        self._container = container
        self._with_outputs = outputs
        self._deltas("response.code_interpreter_call_code.delta", content=False)

    @property
    def type(self) -> str:
        return "code_interpreter_call"

    def fields(self, status: str) -> dict[str, Any]:
        return {"container_id": self._container, "code": self.json, "outputs": self._outputs()}

    def opening(self) -> list[bytes]:
        return [self.event("response.code_interpreter_call.in_progress", content=False)]

    def written(self) -> list[bytes]:
        self.state = "interpreting"
        done = "response.code_interpreter_call_code.done"
        return [
            self.event(done, content=False, code=self.json),
            self.event("response.code_interpreter_call.interpreting", content=False),
        ]

    def ran(self, outcome: CallRan) -> list[bytes]:
        super().ran(outcome)
        return [self.event("response.code_interpreter_call.completed", content=False)]

    def _outputs(self) -> Sequence[dict[str, Any]] | None:
        if not self._with_outputs or self.outcome is None:
            return None
        made: list[dict[str, Any]] = [{"type": "logs", "logs": self.outcome.text}]
        for file in self.outcome.details.get("files") or ():
            if file["media_type"].startswith("image/"):
                url = content_path(file["container_id"], file["file_id"])
                made.append({"type": "image", "url": url})
        return made
