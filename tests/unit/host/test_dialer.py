"""Fault C10: a stock dial is slow, gives up on a good address, and bears a grudge."""

from __future__ import annotations

import socket
import time

import pytest
import trio
from libp2p.network.exceptions import SwarmException
from libp2p.peer.peerinfo import PeerInfo
from multiaddr import Multiaddr

from nexusd.host.ports import UnreachableError
from tests.harness.nodes import loopback, loopback_node, running, signer, until
from tests.unit.host.conftest import address_of, running_stock


def dead_address() -> str:
    """Where nobody listens."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return f"/ip4/127.0.0.1/tcp/{probe.getsockname()[1]}"


async def test_stock_dial_still_waits_a_quarter_second():
    """If this and the next two fail, py-libp2p's dial may be used."""
    async with running_stock("alice") as alice, running_stock("bob") as bob:
        started = time.perf_counter()
        await alice.connect(PeerInfo(bob.get_id(), bob.get_transport_addrs()))
        assert time.perf_counter() - started >= 0.25


async def test_stock_dial_still_fails_behind_a_stale_address_and_then_refuses_the_good_one():
    async with running_stock("alice") as alice, running_stock("bob") as bob:
        with pytest.raises(SwarmException):
            await alice.connect(PeerInfo(bob.get_id(), [Multiaddr(dead_address())]))
        alice.get_peerstore().clear_addrs(bob.get_id())
        with pytest.raises(SwarmException):
            await alice.connect(PeerInfo(bob.get_id(), [Multiaddr(address_of(bob))]))


async def test_a_stale_address_first():
    async with loopback("alice", "bob") as (alice, bob):
        started = trio.current_time()
        await alice.connect(bob.peer_id, [dead_address(), *bob.addresses()])
        assert trio.current_time() - started < 2
        assert alice.connected() == [bob.peer_id]


async def test_an_address_that_never_answers_does_not_hold_up_the_next():
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        address = f"/ip4/127.0.0.1/tcp/{silent.getsockname()[1]}"
        async with loopback("alice", "bob") as (alice, bob):
            with trio.fail_after(4):
                await alice.connect(bob.peer_id, [address, *bob.addresses()])


async def test_the_error_names_each_address_and_why():
    async with loopback("alice", "bob") as (alice, bob):
        carol = signer("carol").peer_id
        dead, bobs = dead_address(), bob.addresses()[0].partition("/p2p/")[0]
        named = f"{dead}/p2p/{bob.peer_id}"
        with pytest.raises(UnreachableError) as caught:
            await alice.connect(carol, [dead, bobs, named, "/ip4/1.2.3.4/udp/1/quic-v1", "gibberish"])
        text = str(caught.value)
        assert f"{dead}: connection refused" in text
        assert f"{bobs}: another peer answered" in text
        assert f"{named}: that is the address of {bob.peer_id}" in text
        assert "/quic-v1: not a TCP or WebSocket address" in text
        assert "gibberish: not a multiaddr" in text


async def test_no_grudge():
    bob = loopback_node("bob")
    async with loopback("alice") as (alice,):
        with pytest.raises(UnreachableError, match="refused"):
            await alice.connect(bob.peer_id, [dead_address()])
        async with running(bob):
            await alice.connect(bob.peer_id, bob.addresses())


async def test_one_dial_for_many_callers():
    async with loopback("alice", "bob") as (alice, bob):
        async with trio.open_nursery() as nursery:
            for _ in range(20):
                nursery.start_soon(alice.connect, bob.peer_id, bob.addresses())
        await until(bob.connected)
        assert len(alice._swarm.get_connections()) == 1


async def test_a_waiter_with_a_better_address_gets_its_turn():
    async with loopback("alice", "bob") as (alice, bob), trio.open_nursery() as nursery:

        async def hopeless():
            with pytest.raises(UnreachableError):
                await alice.connect(bob.peer_id, [dead_address()])

        nursery.start_soon(hopeless)
        while not alice._dialer._attempts:
            await trio.lowlevel.checkpoint()
        await alice.connect(bob.peer_id, bob.addresses())


async def test_a_caller_that_gives_up_does_not_stop_the_dial():
    async with loopback("alice", "bob") as (alice, bob):
        with trio.move_on_after(0):
            await alice.connect(bob.peer_id, bob.addresses())
        async with trio.open_nursery() as nursery:
            nursery.start_soon(alice.connect, bob.peer_id, bob.addresses())
            await trio.lowlevel.checkpoint()
            nursery.cancel_scope.cancel()
        await until(alice.connected)


async def test_remembered_addresses_are_tried():
    async with loopback("alice", "bob") as (alice, bob):
        with pytest.raises(UnreachableError, match="No address"):
            await alice.connect(bob.peer_id)
        alice.add_addresses(bob.peer_id, bob.addresses())
        await alice.connect(bob.peer_id)


async def test_oneself():
    async with loopback("alice") as (alice,):
        with pytest.raises(UnreachableError, match="this node itself"):
            await alice.connect(alice.peer_id, alice.addresses())


async def test_remembering_is_bounded():
    async with loopback("alice") as (alice,):
        peer = signer("bob").peer_id
        alice.add_addresses(peer, [f"/ip4/10.0.0.1/tcp/{port}" for port in range(1, 100)])
        alice.add_addresses(peer, ["/ip4/10.0.0.2/tcp/1"])
        known = alice._dialer._known[peer]
        assert len(known) == 16
        assert known[0] == "/ip4/10.0.0.2/tcp/1"
