"""Whether any value satisfies a schema, as far as that can be told for sure."""

from __future__ import annotations

from typing import Any, Final

from antiphon.codec.grammar.gbnf_schema import NoValueError, schema_rule
from antiphon.codec.grammar.gbnf_text import Rules
from antiphon.codec.grammar.limits import Budget
from antiphon.codec.grammar.notes import Notes
from antiphon.errors import SchemaError

__all__ = ["satisfiable"]

_OLD: Final = ("draft-03", "draft-04", "draft-06", "draft-07")
"""Drafts in which nothing beside a ``$ref`` counts, so that it must not be merged with it."""


def satisfiable(schema: dict[str, Any], *, object_only: bool = False) -> bool:
    """False only if surely no value does (with ``object_only``: no object).

    The grammar of a schema accepts every valid value and more, so where it accepts nothing,
    there is nothing. A schema whose values could only be infinite is not told apart.
    """
    if any(old in str(schema.get("$schema")) for old in _OLD):
        return True
    try:
        schema_rule(schema, "", Rules(), Budget(), Notes(), object_only=object_only)
    except NoValueError:
        return False
    except SchemaError:
        return True
    return True
