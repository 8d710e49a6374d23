"""Fault C2: a stock host accepts 250 inbound connections in its life."""

from __future__ import annotations

import pytest
import trio
from libp2p.network.config import ConnectionConfig
from multiaddr import Multiaddr

from tests.harness.nodes import loopback, until
from tests.unit.host.conftest import address_of, running_stock

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
