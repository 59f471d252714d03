"""A tolerant reader of one JSON object or array: broken JSON in, valid JSON text out.

It rewrites instead of evaluating: numbers and strings keep the digits and characters the model
wrote, and only what JSON does not allow is changed, each change under a code of its own. One pass,
no recursion, and every look ahead is bounded, so that the work grows with the length of the text.
"""

from __future__ import annotations

import re
from typing import Final, NamedTuple

from antiphon.codec.argument_codes import Repair
from antiphon.codec.argument_strings import CLOSING, StringCopier

__all__ = ["MAX_DEPTH", "Repaired", "rewrite"]

MAX_DEPTH: Final = 256
"""Deepest nesting of arguments that is read; beyond it they are delivered as raw text."""


class Repaired(NamedTuple):
    """Valid JSON text, where in the input it ended, and what was changed."""

    json: str
    end: int
    repairs: tuple[Repair, ...]


class _GiveUpError(Exception):
    """The text is not recognisably JSON, or too deep."""

    def __init__(self, reason: Repair) -> None:
        self.reason = reason


_SPACE: Final = re.compile(r"[\s\ufeff]*")
_NUMBER: Final = re.compile(r"-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?\Z")
_NUMBER_LIKE: Final = re.compile(r"[+\-.]?[0-9][\w.+\-]*|[+-](?=\Z)|-Infinity")
_CUT_NUMBER: Final = re.compile(r"(?:\.|\.?[eE][+-]?)\Z")
_HEXADECIMAL: Final = re.compile(r"0[xX][0-9a-fA-F]{1,16}\Z")
_WORD: Final = re.compile(r"[^\W\d][\w.\-/]*")
_KEY: Final = re.compile(r"[\w$][\w$.\-]{0,127}")
_INSIDE: Final = r"[^%s\\\n]*+(?:\\.[^%s\\\n]*+)*+"
_KEY_AHEAD: Final = re.compile(
    "|".join(
        [rf"{q}{_INSIDE % (q, q)}(?:{q}[ \t\r\n]{{0,64}}(?::|\Z)|\\?\Z)" for q in "\"'`"]
        + [
            r"“[^”\n]{0,256}(?:”[ \t\r\n]{0,64}(?::|\Z)|\Z)",
            r"[\w$][\w$.\-]{0,127}\s{0,64}(?::|\Z)",
        ]
    )
)
"""What stands after a comma in an object, if the quote before the comma ended a value.

A look ahead ends at the quote where the next may begin, or has a bound, so no text is read often.
"""
_HIGH_SURROGATE: Final = re.compile(r"\\u[dD][89abAB]")
_LITERALS: Final = {"true": "true", "false": "false", "null": "null", "none": "null"}
_NO_NUMBERS: Final = frozenset({"nan", "infinity", "inf", "undefined", "-infinity"})


def rewrite(text: str, start: int = 0) -> Repaired | Repair:
    """Read the object or array that begins at ``start``, or say why that is impossible.

    The result is `TOO_DEEP` or `NOT_JSON` when nothing trustworthy can be made of the text.
    """
    try:
        return _Rewriter(text, start).run()
    except _GiveUpError as failure:
        return failure.reason


class _Rewriter:
    """The state of one rewriting: position, output, and the stack of open brackets."""

    def __init__(self, text: str, start: int) -> None:
        self.text = text
        self.at = start
        self.out: list[str] = []
        self.open: list[str] = []
        self.lists_open = 0
        self.repairs: dict[Repair, None] = {}
        self.last_quote = {quote: text.rfind(quote) for quote in CLOSING.values()}
        self.filled = False
        self.comma = False

    def run(self) -> Repaired:
        self._push(self.text[self.at])
        while self.open:
            self._space()
            if self.at >= len(self.text):
                self._cut()
                break
            char = self.text[self.at]
            if char in "}]":
                self._close(char)
            elif char == ",":
                if self.comma or not self.filled:
                    self._note(Repair.TRAILING_COMMA)
                self.comma = True
                self.at += 1
            elif self.open[-1] == "{":
                self._member()
            else:
                self._value("")
        return Repaired("".join(self.out), self.at, tuple(self.repairs))

    def _note(self, repair: Repair) -> None:
        self.repairs[repair] = None

    def _space(self) -> None:
        """Skip white space and comments."""
        text = self.text
        while True:
            start, self.at = self.at, _end(_SPACE, text, self.at)
            if text[start : self.at].strip(" \t\r\n"):
                self._note(Repair.SPACE)
            if text.startswith("//", self.at) or text.startswith("#", self.at):
                stop, width = text.find("\n", self.at), 1
            elif text.startswith("/*", self.at):
                stop, width = text.find("*/", self.at + 2), 2
            else:
                return
            self._note(Repair.COMMENT)
            self.at = len(text) if stop < 0 else stop + width

    def _separate(self) -> None:
        """Write the comma that stands before the next member or element."""
        if self.filled:
            if not self.comma:
                self._note(Repair.MISSING_COMMA)
            self.out.append(",")
        self.comma = False
        self.filled = True

    def _push(self, bracket: str) -> None:
        if len(self.open) >= MAX_DEPTH:
            raise _GiveUpError(Repair.TOO_DEEP)
        self.open.append(bracket)
        self.lists_open += bracket == "["
        self.out.append(bracket)
        self.at += 1
        self.filled = self.comma = False

    def _pop(self) -> None:
        bracket = self.open.pop()
        self.lists_open -= bracket == "["
        self.out.append("}" if bracket == "{" else "]")
        if self.comma:
            self._note(Repair.TRAILING_COMMA)
        self.comma = False
        self.filled = True

    def _close(self, char: str) -> None:
        wanted = "{" if char == "}" else "["
        there = self.lists_open if wanted == "[" else len(self.open) - self.lists_open
        self.at += 1
        if not there:
            self._note(Repair.BRACKET)
            return
        while self.open[-1] != wanted:
            self._note(Repair.BRACKET)
            self._pop()
        self._pop()

    def _cut(self) -> None:
        """The input ended inside: close everything."""
        self._note(Repair.UNCLOSED_BRACKET)
        self.comma = False
        while self.open:
            self._pop()

    def _member(self) -> None:
        text = self.text
        if text[self.at] in CLOSING:
            key = self._string(key=True)
            bare = False
        elif found := _KEY.match(text, self.at):
            self.at = found.end()
            key = f'"{found.group()}"'
            bare = True
        else:
            raise _GiveUpError(Repair.NOT_JSON)
        self._space()
        if self.at >= len(text):
            return
        if text[self.at] == ":":
            self.at += 1
        elif bare or text[self.at] in ",}]":
            raise _GiveUpError(Repair.NOT_JSON)
        else:
            self._note(Repair.MISSING_COLON)
        if bare:
            self._note(Repair.BARE_KEY)
        self._space()
        if self.at >= len(text):
            return
        if text[self.at] in ",}]":
            self._note(Repair.MISSING_VALUE)
            self._separate()
            self.out.append(f"{key}:null")
            return
        self._value(key + ":")

    def _value(self, prefix: str) -> None:
        """Read one value; ``prefix`` is its key, written only if there is a value."""
        text, char = self.text, self.text[self.at]
        if char in "{[":
            self._separate()
            self.out.append(prefix)
            self._push(char)
            return
        if char in CLOSING:
            value: str | None = self._triple(char) or self._string(key=False)
        elif found := _NUMBER_LIKE.match(text, self.at):
            self.at = found.end()
            value = self._number(found.group())
        elif found := _WORD.match(text, self.at):
            self.at = found.end()
            value = self._word(found.group())
        else:
            raise _GiveUpError(Repair.NOT_JSON)
        if value is not None:
            self._separate()
            self.out.append(prefix + value)

    def _number(self, token: str) -> str | None:
        if _NUMBER.match(token):
            return token
        if self.at >= len(self.text):
            token = _CUT_NUMBER.sub("", token)
            return token if _NUMBER.match(token) else None
        if token.lower() in _NO_NUMBERS:
            self._note(Repair.LITERAL)
            return "null"
        plain = token.lstrip("+").replace("_", "")
        plain = ("0" + plain if plain.startswith(".") else plain).removesuffix(".")
        if _HEXADECIMAL.match(plain):
            plain = str(int(plain, 16))
        if _NUMBER.match(plain):
            self._note(Repair.NUMBER)
            return plain
        return self._bare(token)

    def _word(self, token: str) -> str | None:
        lower = token.lower()
        if literal := _LITERALS.get(lower):
            if token != literal:
                self._note(Repair.LITERAL)
            return literal
        if lower in _NO_NUMBERS:
            self._note(Repair.LITERAL)
            return "null"
        if self.at >= len(self.text):
            return None
        return self._bare(token)

    def _bare(self, token: str) -> str:
        """One word without quotes, if it fills the whole value."""
        after = _end(_SPACE, self.text, self.at)
        if after < len(self.text) and self.text[after] not in ",}]":
            raise _GiveUpError(Repair.NOT_JSON)
        self._note(Repair.BARE_VALUE)
        return f'"{token}"'

    def _triple(self, quote: str) -> str | None:
        """A Python triple-quoted string, or None if this is none."""
        if quote not in "\"'" or not self.text.startswith(quote * 3, self.at):
            return None
        stop = self.text.find(quote * 3, self.at + 3)
        if stop < 0:
            return None
        self._note(Repair.QUOTE_STYLE)
        inner = StringCopier(self.text[self.at + 3 : stop], '"')
        inner.run_to_end()
        self.repairs.update(inner.repairs)
        self.at = stop + 3
        return '"' + "".join(inner.out) + '"'

    def _string(self, *, key: bool) -> str:
        """Read a quoted string, deciding for each inner quote whether it ends the string."""
        text = self.text
        quote = text[self.at]
        close = CLOSING[quote]
        if quote != '"':
            self._note(Repair.QUOTE_STYLE)
        inner = StringCopier(text, close, self.at + 1)
        quotes = 0
        last_inner = -1
        while not inner.at_end():
            if text[inner.at] == close:
                if key or self._ends(inner.at + 1, close):
                    if quotes % 2 and last_inner == inner.at - 1:
                        inner.out.pop()
                        quotes -= 1
                        self._note(Repair.DOUBLED_QUOTE)
                    if quotes:
                        self._note(Repair.INNER_QUOTE)
                    self.at = inner.at + 1
                    self.repairs.update(inner.repairs)
                    return '"' + "".join(inner.out) + '"'
                quotes += 1
                last_inner = inner.at
                inner.out.append('\\"' if close == '"' else close)
                inner.at += 1
            else:
                inner.step()
        if quotes:
            raise _GiveUpError(Repair.NOT_JSON)
        self._note(Repair.UNCLOSED_STRING)
        self.repairs.update(inner.repairs)
        if inner.out and _HIGH_SURROGATE.match(inner.out[-1]):
            inner.out.pop()
        self.at = len(text)
        return '"' + "".join(inner.out) + '"'

    def _ends(self, after: int, quote: str) -> bool:
        """Whether a quote that stands before ``after`` ends its value: does JSON go on there?"""
        text = self.text
        at = _end(_SPACE, text, after)
        if at >= len(text):
            return True
        in_object = self.open[-1] == "{"
        char = text[at]
        if char in "}]":
            following = _end(_SPACE, text, at + 1)
            if following >= len(text) or at > self.last_quote[quote]:
                return True
            if len(self.open) == 1:
                return text[following] in "{`"
            return text[following] in ",}]"
        if char == ",":
            following = _end(_SPACE, text, at + 1)
            if following >= len(text) or text.startswith(("//", "/*", "#"), following):
                return True
            if in_object:
                return text[following] == "}" or _KEY_AHEAD.match(text, following) is not None
            return text[following] in "\"'`“[]{-0123456789tfnTFN"
        if char in "/#":
            return text.startswith(("//", "/*", "#"), at)
        if char in CLOSING and at > after and in_object:
            return _KEY_AHEAD.match(text, at) is not None
        return False


def _end(pattern: re.Pattern[str], text: str, at: int) -> int:
    """Where a pattern that matches everywhere ends."""
    found = pattern.match(text, at)
    return found.end() if found else at
