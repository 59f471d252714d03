"""The client towards engines, against servers that write their bytes by hand."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

import pytest

pytest.importorskip("httptools")

from antiphon.engines.wire import HIGH_WATER, MAX_HEAD_BYTES, Answer, BrokenAnswerError, Wire

T = TypeVar("T")
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi"
Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


async def request_of(reader: asyncio.StreamReader) -> bytes:
    """One request: its head and body."""
    head = await reader.readuntil(b"\r\n\r\n")
    length = int(head.lower().split(b"content-length: ")[1].split(b"\r\n")[0])
    return head + await reader.readexactly(length)


def against(
    serve: Serve,
    body: Callable[[Wire, str], Awaitable[T]],
    *,
    keep_alive: bool = True,
    prefix: str = "",
    read_timeout: float = 5.0,
) -> T:
    async def closing(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await serve(reader, writer)
        except (asyncio.IncompleteReadError, OSError):
            pass
        finally:
            writer.close()

    async def run() -> T:
        server = await asyncio.start_server(closing, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        url = f"http://{prefix}127.0.0.1:{port}/base/"
        wire = Wire(
            url,
            headers={"Content-Type": "application/json"},
            connect_timeout=5,
            read_timeout=read_timeout,
            keep_alive=keep_alive,
        )
        try:
            return await asyncio.wait_for(body(wire, url), 20)
        finally:
            await wire.aclose()
            server.close()
            await server.wait_closed()

    return asyncio.run(run())


async def whole(wire: Wire, path: str = "/x") -> tuple[Answer, bytes]:
    answer = await wire.post(path, b"{}")
    try:
        pieces = []
        while data := await answer.read():
            pieces.append(data)
        return answer, b"".join(pieces)
    finally:
        wire.release(answer)


def answering(*answers: bytes, seen: list[bytes] | None = None) -> Serve:
    """Each connection gives these answers, one a request, and is closed then."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for answer in answers:
            request = await request_of(reader)
            if seen is not None:
                seen.append(request)
            writer.write(answer)
            await writer.drain()

    return serve


def test_a_request_is_what_an_engine_expects() -> None:
    seen: list[bytes] = []
    against(answering(OK, seen=seen), lambda wire, _: whole(wire), prefix="me:s%20ecret@")
    head, _, body = seen[0].partition(b"\r\n\r\n")
    lines = head.split(b"\r\n")
    assert lines[0] == b"POST /base/x HTTP/1.1"
    assert b"Content-Length: 2" in lines
    assert b"Content-Type: application/json" in lines
    assert b"Authorization: Basic bWU6cyBlY3JldA==" in lines
    assert sum(line.startswith(b"Host: 127.0.0.1:") for line in lines) == 1
    assert body == b"{}"


def test_a_connection_is_kept_for_the_next_request() -> None:
    connections = 0

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal connections
        connections += 1
        await answering(OK, OK, OK)(reader, writer)

    async def body(wire: Wire, _: str) -> list[bytes]:
        return [(await whole(wire))[1] for _ in range(3)]

    assert against(serve, body) == [b"hi"] * 3
    assert connections == 1
    connections = 0
    assert against(serve, body, keep_alive=False) == [b"hi"] * 3
    assert connections == 3


def test_a_kept_connection_that_was_closed_meanwhile_costs_nothing() -> None:
    async def body(wire: Wire, _: str) -> list[bytes]:
        return [(await whole(wire))[1] for _ in range(4)]

    assert against(answering(OK), body) == [b"hi"] * 4


def test_a_body_without_a_length_ends_with_its_connection() -> None:
    serve = answering(b"HTTP/1.1 200 OK\r\n\r\nall of it")
    answer, data = against(serve, lambda wire, _: whole(wire))
    assert (answer.status, data) == (200, b"all of it")


def test_an_interim_answer_is_not_the_answer() -> None:
    serve = answering(b"HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n" + OK)
    answer, data = against(serve, lambda wire, _: whole(wire))
    assert (answer.status, data) == (200, b"hi")
    assert "link" not in answer.headers


def test_chunks_and_headers_are_read_wherever_they_are_cut() -> None:
    wanted = b"data: one\n\ndata: two\n\n"
    told = b"HTTP/1.1 503 X\r\nRetry-After: 7\r\nTransfer-Encoding: chunked\r\n\r\n"
    told += b"".join([b"1\r\n%c\r\n" % byte for byte in wanted]) + b"0\r\n\r\n"

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await request_of(reader)
        for byte in told:
            writer.write(bytes([byte]))
            await writer.drain()

    answer, data = against(serve, lambda wire, _: whole(wire))
    assert (answer.status, answer.headers["retry-after"], data) == (503, "7", wanted)


@pytest.mark.parametrize(
    "told",
    [
        b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhi",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhel",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzzz\r\n",
        b"SSH-2.0-OpenSSH_9.2\r\n",
        b"HTTP/1.1 200 OK\r\nX: " + b"y" * (MAX_HEAD_BYTES + 1),
    ],
    ids=["short", "cut chunk", "no chunk", "no HTTP", "endless head"],
)
def test_an_answer_that_is_not_whole_is_an_error(told: bytes) -> None:
    with pytest.raises(BrokenAnswerError):
        against(answering(told), lambda wire, _: whole(wire))


def test_a_connection_closed_before_an_answer_is_the_connections_error() -> None:
    with pytest.raises(ConnectionResetError):
        against(answering(b""), lambda wire, _: whole(wire))


def test_a_silent_engine_runs_into_the_time_limit_and_a_slow_one_does_not() -> None:
    async def slow(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await request_of(reader)
        writer.write(b"HTTP/1.1 200 OK\r\n\r\n")
        for _ in range(6):
            await asyncio.sleep(0.2)
            writer.write(b".")
            await writer.drain()

    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await request_of(reader)
        await reader.read()

    assert against(slow, lambda wire, _: whole(wire), read_timeout=1.0)[1] == b"......"
    with pytest.raises(TimeoutError):
        against(silent, lambda wire, _: whole(wire), read_timeout=0.2)


def test_an_engine_is_read_no_faster_than_its_answer_is_wanted() -> None:
    piece, total = b"x" * 65_536, 64 * 1024 * 1024
    sent = 0

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal sent
        await request_of(reader)
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % total)
        while sent < total:
            writer.write(piece)
            await writer.drain()
            sent += len(piece)

    async def body(wire: Wire, _: str) -> int:
        answer = await wire.post("/x", b"{}")
        before = -1
        while before != sent:  # until the server cannot send any more
            before = sent
            await asyncio.sleep(0.05)
        held = sent
        size = 0
        while data := await answer.read():
            assert len(data) <= 2 * HIGH_WATER
            size += len(data)
        wire.release(answer)
        assert size == total
        return held

    assert against(serve, body) < total / 2


@pytest.mark.parametrize("takes", [True, False])
def test_what_comes_while_it_is_waited_for_is_pushed(takes: bool) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await request_of(reader)
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 20\r\n\r\n")
        for _ in range(10):
            writer.write(b"ab")
            await asyncio.sleep(0.005)

    async def body(wire: Wire, _: str) -> tuple[bytes, bytes]:
        pushed: list[bytes] = []

        def push(data: bytes) -> bool:
            pushed.append(data)
            return takes

        answer = await wire.post("/x", b"{}")
        answer.push = push
        read: list[bytes] = []
        while (data := await answer.read()) or not answer.complete:
            assert data or not takes
            read.append(data)
        wire.release(answer)
        return b"".join(pushed), b"".join(read)

    pushed, read = against(serve, body)
    assert pushed.startswith(b"abab")
    assert pushed + read == b"ab" * 10


def test_what_goes_wrong_in_a_push_is_raised_by_the_read() -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await request_of(reader)
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 20\r\n\r\n")
        await asyncio.sleep(0.005)
        writer.write(b"ab")
        await reader.read()

    async def body(wire: Wire, _: str) -> None:
        def push(_: bytes) -> bool:
            raise ValueError("not mine")

        answer = await wire.post("/x", b"{}")
        answer.push = push
        with pytest.raises(ValueError, match="not mine"):
            await answer.read()
        wire.release(answer)

    against(serve, body)


def test_an_answer_given_up_closes_its_connection_at_once() -> None:
    async def run() -> None:
        gone = asyncio.Event()

        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await request_of(reader)
            writer.write(b"HTTP/1.1 200 OK\r\n\r\nbegun")
            await writer.drain()
            try:
                await reader.read()
            finally:
                gone.set()
                writer.close()

        server = await asyncio.start_server(serve, "127.0.0.1", 0)
        url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        wire = Wire(url, headers={}, connect_timeout=5, read_timeout=5, keep_alive=True)
        answer = await wire.post("/x", b"{}")
        wire.release(answer)
        await asyncio.wait_for(gone.wait(), 5)
        server.close()

    asyncio.run(run())


@pytest.mark.parametrize("url", ["127.0.0.1:80", "ftp://host", "http://", "unix:///socket"])
def test_what_is_no_url_of_a_server_is_refused(url: str) -> None:
    with pytest.raises(ValueError, match="http://HOST:PORT is expected"):
        Wire(url, headers={}, connect_timeout=1, read_timeout=1, keep_alive=True)


def test_a_header_cannot_begin_another() -> None:
    with pytest.raises(ValueError, match="no header may have"):
        Wire(
            "http://host",
            headers={"Authorization": "Bearer a\r\nX: y"},
            connect_timeout=1,
            read_timeout=1,
            keep_alive=True,
        )
