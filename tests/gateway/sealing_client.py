"""Sealed requests over a real socket, for tests: a client made of the sans-IO parts."""

from __future__ import annotations

import http.client
import json
import time
from email.utils import formatdate
from typing import Any, NamedTuple

import msgspec
from tests.gateway.serving import WAIT, Answer, Gateway

from antiphon.seal import (
    BinaryHttpDecoder,
    ChunkedRequestSealer,
    ChunkedResponseOpener,
    Content,
    KeyConfig,
    Request,
    RequestHead,
    ResponseHead,
    decode_keys,
    decode_response,
    encode_content,
    encode_end,
    encode_head,
    encode_request,
    open_response,
    seal_request,
)
from antiphon.seal.media import (
    CHUNKED_REQUEST,
    CHUNKED_RESPONSE,
    REQUEST,
    RESPONSE,
    WELL_KNOWN_GATEWAY,
)
from antiphon.settings.model import SealSettings, Settings

CHAT = "/v1/chat/completions"


def sealing(folder: Any, base: Settings | None = None, **seal: Any) -> Settings:
    """Settings with sealed transport, its keys in ``folder``."""
    seal = {"enabled": True, "keys_file": str(folder / "ohttp-keys.json"), **seal}
    return msgspec.structs.replace(base or Settings(), seal=SealSettings(**seal))


class Outer(NamedTuple):
    """What came back in the clear, and how long each chunk inside was."""

    status: int
    headers: dict[str, str]
    body: bytes


class SealedAnswer(NamedTuple):
    """What was inside, and around it."""

    inner: Answer
    outer: Outer
    chunks: list[bytes]
    """Plain chunks, in order."""


def message(
    path: str,
    body: Any = None,
    *,
    method: str | None = None,
    headers: dict[str, str] | None = None,
    date: float | None = -1.0,
) -> Request:
    """A request. ``date``: None for none, -1 for now."""
    fields = {name.lower().encode(): value.encode() for name, value in (headers or {}).items()}
    content = b""
    if body is not None:
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        fields.setdefault(b"content-type", b"application/json")
    if date is not None:
        when = time.time() if date == -1.0 else date
        fields[b"date"] = formatdate(when, usegmt=True).encode()
    head = RequestHead(
        method=method or ("GET" if body is None else "POST"),
        authority="gateway.example",
        path=path,
        fields=tuple(fields.items()),
    )
    return Request(head=head, content=content)


def chat(text: str = "Hi", *, headers: dict[str, str] | None = None, **parameters: Any) -> Request:
    messages = [{"role": "user", "content": text}]
    return message(CHAT, {"model": "m", "messages": messages, **parameters}, headers=headers)


def keys_of(port: int, path: str = WELL_KNOWN_GATEWAY) -> tuple[KeyConfig, ...]:
    """What the gateway, or a relay, publishes."""
    answer = post(port, b"", path=path, method="GET")
    assert answer.status == 200
    assert answer.headers["content-type"] == "application/ohttp-keys"
    return decode_keys(answer.body)


def seal_whole(config: KeyConfig, request: Request) -> tuple[bytes, Any]:
    sealed = seal_request(config, encode_request(request))
    return sealed.body, sealed.response


def seal_chunks(config: KeyConfig, request: Request, size: int = 1000) -> tuple[bytes, Any]:
    sealer = ChunkedRequestSealer(config)
    plain = encode_head(request.head) + encode_content(request.content)
    body = b"".join(sealer.seal(plain[at : at + size]) for at in range(0, len(plain), size))
    return body + sealer.finish(encode_end()), sealer.response


def post(
    port: int,
    body: bytes,
    kind: str = CHUNKED_REQUEST,
    *,
    path: str = WELL_KNOWN_GATEWAY,
    method: str = "POST",
    headers: dict[str, str] | None = None,
) -> Outer:
    """One outer request, its answer whole or as far as it came."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=WAIT)
    given = {"content-type": kind} if method == "POST" else {}
    try:
        connection.request(method, path, body or None, {**given, **(headers or {})})
        response = connection.getresponse()
        names = {name.lower(): value for name, value in response.getheaders()}
        try:
            data = response.read()
        except http.client.IncompleteRead as cut:
            data = cut.partial
        return Outer(response.status, names, data)
    finally:
        connection.close()


def open_chunks(secret: Any, data: bytes) -> list[bytes]:
    opener = ChunkedResponseOpener(secret)
    chunks = opener.feed(data)
    return [*chunks, opener.eof()]


def ask(
    port: int,
    config: KeyConfig,
    request: Request,
    *,
    chunked: bool = True,
    headers: dict[str, str] | None = None,
) -> SealedAnswer:
    """A request, sealed; its answer, opened."""
    body, secret = (seal_chunks if chunked else seal_whole)(config, request)
    outer = post(port, body, CHUNKED_REQUEST if chunked else REQUEST, headers=headers)
    assert outer.status == 200, outer
    assert outer.headers["content-type"] == (CHUNKED_RESPONSE if chunked else RESPONSE)
    if not chunked:
        plain = open_response(secret, outer.body)
        whole = decode_response(plain)
        return SealedAnswer(_answer(whole.head, whole.content), outer, [plain])
    chunks = open_chunks(secret, outer.body)
    decoder = BinaryHttpDecoder("response")
    events = [event for chunk in chunks for event in decoder.feed(chunk)] + decoder.eof()
    head, content = events[0], b"".join([e.data for e in events if isinstance(e, Content)])
    assert isinstance(head, ResponseHead)
    return SealedAnswer(_answer(head, content), outer, chunks)


def _answer(head: ResponseHead, content: bytes) -> Answer:
    names = {name.decode(): value.decode("latin-1") for name, value in head.fields}
    return Answer(head.status, names, content)


def only_key(gateway: Gateway) -> KeyConfig:
    (config,) = keys_of(gateway.port)
    return config
