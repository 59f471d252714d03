"""JSON objects and arrays as GBNF, in as many rules as they have members."""

from __future__ import annotations

import json
from typing import Final, NamedTuple

from antiphon.codec.grammar.gbnf_text import Rules, choice, json_literal, literal

__all__ = ["Field", "array_rule", "extra_key", "object_rule", "times"]

_MAX_KEY_CHARS: Final = 64
_MAX_ALL_KEY_CHARS: Final = 4_000
_COMMA: Final = 'ws "," ws'


class Field(NamedTuple):
    """One named property and the expression of its value."""

    name: str
    value: str
    required: bool


def times(low: int, high: int | None) -> str:
    """A GBNF quantifier, as short as can be."""
    match (low, high):
        case (0, None):
            return "*"
        case (1, None):
            return "+"
        case (0, 1):
            return "?"
        case (_, None):
            return f"{{{low},}}"
        case _ if low == high:
            return f"{{{low}}}"
        case _:
            return f"{{{low},{high}}}"


def object_rule(fields: list[Field], extra: str | None, rules: Rules) -> str:
    """An object of these properties in this order; ``extra`` is one further member, if allowed.

    One rule per property says what may follow once something was written, so that leaving out
    optional ones never multiplies the rules.
    """
    after = f"( {_COMMA} {extra} )*" if extra else ""
    first: list[str] = []
    may_be_empty = True
    if extra:
        first.append(f"{extra} {after}")
    for field in reversed(fields):
        member = rules.add(f'{_key(field.name)} ws ":" ws {field.value}')
        if field.required:
            first = []
            may_be_empty = False
        first.append(f"{member} {after}".rstrip())
        quantifier = "" if field.required else "?"
        after = rules.add(f"( {_COMMA} {member} ){quantifier} {after}".rstrip())
    if not first:
        return '"{" ws "}"'
    inside = rules.add(choice(reversed(first)))
    return rules.add(
        f'"{{" ws ( {inside} ws )? "}}"' if may_be_empty else f'"{{" ws {inside} ws "}}"'
    )


def _key(name: str) -> str:
    return json_literal(json.dumps(name, ensure_ascii=False))


def array_rule(
    prefix: list[str], item: str | None, low: int, high: int | None, rules: Rules
) -> str | None:
    """An array of items by position, then of ``item``, ``low`` to ``high`` in all.

    None if there is no such array.
    """
    if item is None:
        high = len(prefix) if high is None else min(high, len(prefix))
    if high is not None and high < low:
        return None
    if high == 0:
        return '"[" ws "]"'
    head, after = _items(prefix, item, low, high, rules)
    body = f"{head} {after}".rstrip()
    return rules.add(f'"[" ws ( {body} ws )? "]"' if low == 0 else f'"[" ws {body} ws "]"')


def _items(
    prefix: list[str], item: str | None, low: int, high: int | None, rules: Rules
) -> tuple[str, str]:
    """The first item, and all that may follow it."""
    named = prefix if high is None else prefix[:high]
    rest_low = max(low - max(len(named), 1), 0)
    rest_high = None if high is None else high - max(len(named), 1)
    after = ""
    if item is not None and rest_high != 0:
        after = f"{rules.add(f'{_COMMA} {item}')}{times(rest_low, rest_high)}"
    for position in range(len(named) - 1, 0, -1):
        one = rules.add(f"{_COMMA} {named[position]} {after}".rstrip())
        after = one if position < low else f"{one}?"
    if named:
        return named[0], after
    return item or "", after


def extra_key(names: list[str], rules: Rules) -> str:
    """A JSON string that is none of these names, as far as their number allows.

    Names that are long or need an escape are not told apart; a key may still spell a name with
    escapes. Both only loosen.
    """
    plain = [name for name in names if 0 < len(name) <= _MAX_KEY_CHARS and _is_plain(name)]
    if not plain or sum(map(len, plain)) > _MAX_ALL_KEY_CHARS:
        return "string"
    return rules.add(f'"\\"" {_other(sorted(set(plain)), 0, rules)} "\\""')


def _is_plain(name: str) -> bool:
    return all(char >= " " and char not in '"\\<' for char in name)


def _other(names: list[str], depth: int, rules: Rules) -> str:
    """What may follow ``names[0][:depth]`` so that none of the names comes out."""
    groups: dict[str, list[str]] = {}
    for name in names:
        if len(name) > depth:
            groups.setdefault(name[depth], []).append(name)
    taken = "".join([_class_char(char) for char in groups])
    options = [f'[^"\\\\<\\x00-\\x1F{taken}] plain*', "escape plain*"]
    for char, group in groups.items():
        options.append(f"{literal(char)} {_other(group, depth + 1, rules)}")
    if all(len(name) > depth for name in names):
        return rules.add(f"( {' | '.join(options)} )?")
    return rules.add(choice(options)) if groups else "plain+"


def _class_char(char: str) -> str:
    if char.isascii() and char.isalnum():
        return char
    code = ord(char)
    return f"\\u{code:04X}" if code < 0x10000 else f"\\U{code:08X}"
