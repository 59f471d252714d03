"""Sealed transport: HPKE from the client to the streamed answer.

Sans-IO: bytes in, bytes and values out. The layers, each of use on its own:

    message, encode, decode     HTTP messages in binary form                     RFC 9292
    keyconfig, keys             public configurations, pins; private keys        RFC 9458, section 3
    whole                       one request, one response, each sealed whole     RFC 9458, section 4
    chunked                     sealed chunk by chunk, for streams               chunked-ohttp-08
    padding, replay             policies: which lengths show, which copies count
    errors                      the error tree: which layer, what the client should do

And the clients, which do talk to the network and keep keys in files; they are `antiphon.sealed`:

    http_client, async_http_client    for openai-python
    Client, AsyncClient               the same, as HTTP clients of their own

The names in ``__all__`` are imported when they are first used: a relay needs no cryptography.
Extra: ``seal``.
"""

from __future__ import annotations

__all__ = [
    "AsyncClient",
    "BinaryHttpDecoder",
    "BinaryHttpError",
    "BinaryHttpLimits",
    "ChunkedRequestOpener",
    "ChunkedRequestSealer",
    "ChunkedResponseOpener",
    "ChunkedResponseSealer",
    "Client",
    "Content",
    "EndOfMessage",
    "Freshness",
    "Informational",
    "KeyConfig",
    "KeyConfigError",
    "Keyring",
    "KnownGateways",
    "OpenError",
    "OpenedRequest",
    "OuterError",
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
    "async_http_client",
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
    "http_client",
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
        OuterError,
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
    from antiphon.sealed.client import AsyncClient, Client, async_http_client, http_client
    from antiphon.sealed.known import KnownGateways

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
    "OuterError": "errors",
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

_CLIENTS = {
    "AsyncClient": "client",
    "Client": "client",
    "KnownGateways": "known",
    "async_http_client": "client",
    "http_client": "client",
}


def __getattr__(name: str) -> object:
    if name in _HOMES:
        home = f"antiphon.seal.{_HOMES[name]}"
    elif name in _CLIENTS:
        home = f"antiphon.sealed.{_CLIENTS[name]}"
    else:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    value = getattr(import_module(home), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
