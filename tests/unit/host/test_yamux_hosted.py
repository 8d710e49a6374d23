"""Yamux under a whole node, over each transport."""

from __future__ import annotations

import random

import pytest
import trio
import trio.testing

from nexusd.host import yamux
from nexusd.host.ports import PeerDisconnected
from nexusd_protocols.yamux.budget import Budget
from tests.harness.memnet import MemoryNetwork
from tests.harness.muxed import Side, muxed, read_exactly, talk
from tests.harness.nodes import LOOPBACK, Bytes, ip_of, loopback, next_event, swarm, until

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


async def test_peers_share_the_nodes_memory():
    async with loopback("alice", "bob", "carol") as (alice, bob, carol):
        for other in (bob, carol):
            await alice.connect(other.peer_id, other.addresses())
        budgets = [each.muxed_conn.session.budget for each in alice._swarm.get_connections()]
        assert len({id(budget._parent) for budget in budgets}) == 2
        assert len({id(budget._parent._parent) for budget in budgets}) == 1


async def test_a_peer_has_no_more_memory_by_more_connections():
    """Mallory holds less than carol on each of hers, and more than carol on all."""
    bob = Side(budget=Budget(450_000))
    async with (
        muxed(None, None, bob, dialler="mallory") as (one, one_end),
        muxed(None, None, bob, dialler="mallory") as (two, two_end),
        muxed(None, None, bob, dialler="carol") as (carol, carol_end),
    ):
        ends = []
        for dialled, accepted, size in ((one, one_end, 150_000), (two, two_end, 140_000), (carol, carol_end, 200_000)):
            held = bob.budget.held
            mine, theirs = await talk(dialled, accepted)
            await mine.write(bytes(size))
            ends.append(theirs)
            await until(lambda: any(end.reset_by for end in ends) or bob.budget.held == held + size)  # noqa: B023
        await until(lambda: ends[0].reset_by == "memory")
        assert [end.reset_by for end in ends] == ["memory", None, None]
        assert await read_exactly(ends[2], 200_000) == bytes(200_000)
    assert bob.budget.held == bob.budget.promised == 0
