"""Message headers → tokens (format rule 2.2), in the order either dialect writes them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, NamedTuple

from antiphon.errors import RenderError
from antiphon.model.message import CONSTRAIN_JSON, Role
from antiphon.vocab.control import CALL, CHANNEL, CONSTRAIN, END, MESSAGE, START

__all__ = ["Header", "build_header"]

_CONSTRAIN_TEXT: Final = "<|constrain|>"


class Header(NamedTuple):
    """A rendered header, from ``<|start|>`` to ``<|message|>``."""

    tokens: list[int]
    author: int
    """How many of the tokens are ``<|start|>``, role and name."""
    stop: int
    """What ends a message with this header."""


def build_header(
    encode: Callable[[str], list[int]],
    role: str,
    name: str | None,
    channel: str | None,
    recipient: str | None,
    content_type: str | None,
    *,
    reference: bool,
) -> Header:
    """Render a header, unchecked. Raises RenderError for a tool message without a name.

    The reference puts the recipient before the channel and encodes each field on its own. A model
    writes an assistant's header the other way round and as one text, and so does ``emission``.
    """
    if role == Role.TOOL:
        if name is None:
            raise RenderError("Tools should have a name!")
        out = [START, *encode(name)]
    else:
        out = [START, *encode(str(role))]
        if name is not None:
            out += encode(f":{name}")
    author = len(out)
    if reference or role != Role.ASSISTANT:
        if recipient is not None and recipient != "all":
            out += encode(f" to={recipient}")
        if channel is not None:
            out += [CHANNEL, *encode(channel)]
    else:
        address = f" to={recipient}" if _addressed(recipient) else ""
        if channel is not None:
            out += [CHANNEL, *encode(channel + address)]
        elif address:
            out += encode(address)
        if content_type is not None:
            content_type = _emitted_type(content_type)
    if content_type is not None:
        if content_type.startswith(_CONSTRAIN_TEXT):
            out += [*encode(" "), CONSTRAIN, *encode(content_type.removeprefix(_CONSTRAIN_TEXT))]
        else:
            out += encode(f" {content_type}")
    out.append(MESSAGE)
    called = recipient is not None if reference else _addressed(recipient)
    return Header(out, author, CALL if called and role == Role.ASSISTANT else END)


def _addressed(recipient: str | None) -> bool:
    return recipient not in (None, "", "all")


def _emitted_type(content_type: str) -> str:
    """The content type as the model writes it: marked JSON, no space after the marker."""
    if content_type == "json":
        return CONSTRAIN_JSON
    if content_type.startswith(_CONSTRAIN_TEXT):
        return _CONSTRAIN_TEXT + content_type.removeprefix(_CONSTRAIN_TEXT).strip()
    return content_type
