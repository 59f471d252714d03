"""What an MCP server answers → what the model reads, and files."""

from __future__ import annotations

import base64
import binascii
import json
import mimetypes
import re
from typing import Any, Final

import mcp_types

from antiphon.tools.protocol import ToolFile, ToolOutput
from antiphon.tools.text import counted, one_line, shorten

__all__ = ["output_of"]

MAX_TEXT_CHARS: Final = 1_000_000
MAX_FILES: Final = 32

_NOT_PLAIN: Final = re.compile(r"[^A-Za-z0-9._-]+")
_KIND: Final = re.compile(r"[a-z0-9][a-z0-9!#$&^_.+-]{0,80}/[a-z0-9][a-z0-9!#$&^_.+-]{0,80}\Z")


def output_of(tool: str, result: mcp_types.CallToolResult) -> ToolOutput:
    """The result of ``tool``: its texts one below the other, a line for each file.

    Structured content is the text where the server gave none, and always in ``details``.
    """
    reading = _Reading(tool)
    for block in result.content:
        reading.block(block)
    structured: Any = result.structured_content
    if structured is not None and not any(text.strip() for text in reading.texts):
        reading.texts.append(json.dumps(structured, ensure_ascii=False, separators=(",", ":")))
    text = "\n".join(reading.texts)
    if not text.strip():
        text = "The tool failed and said nothing." if result.is_error else "Done; nothing was said."
    return ToolOutput(
        shorten(text, MAX_TEXT_CHARS),
        failed=bool(result.is_error),
        files=tuple(reading.files),
        details={} if structured is None else {"structured": structured},
    )


class _Reading:
    def __init__(self, tool: str) -> None:
        self._tool = _NOT_PLAIN.sub("_", tool)[:60].strip("._") or "file"
        self.texts: list[str] = []
        self.files: list[ToolFile] = []

    def block(self, block: mcp_types.ContentBlock) -> None:
        if isinstance(block, mcp_types.TextContent):
            self.texts.append(block.text)
        elif isinstance(block, mcp_types.ImageContent | mcp_types.AudioContent):
            self._file(block.data, block.mime_type, None)
        elif isinstance(block, mcp_types.ResourceLink):
            about = f": {one_line(block.description, 300)}" if block.description else ""
            self.texts.append(f"[{one_line(block.name)} at {one_line(str(block.uri), 500)}{about}]")
        elif isinstance(block.resource, mcp_types.TextResourceContents):
            self.texts.append(f"[{one_line(str(block.resource.uri), 500)}]\n{block.resource.text}")
        else:
            resource = block.resource
            self._file(resource.blob, resource.mime_type, str(resource.uri))

    def _file(self, data: str, media_type: str | None, uri: str | None) -> None:
        kind = (media_type or "").partition(";")[0].strip().lower()
        if not _KIND.match(kind):
            kind = "application/octet-stream"
        if len(self.files) == MAX_FILES:
            self.texts.append(f"[one more file, {kind}: {MAX_FILES} are kept]")
            return
        try:
            content = base64.b64decode(data, validate=True)
        except (binascii.Error, ValueError):
            self.texts.append(f"[a file, {kind}, that cannot be decoded]")
            return
        ending = mimetypes.guess_extension(kind) or ".bin"
        name = f"{self._tool}-{len(self.files) + 1}{ending}"
        self.files.append(ToolFile(name, content, kind))
        source = f" from {one_line(uri, 500)}" if uri is not None else ""
        self.texts.append(f"[file {name}: {kind}, {counted(len(content), 'byte')}{source}]")
