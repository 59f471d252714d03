"""How a database comes to its present form: named steps, each done once, in order.

A step that has been released is never changed; what it got wrong is mended by a later one.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import TypeVar

from antiphon.errors import StoreError

__all__ = ["pending"]

Step = TypeVar("Step")


def pending(steps: Mapping[str, Step], applied: Collection[str]) -> list[tuple[str, Step]]:
    """The steps that are still to be done, in order.

    Raises StoreError if steps were done that this release does not know.
    """
    unknown = sorted(set(applied) - set(steps))
    if unknown:
        raise StoreError(
            f"the store was made by a newer release of antiphon (it has {', '.join(unknown)})"
        )
    return [(name, step) for name, step in steps.items() if name not in applied]
