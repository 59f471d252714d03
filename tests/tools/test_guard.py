"""The guard lets a model ask the internet, and nothing that only this machine can reach."""

from __future__ import annotations

import asyncio
import gzip
import socket
import tracemalloc
from ipaddress import ip_address

import pytest
from aiohttp import web
from hypothesis import given
from hypothesis import strategies as st
from tests.tools.sites import Site, redirect, site

from antiphon.errors import SettingsError
from antiphon.tools.guard import Fetched, Guard, GuardError, GuardPolicy
from antiphon.tools.guard.address import is_public


def names(table: dict[str, list[str]]):
    """A resolver of these names; each look-up takes the next answer where there are several."""
    looked: list[str] = []

    async def resolve(host: str, port: int) -> list[str]:
        looked.append(host)
        if host not in table:
            raise OSError("no such name")
        return table[host]

    resolve.looked = looked  # type: ignore[attr-defined]
    return resolve


def guard_for(found: Site, **more) -> Guard:
    return Guard(GuardPolicy(allow=(found.allowed,), **more))


def refused(guard: Guard, url: str) -> str:
    async def go() -> str:
        with pytest.raises(GuardError) as caught:
            await guard.fetch(url)
        return str(caught.value)

    return asyncio.run(go())


# Addresses.


@pytest.mark.parametrize(
    "address",
    """0.0.0.0 0.1.2.3 10.0.0.1 100.64.0.1 127.0.0.1 127.255.255.254 169.254.169.254 172.16.0.1
    172.31.255.255 192.0.0.1 192.0.2.1 192.88.99.1 192.168.1.1 198.18.0.1 198.51.100.1 203.0.113.1
    224.0.0.1 239.255.255.255 240.0.0.1 255.255.255.255 :: ::1 ::7f00:1 ::ffff:127.0.0.1
    ::ffff:8.8.8.8 64:ff9b::7f00:1 64:ff9b::8.8.8.8 64:ff9b:1::1 100::1 2001::1 2001:db8::1
    2002:7f00:1:: 2002:808:808::1 3fff::1 fc00::1 fd00:ec2::254 fe80::1 fe80::1%eth0 fec0::1 ff02::1
    2606:4700::5efe:7f00:1 2606:4700::200:5efe:10.0.0.1 4000::1""".split(),
)
def test_addresses_that_are_not_everybodys_are_refused(address):
    assert not is_public(ip_address(address))


@pytest.mark.parametrize(
    "address", "1.1.1.1 8.8.8.8 172.15.0.1 172.32.0.1 192.167.0.1 2606:4700::1111 2a00::1".split()
)
def test_public_addresses_pass(address):
    assert is_public(ip_address(address))


@given(st.ip_addresses())
def test_nothing_is_public_that_python_calls_private_or_multicast(address):
    if is_public(address):
        assert address.is_global
        assert not address.is_multicast
        assert not address.is_loopback
        assert not address.is_link_local


# URLs.


@pytest.mark.parametrize(
    "url",
    [
        "http://127.0.0.1/",
        "http://127.1/",
        "http://127.0.0.1./",
        "http://2130706433/",
        "http://0x7f000001/",
        "http://0x7f.0.0.1/",
        "http://0177.0.0.1/",
        "http://017700000001/",
        "http://127.0.0.0x1/",
        "http://0/",
        "http://[::1]/",
        "http://[::]/",
        "http://[::ffff:127.0.0.1]/",
        "http://[::ffff:7f00:1]/",
        "http://[64:ff9b::7f00:1]/",
        "http://[2002:7f00:1::]/",
        "http://[fe80::1%25lo]/",
        "http://169.254.169.254/latest/meta-data/",
        "http://①②⑦.⓪.⓪.①/",
        "http://127。0。0。1/",
        "http://user@1.1.1.1/",
        "http://user:secret@1.1.1.1/",
        "http://:x@1.1.1.1/",
        "http://1.1.1.1:22/",
        "http://1.1.1.1:6379/",
        "ftp://1.1.1.1/",
        "file:///etc/passwd",
        "gopher://1.1.1.1/",
        "javascript:alert(1)",
        "http:///path",
        "http://",
        "//1.1.1.1/",
        "1.1.1.1",
        "",
        "http://1.1.1.1:99999/",
        "http://[1.1.1.1/",
        "http://a%2eb/",
        "http://" + "a" * 9000,
    ],
)
def test_urls_that_lead_inside_or_nowhere_are_refused_before_anything_is_looked_up(url):
    resolve = names({})
    guard = Guard(resolve=resolve)
    refused(guard, url)
    assert resolve.looked == [] or "cannot be found" in refused(guard, url)


def test_an_error_does_not_repeat_credentials():
    assert "secret" not in refused(Guard(), "http://user:secret@example.com/")


@pytest.mark.parametrize("answer", ["127.0.0.1", "10.1.2.3", "::1", "::ffff:127.0.0.1", "fe80::1"])
def test_a_name_with_a_private_address_is_refused(answer):
    guard = Guard(resolve=names({"inside.example": [answer]}))
    assert "not on the public internet" in refused(guard, "http://inside.example/")


def test_a_name_with_a_public_and_a_private_address_is_refused_whole():
    guard = Guard(resolve=names({"both.example": ["1.1.1.1", "127.0.0.1"]}))
    assert "not on the public internet" in refused(guard, "http://both.example/")


def test_a_name_without_an_address_is_an_error_in_words():
    assert "cannot be found" in refused(Guard(resolve=names({})), "http://no.example/")
    guard = Guard(resolve=names({"empty.example": []}))
    assert "no address" in refused(guard, "http://empty.example/")


# Connections.


def test_a_name_is_looked_up_once_and_exactly_its_checked_address_is_connected_to():
    # The second answer of a rebinding server would be private. There is no second look-up.
    looked = []

    async def rebinding(host: str, port: int) -> list[str]:
        looked.append(host)
        return ["127.0.0.1"] if len(looked) == 1 else ["169.254.169.254"]

    async def go() -> Fetched:
        async with site(page="<p>here</p>") as found:
            guard = Guard(
                GuardPolicy(allow=(found.allowed,), ports=(found.port,)), resolve=rebinding
            )
            return await guard.fetch(f"http://changing.example:{found.port}/page")

    assert b"here" in asyncio.run(go()).body
    assert looked == ["changing.example"]


def test_rebinding_between_two_fetches_is_seen_by_the_second():
    answers = [["127.0.0.1"], ["127.0.0.2"]]

    async def rebinding(host: str, port: int) -> list[str]:
        return answers.pop(0)

    async def go() -> None:
        async with site(page="<p>here</p>") as found:
            guard = Guard(
                GuardPolicy(allow=(found.allowed,), ports=(found.port,)), resolve=rebinding
            )
            await guard.fetch(f"http://changing.example:{found.port}/page")
            with pytest.raises(GuardError, match="not on the public internet"):
                await guard.fetch(f"http://changing.example:{found.port}/page")
            assert len(found.asked) == 1

    asyncio.run(go())


def test_no_socket_is_made_for_an_address_that_was_not_checked():
    from antiphon.tools.guard.fetch import _Gate

    gate = _Gate(Guard())
    gate.passed.add(ip_address("1.1.1.1"))
    with pytest.raises(OSError, match="not checked"):
        gate.socket((socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", 80)))
    gate.socket((socket.AF_INET, socket.SOCK_STREAM, 6, "", ("1.1.1.1", 80))).close()


def test_a_redirect_to_a_private_address_is_refused_and_not_asked():
    async def go() -> None:
        async with site(secret="keys") as inside, site(out=redirect(inside.url("/secret"))) as out:
            guard = guard_for(out)
            with pytest.raises(GuardError, match=r"not on the public|is not opened"):
                await guard.fetch(out.url("/out"))
            assert inside.asked == []

    asyncio.run(go())


@pytest.mark.parametrize(
    "to",
    [
        "http://[::1]/",
        "http://2130706433/",
        "file:///etc/passwd",
        "http://u:p@1.1.1.1/",
        "//169.254.169.254/",
        "http://1.1.1.1:25/",
        "http://[",
    ],
)
def test_redirects_are_checked_like_first_urls(to):
    async def go() -> None:
        async with site(out=redirect(to)) as found:
            with pytest.raises(GuardError):
                await guard_for(found).fetch(found.url("/out"))

    asyncio.run(go())


def test_a_redirect_to_a_name_that_has_become_private_is_refused():
    async def go() -> None:
        async with site(secret="keys") as inside:
            async with site(out=redirect(f"http://moved.example:{inside.port}/secret")) as out:
                guard = Guard(
                    GuardPolicy(allow=(out.allowed,), ports=(inside.port,)),
                    resolve=names({"moved.example": ["127.0.0.1"]}),
                )
                with pytest.raises(GuardError, match="not on the public"):
                    await guard.fetch(out.url("/out"))
            assert inside.asked == []

    asyncio.run(go())


def test_redirects_are_followed_so_far_and_no_further():
    async def go() -> tuple[Fetched, int]:
        async with site(
            a=redirect("/b"), b=redirect("c?x=1#frag"), c="<p>end</p>", loop=redirect("/loop")
        ) as found:
            page = await guard_for(found).fetch(found.url("/a"))
            assert page.url == found.url("/c?x=1")
            found.asked.clear()
            with pytest.raises(GuardError, match="too often"):
                await guard_for(found, redirects=3).fetch(found.url("/loop"))
            return page, len(found.asked)

    page, asked = asyncio.run(go())
    assert b"end" in page.body
    assert asked == 4


def test_what_is_sent_is_not_sent_on():
    async def go() -> None:
        async with site(api=redirect("/other"), other="x") as found:
            with pytest.raises(GuardError, match="redirects"):
                await guard_for(found).fetch(found.url("/api"), method="POST", body=b"{}")
            assert found.paths == ["/api"]

    asyncio.run(go())


def test_cookies_are_not_kept_between_redirects():
    async def handler(request: web.BaseRequest) -> web.StreamResponse:
        answer = web.Response(status=302, headers={"Location": "/b"})
        answer.set_cookie("id", "1")
        return answer

    async def go() -> None:
        async with site(a=handler, b="x") as found:
            await guard_for(found).fetch(found.url("/a"))
            assert "Cookie" not in found.asked[-1].headers

    asyncio.run(go())


def test_proxies_of_the_environment_are_not_used(monkeypatch):
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1/")
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1/")

    async def go() -> Fetched:
        async with site(a="direct") as found:
            return await guard_for(found).fetch(found.url("/a"))

    assert asyncio.run(go()).body == b"direct"


# Sizes and times.


def test_of_a_gigabyte_the_first_bytes_are_read():
    sent = []

    async def endless(request: web.BaseRequest) -> web.StreamResponse:
        answer = web.StreamResponse(headers={"Content-Length": str(1 << 30)})
        await answer.prepare(request)
        try:
            for _ in range(1 << 10):
                await answer.write(b"x" * (1 << 20))
                sent.append(1)
        except ConnectionError:
            pass
        return answer

    async def go() -> Fetched:
        async with site(big=endless) as found:
            return await guard_for(found, max_bytes=100_000).fetch(found.url("/big"))

    page = asyncio.run(go())
    assert page.truncated
    assert page.body == b"x" * 100_000
    assert len(sent) < 64


def test_a_decompression_bomb_is_unpacked_no_further_than_the_limit():
    bomb = gzip.compress(b"\0" * (200 << 20), 9)
    assert len(bomb) < 300_000

    async def packed(request: web.BaseRequest) -> web.StreamResponse:
        return web.Response(body=bomb, headers={"Content-Encoding": "gzip"})

    async def go() -> tuple[Fetched, int]:
        async with site(bomb=packed) as found:
            tracemalloc.start()
            try:
                page = await guard_for(found, max_bytes=1 << 20).fetch(found.url("/bomb"))
                return page, tracemalloc.get_traced_memory()[1]
            finally:
                tracemalloc.stop()

    page, peak = asyncio.run(go())
    assert page.truncated
    assert len(page.body) == 1 << 20
    assert peak < 64 << 20


def test_a_slow_page_is_given_up():
    async def slow(request: web.BaseRequest) -> web.StreamResponse:
        answer = web.StreamResponse()
        await answer.prepare(request)
        try:
            while True:
                await answer.write(b".")
                await asyncio.sleep(0.01)
        except ConnectionError:
            return answer

    async def go() -> None:
        async with site(slow=slow) as found:
            with pytest.raises(GuardError, match="longer than"):
                await guard_for(found, seconds=0.2).fetch(found.url("/slow"))

    asyncio.run(go())


def test_a_slow_chain_of_redirects_has_one_limit():
    async def later(request: web.BaseRequest) -> web.StreamResponse:
        await asyncio.sleep(0.05)
        return web.Response(status=302, headers={"Location": "/later"})

    async def go() -> None:
        async with site(later=later) as found:
            with pytest.raises(GuardError, match="longer than"):
                await guard_for(found, seconds=0.2, redirects=1000).fetch(found.url("/later"))

    asyncio.run(go())


def test_a_server_that_is_not_there_or_talks_nonsense_is_an_error_in_words():
    async def nonsense(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"SSH-2.0-OpenSSH\r\n")
        writer.close()

    async def go() -> None:
        server = await asyncio.start_server(nonsense, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        guard = Guard(GuardPolicy(allow=("127.0.0.1",), seconds=5))
        with pytest.raises(GuardError, match="cannot be read"):
            await guard.fetch(f"http://127.0.0.1:{port}/")
        server.close()
        await server.wait_closed()
        with pytest.raises(GuardError, match="cannot be read"):
            await guard.fetch(f"http://127.0.0.1:{port}/")

    asyncio.run(go())


def test_a_fetch_is_cancelled_with_its_task():
    async def go() -> None:
        asked = asyncio.Event()

        async def never(request: web.BaseRequest) -> web.StreamResponse:
            asked.set()
            await asyncio.Event().wait()
            return web.Response()

        async with site(never=never) as found:
            task = asyncio.ensure_future(guard_for(found).fetch(found.url("/never")))
            await asked.wait()
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task

    asyncio.run(go())


# The allow-list.


def test_what_the_operator_allows_is_opened():
    async def go() -> None:
        async with site(a="in") as found:
            for allow in ("127.0.0.1", found.allowed, "127.0.0.0/8"):
                guard = Guard(GuardPolicy(allow=(allow,), ports=(80, found.port)))
                assert (await guard.fetch(found.url("/a"))).body == b"in"
            named = Guard(
                GuardPolicy(allow=(f"wiki.intranet:{found.port}",)),
                resolve=names({"wiki.intranet": ["127.0.0.1"]}),
            )
            answer = await named.fetch(f"http://Wiki.Intranet:{found.port}/a")
            assert answer.body == b"in"

    asyncio.run(go())


def test_an_allowed_port_allows_no_other():
    guard = Guard(GuardPolicy(allow=("127.0.0.1:9",), ports=(80, 81)))
    assert "not on the public" in refused(guard, "http://127.0.0.1:81/")


@pytest.mark.parametrize("entry", ["", "http://x/", "10.0.0.1/8", "x/y", "a:b", "u@h", "[::1"])
def test_an_allow_list_that_is_wrong_is_refused_at_once(entry):
    with pytest.raises(SettingsError, match="allow"):
        Guard(GuardPolicy(allow=(entry,)))


def test_addresses_for_clients_with_sockets_of_their_own_are_checked_too():
    guard = Guard(resolve=names({"a.example": ["1.1.1.1"], "b.example": ["::1"]}))
    assert asyncio.run(guard.addresses("a.example", 443)) == ["1.1.1.1"]
    for host in ("b.example", "127.0.0.1", "::ffff:127.0.0.1"):
        with pytest.raises(GuardError):
            asyncio.run(guard.addresses(host, 443))
