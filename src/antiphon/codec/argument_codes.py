"""The codes under which arguments are mended, listed in docs/grammar.md."""

from __future__ import annotations

from enum import StrEnum

__all__ = ["Repair"]


class Repair(StrEnum):
    """What was changed to make arguments of the text, or why nothing could be."""

    EMPTY = "empty-arguments"
    TRAILING_TEXT = "trailing-text"
    SEVERAL_VALUES = "several-values"
    LIST_OF_OBJECTS = "list-of-objects"
    DOUBLE_ENCODED = "double-encoded"
    LEADING_TEXT = "leading-text"
    CODE_FENCE = "code-fence"
    WRAPPED_TEXT = "wrapped-text"
    CONTROL_CHARACTER = "raw-control-character"
    ESCAPE = "invalid-escape"
    INNER_QUOTE = "unescaped-quote"
    DOUBLED_QUOTE = "doubled-quote"
    QUOTE_STYLE = "quote-style"
    TRAILING_COMMA = "trailing-comma"
    MISSING_COMMA = "missing-comma"
    MISSING_COLON = "missing-colon"
    MISSING_VALUE = "missing-value"
    LITERAL = "foreign-literal"
    BARE_KEY = "unquoted-key"
    BARE_VALUE = "unquoted-value"
    NUMBER = "number-form"
    SPACE = "foreign-space"
    COMMENT = "comment"
    BRACKET = "mismatched-bracket"
    UNCLOSED_STRING = "unclosed-string"
    UNCLOSED_BRACKET = "unclosed-bracket"
    NOT_AN_OBJECT = "not-an-object"
    TOO_DEEP = "too-deep"
    NOT_JSON = "not-json"
