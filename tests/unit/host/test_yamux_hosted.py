"""Yamux under a whole node, over each transport."""

from __future__ import annotations

import random

import pytest
import trio
import trio.testing

from nexusd.host import yamux
from nexusd.host.ports import PeerDisconnected
from tests.harness.memnet import MemoryNetwork
from tests.harness.nodes import LOOPBACK, Bytes, ip_of, loopback, next_event, swarm

MEMORY, TCP = "memory", "tcp"


@pytest.mark.parametrize("carrier", ["tcp", "ws"])
async def test_two_nodes_over_each_transport(carrier):
    content = random.Random(8).randbytes(3_000_000)
    async with loopback("alice", "bob", listen=LOOPBACK) as (alice, bob):
        [address] = [each for each in bob.addresses() if ("/ws/" in each) == (carrier == "ws")]
        await alice.connect(bob.peer_id, [address])
        [connection] = alice._swarm.get_connections()
        assert isinstance(connection.muxed_conn, yamux.YamuxConnection)

        async def echo(channel) -> None:
            while (piece := await channel.receive()) is not None:
                await channel.send(piece)

        bob.streams.handle("/nexus/toy/1.0.0", lambda _peer: Bytes(), echo)
        with trio.fail_after(20):
            async with (
                await alice.streams.open(bob.peer_id, ["/nexus/toy/1.0.0"], lambda _protocol: Bytes()) as channel,
                trio.open_nursery() as nursery,
            ):

                @nursery.start_soon
                async def _() -> None:
                    await channel.send(content)
                    await channel.close_write()

                got = bytearray()
                while (piece := await channel.receive()) is not None:
                    got += piece
        assert got == content
        await alice.disconnect(bob.peer_id)


async def test_a_frozen_peer_of_a_node_is_dropped(autojump_clock):
    """Fault C9: nobody hears of it from stock Yamux."""
    network = MemoryNetwork(1)
    async with swarm(2, network, links=1, keepalive=3600) as (alice, bob):
        events = alice.peer_events()
        network.silence(ip_of(1), ip_of(0))
        started = trio.current_time()
        await next_event(events, PeerDisconnected, bob.peer_id)
        assert trio.current_time() - started < 15


async def test_connections_share_the_nodes_memory():
    async with loopback("alice", "bob", "carol") as (alice, bob, carol):
        for other in (bob, carol):
            await alice.connect(other.peer_id, other.addresses())
        parents = {id(each.muxed_conn.session.budget._parent) for each in alice._swarm.get_connections()}
        assert len(parents) == 1
