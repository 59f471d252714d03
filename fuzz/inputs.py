"""Bytes → an input of the parser. Most bytes choose a fragment of the format, so that random bytes
make transcripts that are nearly right."""

from __future__ import annotations

from typing import Final

from fuzz.invariants import Case

from antiphon.codec.stream import Input
from antiphon.vocab import control
from antiphon.vocab.control import CONTROL_IDS
from antiphon.vocab.tokenizer import default_tokenizer

__all__ = ["FRAGMENTS", "INPUTS", "ROLES", "TOOLS", "case_from", "ids_of"]

CONTROL_FRAGMENTS: Final = [
    *(["<|start|>"] * 3),
    *(["<|channel|>"] * 3),
    *(["<|message|>"] * 4),
    *(["<|end|>"] * 3),
    "<|constrain|>",
    "<|constrain|>",
    "<|return|>",
    "<|call|>",
    "<|call|>",
    "<|endoftext|>",
    "<|startoftext|>",
    "<|reserved_200017|>",
    "<|reserved_200018|>",
]
HEADER_FRAGMENTS: Final = """
    assistant user system developer tool assistant:bob Assistant asistant assistantassistant
    analysis commentary final analysisanalysis Final fina comentary thinking answer finalfinal
    functions.get_weather functions.get-weather get_weather browser.search browser python weird
    to=functions.get_weather to=functions.get_weatherjson to=browser.search to=python to=user to=all
    to=assistant to= to=unknown.tool to=functions.get_weather<|channel|>commentary json code text
    assistantfinal assistantanalysis assistantcommentary finalcode analysisjson commentaryjson
    assistant<|channel|>final assistant<|channel|>analysis user<|message|> json<|message|>
""".split()
TEXT_FRAGMENTS: Final = [
    *(" ", " ", " ", "\n", "\t", "\n\n", "\u3000", "\u200b", "\ufeff", "\x00", "\x85"),
    *("{", "}", '{"city":"Oslo"}', '{"a":[1,2', "[", "(", '"', "'", "<", "<|", "|>", "<|sta", "|"),
    *("<|start", "<|reserved_2000", "<|reserved_199999|>", "<|reserved_201089|>", "<<|end|>"),
    *("e", "é", "e\u0301", "漢字", "😀", "👩‍👩‍👧", "ſ", "ʰ", "İ", "\ufffd", "\u2028", "Ω"),
    *(
        "Hello",
        " world",
        ".",
        "!",
        "?",
        ":",
        "=",
        " to",
        "=functions.x",
        "The answer is 4.",
        "\r\n",
    ),
    *(" to=assistantcommentary", " to=assistant", " to=", " json", " code", "assistant", "final"),
    *("w" * 70, "word " * 30, "long" * 300, " " * 80, "x" * 5000, "to=" + "n" * 600),
]
FRAGMENTS: Final = [*CONTROL_FRAGMENTS, *HEADER_FRAGMENTS, *TEXT_FRAGMENTS]
STRIPPED_FRAGMENTS: Final = [f for f in FRAGMENTS if not f.startswith("<|")]

INPUTS: Final[tuple[Input, ...]] = ("ids", "marked", "stripped", "auto")
ROLES: Final = (None, "assistant", "assistant", "tool", "user", "system")
TOOLS: Final = (
    None,
    (),
    ("functions.get_weather", "browser.search", "python"),
    ("functions.get_weather", "functions.getweather", "functions.x", "functions.json"),
)
BROKEN_IDS: Final = (187, 119, 121, 34543, 9468, 222, 128, 251, -1, -5, 201_089, 999_999, 2**63)
"""Parts of characters, and ids out of the vocabulary."""


def ids_of(marked: str) -> list[int]:
    """Marked text → ids."""
    from antiphon.codec.text import CONTROL

    ids: list[int] = []
    done = 0
    for found in CONTROL.finditer(marked):
        token = CONTROL_IDS.get(found.group())
        if token is not None:
            ids += default_tokenizer().encode(marked[done : found.start()])
            ids.append(token)
            done = found.end()
    return ids + default_tokenizer().encode(marked[done:])


_FRAGMENT_IDS: Final = [ids_of(fragment) for fragment in FRAGMENTS]


def case_from(data: bytes) -> Case | None:
    """The first bytes say how to read, the rest is what to read. None if there is too little."""
    if len(data) < 4:
        return None
    how, who, cut, *rest = data
    kind = INPUTS[how % len(INPUTS)]
    role, tools = ROLES[who % len(ROLES)], TOOLS[who // len(ROLES) % len(TOOLS)]
    cuts = (1 + cut % 7, 1 + cut // 7 % 13)
    if kind == "ids" or (kind == "auto" and how & 4):
        return Case(_ids(rest), kind, role, tools, cuts)
    fragments = STRIPPED_FRAGMENTS if kind == "stripped" else FRAGMENTS
    return Case(_text(rest, fragments), kind, role, tools, cuts)


def _ids(data: list[int]) -> list[int]:
    ids: list[int] = []
    source = iter(data)
    for byte in source:
        if byte < len(_FRAGMENT_IDS):
            ids += _FRAGMENT_IDS[byte]
        elif byte < 200:
            ids.append(BROKEN_IDS[byte % len(BROKEN_IDS)])
        elif byte < 220:
            ids.append(control.FIRST_CONTROL_ID + (byte * 7 + next(source, 0) * 5) % 1091)
        else:
            ids.append((next(source, 0) << 16 | next(source, 0) << 8 | next(source, 0)) % 202_000)
    return ids


def _text(data: list[int], fragments: list[str]) -> str:
    text: list[str] = []
    source = iter(data)
    for byte in source:
        if byte < len(fragments):
            text.append(fragments[byte])
        elif byte < 200:
            text.append(chr(next(source, 0)))
        else:
            text.append(
                chr((next(source, 0) << 16 | next(source, 0) << 8 | next(source, 0)) % 0x110000)
            )
    return "".join(text)
