"""Fault C9: a frozen peer is never noticed by stock code."""

from __future__ import annotations

import trio

from nexusd.host.keepalive import PING
from nexusd.host.ports import PeerDisconnected
from tests.harness.memnet import MemoryNetwork
from tests.harness.nodes import connected, ip_of, loopback, next_event, swarm, until
from tests.unit.host.conftest import address_of, running_stock


async def test_a_ping_takes_a_round_trip(autojump_clock):
    async with swarm(2, MemoryNetwork(1, latency=(0.05, 0.05)), links=1) as (alice, bob):
        seconds = await alice._keepalive.ping(bob.peer_id)
        assert 0.1 <= seconds < 1


async def test_a_frozen_peer_is_dropped(autojump_clock):
    network = MemoryNetwork(1)
    async with swarm(2, network, links=1) as (alice, _bob):
        events = alice.peer_events()
        network.silence(ip_of(1), ip_of(0))
        started = trio.current_time()
        while not isinstance(await events.__anext__(), PeerDisconnected):
            pass
        assert trio.current_time() - started < 15


async def test_a_living_peer_is_kept(autojump_clock):
    async with swarm(2, MemoryNetwork(1), links=1) as (alice, bob):
        await trio.sleep(300)
        assert alice.connected() == [bob.peer_id]
        assert alice._swarm.get_connections()[0].muxed_conn.session.streams <= 2, "pings leave no streams"


async def test_a_peer_without_ping_is_kept():
    async with loopback("bob") as (bob,), running_stock("carol") as carol:
        carol.remove_stream_handler(PING)
        await bob.connect(str(carol.get_id()), [address_of(carol)])
        assert await bob._keepalive.ping(str(carol.get_id())) is None
        await bob._keepalive.round()
        assert bob.connected()


async def test_a_peer_that_answers_something_else_is_dropped():
    async with loopback("bob") as (bob,), running_stock("mallory") as mallory:

        async def liar(stream):
            await stream.read(32)
            await stream.write(bytes(32))

        mallory.set_stream_handler(PING, liar)
        events = bob.peer_events()
        await bob.connect(str(mallory.get_id()), [address_of(mallory)])
        await bob._keepalive.round()
        await next_event(events, PeerDisconnected, str(mallory.get_id()))


async def test_two_nodes_ping_each_other():
    async with loopback("alice", "bob", keepalive=0.05) as (alice, bob):
        await connected(alice, bob)
        await trio.sleep(0.3)
        await until(lambda: alice.connected() and bob.connected())
