"""Fault C2: a stock host accepts 250 inbound connections in its life."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import trio
from libp2p.network.config import ConnectionConfig
from multiaddr import Multiaddr

from nexusd.host.admission import BOUNDLESS
from nexusd.host.limits.figures import Figures
from nexusd.host.node import Node
from nexusd.host.ports import Channel, UnreachableError
from tests.harness.nodes import Bytes, loopback, until
from tests.unit.host.conftest import TOY, address_of, running_stock

TIGHT = ConnectionConfig(max_connections=3, min_connections=0, low_watermark=0, high_watermark=3)


async def test_stock_host_still_keeps_the_slot_of_a_closed_connection():
    """If this fails, py-libp2p gives inbound slots back: `inbound` may go."""
    async with running_stock("bob", connection_config=TIGHT) as bob, running_stock("alice") as alice:
        net = alice.get_network()
        for _ in range(3):
            await net._dial_addr_single_attempt(Multiaddr(address_of(bob)), bob.get_id())
            await net.close_peer(bob.get_id())
        await until(lambda: not bob.get_network().get_connections())
        assert bob.get_network()._inbound_limiter.borrowed_tokens == 3


@pytest.mark.slow
async def test_260_connections_one_after_another():
    async with loopback("alice", "bob") as (alice, bob):
        tasks = None
        for cycle in range(260):
            await alice.connect(bob.peer_id, bob.addresses())
            [connection] = [c for c in alice._swarm.get_connections() if not c.is_closed]
            # the socket itself, because a libp2p close sleeps 0.2 s
            await connection.muxed_conn.secured_conn.close()
            await connection.event_closed.wait()
            if cycle == 100:
                await until(lambda: bob.connection_usage().open == 0)
                tasks = trio.lowlevel.current_statistics().tasks_living
        await until(lambda: bob.connection_usage().open == alice.connection_usage().open == 0)
        await until(lambda: not bob.connected())
        await until(lambda: trio.lowlevel.current_statistics().tasks_living <= tasks)
        await alice.connect(bob.peer_id, bob.addresses())
        await until(bob.connected)


# --- what decides is the gate -----------------------------------------------------------------------------------------
async def test_nothing_of_libp2p_counts_connections():
    """Its limits: 10 connections a second of a peer, 250 inbound ones ever, 3 of a peer, and a pruner at the mark."""
    async with loopback("alice") as (alice,):
        swarm = alice._swarm
        assert swarm._resource_manager is None
        assert swarm._inbound_limiter.total_tokens == math.inf
        config = swarm.connection_config
        assert min(config.max_connections, config.high_watermark, config.max_connections_per_peer) == BOUNDLESS
        assert (config.low_watermark, config.min_connections) == (0, 0)
        assert not config.enable_health_monitoring


@pytest.mark.slow
async def test_a_peer_that_comes_back_at_once_is_let_in_each_time():
    async with loopback("alice", "bob") as (alice, bob):
        for _ in range(60):  # a stock host takes 50 at once, and then 10 a second
            await alice.connect(bob.peer_id, bob.addresses())
            [connection] = [c for c in alice._swarm.get_connections() if not c.is_closed]
            await connection.muxed_conn.secured_conn.close()
            await connection.event_closed.wait()
        assert bob.connection_usage().refused == 0


async def hold_stream(node: Node, other: Node) -> None:
    """Have a stream that the other side serves, for as long as the connection is there."""
    served = trio.Event()

    async def serve(channel: Channel[bytes, bytes]) -> None:
        await channel.receive()
        served.set()
        await trio.sleep_forever()

    other.streams.handle(TOY, lambda _peer: Bytes(), serve)
    channel = await node.streams.open(other.peer_id, [TOY], lambda _protocol: Bytes())
    await channel.send(b"here")
    with trio.fail_after(10):
        await served.wait()


async def test_a_stranger_makes_room_for_a_stranger_and_a_known_peer_has_its_place():
    figures = replace(Figures.scaled(4, 3), reserved=1)
    names = ("alice", "carol", "dave", "erin")
    async with loopback("bob", figures=figures) as (bob,), loopback(*names) as (alice, carol, dave, erin):
        bob.set_known(lambda peer: peer == erin.peer_id)
        await alice.connect(bob.peer_id, bob.addresses())
        # the older of two who have a stream is safe: what is opened for a moment, to identify, decides nothing
        await hold_stream(alice, bob)
        for node in (carol, dave, erin):
            await node.connect(bob.peer_id, bob.addresses())
            await until(lambda node=node: node.peer_id in bob.connected())
        await until(lambda: len(bob.connected()) == 3)
        assert set(bob.connected()) == {alice.peer_id, dave.peer_id, erin.peer_id}
        await until(lambda: not carol.connected())
        usage = bob.connection_usage()
        assert (usage.open, usage.inbound, usage.in_transit, usage.refused) == (3, 3, 0, 1)
        await alice.disconnect(bob.peer_id)
        await until(lambda: bob.connection_usage().open == 2)


async def test_a_full_house_dials_nobody():
    async with loopback("alice", figures=Figures.scaled(4)) as (alice,), loopback("b1", "b2", "b3", "b4", "b5") as more:
        alice.set_known(lambda _peer: True)
        for node in more[:4]:
            await alice.connect(node.peer_id, node.addresses())
        with pytest.raises(UnreachableError, match="All 4 connections are in use"):
            await alice.connect(more[4].peer_id, more[4].addresses())
        await alice.disconnect(more[0].peer_id)
        await until(lambda: alice.connection_usage().open == 3)
        await alice.connect(more[4].peer_id, more[4].addresses())


async def test_a_refused_peer_is_told_apart_before_it_has_a_stream():
    async with loopback("alice", "bob") as (alice, bob):
        bob.set_gate(lambda peer: peer != alice.peer_id)
        with pytest.raises(UnreachableError):
            await alice.connect(bob.peer_id, bob.addresses())
        assert bob._gate.refusals.reasons == {"peer_refused": 1}
        await until(lambda: bob.connection_usage().in_transit == 0)
