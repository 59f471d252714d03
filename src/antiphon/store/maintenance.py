"""Looking at a store as a whole, and encrypting it anew."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final, NamedTuple, Protocol

import msgspec

from antiphon.store.encryption import RowCipher

__all__ = ["AT_ONCE", "TABLES", "Maintenance", "SealedTable", "StoreInfo"]

AT_ONCE: Final = 100
"""Rows encrypted anew in one transaction."""


class StoreInfo(msgspec.Struct, frozen=True, kw_only=True):
    """What is in a store."""

    where: str
    bytes: int
    """What is used of ``store.bytes``."""
    records: dict[str, int]
    """By kind."""
    unfinished: int
    """Responses that are queued or in progress."""
    oldest: int | None
    """When the oldest record was created, in Unix seconds."""
    rows_by_key: dict[str, int]
    """How many rows each key has sealed; under the empty name, the plain ones."""


class Maintenance(Protocol):
    """Raises StoreError if the store cannot be used."""

    async def info(self) -> StoreInfo: ...

    async def rekey(self, key: str) -> int:
        """Encrypt every row with this key of the ring (empty: leave it plain) that is not; how
        many were not. Others may go on reading and writing.
        """
        ...


class SealedTable(NamedTuple):
    """A table with sealed cells: how to walk through it, and to what each cell is bound."""

    name: str
    primary: tuple[str, ...]
    cells: tuple[str, ...]
    place: tuple[str, ...]
    """Columns, ``r`` being the record that the row belongs to."""

    def select(self, prefix: str, parameter: Callable[[int], str], *, first: bool) -> str:
        """Rows with another key than parameter 1: primary key, key, cells, place; behind the
        primary key in the next parameters unless ``first``.
        """
        primary = ", ".join(f"t.{name}" for name in self.primary)
        columns = ", ".join([primary, "t.key", *(f"t.{name}" for name in self.cells), *self.place])
        join = f" JOIN {prefix}records AS r ON r.seq = t.record" if "record" in self.primary else ""
        behind = ", ".join(parameter(2 + at) for at in range(len(self.primary)))
        return (
            f"SELECT {columns} FROM {prefix}{self.name} AS t{join}"  # noqa: S608 - our names
            f" WHERE t.key <> {parameter(1)}"
            + ("" if first else f" AND ({primary}) > ({behind})")
            + f" ORDER BY {primary} LIMIT {AT_ONCE}"
        )

    def update(self, prefix: str, parameter: Callable[[int], str]) -> str:
        """Parameters: new key, cells, primary key, old key."""
        names = ["key", *self.cells]
        sets = ", ".join(f"{name} = {parameter(at)}" for at, name in enumerate(names, 1))
        where = " AND ".join(
            f"{name} = {parameter(at)}"
            for at, name in enumerate([*self.primary, "key"], len(names) + 1)
        )
        return f"UPDATE {prefix}{self.name} SET {sets} WHERE {where}"  # noqa: S608 - our names

    def resealed(self, cipher: RowCipher, key: str, row: Sequence[Any]) -> list[Any]:
        """The parameters of `update` for a row of `select`."""
        keys = len(self.primary)
        primary, old = row[:keys], row[keys]
        cells = row[keys + 1 : keys + 1 + len(self.cells)]
        place = [str(part) for part in row[keys + 1 + len(self.cells) :]]
        fresh = []
        for name, cell in zip(self.cells, cells, strict=True):
            plain = cipher.open(old, cell, self.name, name, *place)
            fresh.append(cipher.seal(key, plain, self.name, name, *place))
        return [key, *fresh, *primary, old]


_OWNER: Final = ("r.tenant", "r.kind", "r.id")
TABLES: Final = (
    SealedTable("records", ("seq",), ("body", "extra"), ("t.tenant", "t.kind", "t.id")),
    SealedTable("items", ("record", "position"), ("body",), (*_OWNER, "t.id")),
    SealedTable("events", ("record", "first"), ("events",), (*_OWNER, "t.first")),
    SealedTable("state", ("space", "name"), ("value",), ("t.space", "t.name")),
)
