"""A drop-in for openai-harmony 0.0.8: the same names, signatures, results and errors.

``from antiphon.openai_harmony import ...`` in place of ``from openai_harmony import ...`` is all it
takes. Loading needs no network and no environment variable, encodings and parsers can be copied and
pickled, and dumps of messages keep their content. The data classes are pydantic models, so the
extra ``compat`` must be installed. Nothing else in antiphon imports this package.
"""

from __future__ import annotations

from antiphon.errors import MissingExtraError

try:
    import pydantic as _pydantic  # noqa: F401
except ModuleNotFoundError:
    raise MissingExtraError("pydantic", "compat") from None

from antiphon.openai_harmony.chat import Author, Content, Conversation, Message, Role, TextContent
from antiphon.openai_harmony.encoding import (
    HarmonyEncoding,
    HarmonyEncodingName,
    load_harmony_encoding,
)
from antiphon.openai_harmony.encoding import RenderConversationConfig as RenderConversationConfig
from antiphon.openai_harmony.encoding import RenderOptions as RenderOptions
from antiphon.openai_harmony.error import HarmonyError
from antiphon.openai_harmony.error import (
    raise_disallowed_special_token as raise_disallowed_special_token,
)
from antiphon.openai_harmony.settings import ChannelConfig as ChannelConfig
from antiphon.openai_harmony.settings import DeveloperContent, SystemContent, ToolDescription
from antiphon.openai_harmony.settings import ReasoningEffort as ReasoningEffort
from antiphon.openai_harmony.settings import ToolNamespaceConfig as ToolNamespaceConfig
from antiphon.openai_harmony.stream import StreamableParser, StreamState

# As in the reference, a star import brings these only; the other names are public all the same.
__all__ = [
    "Author",
    "Content",
    "Conversation",
    "DeveloperContent",
    "HarmonyEncoding",
    "HarmonyEncodingName",
    "HarmonyError",
    "Message",
    "Role",
    "StreamState",
    "StreamableParser",
    "SystemContent",
    "TextContent",
    "ToolDescription",
    "load_harmony_encoding",
]
