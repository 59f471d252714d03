"""A call that the server made, as the model saw it: kept with its item, for the next request.

An item of OpenAI's types says less: a search has no results, a call of code no channel. What is
missing stands in one more member of the item as it is kept, which no client gets to see; clients
that keep everything themselves get the same sealed, as ``encrypted_content``.
"""

from __future__ import annotations

import re
from typing import Any, Final

import msgspec

from antiphon.model.content import TextContent
from antiphon.model.message import Author, Message, Role

__all__ = [
    "MEMBER",
    "SERVED_ITEMS",
    "Seen",
    "pack_seen",
    "read_seen",
    "unpack_seen",
    "with_seen",
    "without_seen",
]

MEMBER: Final = "antiphon_seen"
SERVED_ITEMS: Final = frozenset({"code_interpreter_call", "mcp_call", "web_search_call"})
"""The types of items of calls that the server made."""
_MEMBER: Final = b',"antiphon_seen":'
_LABEL: Final = b"call\n"
_RECIPIENT: Final = re.compile(
    r"(?:browser\.(?:search|open|find)|python|functions\.[A-Za-z_]\w*)\Z", re.ASCII
)
_KIND: Final = re.compile(r"(?:<\|constrain\|>)?[a-z]{1,16}\Z")
_ASSISTANT: Final = Author(Role.ASSISTANT)


class Seen(msgspec.Struct, frozen=True, omit_defaults=True):
    """The message of the call, and the text of its result."""

    to: str
    """The recipient."""
    text: str
    result: str | None = None
    """None: it was not made."""
    channel: str = "analysis"
    kind: str | None = None
    """The content type."""

    def messages(self) -> list[Message]:
        """As they stand in the prompt."""
        content = (TextContent(self.text),)
        made = [Message(_ASSISTANT, content, self.channel, self.to, self.kind)]
        if self.result is not None:
            made.append(Message.tool(self.to, self.result, channel=self.channel))
        return made


_SEEN: Final = msgspec.json.Decoder(Seen)
_ENCODE: Final = msgspec.json.Encoder().encode
_MEMBERS: Final = msgspec.json.Decoder(dict[str, msgspec.Raw])


def with_seen(body: bytes, seen: Seen) -> bytes:
    """The item as it is kept."""
    return b"%b%b%b}" % (body[:-1], _MEMBER, _ENCODE(seen))


def without_seen(body: bytes) -> bytes:
    """The item as clients get it."""
    if _MEMBER[1:-1] not in body:
        return body
    members: dict[str, Any] = dict(_MEMBERS.decode(body))
    members.pop(MEMBER, None)
    return _ENCODE(members)


def read_seen(value: Any) -> Seen | None:
    """What the member holds; None for anything else."""
    try:
        return _checked(msgspec.convert(value, Seen))
    except msgspec.ValidationError:
        return None


def pack_seen(seen: Seen) -> bytes:
    """Ready to be sealed."""
    return _LABEL + _ENCODE(seen)


def unpack_seen(data: bytes | None) -> Seen | None:
    """What was sealed; None if it is something else."""
    if data is None or not data.startswith(_LABEL):
        return None
    try:
        return _checked(_SEEN.decode(data[len(_LABEL) :]))
    except msgspec.MsgspecError:
        return None


def _checked(seen: Seen) -> Seen | None:
    """Only what a call of ours can look like: anybody may write such a member."""
    fine = (
        _RECIPIENT.match(seen.to) is not None
        and seen.channel in ("analysis", "commentary")
        and (seen.kind is None or _KIND.match(seen.kind) is not None)
    )
    return seen if fine else None
