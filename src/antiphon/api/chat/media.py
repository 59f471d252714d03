"""Content parts that are not plain text: text files become text, other media do not.

gpt-oss reads text only. A text file is put between two lines that name it. Images, audio and other
files are refused, or a fixed line says that they were there.
"""

from __future__ import annotations

import base64
import binascii
import re
from typing import Final
from urllib.parse import unquote_to_bytes

from antiphon.api.chat.conversation import TEXT_PARTS
from antiphon.api.chat.wire import File, Part
from antiphon.api.errors import ApiError
from antiphon.api.policy import OnMedia
from antiphon.errors import MessageError

__all__ = ["PLACEHOLDERS", "UNSUPPORTED_CONTENT", "file_text", "part_text", "refused"]

UNSUPPORTED_CONTENT: Final = "unsupported_content"
"""The code of the error for media."""

PLACEHOLDERS: Final = {
    "image": "[An image was here. It cannot be shown to you: you read text only.]",
    "audio": "[Audio was here. It cannot be played to you: you read text only.]",
    "video": "[A video was here. It cannot be shown to you: you read text only.]",
    "file": "[A file was here. It cannot be shown to you: you read text only.]",
}
"""What stands in the place of media, by kind."""

_KINDS: Final = {
    "image_url": "image",
    "input_image": "image",
    "image": "image",
    "input_audio": "audio",
    "audio": "audio",
    "audio_url": "audio",
    "video_url": "video",
    "video": "video",
    "input_file": "file",
    "file": "file",
}
_DATA_URL: Final = re.compile(r"data:([^,;]*)((?:;[^,;]*)*),", re.IGNORECASE)
_TEXT_TYPES: Final = re.compile(
    r"text/.*|application/(?:.*\+)?(?:json|xml|yaml|toml|javascript|typescript|sql|x-[\w-]+)\Z|\Z",
    re.IGNORECASE,
)
_NOT_TEXT: Final = re.compile(r"[\x00-\x08\x0e-\x1a\x1c-\x1f]")
_NAME: Final = re.compile(r"[^\x00-\x1f\x7f\u2028\u2029]{1,200}")


def part_text(part: Part, where: str, on_media: OnMedia) -> str:
    """The text of one content part; ``where`` is its path.

    Raises MessageError for a part that lacks what its type needs, ApiError for media.
    """
    if part.type in TEXT_PARTS:
        return _present(part.text, f"{where}.text")
    if part.type == "refusal":
        return _present(part.refusal, f"{where}.refusal")
    kind = _KINDS.get(part.type)
    if kind is None:
        raise ApiError(
            f"{where}.type: {part.type[:60]!r} is not a type of content that is known here",
            param=f"{where}.type",
            code=UNSUPPORTED_CONTENT,
        )
    if kind == "file" and part.file is not None:
        text = file_text(part.file, f"{where}.file")
        if text is not None:
            return text
    if on_media == "placeholder":
        return PLACEHOLDERS[kind]
    raise refused(kind, where)


def refused(kind: str, where: str) -> ApiError:
    """The answer to media that is refused."""
    what = "a file that is not UTF-8 text" if kind == "file" else kind
    return ApiError(
        f"{where}: {what} cannot be read; gpt-oss reads text only",
        param=where,
        code=UNSUPPORTED_CONTENT,
    )


def file_text(file: File, where: str) -> str | None:
    """The file as text, or None if it is not text or not here. Raises MessageError for bad base64.

    Without a media type, what is UTF-8 and holds no control characters is text.
    """
    data = file.file_data
    if data is None:
        return None
    found = _DATA_URL.match(data[:4096])
    if found is not None:
        if not _TEXT_TYPES.match(found[1].strip()):
            return None
        if found[2].lower().endswith(";base64"):
            raw = _base64(data[found.end() :], f"{where}.file_data")
        else:
            raw = unquote_to_bytes(data[found.end() :])
    else:
        raw = _base64(data, f"{where}.file_data")
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError:
        return None
    if _NOT_TEXT.search(text):
        return None
    name = _NAME.search(file.filename or "")
    shown = name.group().strip() if name else ""
    title = f"File: {shown}" if shown else "File"
    return f"[{title}]\n{text}\n[End of file]"


def _base64(data: str, where: str) -> bytes:
    try:
        return base64.b64decode(data, validate=True)
    except (binascii.Error, ValueError) as error:
        raise MessageError(f"{where}: is not base64", field=where) from error


def _present(text: str | None, field: str) -> str:
    if text is None:
        raise MessageError(f"{field}: is missing", field=field)
    return text
