"""Values for arguments and fields, found in what the user said and what tools have told."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final

from antiphon.engines.scripted.arithmetic import find_expression

__all__ = ["Hints", "subjects", "words_of"]

MAX_TEXT: Final = 4_000
"""How much of a message is searched for values."""

_NAME: Final = r"(?!I\b|The\b|It\b)[A-ZÀ-Þ][\w'’-]*(?:[ ](?!I\b|And\b|In\b)[A-ZÀ-Þ][\w'’-]*)*"
_SUBJECTS: Final = re.compile(
    r"\b(?:in|for|at|near|of|to|about|from|visit)\s+"
    rf"({_NAME}(?:(?:,|,? and|,? or)\s+(?:in |for |at |of )?{_NAME})*)"
)
_SUBJECT: Final = re.compile(_NAME)
_QUOTED: Final = re.compile(r"\"([^\"\n]+)\"|“([^”\n]+)”|`([^`\n]+)`|(?<!\w)'([^'\n]+)'(?!\w)")
_NUMBER: Final = re.compile(r"(?<![\w.])-?\d+(?:\.\d+)?(?![\w.]*\w)")
_PATH: Final = re.compile(
    r"(?<![\w:/.~-])(?:[~.]{0,2}/)?(?:[\w.-]+/)*[\w-]+\.\w{1,8}\b|(?<![\w:/.~-])/[\w./-]+"
)
_URL: Final = re.compile(r"https?://[^\s\"'<>]+")
_EMAIL: Final = re.compile(r"(?<![\w.+-])[\w.+-]+@[\w-]+\.[\w.]*\w")
_DATE_TIME: Final = re.compile(r"\b\d{4}-\d\d-\d\d(?:T\d\d:\d\d(?::\d\d)?(?:Z|[+-]\d\d:\d\d)?)?")
_COMMAND: Final = re.compile(
    r"\b(?:run|execute)\b[^:\n]{0,40}:\s*(.+)|\b(?:run|execute) (.+)", re.IGNORECASE
)
_CAMEL: Final = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z0-9]+")
_VALUE: Final = (
    r"\w{0,2}\b(?![\"”'`])"
    r"(?P<link>(?:\s+(?:is|as|to|of|should be|exactly|called|named|be))*\s*[:=]?)"
    r"\s*(?:\"(?P<double>[^\"\n]*)\"|“(?P<curly>[^”\n]*)”|`(?P<tick>[^`\n]*)`"
    r"|'(?P<single>[^'\n]*)'(?!\w)|(?P<word>[^\s,;]+))"
)
_NO_VALUES: Final = frozenset(
    "a an and any are as at be by do for from get here if in is it its me my of on or so that the"
    " then there this to tool tools use using was were what when where which with you your".split()
)
_PLACES: Final = frozenset(
    "city location place country destination origin region town capital address state where".split()
)
_PATHS: Final = frozenset("path file filename filepath".split())
_FOLDERS: Final = frozenset("directory dir folder cwd".split())
_TEXTS: Final = frozenset(
    "answer body content description input instruction message note prompt query question search"
    " summary text title topic value".split()
)
_SUMS: Final = frozenset("expression formula equation calculation".split())
_COMMANDS: Final = frozenset("command cmd script".split())


def words_of(name: str) -> list[str]:
    """``maxResults``, ``max_results`` → ``max``, ``results``."""
    return [word.lower() for word in _CAMEL.findall(name)]


def subjects(text: str) -> list[str]:
    """The proper names that a text is about, in order, each once."""
    found = [n for several in _SUBJECTS.findall(text[:MAX_TEXT]) for n in _SUBJECT.findall(several)]
    return list(dict.fromkeys([name.rstrip("'’-") for name in found]))


class Hints:
    """Suggests values for one call or one answer. ``subject`` is what this call is about."""

    def __init__(
        self, text: str, *, facts: Mapping[str, Any] | None = None, subject: str | None = None
    ) -> None:
        self._text = text[:MAX_TEXT]
        self._whole = text
        self._facts = facts or {}
        self._subject = subject
        self._spare = [m.group() for m in _NUMBER.finditer(_DATE_TIME.sub(" ", self._text))]

    def __call__(self, name: str, schema: dict[str, Any], required: bool) -> list[Any]:
        """Values worth trying for the property ``name``; empty if nothing points at it.

        For one that is not required, only what was said of it by name, or what is of its own kind.
        """
        found: list[Any] = []
        if name in self._facts:
            found.append(self._facts[name])
        words = words_of(name)
        kind = schema.get("type")
        kinds = kind if isinstance(kind, list) else [kind]
        values = schema.get("enum")
        if isinstance(values, list):
            return found + self._mentioned(values)
        stated = self._stated(words)
        if "boolean" in kinds:
            return found + self._truth(words, stated)
        if "integer" in kinds or "number" in kinds:
            numbers = [_as_number(stated)] if stated is not None else []
            numbers += [_as_number(n) for n in self._spare if required]
            return found + [n for n in numbers if n is not None]
        if "string" in kinds or kind is None:
            if self._subject is not None and set(words) & _PLACES:
                found.append(self._subject)
            if stated is not None:
                found.append(stated)
            found += self._strings(set(words), required=required)
        return found

    def _mentioned(self, values: list[Any]) -> list[Any]:
        return [
            v
            for v in values
            if isinstance(v, str)
            and len(v) > 1
            and re.search(rf"\b{re.escape(v)}\b", self._text, re.IGNORECASE)
        ]

    def _truth(self, words: list[str], stated: str | None) -> list[Any]:
        if stated is not None and stated.lower() in ("true", "false", "yes", "no", "on", "off"):
            return [stated.lower() in ("true", "yes", "on")]
        name = r"[\s_-]+".join(map(re.escape, words))
        if not words:
            return []
        if re.search(rf"\b(?:no|not|without|don't)\s+{name}", self._text, re.IGNORECASE):
            return [False]
        return [True] if re.search(rf"\b{name}", self._text, re.IGNORECASE) else []

    def _stated(self, words: list[str]) -> str | None:
        """What stands behind the name: ``path notes.md``, , ``body is exactly: …``."""
        if not words:
            return None
        name = r"[\s_-]*".join(map(re.escape, words))
        for found in re.finditer(rf"\b{name}{_VALUE}", self._text, re.IGNORECASE):
            link = found.group("link")
            word = found.group("word")
            if word is None:
                quoted = (found.group(g) for g in ("double", "curly", "tick", "single"))
                return next(q for q in quoted if q is not None)
            if "exactly" in link.lower() and link.rstrip().endswith(":"):
                return self._whole[found.start("word") :].strip()
            if word.lower() == "exactly:":
                return self._whole[found.end("word") :].strip()
            word = word.rstrip(".?!:)")
            if word and word.lower() not in _NO_VALUES:
                return word
        return None

    def _strings(self, words: set[str], *, required: bool) -> list[str]:
        text = self._text
        if words & _FOLDERS:
            return [found for found in _PATH.findall(text) if "." not in found.rpartition("/")[2]]
        if words & _PATHS:
            return _PATH.findall(text)
        if words & {"url", "uri", "link", "href"}:
            return _URL.findall(text)
        if "email" in words:
            return _EMAIL.findall(text)
        if words & {"date", "time", "start", "end", "when", "datetime", "day"}:
            return _DATE_TIME.findall(text)
        if words & _PLACES:
            return subjects(text)[:1]
        if not required:
            return []
        quoted = [next(filter(None, groups)) for groups in _QUOTED.findall(text)]
        if words & _SUMS:
            expression = find_expression(text)
            return [expression] if expression else [text.strip()]
        if words & _COMMANDS:
            found = _COMMAND.search(text)
            said = [next(filter(None, found.groups()))] if found else []
            return [*quoted[:1], *said, "true"]
        if words & {"code"}:
            expression = find_expression(text)
            return [*quoted[:1], f"print({expression})" if expression else "print('done')"]
        if words & _TEXTS:
            return [*quoted[:1], text.strip()] if text.strip() else []
        return []


def _as_number(text: str) -> int | float | None:
    try:
        return int(text)
    except ValueError:
        pass
    try:
        value = float(text)
    except ValueError:
        return None
    return value if abs(value) < 1e300 else None
