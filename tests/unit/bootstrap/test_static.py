"""Peers that a person named."""

from __future__ import annotations

import pytest
import trio

from nexusd_bootstrap.candidate import Candidate
from nexusd_bootstrap.static import REOFFER_S, Static
from tests.harness.people import ALICE, BOB

TCP = f"/ip4/10.0.0.1/tcp/1/p2p/{ALICE.peer_id}"
WS = f"/ip4/10.0.0.1/tcp/2/ws/p2p/{ALICE.peer_id}"
OTHER = f"/ip4/10.0.0.2/tcp/1/p2p/{BOB.peer_id}"


def test_a_malformed_address_is_refused_at_once():
    with pytest.raises(ValueError, match="junk"):
        Static([TCP, "junk"], connected=lambda _: False)


async def test_peers_are_offered_until_they_are_connected(autojump_clock):
    connected = set()
    source = Static([TCP, OTHER, WS, TCP], connected=connected.__contains__)
    send, receive = trio.open_memory_channel(10)
    alice = Candidate(ALICE.peer_id, ("/ip4/10.0.0.1/tcp/1", "/ip4/10.0.0.1/tcp/2/ws"), "bootstrap")
    bob = Candidate(BOB.peer_id, ("/ip4/10.0.0.2/tcp/1",), "bootstrap")
    async with trio.open_nursery() as nursery:
        await nursery.start(source.run, send)
        assert [await receive.receive(), await receive.receive()] == [alice, bob]
        connected.add(ALICE.peer_id)
        began = trio.current_time()
        assert await receive.receive() == bob
        assert trio.current_time() - began == pytest.approx(REOFFER_S)
        assert source.describe() == "1 of 2 connected"
        connected.add(BOB.peer_id)
        with trio.move_on_after(10 * REOFFER_S) as quiet:
            await receive.receive()
        assert quiet.cancelled_caught
        connected.clear()
        assert await receive.receive() == alice
        nursery.cancel_scope.cancel()


async def test_without_addresses_there_is_nothing_to_do(autojump_clock):
    send, _ = trio.open_memory_channel(0)
    with trio.fail_after(1):
        await Static([], connected=lambda _: False).run(send)
