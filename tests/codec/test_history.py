"""Which reasoning survives, on the letters of format rule 2.7.

U user, A analysis, F final, C call on commentary, P preamble, T result on commentary, X call on the
analysis channel, Y its result there, Z its result on commentary.
"""

from __future__ import annotations

import pytest

from antiphon.codec.history import History, surviving
from antiphon.model.message import Message

LETTERS = {
    "U": Message.user("u"),
    "A": Message.analysis("a"),
    "F": Message.final("f"),
    "P": Message.preamble("p"),
    "C": Message.call("functions.f", "{}"),
    "T": Message.tool("functions.f", "t"),
    "X": Message.call("python", "1", channel="analysis", content_type="code"),
    "Y": Message.tool("python", "1", channel="analysis"),
    "Z": Message.tool("python", "1"),
    "O": Message.assistant("o"),
    "I": Message(Message.user("i").author, Message.user("i").content, "final"),
    "R": Message.tool("functions.f", "t", channel="analysis"),
}
NAMES = {message: letter for letter, message in LETTERS.items()}


def kept(letters: str, policy: History, *, training: bool = False) -> str:
    messages = [LETTERS[letter] for letter in letters]
    return "".join(NAMES[m] for m in surviving(messages, policy, training=training))


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("", ""),
        ("UAF", "UF"),
        ("UAFU", "UFU"),
        ("UAFUAF", "UFUAF"),
        ("UAFUAFUAFU", "UFUAFUAFU"),
        ("UAFUA", "UAFUA"),
        ("UAFUACT", "UAFUACT"),
        ("UACTAFU", "UCTFU"),
        ("UAXYAFU", "UFU"),
        ("IUAF", "IUAF"),
        ("UAOU", "UAOU"),
        ("UPAFU", "UPFU"),
        ("UIAF", "UIAF"),
        ("UAIF", "UIF"),
        ("UAFO", "UAFO"),
    ],
)
def test_reference_policy_keeps_what_the_reference_keeps(before: str, after: str) -> None:
    assert kept(before, "reference") == after


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("", ""),
        ("UAF", "UF"),
        ("UAFU", "UFU"),
        ("UAFUAFU", "UFUFU"),
        ("UAFUAFUAFU", "UFUFUFU"),
        ("UAFUA", "UFUA"),
        ("UAFUACT", "UFUACT"),
        ("UACTACT", "UACTACT"),
        ("UACTAFU", "UCTFU"),
        ("UAXYAFU", "UFU"),
        ("UAXZAFU", "UFU"),
        ("UAXYAFUAXY", "UFUAXY"),
        ("UACRAFU", "UCRFU"),
        ("UAPCTAFU", "UPCTFU"),
        ("UAOU", "UAOU"),
        ("UAIU", "UAIU"),
        ("YF", "F"),
    ],
)
def test_guide_policy_drops_closed_turns_and_keeps_open_loops(before: str, after: str) -> None:
    assert kept(before, "guide") == after


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("UAF", "UAF"),
        ("UAFUAF", "UFUAF"),
        ("UAFUAFUACTAF", "UFUFUACTAF"),
        ("UAFU", "UFU"),
        ("UAFUACT", "UFUACT"),
        ("F", "F"),
    ],
)
def test_guide_policy_for_training_keeps_the_turn_that_is_taught(before: str, after: str) -> None:
    assert kept(before, "guide", training=True) == after


def test_keep_drops_nothing() -> None:
    assert kept("UAFUAXYAFU", "keep") == "UAFUAXYAFU"


def test_an_unknown_policy_is_refused() -> None:
    with pytest.raises(ValueError, match="unknown history policy 'all'"):
        surviving([], "all")  # type: ignore[arg-type]
