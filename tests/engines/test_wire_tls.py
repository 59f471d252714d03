"""The client towards engines, against a server behind TLS."""

from __future__ import annotations

import asyncio
import ssl
from pathlib import Path

import pytest

pytest.importorskip("httptools")
pytest.importorskip("cryptography")

from tests.fakes.certificate import make_certificate

from antiphon.engines.llama_server.client import LlamaServerEngine
from antiphon.engines.protocol import CompletionRequest
from antiphon.engines.wire import Wire
from antiphon.errors import EngineError


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    return make_certificate(tmp_path_factory.mktemp("tls"), "127.0.0.1")


async def _echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Give each request's body back, in a chunk for each of its bytes."""
    try:
        while head := await reader.readuntil(b"\r\n\r\n"):
            length = int(head.lower().split(b"content-length: ")[1].split(b"\r\n")[0])
            body = await reader.readexactly(length)
            writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
            for at in range(length):
                writer.write(b"1\r\n%b\r\n" % body[at : at + 1])
                await writer.drain()
            writer.write(b"0\r\n\r\n")
    except (asyncio.IncompleteReadError, OSError):
        pass
    finally:
        writer.close()


def _server_side(files: tuple[Path, Path]) -> ssl.SSLContext:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(*files)
    return context


def test_two_requests_go_over_one_connection_behind_tls(
    files: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(files[0]))
    connections = 0

    async def counted(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal connections
        connections += 1
        await _echo(reader, writer)

    async def run() -> list[bytes]:
        server = await asyncio.start_server(counted, "127.0.0.1", 0, ssl=_server_side(files))
        port = server.sockets[0].getsockname()[1]
        wire = Wire(
            f"https://127.0.0.1:{port}",
            headers={},
            connect_timeout=10,
            read_timeout=10,
            keep_alive=True,
        )
        bodies = []
        try:
            for body in (b"first", b"second"):
                answer = await wire.post("/x", body)
                pieces = []
                while data := await answer.read():
                    pieces.append(data)
                wire.release(answer)
                bodies.append(b"".join(pieces))
        finally:
            await wire.aclose()
            server.close()
            await server.wait_closed()
        return bodies

    assert asyncio.run(run()) == [b"first", b"second"]
    assert connections == 1


def test_an_engine_whose_certificate_nobody_vouches_for_is_not_asked(
    files: tuple[Path, Path],
) -> None:
    asked: list[bytes] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked.append(await reader.read(1))
        writer.close()

    async def run() -> None:
        server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=_server_side(files))
        port = server.sockets[0].getsockname()[1]
        engine = LlamaServerEngine(f"https://127.0.0.1:{port}")
        try:
            async for _ in engine.complete(CompletionRequest(prompt=(1, 2), max_tokens=1)):
                pass
        finally:
            await engine.aclose()
            server.close()
            await server.wait_closed()

    with pytest.raises(EngineError, match=r"cannot reach .*certificate"):
        asyncio.run(run())
    assert asked in ([], [b""])
