"""A gateway for sealed requests that does what a test tells it to, in front of a real gateway.

It opens requests with the pieces of `antiphon.seal`, passes them on, and seals the answer chunk by
chunk. A test can have it swap its keys, cut answers off, damage them, or answer in the clear; it
keeps every byte that it saw outside the seal.
"""

from __future__ import annotations

import http.client
import threading
import time
from collections.abc import Callable
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, NamedTuple, Self

from antiphon.seal import (
    ChunkedRequestOpener,
    ChunkedResponseSealer,
    Keyring,
    Request,
    Response,
    ResponseHead,
    SealKey,
    UnknownKeyError,
    date_of,
    decode_request,
    encode_content,
    encode_end,
    encode_head,
    encode_response,
    forwardable,
    open_request,
    seal_response,
)
from antiphon.seal.media import (
    CHUNKED_REQUEST,
    CHUNKED_RESPONSE,
    DATE_PROBLEM,
    KEY_PROBLEM,
    KEYS,
    PROBLEM_JSON,
    RESPONSE,
    WELL_KNOWN_GATEWAY,
)

WAIT = 20.0


class Clear(NamedTuple):
    """An answer outside the seal."""

    status: int
    kind: str = "text/plain"
    body: bytes = b""
    headers: tuple[tuple[str, str], ...] = ()


class Front:
    """Runs until its block ends."""

    def __init__(self, port: int, *keys: SealKey) -> None:
        self.port_behind = port
        self.ring = Keyring(keys or [SealKey.generate(1, created=0)])
        self.offered: bytes | None = None
        """A list to publish instead of its own."""
        self.vouched: bytes | None = None
        """The list inside the seal, if it is another."""
        self.clear: list[Clear] = []
        """Answers in the clear that come first."""
        self.cut_after: int | None = None
        """How many sealed chunks of an answer are sent before the connection is closed neatly."""
        self.damage: Callable[[bytes], bytes] = lambda sealed: sealed
        self.clock: Callable[[], float] = time.time
        self.sent = threading.Semaphore(0)
        """Released for each sealed chunk that was sent."""
        self.outside: list[tuple[str, str, dict[str, str], bytes]] = []
        self.inside: list[Request] = []
        self.gone = threading.Event()
        """Set when a client went away before its answer was complete."""

    @property
    def key(self) -> SealKey:
        return self.ring.current

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    def __enter__(self) -> Self:
        front = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *_: Any) -> None:
                pass

            def do_GET(self) -> None:
                front.note(self, b"")
                if front.clear:
                    front.answer(self, front.clear.pop(0))
                elif not self.path.endswith(WELL_KNOWN_GATEWAY):
                    front.answer(self, Clear(404))
                else:
                    offered = front.offered or front.ring.published(front.clock())
                    front.answer(self, Clear(200, KEYS, offered))

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"]))
                front.note(self, body)
                if front.clear:
                    front.answer(self, front.clear.pop(0))
                    return
                try:
                    front.open(self, body)
                except UnknownKeyError:
                    problem = b'{"type":"%s","title":"unknown key"}' % KEY_PROBLEM.encode()
                    front.answer(self, Clear(400, PROBLEM_JSON, problem))
                except OSError:
                    front.gone.set()
                    self.close_connection = True

        class Server(ThreadingHTTPServer):
            daemon_threads = True

            def handle_error(self, *_: Any) -> None:
                front.gone.set()

        self._server = Server(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,))
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._thread.join(WAIT)
        self._server.server_close()

    def note(self, handler: BaseHTTPRequestHandler, body: bytes) -> None:
        headers = {name.lower(): value for name, value in handler.headers.items()}
        self.outside.append((handler.command, handler.path, headers, body))

    @staticmethod
    def answer(handler: BaseHTTPRequestHandler, clear: Clear) -> None:
        handler.send_response(clear.status)
        handler.send_header("content-type", clear.kind)
        handler.send_header("content-length", str(len(clear.body)))
        for name, value in clear.headers:
            handler.send_header(name, value)
        handler.end_headers()
        handler.wfile.write(clear.body)

    def open(self, handler: BaseHTTPRequestHandler, body: bytes) -> None:
        now = self.clock()
        chunked = handler.headers["content-type"] == CHUNKED_REQUEST
        if chunked:
            opener = ChunkedRequestOpener(self.ring, now)
            message = b"".join([*opener.feed(body), opener.eof()])
            response = opener.response
        else:
            opened = open_request(self.ring, body, now)
            message, response = opened.message, opened.response
        request = decode_request(message)
        self.inside.append(request)
        pieces = self.inner(request, now)
        if not chunked:
            head, *content = pieces
            assert isinstance(head, ResponseHead)
            whole = Response(head=head, content=b"".join(content))
            answer = self.damage(seal_response(response, encode_response(whole)))
            self.answer(handler, Clear(200, RESPONSE, answer))
            return
        handler.send_response(200)
        handler.send_header("content-type", CHUNKED_RESPONSE)
        handler.send_header("transfer-encoding", "chunked")
        handler.end_headers()
        sealer = ChunkedResponseSealer(response)
        count = 0
        for piece in pieces:
            if count == self.cut_after:
                handler.wfile.write(b"0\r\n\r\n")
                return
            encoded = (
                encode_head(piece) if isinstance(piece, ResponseHead) else encode_content(piece)
            )
            self.send(handler, self.damage(sealer.seal(encoded)))
            count += 1
        if count == self.cut_after:
            handler.wfile.write(b"0\r\n\r\n")
            return
        self.send(handler, self.damage(sealer.finish(encode_end())))
        handler.wfile.write(b"0\r\n\r\n")

    def send(self, handler: BaseHTTPRequestHandler, sealed: bytes) -> None:
        handler.wfile.write(b"%x\r\n%s\r\n" % (len(sealed), sealed))
        handler.wfile.flush()
        self.sent.release()

    def inner(self, request: Request, now: float) -> Any:
        """The head and the content of the answer, as it comes."""
        date = date_of(request.head.fields)
        if date is None or abs(now - date) > 300:
            fields = (
                (b"content-type", PROBLEM_JSON.encode()),
                (b"date", formatdate(now, usegmt=True).encode()),
            )
            yield ResponseHead(status=400, fields=fields)
            yield b'{"type":"%s"}' % DATE_PROBLEM.encode()
            return
        if request.head.path == WELL_KNOWN_GATEWAY:
            yield ResponseHead(status=200, fields=((b"content-type", KEYS.encode()),))
            yield self.vouched or self.ring.published(now)
            return
        connection = http.client.HTTPConnection("127.0.0.1", self.port_behind, timeout=WAIT)
        try:
            headers = {name.decode(): value.decode() for name, value in request.head.fields}
            connection.request(request.head.method, request.head.path, request.content, headers)
            answer = connection.getresponse()
            theirs = [(k.encode("latin-1"), v.encode("latin-1")) for k, v in answer.getheaders()]
            yield ResponseHead(status=answer.status, fields=forwardable(theirs))
            while piece := answer.read1(65536):
                yield piece
        finally:
            connection.close()
