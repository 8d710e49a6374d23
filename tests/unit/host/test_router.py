"""How streams are opened and served: their protocol, their slots, and what is left of them."""

from __future__ import annotations

import pytest
import trio
from libp2p.peer.id import ID

from nexusd.host.ports import ConnectionLostError, UnreachableError, UnsupportedError
from tests.harness.nodes import Bytes, loopback, swallow, until
from tests.unit.host.conftest import TOY, dial_stock, running_stock
from tests.unit.host.lines import Lines


async def test_a_handler_that_waits_in_vain_gives_its_slot_back(pair, monkeypatch):
    monkeypatch.setattr("nexusd.host.router.FIRST_BYTE_SECONDS", 0.05)
    alice, bob = pair

    async def listen(channel):
        await channel.receive()

    bob.streams.handle(TOY, lambda _peer: Lines(), listen)
    channel = await alice.streams.open(bob.peer_id, [TOY], lambda _protocol: Lines())
    with pytest.raises(ConnectionLostError):
        await channel.receive(timeout=5)
    await channel.reset()
    assert (alice.peer_id, TOY) not in bob._slots._inbound_by_protocol


async def test_cancelled_opens_do_not_tear_the_connection_and_leak_nothing(pair):
    alice, bob = pair

    async def hold(channel):
        await channel.receive()

    bob.streams.handle(TOY, lambda _peer: Bytes(), hold)
    muxer = alice._swarm.get_connections()[0].muxed_conn
    await until(lambda: muxer.session.streams <= 2)
    for number in range(60):
        with trio.move_on_after(0.0003 * (number % 20)):
            channel = await alice.streams.open(bob.peer_id, [TOY], lambda _protocol: Bytes())
            await channel.reset()
    assert len(alice._swarm.get_connections()) == 1
    await until(lambda: muxer.session.streams <= 2)
    await until(lambda: (bob.peer_id, TOY) not in alice._slots._outbound)
    await until(lambda: (alice.peer_id, TOY) not in bob._slots._inbound_by_protocol)
    assert bob._accounts.balance(alice.peer_id, trio.current_time()) == 0, "giving up is no offence"


async def test_streams_opened_and_closed_leave_nothing_on_either_side(pair):
    alice, bob = pair

    async def echo(channel):
        while (data := await channel.receive()) is not None:
            await channel.send(data)

    bob.streams.handle(TOY, lambda _peer: Bytes(), echo)
    mine, theirs = (node._swarm.get_connections()[0].muxed_conn for node in (alice, bob))
    await until(lambda: mine.session.streams <= 2 and theirs.session.streams <= 2)
    for _ in range(260):
        async with await alice.streams.open(bob.peer_id, [TOY], lambda _protocol: Bytes()) as channel:
            await channel.send(b"x")
            assert await channel.receive(timeout=5) == b"x"
    await until(lambda: mine.session.streams <= 2 and theirs.session.streams <= 2)


async def test_a_peer_that_never_ends_its_side_is_reset(pair, monkeypatch):
    monkeypatch.setattr("nexusd.host.lingering.LINGER_SECONDS", 0.1)
    _alice, bob = pair

    async def done(channel):
        assert await channel.receive() == b"x"

    bob.streams.handle(TOY, lambda _peer: Bytes(), done)
    async with running_stock("mallory") as mallory:
        await dial_stock(mallory, bob)
        stream = await mallory.new_stream(ID.from_string(bob.peer_id), [TOY])
        await stream.write(b"x")
        await until(lambda: stream.muxed_stream.reset_received)


async def test_the_first_protocol_that_the_peer_speaks(pair):
    alice, bob = pair
    asked = []

    async def end(channel):
        await channel.receive()

    bob.streams.handle(TOY, lambda _peer: Bytes(), end)

    def machine(protocol: str) -> Bytes:
        asked.append(protocol)
        return Bytes()

    async with await alice.streams.open(bob.peer_id, ["/newer/2", TOY, "/older/0"], machine) as channel:
        assert channel.protocol == TOY
        assert asked == [TOY]
        await channel.send(b"x")


async def test_an_unknown_protocol(pair):
    alice, bob = pair
    with pytest.raises(UnsupportedError, match="does not speak /none/1"):
        await alice.streams.open(bob.peer_id, ["/none/1"], lambda _protocol: Bytes())


async def test_opening_dials_if_need_be():
    async with loopback("alice", "bob") as (alice, bob):
        bob.streams.handle(TOY, lambda _peer: Bytes(), lambda channel: channel.receive())
        with pytest.raises(UnreachableError):
            await alice.streams.open(bob.peer_id, [TOY], lambda _protocol: Bytes())
        alice.add_addresses(bob.peer_id, bob.addresses())
        async with await alice.streams.open(bob.peer_id, [TOY], lambda _protocol: Bytes()) as channel:
            await channel.send(b"x")


async def test_a_seventeenth_stream_waits_its_turn(pair):
    alice, bob = pair
    bob.streams.handle(TOY, lambda _peer: Bytes(), swallow)
    held = [await alice.streams.open(bob.peer_id, [TOY], lambda _protocol: Bytes()) for _ in range(16)]
    opened = trio.Event()
    async with trio.open_nursery() as nursery:

        @nursery.start_soon
        async def _():
            async with await alice.streams.open(bob.peer_id, [TOY], lambda _protocol: Bytes()) as channel:
                opened.set()
                await channel.send(b"x")

        await trio.testing.wait_all_tasks_blocked(0.05)
        assert not opened.is_set()
        for channel in held:
            await channel.send(b"x")
            await channel.aclose()
    assert opened.is_set()
    assert bob._slots.refused == 0


async def test_who_is_cancelled_at_the_very_end_gives_the_place_back(pair):
    alice, bob = pair
    bob.streams.handle(TOY, lambda _peer: Bytes(), swallow)
    for _ in range(17):
        with trio.CancelScope() as scope:
            async with await alice.streams.open(bob.peer_id, [TOY], lambda _protocol: Bytes()) as channel:
                await channel.send(b"x")
                scope.cancel()
        assert scope.cancelled_caught
        assert channel.ended


async def test_a_machine_that_cannot_be_made_leaves_no_stream(pair):
    alice, bob = pair
    bob.streams.handle(TOY, lambda _peer: Bytes(), lambda channel: channel.receive())

    def broken(_protocol: str) -> Bytes:
        raise RuntimeError("a bug")

    with pytest.raises(RuntimeError, match="a bug"):
        await alice.streams.open(bob.peer_id, [TOY], broken)
    assert (bob.peer_id, TOY) not in alice._slots._outbound
    await until(lambda: (alice.peer_id, TOY) not in bob._slots._inbound_by_protocol)
