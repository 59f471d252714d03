"""An engine's own routes, byte for byte, and nothing of the client's that is not the engine's."""

from __future__ import annotations

import asyncio
import gzip
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

import pytest

pytest.importorskip("aiohttp")

from aiohttp import web
from tests.engines.detecting import handler_server, raw_server
from tests.fakes.chat import ANSWER
from tests.fakes.vllm import FakeVllm
from tests.ports import closed_port

from antiphon.engines.passthrough import PASSED, Passed, Passthrough
from antiphon.errors import EngineError

T = TypeVar("T")
CHAT = "/v1/chat/completions"
BODY = b'{"model": "m", "messages": [{"role": "user", "content": "Hi"}], "stream": true}'
HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n"
CHUNKED = HEAD + b"Transfer-Encoding: chunked\r\n\r\n"


def through(url: str, use: Callable[[Passthrough], Awaitable[T]], **options: Any) -> T:
    async def run() -> T:
        async with asyncio.timeout(20):
            engine = Passthrough(url, **options)
            try:
                return await use(engine)
            finally:
                await engine.aclose()

    return asyncio.run(run())


async def read(answer: Passed) -> bytes:
    return b"".join([piece async for piece in answer.pieces()])


class Recorder:
    """Answers with these bytes and headers, and keeps what it was asked."""

    def __init__(
        self, body: bytes = b"{}", *, status: int = 200, headers: dict[str, str] | None = None
    ) -> None:
        self.body = body
        self.status = status
        self.headers = headers or {}
        self.asked: list[tuple[str, str, dict[str, str], bytes]] = []

    async def answer(self, request: web.Request) -> web.StreamResponse:
        seen = {name.lower(): value for name, value in request.headers.items()}
        self.asked.append((request.method, request.path, seen, await request.read()))
        return web.Response(body=self.body, status=self.status, headers=self.headers)


def pass_to(recorder: Recorder, body: bytes = BODY, **options: Any) -> tuple[Any, bytes]:
    opening = {k: options.pop(k) for k in ("headers", "method") if k in options}
    path = options.pop("path", CHAT)

    async def run() -> tuple[Any, bytes]:
        async with handler_server(recorder.answer) as url:
            engine = Passthrough(url, **options)
            try:
                async with engine.open(path, body, **opening) as answer:
                    return (answer.status, answer.headers), await read(answer)
            finally:
                await engine.aclose()

    return asyncio.run(run())


@pytest.mark.parametrize("stream", [True, False])
def test_a_chat_comes_through_as_the_engine_says_it(stream: bool) -> None:
    async def run() -> tuple[bytes, str]:
        async with FakeVllm() as fake:
            engine = Passthrough(f"{fake.url}/v1")
            body = b'{"model":"openai/gpt-oss-20b","messages":[],"stream":%s}'
            body %= b"true" if stream else b"false"
            async with engine.open(CHAT, body) as answer:
                assert answer.status == 200
                said = await read(answer)
            await engine.aclose()
            return said, answer.headers["content-type"]

    said, kind = asyncio.run(run())
    if stream:
        assert kind == "text/event-stream"
        assert said.endswith(b"data: [DONE]\n\n")
    else:
        assert kind.startswith("application/json")
        assert ANSWER.encode() in said


@pytest.mark.parametrize(
    "body",
    [
        BODY,
        b'{ "temperature" : 1.0, "seed": 12345678901234567890123, "model":"m" }',
        b"",
        b"not json",
        b"\xff\x00",
        b"[" * 100_000,
        b'{"model": ["m"]}',
    ],
    ids=["chat", "odd numbers", "nothing", "no json", "no text", "deep", "odd model"],
)
def test_the_body_arrives_byte_for_byte(body: bytes) -> None:
    recorder = Recorder()
    pass_to(recorder, body)
    assert recorder.asked[0][3] == body


def test_the_engines_name_for_the_model_takes_the_place_of_ours_and_of_nothing_else() -> None:
    recorder = Recorder()
    body = b'{"seed":12345678901234567890123,"t":1.0,"e":1e2,"model":"ours","u":"\\u00e9","d":{"model":"ours"}}'  # noqa: E501
    pass_to(recorder, body, model="theirs")
    assert recorder.asked[0][3] == body.replace(b'"ours"', b'"theirs"', 1)


@pytest.mark.parametrize("body", [b'{"model" : "theirs"}', b"not json", b'"text"', b"[" * 100_000])
def test_a_body_that_needs_no_other_name_stays_as_it_is(body: bytes) -> None:
    recorder = Recorder()
    pass_to(recorder, body, model="theirs")
    assert recorder.asked[0][3] == body


def test_the_answer_comes_byte_for_byte_whatever_it_is() -> None:
    said = bytes(range(256)) * 4096
    (status, headers), body = pass_to(
        Recorder(said, headers={"Content-Type": "application/octet-stream", "X-Own": "1"})
    )
    assert (status, body) == (200, said)
    assert headers["x-own"] == "1"


def test_an_error_of_the_engine_is_the_clients_to_read() -> None:
    (status, headers), body = pass_to(
        Recorder(b'{"error":{"message":"no"}}', status=429, headers={"Retry-After": "7"})
    )
    assert (status, headers["retry-after"], body) == (429, "7", b'{"error":{"message":"no"}}')


def test_credentials_of_the_client_stay_here_and_the_engine_gets_ours() -> None:
    recorder = Recorder()
    theirs = {
        "Authorization": "Bearer client",
        "authorization": "Bearer client",
        "Cookie": "session=1",
        "Host": "elsewhere",
        "X-Forwarded-For": "10.0.0.1",
        "X-Api-Key": "client",
        "Connection": "upgrade",
        "Content-Length": "3",
        "X-Request-Id": "r1",
        "Accept": "text/event-stream",
        "traceparent": "00-1-2-01",
    }
    pass_to(recorder, api_key="ours", headers=theirs)
    _, _, seen, _ = recorder.asked[0]
    assert seen["authorization"] == "Bearer ours"
    assert seen["x-request-id"] == "r1"
    assert seen["accept"] == "text/event-stream"
    assert seen["traceparent"] == "00-1-2-01"
    assert not {"cookie", "x-forwarded-for", "x-api-key"} & seen.keys()
    assert "client" not in repr(seen)
    assert "elsewhere" not in repr(seen)
    pass_to(recorder, headers=theirs)
    assert "authorization" not in recorder.asked[1][2]


def test_headers_of_one_hop_and_of_the_engines_server_stay_there() -> None:
    headers = {
        "Connection": "X-Hop",
        "X-Hop": "1",
        "Keep-Alive": "timeout=5",
        "Set-Cookie": "a=b",
        "WWW-Authenticate": "Basic",
        "Server": "engine/1",
        "Cache-Control": "no-cache",
    }
    (_, seen), _ = pass_to(Recorder(headers=headers))
    assert seen["cache-control"] == "no-cache"
    withheld = {"connection", "x-hop", "keep-alive", "set-cookie", "www-authenticate", "server",
                "content-length", "transfer-encoding", "date"}  # fmt: skip
    assert not withheld & seen.keys()


def test_a_compressed_answer_is_handed_on_plain() -> None:
    (_, headers), body = pass_to(
        Recorder(gzip.compress(b"plain" * 100), headers={"Content-Encoding": "gzip"})
    )
    assert body == b"plain" * 100
    assert "content-encoding" not in headers


def test_a_redirect_is_not_followed() -> None:
    recorder = Recorder(status=307, headers={"Location": "/v1/models"})
    (status, _), _ = pass_to(recorder)
    assert (status, len(recorder.asked)) == (307, 1)


@pytest.mark.parametrize(
    "path",
    ["/v1/models", "/slots", "/completion", "/api/pull", "/v1/chat/completions/../../slots", "",
     "/v1/chat/completions?x=1", "//evil.example/v1/completions"],
)  # fmt: skip
def test_other_routes_cannot_be_reached(path: str) -> None:
    recorder = Recorder()
    with pytest.raises(EngineError) as refused:
        pass_to(recorder, path=path)
    assert refused.value.status_hint == 404
    assert recorder.asked == []


@pytest.mark.parametrize("path", sorted(PASSED))
def test_the_routes_of_the_list_can(path: str) -> None:
    recorder = Recorder()
    pass_to(recorder, path=path)
    assert recorder.asked[0][:2] == ("POST", path)


@pytest.mark.parametrize("status", [401, 403])
def test_an_engine_that_refuses_our_key_is_our_trouble_and_not_the_clients(status: int) -> None:
    with pytest.raises(EngineError, match="api_key") as refused:
        pass_to(Recorder(b"secret details", status=status))
    assert refused.value.status_hint == 502
    assert "secret" not in str(refused.value)


# What goes wrong.


def test_an_engine_that_is_not_there() -> None:
    async def use(engine: Passthrough) -> None:
        async with engine.open(CHAT, BODY):
            pass

    with closed_port() as port, pytest.raises(EngineError, match="cannot reach the engine at"):
        through(f"http://127.0.0.1:{port}", use)


@pytest.mark.parametrize(
    ("answer", "options", "said"),
    [
        (b"", {}, "broke off"),
        (b"nonsense\r\n\r\n", {}, "broke off"),
        (CHUNKED + b"5\r\nda", {}, "broke off"),
        (HEAD + b"Content-Length: 100\r\n\r\ndata", {}, "broke off"),
        (CHUNKED + b"5\r\ndata:\r\n0\r\n\r\n", {"max_bytes": 4}, "more than 4 bytes"),
    ],
    ids=["nothing", "no http", "half a chunk", "half a body", "too much"],
)
def test_an_answer_that_breaks_off(answer: bytes, options: dict[str, Any], said: str) -> None:
    async def run() -> None:
        async with raw_server(answer) as url:
            engine = Passthrough(url, **options)
            try:
                async with engine.open(CHAT, BODY) as passed:
                    await read(passed)
            finally:
                await engine.aclose()

    with pytest.raises(EngineError, match=said):
        asyncio.run(run())


@pytest.mark.parametrize("answer", [b"", CHUNKED + b"5\r\ndata:\r\n"])
def test_a_silent_engine_times_out(answer: bytes) -> None:
    async def run() -> None:
        async with raw_server(answer, hold=True) as url:
            engine = Passthrough(url, read_timeout=0.05)
            try:
                async with engine.open(CHAT, BODY) as passed:
                    await read(passed)
            finally:
                await engine.aclose()

    with pytest.raises(EngineError, match="sent nothing for too long"):
        asyncio.run(run())


def test_leaving_stops_the_engines_work() -> None:
    async def run() -> bool:
        gone = asyncio.Event()

        async def endless(request: web.Request) -> web.StreamResponse:
            response = web.StreamResponse()
            await response.prepare(request)
            try:
                await response.write(b"data: 1\n\n")
                await asyncio.Event().wait()
            finally:
                gone.set()
            return response

        async with asyncio.timeout(10), handler_server(endless) as url:
            engine = Passthrough(url)
            async with engine.open(CHAT, BODY) as answer:
                assert await anext(aiter(answer.pieces())) == b"data: 1\n\n"
            await gone.wait()
            await engine.aclose()
            return gone.is_set()

    assert asyncio.run(run())


def test_a_connection_is_used_again_and_a_dropped_one_is_no_error() -> None:
    async def run() -> tuple[int, int]:
        connections = requests = 0

        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            nonlocal connections, requests
            connections += 1
            own = 0
            try:
                while True:
                    head = await reader.readuntil(b"\r\n\r\n")
                    if connections == 1 and own == 2:
                        break  # dropped, with the request in it
                    length = int(head.lower().split(b"content-length: ")[1].split(b"\r\n")[0])
                    await reader.readexactly(length)
                    requests += 1
                    own += 1
                    writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
                    await writer.drain()
            except asyncio.IncompleteReadError:
                pass
            writer.close()

        server = await asyncio.start_server(serve, "127.0.0.1", 0)
        host, port = server.sockets[0].getsockname()
        async with asyncio.timeout(10):
            engine = Passthrough(f"http://{host}:{port}")
            for _ in range(3):
                async with engine.open(CHAT, BODY) as answer:
                    assert await read(answer) == b"ok"
            await engine.aclose()
            await engine.aclose()
        server.close()
        await server.wait_closed()
        return connections, requests

    assert asyncio.run(run()) == (2, 3)
