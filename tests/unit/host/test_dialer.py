"""Fault C10: a stock dial is slow, gives up on a good address, and bears a grudge."""

from __future__ import annotations

import socket
import time
from contextlib import suppress

import pytest
import trio
from libp2p.network.exceptions import SwarmException
from libp2p.peer.peerinfo import PeerInfo
from multiaddr import Multiaddr

from nexusd.host.dialer import ADDRESS_SECONDS, DIALS
from nexusd.host.ports import UnreachableError
from tests.harness.memnet import MemoryNetwork
from tests.harness.nodes import ip_of, loopback, loopback_node, running, signer, swarm, until
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
        with trio.fail_after(ADDRESS_SECONDS):
            await alice.connect(bob.peer_id, [dead_address(), *bob.addresses()])
        assert alice.connected() == [bob.peer_id]


async def test_an_address_that_never_answers_does_not_hold_up_the_next():
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        address = f"/ip4/127.0.0.1/tcp/{silent.getsockname()[1]}"
        async with loopback("alice", "bob") as (alice, bob):
            with trio.fail_after(ADDRESS_SECONDS):
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
        known = alice._dialer.known(peer)
        assert len(known) == 16
        assert known[0] == "/ip4/10.0.0.2/tcp/1"


async def test_what_the_daemon_does_by_itself_leaves_a_peer_alone_after_a_failure():
    bob = loopback_node("bob")
    async with loopback("alice") as (alice,):
        with pytest.raises(UnreachableError, match="refused"):
            await alice._dialer.try_connect(bob.peer_id, [dead_address()])
        with pytest.raises(UnreachableError, match="left alone"):
            await alice._dialer.try_connect(bob.peer_id)
        async with running(bob):
            await alice._dialer.try_connect(bob.peer_id, bob.addresses())  # a new address is a reason


async def test_whoever_asks_is_not_kept_waiting_by_earlier_failures():
    bob = loopback_node("bob")
    async with loopback("alice") as (alice,):
        async with running(bob):
            address = bob.addresses()[0]
        for _ in range(3):
            with pytest.raises(UnreachableError, match="refused"):
                await alice.connect(bob.peer_id, [address])
        with pytest.raises(UnreachableError, match="left alone"):
            await alice._dialer.try_connect(bob.peer_id)
        again = loopback_node("bob", listen=(address.partition("/p2p/")[0],))
        async with running(again):
            await alice.connect(bob.peer_id, [address])
            assert alice._dialer._peers.wait(bob.peer_id, trio.current_time()) == 0


def silent_network(monkeypatch, node) -> list[str]:
    """No dial of the node ends. Which are under way, in the order in which they began."""
    began: list[str] = []

    async def dial(address, _peer):
        began.append(str(address))
        await trio.sleep_forever()

    monkeypatch.setattr(node._swarm, "_dial_addr_single_attempt", dial)
    return began


async def test_so_many_at_once_and_a_person_before_the_daemon(monkeypatch, autojump_clock):
    network = MemoryNetwork()
    async with swarm(1, network, links=0) as (alice,), trio.open_nursery() as nursery:
        began = silent_network(monkeypatch, alice)

        async def attempt(connect, number):
            with suppress(UnreachableError):
                await connect(signer(f"peer-{number}").peer_id, [f"/ip4/10.1.{number}.1/tcp/1"])

        for number in range(40):
            nursery.start_soon(attempt, alice._dialer.try_connect, number)
        await trio.sleep(1)
        assert len(began) == DIALS
        nursery.start_soon(attempt, alice.connect, 100)
        await trio.sleep(0.1)
        assert began[-1] == "/ip4/10.1.100.1/tcp/1"
        waiting = next(number for number in range(40) if f"/ip4/10.1.{number}.1/tcp/1" not in began)
        nursery.start_soon(attempt, alice.connect, waiting)  # somebody wants what the daemon has in its queue
        await trio.sleep(0.1)
        assert began[-1] == f"/ip4/10.1.{waiting}.1/tcp/1"
        for number in range(200, 240):
            nursery.start_soon(attempt, alice.connect, number)
        await trio.sleep(1)
        assert len(began) == 2 * DIALS
        nursery.cancel_scope.cancel()
    assert alice._dialer._places.borrowed_tokens == alice._dialer._own_places.borrowed_tokens == 0


async def test_the_order_of_addresses(monkeypatch, autojump_clock):
    network = MemoryNetwork()
    bob = signer("bob").peer_id
    async with swarm(1, network, links=0) as (alice,):
        alice._dialer.remember(bob, ["/ip4/198.51.100.1/tcp/1", "/ip4/10.0.0.9/tcp/1", "/ip6/2001:db8::1/tcp/1/ws"])
        alice._dialer._known[bob].good = "/ip6/2001:db8::1/tcp/1/ws"
        began = silent_network(monkeypatch, alice)
        with pytest.raises(UnreachableError):
            await alice.connect(bob, ["/ip4/203.0.113.1/tcp/1"])
        assert began == [
            "/ip4/203.0.113.1/tcp/1",
            "/ip6/2001:db8::1/tcp/1/ws",
            "/ip4/10.0.0.9/tcp/1",
            "/ip4/198.51.100.1/tcp/1",
        ]
        began.clear()
        with pytest.raises(UnreachableError):
            await alice.connect(bob, ["/ip4/203.0.113.2/tcp/1"])
        assert began[0] == "/ip4/203.0.113.2/tcp/1"


async def test_what_the_peer_says_of_itself_is_remembered_and_what_worked_is_kept():
    async with loopback("alice") as (alice,):
        bob = signer("bob").peer_id
        alice._dialer.remember(bob, ["/ip4/192.0.2.1/tcp/1"])
        alice._dialer._known[bob].good = "/ip4/192.0.2.1/tcp/1"
        alice._dialer.remember(bob, [f"/ip4/10.0.0.1/tcp/{port}" for port in range(1, 100)])
        assert "/ip4/192.0.2.1/tcp/1" in alice._dialer.known(bob)


async def test_a_peer_that_comes_to_us_ends_the_waiting_for_it(autojump_clock):
    network = MemoryNetwork(latency=(0.01, 0.01))
    async with swarm(2, network, links=0) as (alice, bob):
        network.silence(ip_of(0), ip_of(1))  # what alice says does not arrive, until it does
        async with trio.open_nursery() as nursery:
            nursery.start_soon(alice.connect, bob.peer_id, bob.addresses())
            await trio.sleep(0.5)
            network.heal()
            await bob.connect(alice.peer_id, alice.addresses())
        assert alice.connected() == [bob.peer_id]


async def test_a_port_that_answers_with_our_own_words():
    """What a socket does that happens to be connected to itself, as two that dial at once are to one another: both
    sides are diallers, and neither may wait for the other."""

    async def mirror(stream):
        async for data in stream:
            await stream.send_all(data)

    async with loopback("alice") as (alice,), trio.open_nursery() as nursery:
        (listener,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
        nursery.start_soon(trio.serve_listeners, mirror, [listener])
        port = listener.socket.getsockname()[1]
        with pytest.raises(UnreachableError), trio.fail_after(6):
            await alice.connect(signer("bob").peer_id, [f"/ip4/127.0.0.1/tcp/{port}"])
        nursery.cancel_scope.cancel()
