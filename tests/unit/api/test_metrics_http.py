"""`GET /metrics`: what scrapers get, and what others do not."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import httpx
import pytest
import trio

from nexusd.api import metrics_http
from nexusd_protocols.rpc.schema import NodeMetrics


class FakeMetrics:
    """Implements `ports.MetricsService`."""

    async def expose(self) -> NodeMetrics:
        await trio.lowlevel.checkpoint()
        return NodeMetrics(text='nexusd_room_peers{room="grüße"} 1.0\n')


@asynccontextmanager
async def door() -> AsyncIterator[int]:
    async with trio.open_nursery() as nursery:
        (listener,) = await nursery.start(metrics_http.serve, "127.0.0.1", 0, FakeMetrics())
        with trio.fail_after(20):
            yield listener.socket.getsockname()[1]
        nursery.cancel_scope.cancel()


async def raw(port: int, data: bytes) -> bytes:
    stream = await trio.open_tcp_stream("127.0.0.1", port)
    async with stream:
        await stream.send_all(data)
        return b"".join([piece async for piece in stream])


async def test_a_scraper_gets_the_text() -> None:
    async with door() as port, httpx.AsyncClient(trust_env=False) as client:
        for path in ("/metrics", "/metrics?x=1"):
            answer = await client.get(f"http://127.0.0.1:{port}{path}")
            assert answer.status_code == 200
            assert answer.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
            assert answer.text == 'nexusd_room_peers{room="grüße"} 1.0\n'
        head = await client.head(f"http://127.0.0.1:{port}/metrics")
        assert (head.status_code, head.content) == (200, b"")
        assert int(head.headers["content-length"]) > 0


@pytest.mark.parametrize(
    ("request_", "status"),
    [
        (b"GET / HTTP/1.1\r\nHost: a\r\n\r\n", b"404"),
        (b"POST /metrics HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n", b"405"),
        (b"junk\r\n\r\n", b"400"),
        (b"GET /metrics HTTP/1.1\r\n\r\n", b"400"),
        (b"GET /metrics HTTP/1.1\r\nHost: a\r\nX: " + b"x" * 20_000, b"431"),
    ],
)
async def test_what_is_no_scrape_is_refused_by_its_status(request_: bytes, status: bytes) -> None:
    async with door() as port:
        assert (await raw(port, request_)).split(b" ")[1] == status


async def test_too_many_are_turned_away(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(metrics_http, "CONNECTIONS", 1)
    async with door() as port:
        async with await trio.open_tcp_stream("127.0.0.1", port) as first:
            await first.send_all(b"GET /met")
            assert await turned_away(port)
        while await turned_away(port):  # until its place is free
            await trio.sleep(0.05)


async def test_the_silent_are_cut_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(metrics_http, "SECONDS", 0.05)
    async with door() as port, await trio.open_tcp_stream("127.0.0.1", port) as silent:
        await silent.send_all(b"GET /met")
        assert await ended(silent)


async def turned_away(port: int) -> bool:
    try:
        return not await raw(port, b"GET /metrics HTTP/1.1\r\nHost: a\r\n\r\n")
    except trio.BrokenResourceError:
        return True


async def ended(stream: trio.SocketStream) -> bool:
    try:
        return not await stream.receive_some(100)
    except trio.BrokenResourceError:
        return True


async def test_an_address_that_is_taken_is_said() -> None:
    async with door() as port:
        with pytest.raises(metrics_http.MetricsAddressError, match="metrics_listen"):
            await metrics_http.serve("127.0.0.1", port, FakeMetrics())
