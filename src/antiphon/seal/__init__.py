"""Sealed transport: HPKE from the client to the streamed answer.

Sans-IO: bytes in, bytes and values out. The layers, each of use on its own:

    message, encode, decode     HTTP messages in binary form                     RFC 9292
    keyconfig, keys             public configurations, pins; private keys        RFC 9458, section 3
    whole                       one request, one response, each sealed whole     RFC 9458, section 4
    chunked                     sealed chunk by chunk, for streams               chunked-ohttp-08
    padding, replay             policies: which lengths show, which copies count
    errors                      the error tree: which layer, what the client should do

The names in ``__all__`` are imported when they are first used: a relay needs no cryptography.
Extra: ``seal``.
"""

from __future__ import annotations

__all__ = [
    "BinaryHttpDecoder",
    "BinaryHttpError",
    "BinaryHttpLimits",
    "ChunkedRequestOpener",
    "ChunkedRequestSealer",
    "ChunkedResponseOpener",
    "ChunkedResponseSealer",
    "Content",
    "EndOfMessage",
    "Freshness",
    "Informational",
    "KeyConfig",
    "KeyConfigError",
    "Keyring",
    "OpenError",
    "OpenedRequest",
    "Padding",
    "Pin",
    "PinError",
    "ReplayWindow",
    "Request",
    "RequestHead",
    "Response",
    "ResponseHead",
    "ResponseSecret",
    "SealError",
    "SealKey",
    "SealedRequest",
    "TruncatedError",
    "UnknownKeyError",
    "date_of",
    "decode_keys",
    "decode_request",
    "decode_response",
    "encode_content",
    "encode_end",
    "encode_head",
    "encode_informational",
    "encode_keys",
    "encode_request",
    "encode_response",
    "forwardable",
    "open_request",
    "open_response",
    "seal_request",
    "seal_response",
]

TYPE_CHECKING = False
if TYPE_CHECKING:
    from antiphon.seal.chunked import (
        ChunkedRequestOpener,
        ChunkedRequestSealer,
        ChunkedResponseOpener,
        ChunkedResponseSealer,
    )
    from antiphon.seal.decode import (
        BinaryHttpDecoder,
        BinaryHttpLimits,
        decode_request,
        decode_response,
    )
    from antiphon.seal.encode import (
        encode_content,
        encode_end,
        encode_head,
        encode_informational,
        encode_request,
        encode_response,
    )
    from antiphon.seal.errors import (
        BinaryHttpError,
        KeyConfigError,
        OpenError,
        PinError,
        SealError,
        TruncatedError,
        UnknownKeyError,
    )
    from antiphon.seal.exchange import ResponseSecret
    from antiphon.seal.fields import forwardable
    from antiphon.seal.keyconfig import KeyConfig, Pin, decode_keys, encode_keys
    from antiphon.seal.keys import Keyring, SealKey
    from antiphon.seal.message import (
        Content,
        EndOfMessage,
        Informational,
        Request,
        RequestHead,
        Response,
        ResponseHead,
    )
    from antiphon.seal.padding import Padding
    from antiphon.seal.replay import Freshness, ReplayWindow, date_of
    from antiphon.seal.whole import (
        OpenedRequest,
        SealedRequest,
        open_request,
        open_response,
        seal_request,
        seal_response,
    )

_HOMES = {
    "ChunkedRequestOpener": "chunked",
    "ChunkedRequestSealer": "chunked",
    "ChunkedResponseOpener": "chunked",
    "ChunkedResponseSealer": "chunked",
    "BinaryHttpDecoder": "decode",
    "BinaryHttpLimits": "decode",
    "decode_request": "decode",
    "decode_response": "decode",
    "encode_content": "encode",
    "encode_end": "encode",
    "encode_head": "encode",
    "encode_informational": "encode",
    "encode_request": "encode",
    "encode_response": "encode",
    "BinaryHttpError": "errors",
    "KeyConfigError": "errors",
    "OpenError": "errors",
    "PinError": "errors",
    "SealError": "errors",
    "TruncatedError": "errors",
    "UnknownKeyError": "errors",
    "ResponseSecret": "exchange",
    "forwardable": "fields",
    "KeyConfig": "keyconfig",
    "Pin": "keyconfig",
    "decode_keys": "keyconfig",
    "encode_keys": "keyconfig",
    "Keyring": "keys",
    "SealKey": "keys",
    "Content": "message",
    "EndOfMessage": "message",
    "Informational": "message",
    "Request": "message",
    "RequestHead": "message",
    "Response": "message",
    "ResponseHead": "message",
    "Padding": "padding",
    "Freshness": "replay",
    "ReplayWindow": "replay",
    "date_of": "replay",
    "OpenedRequest": "whole",
    "SealedRequest": "whole",
    "open_request": "whole",
    "open_response": "whole",
    "seal_request": "whole",
    "seal_response": "whole",
}


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    value = getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
