"""Simple ``pattern`` keywords as GBNF: the inside of a JSON string that matches an anchored regex.

Only translated, never run: literals, classes, groups, alternatives and bounded repetitions between
``^`` and ``$``. Anything else gives None, and the string is then not bound by its pattern.
"""

from __future__ import annotations

from typing import Final, NamedTuple

from antiphon.codec.grammar.gbnf_text import Rules, choice, literal
from antiphon.codec.grammar.limits import MAX_PATTERN_CHARS, Budget

__all__ = ["FORMATS", "InputText", "input_text", "literal_text", "pattern_body"]

_DATE: Final = r"[0-9]{4}-(0[1-9]|1[0-2])-(0[1-9]|[12][0-9]|3[01])"
_TIME: Final = (
    r"([01][0-9]|2[0-3]):[0-5][0-9]:([0-5][0-9]|60)(\.[0-9]+)?([Zz]|[+-][0-9]{2}:[0-9]{2})"
)
FORMATS: Final = {
    "date": f"^{_DATE}$",
    "time": f"^{_TIME}$",
    "date-time": f"^{_DATE}[Tt ]{_TIME}$",
    "uuid": r"^[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}$",
}
"""The values of ``format`` that are enforced; the others are annotations."""

_MAX_NESTING: Final = 20
_CLASSES: Final = {
    "d": [("0", "9")],
    "w": [("A", "Z"), ("a", "z"), ("0", "9"), ("_", "_")],
    "s": [(" ", " "), ("\t", "\t"), ("\n", "\n"), ("\r", "\r"), ("\f", "\f"), ("\xa0", "\xa0")],
}
_CONTROLS: Final = {"t": "\t", "n": "\n", "r": "\r", "f": "\f", "v": "\v", "0": "\0"}
_SHORT: Final = {"\t": "t", "\n": "n", "\r": "r", "\f": "f", "\b": "b"}
_LONG: Final = "".join([chr(code) for code in range(32) if chr(code) not in _SHORT])
_Ranges = list[tuple[str, str]]


class _UnsupportedError(Exception):
    """The pattern goes beyond what is translated."""


def pattern_body(pattern: str, rules: Rules, budget: Budget) -> str | None:
    """The GBNF expression between the quotes, or None if the pattern cannot be translated."""
    backslashes = len(pattern) - 1 - len(pattern[:-1].rstrip("\\"))
    if not pattern.startswith("^") or not pattern.endswith("$") or backslashes % 2:
        return None
    if len(pattern) > MAX_PATTERN_CHARS:
        return None
    try:
        translator = _Translator(pattern[1:-1], rules, budget, raw_less=True)
        body = translator.whole()
        if translator.takes_bar:
            body = _Translator(pattern[1:-1], rules, budget, raw_less=False).whole()
    except _UnsupportedError:
        return None
    return body


def input_text(pattern: str, rules: Rules, budget: Budget) -> InputText | None:
    r"""The same for a custom tool's regular expression, which the whole text must match; and
    whether it may be empty. The syntax is that of Rust's regex crate.

    ``\d``, ``\w`` and ``\s`` mean ASCII, and the no-break space, here: less than they might.
    """
    if len(pattern) > MAX_PATTERN_CHARS:
        return None
    inner = pattern.removeprefix("^")
    backslashes = len(inner) - 1 - len(inner[:-1].rstrip("\\"))
    if inner.endswith("$") and not backslashes % 2:
        inner = inner[:-1]
    if inner == pattern:
        inner = f"(?:{pattern})"
    try:
        translator = _Translator(inner, rules, budget, raw_less=True, rust=True)
        body = translator.whole()
        if translator.takes_bar:
            translator = _Translator(inner, rules, budget, raw_less=False, rust=True)
            body = translator.whole()
    except _UnsupportedError:
        return None
    return InputText(body, translator.nullable)


class InputText(NamedTuple):
    """The expression, and whether the text may be empty."""

    text: str
    nullable: bool


def literal_text(content: str) -> str:
    """The expression of these very characters inside a JSON string."""
    special = ('"', "\\", "<", *map(chr, range(32)))
    return literal("".join([_json_escape(c) if c in special else c for c in content]))


class _Translator:
    """A recursive-descent reader of one pattern.

    Raw ``<|`` could spell a control token. Where the pattern takes a ``|``, a ``<`` is therefore
    written as an escape: ``raw_less`` is off then.
    """

    def __init__(
        self, pattern: str, rules: Rules, budget: Budget, *, raw_less: bool, rust: bool = False
    ) -> None:
        self.pattern = pattern
        self.at = 0
        self.rules = rules
        self.budget = budget
        self.raw_less = raw_less
        self.rust = rust
        self.nullable = False
        """Whether what was read last may be empty."""
        self.takes_bar = False

    def whole(self) -> str:
        body = self._sequence(0)
        if self.at < len(self.pattern):
            raise _UnsupportedError
        return body

    def _peek(self) -> str:
        return self.pattern[self.at : self.at + 1]

    def _take(self) -> str:
        char = self._peek()
        if not char:
            raise _UnsupportedError
        self.at += 1
        return char

    def _alternatives(self, depth: int) -> str:
        if depth > _MAX_NESTING:
            raise _UnsupportedError
        options = [self._sequence(depth)]
        nullable = self.nullable
        while self._peek() == "|":
            self.at += 1
            options.append(self._sequence(depth))
            nullable |= self.nullable
        self.nullable = nullable
        return choice(options)

    def _sequence(self, depth: int) -> str:
        parts: list[str] = []
        nullable = True
        while self._peek() not in ("", "|", ")"):
            self.nullable = False
            parts.append(self._repeated(self._atom(depth)))
            nullable &= self.nullable
        self.nullable = nullable
        return " ".join(parts) or '""'

    def _repeated(self, atom: str) -> str:
        char = self._peek()
        if self.nullable and char in ("*", "+", "{"):  # llama.cpp calls it left recursion
            raise _UnsupportedError
        if char in ("*", "+", "?"):
            self.at += 1
            self.nullable = char != "+"
            atom += char
        elif char == "{":
            self.at += 1
            low, high = self._bounds()
            if not self.budget.repeat(max(low, high or 0)):
                raise _UnsupportedError
            self.nullable = low == 0
            atom += f"{{{low}}}" if low == high else f"{{{low},{'' if high is None else high}}}"
        else:
            return atom
        if self._peek() in ("?", "+", "*", "{"):  # lazy, possessive or doubled
            raise _UnsupportedError
        return atom

    def _bounds(self) -> tuple[int, int | None]:
        end = self.pattern.find("}", self.at)
        low, comma, high = self.pattern[self.at : max(end, self.at)].partition(",")
        if not low.isdecimal() or len(low) > 6 or (high and not high.isdecimal()) or len(high) > 6:
            raise _UnsupportedError
        self.at = end + 1
        if not comma:
            return int(low), int(low)
        if high and int(high) < int(low):
            raise _UnsupportedError
        return int(low), int(high) if high else None

    def _atom(self, depth: int) -> str:
        char = self._take()
        if char == "(":
            if self._peek() == "?":
                if self.pattern[self.at : self.at + 2] != "?:":
                    raise _UnsupportedError
                self.at += 2
            body = self._alternatives(depth + 1)
            if self._take() != ")":
                raise _UnsupportedError
            # A rule of its own: llama.cpp multiplies repetitions that are nested within one rule.
            return self.rules.add(body)
        if char == "[":
            return self._class()
        if char == ".":
            breaks = [("\n", "\n")] if self.rust else [("\n", "\n"), ("\r", "\r")]
            return self._characters(breaks, negated=True)
        if char == "\\":
            name = self._take()
            if name.lower() in _CLASSES:
                return self._characters(_CLASSES[name.lower()], negated=name.isupper())
            return self._characters([(one := self._escaped(name), one)], negated=False)
        if char in "^$*+?{}]":
            raise _UnsupportedError
        return self._characters([(char, char)], negated=False)

    def _escaped(self, name: str) -> str:
        if name in _CONTROLS:
            return _CONTROLS[name]
        if name in ("x", "u"):
            width = 2 if name == "x" else 4
            digits = self.pattern[self.at : self.at + width]
            if len(digits) != width or any(c not in "0123456789abcdefABCDEF" for c in digits):
                raise _UnsupportedError
            self.at += width
            code = int(digits, 16)
            if 0xD800 <= code < 0xE000:
                raise _UnsupportedError
            return chr(code)
        if name.isalnum():
            raise _UnsupportedError
        return name

    def _class(self) -> str:
        negated = self._peek() == "^"
        self.at += negated
        ranges: _Ranges = []
        while (char := self._take()) != "]":
            if self.rust and (char == "[" or (char in "&-~" and self._peek() == char)):
                raise _UnsupportedError  # a class in a class, or an operation on classes
            if char == "\\":
                name = self._take()
                if name.lower() in _CLASSES:
                    if name.isupper():
                        raise _UnsupportedError
                    ranges += _CLASSES[name.lower()]
                    continue
                char = "\b" if name == "b" else self._escaped(name)
            last = char
            if self._peek() == "-" and self.pattern[self.at + 1 : self.at + 2] not in ("]", ""):
                self.at += 1
                last = self._take()
                if last == "\\":
                    last = self._escaped(self._take())
                if last < char:
                    raise _UnsupportedError
            ranges.append((char, last))
        if not ranges:
            raise _UnsupportedError
        return self._characters(ranges, negated=negated)

    def _characters(self, ranges: _Ranges, *, negated: bool) -> str:
        """One character of a JSON string, raw or escaped."""
        self.takes_bar |= negated or any(low <= "|" <= high for low, high in ranges)
        if negated:
            raw = "".join([_range(low, high) for low, high in ranges])
            if self.rust:
                return self.rules.add(choice([f'[^"\\\\<\\x00-\\x1F{raw}]', *_escapes_but(ranges)]))
            return choice([f'[^"\\\\<\\x00-\\x1F{raw}]', "escape"])
        options: list[str] = []
        raw = "".join([_range(a, b) for low, high in ranges for a, b in self._plain(low, high)])
        if raw:
            options.append(f"[{raw}]")
        for low, high in ranges:
            options.extend(
                literal(_json_escape(special))
                for special in ('"', "\\", *("" if self.raw_less else "<"), *map(chr, range(32)))
                if low <= special <= high
            )
        return choice(options)

    def _plain(self, low: str, high: str) -> _Ranges:
        """The part of a range that stands in a JSON string as it is."""
        out: _Ranges = []
        start = max(ord(low), 32)
        for special in sorted(ord(c) for c in ('"\\' if self.raw_less else '"\\<')):
            if start <= special <= ord(high):
                if start < special:
                    out.append((chr(start), chr(special - 1)))
                start = special + 1
        if start <= ord(high):
            out.append((chr(start), high))
        return out


def _escapes_but(ranges: _Ranges) -> list[str]:
    """The escapes of a JSON string for all characters but these."""

    def free(char: str) -> bool:
        return not any(low <= char <= high for low, high in ranges)

    short = [name for char, name in (('"', '\\"'), ("\\", "\\\\"), ("/", "/")) if free(char)]
    short += [name for char, name in _SHORT.items() if free(char)]
    options = [f'"\\\\" [{"".join(short)}]'] if short else []
    if free("<"):
        options.append('"\\\\u003" [cC]')
    if all(map(free, _LONG)):
        options.append('"\\\\u00" ( "0" [0-7bBeEfF] | "1" hex )')
    if all(high < "\x80" for _, high in ranges):
        options.append(
            '"\\\\u" ( [1-9a-fA-F] hex hex hex | "0" [1-9a-fA-F] hex hex | "00" [89a-fA-F] hex )'
        )
    return options


def _json_escape(char: str) -> str:
    if char in '"\\':
        return "\\" + char
    return "\\" + _SHORT[char] if char in _SHORT else f"\\u{ord(char):04x}"


def _range(low: str, high: str) -> str:
    return _class_char(low) if low == high else f"{_class_char(low)}-{_class_char(high)}"


def _class_char(char: str) -> str:
    code = ord(char)
    if char.isascii() and char.isalnum():
        return char
    if code < 0x100:
        return f"\\x{code:02X}"
    return f"\\u{code:04X}" if code < 0x10000 else f"\\U{code:08X}"
