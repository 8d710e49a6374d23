"""Two nodes of ours, and a stock libp2p host to show a fault on."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from types import SimpleNamespace

import pytest
import trio
from libp2p.custom_types import TProtocol
from libp2p.network.connection import swarm_connection
from multiaddr import Multiaddr

from nexusd.host.loggers import quieten
from tests.harness.muxed import muxed, tcp_raws
from tests.harness.nodes import connected, loopback
from tests.harness.stock import stock_host

quieten()


@pytest.fixture(autouse=True)
def little_rest(monkeypatch: pytest.MonkeyPatch) -> None:
    """py-libp2p rests for 0.1 s with each connection that ends, for whoever works on its streams to notice."""

    async def sleep(seconds: float) -> None:
        await trio.sleep(seconds / 20)

    monkeypatch.setattr(swarm_connection, "trio", SimpleNamespace(**vars(trio) | {"sleep": sleep}))


@pytest.fixture
async def pair() -> AsyncIterator[tuple]:
    """alice and bob, connected and identified."""
    async with loopback("alice", "bob") as (alice, bob):
        await connected(alice, bob)
        yield alice, bob


@pytest.fixture
async def tcp() -> AsyncIterator[tuple]:
    """Both ends of a connection over loopback, not secured yet."""
    raws = await tcp_raws()
    yield raws
    for raw in raws:
        await raw.close()


@pytest.fixture
async def joined() -> AsyncIterator[tuple]:
    """Alice's and bob's connection, in memory."""
    async with muxed() as (alice, bob):
        yield alice, bob


@asynccontextmanager
async def running_stock(name: str, **options) -> AsyncIterator:
    """A stock host that listens on loopback."""
    host = stock_host(name, **options)
    async with host.run([Multiaddr("/ip4/127.0.0.1/tcp/0")]):
        yield host
        await host.close()


def address_of(host) -> str:
    """Where a stock host listens."""
    return str(host.get_transport_addrs()[0])


async def dial_stock(host, node) -> None:
    """Have a stock host connect to a node of ours."""
    from libp2p.peer.id import ID

    address = node.addresses()[0].partition("/p2p/")[0]
    await host.get_network()._dial_addr_single_attempt(Multiaddr(address), ID.from_string(node.peer_id))


async def raw_stream(host, peer: str):
    """A muxed stream without any negotiation on it."""
    from libp2p.peer.id import ID

    return await host.get_network().get_connections(ID.from_string(peer))[0].muxed_conn.open_stream()


KILLER = b"\x13/multistream/1.0.0\n\x04\xff\xfe\xfd\n"
"""25 bytes: multistream-select, then a protocol name that is not UTF-8."""

TOY = "/nexus/toy/1.0.0"
PROTOCOL = TProtocol(TOY)
