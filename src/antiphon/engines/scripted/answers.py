"""What the built-in rules say: echo, count, sums, recall, long text; the first that fits wins."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final
from zlib import crc32

from antiphon.engines.scripted.arithmetic import calculate, find_expression, shown
from antiphon.engines.scripted.prose import sentences, words
from antiphon.engines.scripted.scene import Scene
from antiphon.model.message import Message, Role

__all__ = ["LONG_TOKENS", "MAX_COUNT", "answer", "is_plain"]

LONG_TOKENS: Final = 4_096
"""Length of a long text if the request sets no limit."""
MAX_COUNT: Final = 10_000
"""Most numbers that are counted."""

_HEAD: Final = 2_000
_VERBS: Final = r"(?:say|repeat|echo|output|print|reply|respond|answer|write|return)"
_ECHO_COLON: Final = re.compile(
    rf"(?:\A|[\s\]])(?:please )?{_VERBS}\b(?=[^:\n]*\b(?:exactly|this|following|only|verbatim|word|"
    rf"text|just|back)\b|:)[^:\n]{{0,80}}:\s*",
    re.IGNORECASE,
)
_ECHO_QUOTED: Final = re.compile(
    rf"(?:\A|[.!?\n]\s*)(?:please )?{_VERBS}\b[^\"“`:\n]{{0,60}}[\"“`]([^\"”`\n]+)[\"”`]",
    re.IGNORECASE,
)
_ECHO_PLAIN: Final = re.compile(
    r"\A(?:please )?(?:say|repeat|echo|(?:reply|respond|answer) with(?: exactly| only| just)*)"
    r"(?: the words?| exactly| after me| back)*\s+"
    r"(?!one |two |three |four |five |a |an |the |your |json\b|something|how|what|why|it\b)"
    r"([^\n]+?)(?: (?:in )?exactly(?: in)? .{0,20}words?| in (?:one|a single) word|,? and nothing"
    r" else| exactly| only)?[.!?]*\Z",
    re.IGNORECASE,
)
_COUNT: Final = re.compile(
    r"\bcount (?:up |down |backwards )*(?:from (\d{1,9}) )?(?:down )?(?:to|until|through) "
    r"(\d{1,9})",
    re.IGNORECASE,
)
_LONG: Final = re.compile(
    r"\b(?:write|tell|compose|give)\b.{0,60}\b(?:long|endless|never-ending|\d{3,} words?)\b"
    r"|\bas long as (?:you can|possible)\b|\b(?:essay|novel)\b",
    re.IGNORECASE,
)
_LENGTH: Final = re.compile(r"\b(\d{2,6})[- ](?:words?|tokens?)\b", re.IGNORECASE)
_ASKED: Final = re.compile(
    r"\b(?:what(?:'s|’s| is| was| are| were)|tell me|remind me of|do you (?:remember|know)"
    r"|which is|who is)\s+(?:again\s+)?(my|our|the|your)\s+([\w -]{2,40}?)"
    r"(?:\s+(?:i|we)\b[^?.!\n]*|\s+again)?\s*(?:[?.!,\n]|\Z)",
    re.IGNORECASE,
)
_CALL_ME: Final = re.compile(
    r"\b(?i:my name is|my name's|i am called|call me|i'm|i am)\s+([A-Z][\w'’-]*)"
)
_FORCED: Final = re.compile(
    r"\b(?:reply|respond|answer|say)\b[^.\n\"“'`]{0,40}[\"“'`]([^\"”'`\n]{1,80})[\"”'`]",
    re.IGNORECASE,
)
_ADD_TO_LAST: Final = re.compile(
    r"\b(add|subtract) (-?\d+(?:\.\d+)?) (?:to|from) (?:your|the) (?:last|previous) "
    r"(?:answer|number)",
    re.IGNORECASE,
)
_NUMBER: Final = re.compile(r"-?\d+(?:\.\d+)?")
_JUST: Final = re.compile(
    r"\b(?:just|only|nothing (?:but|else)|no other)\b|\bin one word\b|\bsingle number\b",
    re.IGNORECASE,
)
_SOME_WORDS: Final = re.compile(
    r"\b(?:in|say|with|exactly|a)\s+(?:exactly )?(one|two|three|four|five|six|single|[1-6])"
    r"[- ]words?\b",
    re.IGNORECASE,
)
_COUNTS: Final = {"one": 1, "single": 1, "two": 2, "three": 3, "four": 4, "five": 5, "six": 6}
_GREETING: Final = re.compile(
    r"\A\W*(?:hi|hello|hey|good (?:morning|evening|day))\b.{0,40}\Z", re.IGNORECASE
)


def answer(scene: Scene, *, seed: int, room: int | None) -> str:
    """The answer to what the user said last. ``room`` is how many tokens the request allows."""
    text = scene.user.strip()
    head = text[:_HEAD]
    forced = _FORCED.search(scene.instructions[:_HEAD])
    if forced:
        return forced.group(1)
    if not text:
        return "Hello! What can I do for you?"
    for said in (_echo(text, head), _count(head), _recall(scene, head), _sum(scene, head)):
        if said is not None:
            return said
    seed ^= crc32(text.encode("utf-8", "replace"))
    if _LONG.search(head):
        wanted = _LENGTH.search(head)
        length = int(wanted.group(1)) * 3 // 2 if wanted else LONG_TOKENS
        # One sentence more than there is room for, so that the limit is what ends the text.
        return sentences(seed, min(length, 100_000) if room is None else min(room + 24, 200_000))
    some = _SOME_WORDS.search(head) or _SOME_WORDS.search(scene.instructions[:_HEAD])
    if some:
        word = some.group(1).lower()
        return " ".join(words(seed, _COUNTS.get(word) or int(word)))
    if _GREETING.match(head):
        return "Hello! How can I help you today?"
    shown_text = " ".join(head.split())
    if len(shown_text) > 200:
        shown_text = shown_text[:200].rstrip() + "…"
    return f"You said: {shown_text}\nI answer by rule; no model runs here."


def is_plain(scene: Scene) -> bool:
    """Whether a rule of this module knows what to say, so that no tool is needed."""
    head = scene.user.strip()[:_HEAD]
    return (
        _echo(scene.user.strip(), head) is not None
        or _count(head) is not None
        or _recall(scene, head, known=True) is not None
        or bool(_GREETING.match(head))
    )


def _echo(text: str, head: str) -> str | None:
    if found := _ECHO_COLON.search(head):
        return _unquoted(text[found.end() :].strip()) or None
    if found := _ECHO_QUOTED.search(head):
        return found.group(1)
    if found := _ECHO_PLAIN.match(head):
        return _unquoted(found.group(1).strip())
    return None


def _count(head: str) -> str | None:
    found = _COUNT.search(head)
    if found is None:
        return None
    first, last = int(found.group(1) or 1), int(found.group(2))
    step = 1 if last >= first else -1
    numbers = range(first, last + step, step)[:MAX_COUNT]
    mark = "\n" if re.search(r"\bline\b", head, re.IGNORECASE) else ", "
    return mark.join(map(str, numbers))


def _recall(scene: Scene, head: str, *, known: bool = False) -> str | None:
    """What the history tells of the thing that is asked for."""
    for found in _ASKED.finditer(head):
        thing = " ".join(found.group(2).lower().split())
        value = _told(scene.messages, scene.instructions, thing)
        if value is not None:
            if _JUST.search(head):
                return value
            whose = {"my": "Your", "your": "My"}.get(found.group(1).lower(), "The")
            return f"{whose} {thing} is {value}."
        if thing == "name" and found.group(1).lower() == "my" and not known:
            return "You have not told me your name."
    return None


def _told(messages: Sequence[Message], instructions: str, thing: str) -> str | None:
    stated = re.compile(
        rf"\b{re.escape(thing)}(?:\s+(?:is|was|are|will be)(?:\s+now)?|\s*[:=])\s*(?!\?)"
        rf"(?:the |called |named )?[\"“'`]?([^\"”'`.,;!?\n]{{1,80}}?)"
        r"(?=[\"”'`.,;!?\n]|\s+and\s+(?:the|my|our|i)\b|\Z)",
        re.IGNORECASE,
    )
    for message in reversed(messages):
        if message.role is not Role.USER:
            continue
        text = message.text[: 4 * _HEAD]
        if thing == "name" and (found := _CALL_ME.search(text)):
            return found.group(1)
        if found := stated.search(text):
            return found.group(1).strip()
    found = stated.search(instructions[: 4 * _HEAD])
    return found.group(1).strip() if found else None


def _sum(scene: Scene, head: str) -> str | None:
    if found := _ADD_TO_LAST.search(head):
        last = next(
            (
                _NUMBER.findall(m.text)
                for m in reversed(scene.messages)
                if m.role is Role.ASSISTANT and m.channel in ("final", None)
            ),
            [],
        )
        if last:
            sign = "+" if found.group(1).lower() == "add" else "-"
            value = calculate(f"{last[-1]} {sign} {found.group(2)}")
            if value is not None:
                return shown(value)
    expression = find_expression(head)
    value = None if expression is None else calculate(expression)
    if expression is None or value is None:
        return None
    return shown(value) if _JUST.search(head) else f"{expression} = {shown(value)}"


def _unquoted(text: str) -> str:
    for opening, closing in ('""', "''", "“”", "``"):
        if len(text) > 1 and text.startswith(opening) and text.endswith(closing):
            return text[1:-1]
    return text
