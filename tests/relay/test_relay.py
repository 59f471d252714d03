"""``antiphon relay``: what passes, what does not, and that it can read none of it."""

from __future__ import annotations

import http.client
import http.server
import json
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from tests.gateway.governing import LogLines, add_key, answering, bearer, with_keys
from tests.gateway.sealing_client import (
    Outer,
    ask,
    chat,
    keys_of,
    message,
    only_key,
    post,
    seal_chunks,
    seal_whole,
    sealing,
)
from tests.gateway.serving import Gate, Gateway, StepEngine, final
from tests.relay.relaying import Relay, Wire

from antiphon.errors import SettingsError
from antiphon.relay.forward import Target
from antiphon.relay.limits import RelayLimits, Visitors
from antiphon.seal import (
    ChunkedResponseOpener,
    Keyring,
    OpenError,
    Pin,
    PinError,
    SealKey,
    TruncatedError,
)
from antiphon.seal.media import CHUNKED_REQUEST, KEY_PROBLEM, REQUEST

QUIET = LogLines().log


@contextmanager
def relayed(gateway: Gateway, **how: Any) -> Iterator[Relay]:
    how.setdefault("log", QUIET)
    with Relay(f"http://127.0.0.1:{gateway.port}", **how) as relay:
        yield relay


def relay_to(port: int, **how: Any) -> Relay:
    return Relay(f"http://127.0.0.1:{port}", **{"log": QUIET, **how})


@pytest.mark.parametrize("chunked", [True, False])
@pytest.mark.parametrize("stream", [True, False])
def test_what_goes_through_a_relay_is_as_it_is_without_one(
    tmp_path: Path, chunked: bool, stream: bool
) -> None:
    with answering("Hello.", sealing(tmp_path)) as gateway, relayed(gateway) as relay:
        assert keys_of(relay.port) == keys_of(relay.port, "/ohttp-keys") == keys_of(gateway.port)
        answer = ask(relay.port, only_key(gateway), chat(stream=stream), chunked=chunked)
        refused = ask(relay.port, only_key(gateway), message("/nowhere"), chunked=chunked)
    said = answer.inner.text if stream else answer.inner.json["choices"][0]["message"]["content"]
    assert said == "Hello."
    assert refused.inner.status == 404


def test_tokens_pass_a_relay_while_the_model_writes(tmp_path: Path) -> None:
    gate = Gate()
    ids = final("One two")
    engine = StepEngine(ids[:-2], gate, ids[-2:])
    with Gateway(engine, sealing(tmp_path)) as gateway, relayed(gateway) as relay:
        body, secret = seal_chunks(only_key(gateway), chat(stream=True))
        opener = ChunkedResponseOpener(secret)
        connection = http.client.HTTPConnection("127.0.0.1", relay.port, timeout=20)
        connection.request("POST", "/.well-known/ohttp-gateway", body,
                           {"content-type": CHUNKED_REQUEST})  # fmt: skip
        response = connection.getresponse()
        seen = b""
        while b"One" not in seen:
            seen += b"".join(opener.feed(response.read1(65536)))
        assert b"[DONE]" not in seen
        relay.stop()  # What runs may finish.
        gate.open()
        rest = b"".join(opener.feed(response.read())) + opener.eof()
        connection.close()
    assert b"[DONE]" in rest


def test_a_client_that_leaves_a_relay_cancels_the_request_at_the_gateway(tmp_path: Path) -> None:
    gate = Gate()
    engine = StepEngine(final("One two")[:-2], gate)
    with Gateway(engine, sealing(tmp_path)) as gateway, relayed(gateway) as relay:
        body, _ = seal_chunks(only_key(gateway), chat(stream=True))
        connection = http.client.HTTPConnection("127.0.0.1", relay.port, timeout=20)
        connection.request("POST", "/.well-known/ohttp-gateway", body,
                           {"content-type": CHUNKED_REQUEST})  # fmt: skip
        response = connection.getresponse()
        response.read1(10)
        response.close()
        connection.close()
        assert engine.ended.acquire(timeout=20)


def test_a_gateway_that_breaks_off_is_noticed_as_such_behind_a_relay(tmp_path: Path) -> None:
    with answering("Hello there, this is long.", sealing(tmp_path)) as gateway:
        config = only_key(gateway)
        body, secret = seal_chunks(config, chat(stream=True))
        whole = post(gateway.port, body)
        with (
            server(cut=whole.body[:-40]) as port,
            relay_to(port) as relay,
        ):
            outer = post(relay.port, body)
    opener = ChunkedResponseOpener(secret)
    opener.feed(outer.body)
    with pytest.raises(TruncatedError):
        opener.eof()


# Identity


class _Recorder(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    seen: list[tuple[str, str, dict[str, str], bytes]]
    answer: tuple[int, dict[str, str], bytes]
    cut: bytes = b""

    def do_POST(self) -> None:
        length = self.headers.get("content-length")
        body = self.rfile.read(int(length)) if length else self._chunks()
        names = {name.lower(): value for name, value in self.headers.items()}
        self.seen.append((self.command, self.path, names, body))
        if self.cut:
            self.send_response(200)
            self.send_header("content-type", "message/ohttp-chunked-res")
            self.send_header("transfer-encoding", "chunked")
            self.end_headers()
            self.wfile.write(b"%x\r\n%s\r\n" % (len(self.cut), self.cut))
            self.close_connection = True
            return
        status, headers, data = self.answer
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("content-length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    do_GET = do_POST  # noqa: N815 - http.server's names

    def _chunks(self) -> bytes:
        data = b""
        if self.headers.get("transfer-encoding") != "chunked":
            return data
        while size := int(self.rfile.readline(), 16):
            data += self.rfile.read(size)
            self.rfile.readline()
        self.rfile.readline()
        return data

    def log_message(self, *_: object) -> None:
        pass


@contextmanager
def server(
    status: int = 200,
    headers: dict[str, str] | None = None,
    body: bytes = b"sealed",
    seen: list[Any] | None = None,
    cut: bytes = b"",
) -> Iterator[int]:
    """Something behind a relay that is no gateway."""
    answer = (status, {"content-type": "message/ohttp-res", **(headers or {})}, body)
    handler = type(
        "Handler",
        (_Recorder,),
        {"seen": [] if seen is None else seen, "answer": answer, "cut": cut},
    )
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as listening:
        thread = threading.Thread(target=listening.serve_forever, args=(0.01,), daemon=True)
        thread.start()
        yield listening.server_address[1]
        listening.shutdown()
        thread.join()


IDENTITY = {
    "authorization": "Bearer ak-secret",
    "cookie": "session=me",
    "forwarded": "for=10.1.2.3",
    "from": "me@example.com",
    "if-none-match": '"my own tag"',
    "origin": "https://page.example",
    "referer": "https://page.example/me",
    "traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
    "user-agent": "my very own browser",
    "x-api-key": "ak-secret",
    "x-forwarded-for": "10.1.2.3",
    "x-real-ip": "10.1.2.3",
    "x-request-id": "my-request",
}


@pytest.mark.parametrize("length", [True, False], ids=["length", "chunks"])
@pytest.mark.parametrize("kind", [REQUEST, CHUNKED_REQUEST])
def test_nothing_of_a_clients_headers_goes_on_but_what_is_the_same_for_all(
    kind: str, length: bool
) -> None:
    seen: list[Any] = []
    with server(seen=seen) as port, relay_to(port) as relay:
        connection = http.client.HTTPConnection("127.0.0.1", relay.port, timeout=20)
        headers = {**IDENTITY, "content-type": f"{kind}; me=yes", "accept-language": "sw"}
        body: Any = b"sealed bytes" if length else iter([b"sealed ", b"bytes"])
        connection.request("POST", "/.well-known/ohttp-gateway?me=yes", body, headers,
                           encode_chunked=not length)  # fmt: skip
        assert connection.getresponse().read() == b"sealed"
        connection.close()
        post(relay.port, b"", method="GET", headers=IDENTITY)
    (method, path, names, body), keys = seen
    assert (method, path, body) == ("POST", "/.well-known/ohttp-gateway", b"sealed bytes")
    how = {"content-length": "12"} if length else {"transfer-encoding": "chunked"}
    incremental = {"incremental": "?1"} if kind == CHUNKED_REQUEST else {}
    host = {"host": f"127.0.0.1:{port}"}
    assert names == {**host, "content-type": kind, **how, **incremental}
    assert keys[2] == {**host, "accept": "application/ohttp-keys"}


def test_nothing_of_the_gateways_headers_comes_back_that_could_mark_a_client() -> None:
    marks = {"set-cookie": "a=b", "etag": '"tag"', "server": "me", "x-request-id": "r", "link": "x"}
    with server(headers=marks) as port, relay_to(port) as relay:
        outer = post(relay.port, b"x", REQUEST)
    assert outer.body == b"sealed"
    assert outer.headers["x-request-id"] == "req_relay"
    assert not {"set-cookie", "etag", "server", "link"} & set(outer.headers)


def test_the_log_names_no_client_unless_asked(tmp_path: Path) -> None:
    for named in (False, True):
        log = LogLines()
        settings = sealing(tmp_path)
        how: dict[str, Any] = {"log": log.log, "log_clients": named}
        with answering(settings=settings) as gateway, relayed(gateway, **how) as relay:
            ask(relay.port, only_key(gateway), chat(), headers=IDENTITY)
        (line,) = log.lines("relayed")
        assert line["route"] == "sealed"
        assert line["status"] == 200
        text = log.stream.getvalue()
        assert ("127.0.0.1" in text) is named
        assert not [value for value in IDENTITY.values() if value in text]


# What does not pass


@pytest.mark.parametrize(
    ("method", "path", "kind", "status"),
    [
        ("POST", "/.well-known/ohttp-gateway", "application/json", 415),
        ("POST", "/.well-known/ohttp-gateway", "", 415),
        ("POST", "/ohttp-keys", CHUNKED_REQUEST, 405),
        ("POST", "/v1/chat/completions", CHUNKED_REQUEST, 404),
        ("GET", "/v1/models", "", 404),
        ("GET", "/metrics", "", 404),
        ("DELETE", "/.well-known/ohttp-gateway", "", 405),
    ],
)
def test_nothing_but_sealed_requests_is_forwarded(
    method: str, path: str, kind: str, status: int
) -> None:
    seen: list[Any] = []
    with server(seen=seen) as port, relay_to(port) as relay:
        outer = post(relay.port, b"x" if method == "POST" else b"", kind, path=path, method=method)
    assert outer.status == status
    assert "error" in json.loads(outer.body)
    assert seen == []


@pytest.mark.parametrize(
    ("status", "kind"), [(200, "text/html"), (302, "message/ohttp-res"), (500, "text/plain")]
)
def test_an_answer_that_is_not_sealed_is_not_passed_on(status: int, kind: str) -> None:
    headers = {"content-type": kind, "location": "http://elsewhere.example/"}
    with server(status, headers, b"<html>") as port, relay_to(port) as relay:
        outer = post(relay.port, b"x", REQUEST)
    assert outer.status == 502
    assert json.loads(outer.body)["error"]["code"] == "not_a_gateway"
    assert b"<html>" not in outer.body


def test_errors_of_the_gateway_in_the_clear_come_back(tmp_path: Path) -> None:
    with answering(settings=sealing(tmp_path)) as gateway, relayed(gateway) as relay:
        body, _ = seal_chunks(only_key(gateway), chat())
        unknown = post(relay.port, b"\x63" + body[1:])
        refused = post(relay.port, body[:-1])
    assert json.loads(unknown.body)["type"] == KEY_PROBLEM
    assert refused.status == 400


def test_a_gateway_that_is_not_there_is_a_502() -> None:
    with server() as port:
        pass
    with relay_to(port) as relay:
        outer = post(relay.port, b"x", REQUEST)
        relay.turn()
        assert relay.lifecycle.active == 0
    assert outer.status == 502
    assert json.loads(outer.body)["error"]["code"] == "gateway_unreachable"


@pytest.mark.parametrize("length", [True, False], ids=["length", "chunks"])
def test_a_request_over_the_limit_is_refused(length: bool) -> None:
    limits = RelayLimits(body_bytes=100)
    with server() as port, relay_to(port, limits=limits) as relay:
        body: Any = b"x" * 200 if length else iter([b"x" * 90, b"x" * 90])
        outer = post(relay.port, body, REQUEST)
    assert outer.status == 413


def test_one_client_may_send_so_many_requests_a_minute() -> None:
    limits = RelayLimits(per_minute=2)
    with server() as port, relay_to(port, limits=limits) as relay:
        outers = [post(relay.port, b"x", REQUEST) for _ in range(3)]
    assert [outer.status for outer in outers] == [200, 200, 429]
    assert 1 <= int(outers[2].headers["retry-after"]) <= 30


def test_clients_have_buckets_of_their_own_that_refill_and_are_not_kept_for_ever() -> None:
    now = [0.0]
    visitors = Visitors(1, lambda: now[0])
    visitors.charge("10.0.0.1")
    visitors.charge("10.0.0.2")
    visitors.charge("2001:db8::1")
    with pytest.raises(Exception, match="1 requests a minute"):
        visitors.charge("2001:db8::ffff")  # the same /64
    with pytest.raises(Exception, match="1 requests a minute"):
        visitors.charge("::ffff:10.0.0.1")
    now[0] = 60.0
    visitors.charge("10.0.0.1")


def test_beyond_its_limit_a_relay_is_busy(tmp_path: Path) -> None:
    gate = Gate()
    ids = final("One two")
    engine = StepEngine(ids[:-2], gate, ids[-2:])
    limits = RelayLimits(concurrent=1)
    with Gateway(engine, sealing(tmp_path)) as gateway, relayed(gateway, limits=limits) as relay:
        config = only_key(gateway)
        body, _ = seal_chunks(config, chat(stream=True))
        connection = http.client.HTTPConnection("127.0.0.1", relay.port, timeout=20)
        connection.request("POST", "/.well-known/ohttp-gateway", body,
                           {"content-type": CHUNKED_REQUEST})  # fmt: skip
        response = connection.getresponse()
        busy = post(relay.port, b"x", REQUEST)
        gate.open()
        response.read()
        connection.close()
    assert busy.status == 503
    assert busy.headers["retry-after"] == "1"


def test_web_pages_may_use_a_relay_that_lists_them(tmp_path: Path) -> None:
    page = {"origin": "https://page.example"}
    asking = {**page, "access-control-request-method": "POST",
              "access-control-request-headers": "content-type"}  # fmt: skip
    with answering(settings=sealing(tmp_path)) as gateway:
        with relayed(gateway, origins=("https://page.example",)) as relay:
            before = post(relay.port, b"", method="OPTIONS", headers=asking)
            answer = ask(relay.port, only_key(gateway), chat(), headers=page)
        with relayed(gateway) as relay:
            none = post(relay.port, b"", method="OPTIONS", headers=asking)
    assert before.status == 204
    assert before.headers["access-control-allow-origin"] == "https://page.example"
    assert answer.outer.headers["access-control-allow-origin"] == "https://page.example"
    assert "access-control-allow-origin" not in none.headers


@pytest.mark.parametrize(
    "url", ["gateway.example", "ftp://a", "http://", "http://u:p@a", "http://a/?x", "http://a:x"]
)
def test_a_target_that_is_none_is_refused(url: str) -> None:
    with pytest.raises(SettingsError, match="--to"):
        Target.parse(url)


def test_a_target_is_the_well_known_resource_or_the_one_that_is_named() -> None:
    assert Target.parse("https://g.example/").url == "https://g.example/.well-known/ohttp-gateway"
    assert Target.parse("https://g.example/gw").url == "https://g.example/gw"


# What it can read


def test_nothing_that_client_and_model_say_is_on_the_wire(tmp_path: Path) -> None:
    """Every byte on both sides of the relay."""
    key = add_key(tmp_path / "keys.toml")
    words = ["question of the client", "thought of the model", "answer of the model", key]
    from antiphon.vocab.control import CHANNEL, END, MESSAGE, START
    from antiphon.vocab.tokenizer import default_tokenizer

    encode = default_tokenizer().encode
    thought = [CHANNEL, *encode("analysis"), MESSAGE, *encode(words[1]), END,
               START, *encode("assistant")]  # fmt: skip
    engine = StepEngine(thought + final(words[2]))
    settings = sealing(tmp_path, with_keys(tmp_path / "keys.toml"))
    records: list[bytes] = []
    with (
        Gateway(engine, settings, log=QUIET) as gateway,
        Wire(gateway.port) as far,
        Relay(f"http://127.0.0.1:{far.port}", log=QUIET) as relay,
        Wire(relay.port) as near,
    ):
        config = only_key(gateway)
        inner = b""
        for stream in (True, False):
            for chunked in (True, False):
                request = chat(words[0], headers=bearer(key), stream=stream)
                inner += ask(near.port, config, request, chunked=chunked).inner.body
            bad = chat(words[0], headers=bearer(key), stream=stream, temperature=words[1])
            inner += ask(near.port, config, bad).inner.body
        records = [bytes(r) for r in (near.sent, near.received, far.sent, far.received)]
    joined = "".join(
        json.loads(frame[6:])["choices"][0]["delta"].get(field) or ""
        for frame in inner.decode().split("\n\n")
        if frame.startswith("data: {")
        for field in ("reasoning", "content")
        if json.loads(frame[6:])["choices"]
    )
    assert words[1] in joined
    assert words[2] in joined
    assert all(len(record) > 3000 for record in records)
    for word in [*words, "chat/completions", "messages", "choices", "Bearer", "thought", "client"]:
        for record in records:
            assert word.encode() not in record, word


def test_a_relay_that_swaps_the_key_is_refused_by_a_pin_and_opens_nothing(tmp_path: Path) -> None:
    """The proxy in between publishes a key of its own."""
    own = SealKey.generate(1, created=0)
    with answering(settings=sealing(tmp_path)) as gateway:
        config = only_key(gateway)
        keys = Keyring([own]).published(1)
        kind = {"content-type": "application/ohttp-keys"}
        with server(headers=kind, body=keys) as port, relay_to(port) as relay:
            offered = keys_of(relay.port)
        with pytest.raises(PinError):
            Pin.parse(config.fingerprint).pick(offered)
        # Sealed for the gateway's key, what passes is closed to it; sealed for its own, the
        # gateway refuses it like any forgery.
        body, _ = seal_whole(config, chat())
        from antiphon.seal import open_request

        with pytest.raises(OpenError):
            open_request(Keyring([own]), body, 1)
        forged, _ = seal_whole(own.config, chat())
        outer: Outer = post(gateway.port, forged, REQUEST)
    assert outer.status == 400


PROGRAM = """
import sys
from antiphon.cli.main import main
import threading, urllib.request, re, io, os, signal, time

class Err(io.StringIO):
    def isatty(self): return False

sys.stderr = err = Err()

def visit():
    while not (found := re.search(r"relays (http://\\S+)", err.getvalue())):
        time.sleep(0.01)
    try:
        urllib.request.urlopen(found[1] + "/.well-known/ohttp-gateway", timeout=10).read()
    except OSError:
        pass
    os.kill(os.getpid(), signal.SIGTERM)

threading.Thread(target=visit).start()
try:
    main(["relay", "--to", sys.argv[1], "--port", "0"])
except SystemExit as end:
    assert not end.code, (end.code, err.getvalue())
loaded = [name for name in sys.modules if name.split(".")[0] in ("cryptography", "pyhpke")
          or name in ("antiphon.seal.hpke", "antiphon.seal.keys", "antiphon.seal.exchange")]
print(loaded, "relayed" in err.getvalue(), "127.0.0.1" in err.getvalue().split("relayed")[-1])
"""


def test_a_relay_loads_no_cryptography_even_when_it_forwards(tmp_path: Path) -> None:
    with answering(settings=sealing(tmp_path)) as gateway:
        done = subprocess.run(
            [sys.executable, "-c", PROGRAM, f"http://127.0.0.1:{gateway.port}"],
            capture_output=True, text=True, timeout=60,
        )  # fmt: skip
    assert done.stdout.strip() == "[] True False", done.stderr
