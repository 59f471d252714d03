"""Control tokens of o200k_harmony: ids, names, and which of them end a message.

Source: the Harmony format, special tokens (docs/format.md, "Control tokens").
"""

from __future__ import annotations

from typing import Final

__all__ = [
    "CALL",
    "CHANNEL",
    "CONSTRAIN",
    "CONTROL_IDS",
    "CONTROL_NAMES",
    "END",
    "ENDOFTEXT",
    "FIRST_CONTROL_ID",
    "GENERATION_STOP_IDS",
    "LAST_CONTROL_ID",
    "MESSAGE",
    "ORDINARY_COUNT",
    "RETURN",
    "START",
    "STARTOFTEXT",
    "STOP_IDS",
    "control_name",
    "is_control",
]

ORDINARY_COUNT: Final = 199_998
FIRST_CONTROL_ID: Final = 199_998
LAST_CONTROL_ID: Final = 201_088

STARTOFTEXT: Final = 199_998
ENDOFTEXT: Final = 199_999
RETURN: Final = 200_002
CONSTRAIN: Final = 200_003
CHANNEL: Final = 200_005
START: Final = 200_006
END: Final = 200_007
MESSAGE: Final = 200_008
CALL: Final = 200_012

_NAMED: Final = {
    STARTOFTEXT: "<|startoftext|>",
    ENDOFTEXT: "<|endoftext|>",
    RETURN: "<|return|>",
    CONSTRAIN: "<|constrain|>",
    CHANNEL: "<|channel|>",
    START: "<|start|>",
    END: "<|end|>",
    MESSAGE: "<|message|>",
    CALL: "<|call|>",
}

CONTROL_NAMES: Final[dict[int, str]] = {
    i: _NAMED.get(i) or f"<|reserved_{i}|>" for i in range(FIRST_CONTROL_ID, LAST_CONTROL_ID + 1)
}
"""Id → name, all 1,091 of them."""

CONTROL_IDS: Final[dict[str, int]] = {name: i for i, name in CONTROL_NAMES.items()}
"""Name → id, all 1,091 of them."""

STOP_IDS: Final = frozenset({RETURN, CALL, END, ENDOFTEXT})
"""The ids that end a message. ``<|endoftext|>`` counts: the model emits it as an end of turn."""

GENERATION_STOP_IDS: Final = frozenset({RETURN, CALL, ENDOFTEXT})
"""The ids at which an engine has to stop. ``<|end|>`` is none: another message may follow."""


def is_control(token: int) -> bool:
    """Whether ``token`` is one of the 1,091 control ids."""
    return FIRST_CONTROL_ID <= token <= LAST_CONTROL_ID


def control_name(token: int) -> str:
    """The spelled-out name of a control id. Raises KeyError for any other id."""
    return CONTROL_NAMES[token]
