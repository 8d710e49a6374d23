"""Two ends of a connection, secured and multiplexed, without hosts above them: of ours, or one of stock py-libp2p."""

from __future__ import annotations

import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import trio
import trio.testing
from libp2p import create_new_x25519_key_pair
from libp2p.io.trio import TrioTCPStream
from libp2p.network.connection.raw_connection import RawConnection
from libp2p.peer.id import ID
from libp2p.security.noise.transport import Transport
from libp2p.stream_muxer.muxer_multistream import MuxerMultistream
from libp2p.stream_muxer.yamux.yamux import Yamux
from multiaddr import Multiaddr

from nexusd.host.noise import NoiseSecurity
from nexusd.host.security import key_pair_of
from nexusd.host.tcp import Tcp, TcpConnection
from nexusd.host.yamux import YAMUX, YamuxMuxer
from nexusd_protocols.yamux.bounds import Bounds
from nexusd_protocols.yamux.budget import Budget
from tests.harness.memnet import MemoryNetwork
from tests.harness.nodes import signer, until


def security_of(name: str, *, stock: bool = False) -> Any:
    """Noise with somebody's key."""
    keys = key_pair_of(signer(name))
    if stock:
        return Transport(keys, noise_privkey=create_new_x25519_key_pair().private_key)
    return NoiseSecurity(keys)


def peer_of(name: str) -> ID:
    """Somebody's PeerId, as libp2p has it."""
    return ID.from_string(signer(name).peer_id)


def memory_raws() -> tuple[RawConnection, RawConnection]:
    """Alice's end and bob's, in memory and without bounds."""
    return tuple(
        RawConnection(TrioTCPStream(stream), index == 0)
        for index, stream in enumerate(trio.testing.memory_stream_pair())
    )


async def tcp_raws() -> tuple[RawConnection, RawConnection]:
    """The same over loopback."""
    [listener] = await trio.open_tcp_listeners(0, host="127.0.0.1")
    async with listener:
        mine = await Tcp().dial(Multiaddr(f"/ip4/127.0.0.1/tcp/{listener.socket.getsockname()[1]}"))
        theirs = await listener.accept()
    sock = socket.socket(fileno=theirs.socket.detach())
    sock.setblocking(False)
    return mine, RawConnection(TcpConnection(sock, sock.getpeername()), False)


def network_raws(network: MemoryNetwork) -> tuple[RawConnection, RawConnection]:
    """The same on a network that can be silenced: alice is 10.0.0.1, bob 10.0.0.2."""
    taken: list[RawConnection] = []

    class Listener:
        def accept(self, stream) -> None:
            taken.append(RawConnection(stream, False))

    address = Multiaddr("/ip4/10.0.0.2/tcp/1")
    network.listen(Listener(), address)
    mine = RawConnection(network.connect("10.0.0.1", address), True)
    return mine, taken[0]


async def secured(raws: tuple[Any, Any], *, stock: tuple[bool, bool] = (False, False)) -> list[Any]:
    """Alice dials bob over these."""
    ends: list[Any] = [None, None]

    async def dial() -> None:
        ends[0] = await security_of("alice", stock=stock[0]).secure_outbound(raws[0], peer_of("bob"))

    async def listen() -> None:
        ends[1] = await security_of("bob", stock=stock[1]).secure_inbound(raws[1])

    async with trio.open_nursery() as nursery:
        nursery.start_soon(dial)
        nursery.start_soon(listen)
    return ends


@dataclass
class Side:
    """What one host has of its own: memory, and the list of what peers are charged."""

    stock: bool = False
    budget: Budget = field(default_factory=Budget)
    bounds: Bounds | None = None
    charged: list[tuple[str, str, int]] = field(default_factory=list)
    _muxer: Any = None

    def muxer(self) -> Any:
        """One for all connections of the host."""
        if self._muxer is None:
            self._muxer = (
                MuxerMultistream({YAMUX: Yamux}, 10)
                if self.stock
                else YamuxMuxer(self.budget, lambda *charge: self.charged.append(charge), 10, self.bounds)
            )
        return self._muxer


@asynccontextmanager
async def muxed(
    raws: tuple[Any, Any] | None = None, alice: Side | None = None, bob: Side | None = None, *, dialler: str = "alice"
) -> AsyncIterator[tuple[Any, Any]]:
    """Alice's and bob's multiplexed connection, running; closed at the end. Bob takes her for `dialler`."""
    sides = (alice or Side(), bob or Side())
    ends = await secured(raws or memory_raws(), stock=(sides[0].stock, sides[1].stock))
    made: list[Any] = [None, None]

    async def upgrade(index: int) -> None:
        made[index] = await sides[index].muxer().new_conn(ends[index], peer_of(("bob", dialler)[index]))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(upgrade, 0)
        nursery.start_soon(upgrade, 1)
    async with trio.open_nursery() as nursery:
        for conn in made:
            nursery.start_soon(conn.start)
            await conn.event_started.wait()
        yield made[0], made[1]
        for conn in made:
            with trio.move_on_after(5):
                await conn.close()
        nursery.cancel_scope.cancel()


@asynccontextmanager
async def half_muxed(raws: tuple[Any, Any] | None = None, **options: Any) -> AsyncIterator[tuple[Any, Any, Side]]:
    """Alice's end by hand (what she receives and sends is frames), bob's multiplexed connection, and his side."""
    side = Side(**options)
    mine, theirs = await secured(raws or memory_raws())
    async with trio.open_nursery() as nursery:
        made: list[Any] = []

        async def upgrade() -> None:
            made.append(await side.muxer().new_conn(theirs, peer_of("alice")))

        nursery.start_soon(upgrade)
        await MuxerMultistream({YAMUX: Yamux}, 10)._selector.select(mine, True, 10)
        await until(lambda: made)
        nursery.start_soon(made[0].start)
        await made[0].event_started.wait()
        yield mine, made[0], side
        await made[0].close()
        nursery.cancel_scope.cancel()


async def read_all(stream: Any) -> bytes:
    """To the end."""
    from libp2p.stream_muxer.exceptions import MuxedStreamEOF

    pieces = []
    while True:
        try:
            piece = await stream.read(65536)
        except MuxedStreamEOF:
            return b"".join(pieces)
        pieces.append(piece)


async def read_exactly(stream: Any, count: int) -> bytes:
    """So many bytes."""
    data = b""
    while len(data) < count:
        data += await stream.read(count - len(data))
    return data


async def echo_all(conn: Any) -> None:
    """Accept streams and echo each to its end."""
    from libp2p.stream_muxer.exceptions import MuxedConnUnavailable, MuxedStreamEOF, MuxedStreamError

    async def echo(stream: Any) -> None:
        try:
            while True:
                await stream.write(await stream.read(65536))
        except MuxedStreamEOF:
            await stream.close()
        except MuxedStreamError:
            await stream.reset()

    async with trio.open_nursery() as nursery:
        while True:
            try:
                stream = await conn.accept_stream()
            except MuxedConnUnavailable:
                return
            nursery.start_soon(echo, stream)


async def talk(alice, bob):
    """A stream that both sides know."""
    mine = await alice.open_stream()
    await mine.write(b"hello")
    theirs = await bob.accept_stream()
    assert await read_exactly(theirs, 5) == b"hello"
    await theirs.write(b"hi")
    assert await read_exactly(mine, 2) == b"hi"
    return mine, theirs


async def still_works(alice, bob) -> None:
    """The connection carries streams."""
    with trio.fail_after(5):
        mine, theirs = await talk(alice, bob)
    await mine.reset()
    await theirs.reset()


async def half_close(stream) -> None:
    """Stock Yamux calls it close."""
    await getattr(stream, "close_write", stream.close)()


def nothing_left(*conns) -> bool:
    """Neither streams nor bytes nor tasks that wait for one."""
    return all(
        not conn.session.streams
        and not conn.session.budget.held
        and not conn._lingering
        and not conn._readers
        and not conn._writers
        for conn in conns
    )
