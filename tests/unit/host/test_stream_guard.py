"""Fault C1: one bad stream ends a stock host; here it ends itself."""

from __future__ import annotations

import gc
from types import SimpleNamespace

import pytest
import trio
import trio.lowlevel
from libp2p.host.exceptions import StreamFailure
from libp2p.peer.id import ID
from multiaddr import Multiaddr

from nexusd.host.ports import ConnectionLostError, PeerConnected, UnreachableError
from tests.harness.nodes import Bytes, connected, loopback, loopback_node, next_event, running, until
from tests.harness.stock import stock_host
from tests.unit.host.conftest import KILLER, TOY, address_of, dial_stock, raw_stream, running_stock


def test_the_killer_has_25_bytes():
    assert len(KILLER) == 25


async def test_stock_host_still_dies_of_25_bytes():
    """If this fails, py-libp2p guards its handlers: stream_guard may go."""
    died = False
    async with running_stock("mallory") as mallory:
        victim = stock_host("bob")
        try:
            async with victim.run([Multiaddr("/ip4/127.0.0.1/tcp/0")]):
                net = mallory.get_network()
                await net._dial_addr_single_attempt(Multiaddr(address_of(victim)), victim.get_id())
                stream = await raw_stream(mallory, str(victim.get_id()))
                await stream.write(KILLER)
                with trio.fail_after(5):
                    await victim.get_network().get_manager().wait_finished()
                died = True
        except* UnicodeDecodeError:
            died = True
    assert died


async def test_25_bytes_end_one_stream_only(pair):
    alice, bob = pair
    async with running_stock("mallory") as mallory:
        await dial_stock(mallory, bob)
        stream = await raw_stream(mallory, bob.peer_id)
        await stream.write(KILLER)
        await until(lambda: stream.closed or stream.reset_received)
        assert mallory.get_network().get_connections(ID.from_string(bob.peer_id)), "not even the connection ends"
    assert alice.peer_id in bob.connected()
    await echo_works(alice, bob)


@pytest.mark.parametrize("junk", [b"\x00" * 10, b"\xff" * 20, b"\x13/multistream/1.0.0\n\x00", b"\x13/multi", b""])
async def test_junk_before_negotiation(pair, junk):
    alice, bob = pair
    async with running_stock("mallory") as mallory:
        await dial_stock(mallory, bob)
        stream = await raw_stream(mallory, bob.peer_id)
        if junk:
            await stream.write(junk)
        await stream.close()
        await echo_works(alice, bob)


async def test_a_handler_that_raises_leaves_the_rest_alive(pair):
    alice, bob = pair

    async def broken(channel):
        await channel.receive()
        raise RuntimeError("a bug")

    bob.streams.handle("/broken/1", lambda _peer: Bytes(), broken)
    async with await alice.streams.open(bob.peer_id, ["/broken/1"], lambda _protocol: Bytes()) as channel:
        await channel.send(b"hello")
        with pytest.raises(ConnectionLostError):
            await channel.receive(timeout=5)
    await echo_works(alice, bob)


async def test_the_gate_refuses_streams_and_connections():
    async with loopback("alice", "bob") as (alice, bob):
        await connected(alice, bob)
        bob.set_gate(lambda peer: peer != alice.peer_id)
        await until(lambda: alice.peer_id not in bob.connected() and bob.peer_id not in alice.connected())

        events = bob.peer_events()
        with pytest.raises(UnreachableError):
            await alice.connect(bob.peer_id, bob.addresses())
        assert not alice.connected()
        assert not any(isinstance(event, PeerConnected) for event in events._queue), "announced although refused"
        bob.set_gate(lambda peer: True)
        await alice.connect(bob.peer_id, bob.addresses())
        await next_event(events, PeerConnected, alice.peer_id)


async def test_a_gated_peer_is_not_dialled():
    bob = loopback_node("bob")
    async with loopback("alice") as (alice,), running(bob):
        alice.set_gate(lambda peer: peer != bob.peer_id)
        with pytest.raises(Exception, match="is blocked"):
            await alice.connect(bob.peer_id, bob.addresses())


async def test_streams_over_a_peers_share_are_refused(pair):
    alice, bob = pair
    opened = []

    async def hold(channel):
        opened.append(channel)
        await channel.receive()

    bob.streams.handle(TOY, lambda _peer: Bytes(), hold)
    async with running_stock("mallory") as mallory:
        await dial_stock(mallory, bob)
        streams = [await mallory.new_stream(ID.from_string(bob.peer_id), [TOY]) for _ in range(32)]
        for _ in range(4):
            with pytest.raises(StreamFailure):
                await mallory.new_stream(ID.from_string(bob.peer_id), [TOY])
        await until(lambda: len(opened) == 32)
        assert bob._slots.refused == 4
        assert bob._accounts.balance(str(mallory.get_id()), trio.current_time()) > 3
        for stream in streams:
            await stream.reset()
    await echo_works(alice, bob)


async def echo_works(alice, bob) -> None:
    async def echo(channel):
        while (data := await channel.receive()) is not None:
            await channel.send(data)

    bob.streams.handle(TOY, lambda _peer: Bytes(), echo)
    async with await alice.streams.open(bob.peer_id, [TOY], lambda _protocol: Bytes()) as channel:
        await channel.send(b"hello")
        assert await channel.receive(timeout=5) == b"hello"


@pytest.mark.parametrize("rounds", [2, pytest.param(1000, marks=[pytest.mark.slow, pytest.mark.timeout(600)])])
async def test_streams_opened_and_reset_leave_nothing(monkeypatch, rounds):
    """100,000 of them, reset at each stage there is: before a word, within the negotiation, refused, behind the
    proposal, in the handler, by the handler. That it is an offence at such a rate is shown elsewhere."""
    monkeypatch.setattr("nexusd_protocols.limits.YAMUX_RESETS", 10**9)
    # to render a traceback takes a hundred times as long as the stream
    monkeypatch.setattr("nexusd.host.router._log", SimpleNamespace(exception=lambda *_, **__: None))
    greeting = b"\x13/multistream/1.0.0\n"
    proposal = greeting + b"\x11/nexus/toy/1.0.0\n"
    broken = greeting + b"\x14/nexus/broken/1.0.0\n"
    first_words = [b"", greeting[:7], greeting, greeting + b"\x03/x\n", proposal, proposal + b"hello", broken + b"x"]

    async with loopback("alice", "bob") as (alice, bob):

        async def echo(channel):
            while (data := await channel.receive()) is not None:
                await channel.send(data)

        async def fail(channel):
            await channel.receive()
            raise RuntimeError("a bug")

        bob.streams.handle(TOY, lambda _peer: Bytes(), echo)
        bob.streams.handle("/nexus/broken/1.0.0", lambda _peer: Bytes(), fail)
        await connected(alice, bob)
        [connection] = alice._opener._connections(bob.peer_id)
        [theirs] = bob._opener._connections(alice.peer_id)

        async def burst(count: int) -> None:
            for number in range(count):
                muxed = await connection.open_stream()
                if words := first_words[number % len(first_words)]:
                    await muxed.write(words)
                if number % 3:
                    await trio.lowlevel.checkpoint()
                await muxed.reset()

        def left() -> tuple[int, ...]:
            toys = [key for key in bob._slots._inbound_by_protocol if key[1] != "/nexus/kad/1.1.0"]
            return len(toys), connection.session.streams, theirs.session.streams, len(theirs._readers)

        async def settled() -> tuple[int, int]:
            with trio.fail_after(30):
                while left()[0] or max(left()[1:3]) > 2:
                    await trio.sleep(0.01)
            await trio.sleep(0.1)
            gc.collect()
            return trio.lowlevel.current_statistics().tasks_living, len(gc.get_objects())

        await burst(200)
        tasks, objects = await settled()
        for _ in range(rounds):
            await burst(100)
        tasks_after, objects_after = await settled()
        assert tasks_after <= tasks + 4
        assert objects_after < objects + 2000 + rounds // 10, "less than an object for a thousand streams"
        await echo_works(alice, bob)
