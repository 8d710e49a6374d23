"""Blocks over a network in memory: from several at once, some of whom stall, lie, drip, push or go away."""

from __future__ import annotations

import tracemalloc
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
import trio

from nexusd.host.bitswap import PROTOCOL
from nexusd.host.node import Node
from nexusd.host.ports import DeadlineError, HostError, NotFoundError
from nexusd_protocols import limits
from nexusd_protocols.bitswap.message import Kind, Message, MessageStream, Payload
from nexusd_protocols.content.cid import RAW, Cid
from nexusd_protocols.identity import PeerId
from tests.harness.bitswap import MemorySource, block, cid_of, data_of, wants
from tests.harness.memnet import MemoryNetwork
from tests.harness.nodes import Bytes, ip_of, swarm, until

SIZE = 64 * limits.KIB
NUMBERS = range(64)
CIDS = [cid_of(number, SIZE) for number in NUMBERS]


class Counted(MemorySource):
    """A source that counts what it gave to whom; it makes its blocks when they are read."""

    def __init__(self, numbers=NUMBERS, size: int = SIZE) -> None:
        super().__init__()
        self._numbers = {cid_of(number, size).digest: number for number in numbers}
        self._size = size
        self.given = 0

    async def size(self, cid: Cid, peer: PeerId) -> int | None:
        await trio.lowlevel.checkpoint()
        return self._size if cid.digest in self._numbers else None

    async def get(self, cid: Cid, peer: PeerId) -> bytes | None:
        await trio.sleep(self.seconds)
        self.given += 1
        return data_of(self._numbers[cid.digest], self._size)


class Mallory:
    """A node that speaks bitswap in its own way: `answer` takes what it hears, and sends whatever it likes."""

    def __init__(self, node: Node) -> None:
        self.node = node
        self.heard: list[Message] = []
        node.streams.handle(PROTOCOL, lambda _peer: MessageStream(), self._hear)

    async def _hear(self, channel) -> None:
        async with trio.open_nursery() as nursery:
            while (message := await channel.receive()) is not None:
                self.heard.append(message)
                nursery.start_soon(self.answer, channel.peer, message)

    async def answer(self, peer: PeerId, message: Message) -> None:
        """Says nothing."""

    async def send(self, peer: PeerId, *messages: Message) -> None:
        channel = await self.node.streams.open(peer, [PROTOCOL], lambda _protocol: MessageStream())
        async with channel:
            for message in messages:
                await channel.send(message)


class Staller(Mallory):
    """Has everything, and sends nothing."""

    async def answer(self, peer: PeerId, message: Message) -> None:
        if message.wants:
            await self.send(peer, Message(haves=tuple(want.cid for want in message.wants)))


class Dripper(Mallory):
    """Sends what was asked for, an octet a second."""

    async def answer(self, peer: PeerId, message: Message) -> None:
        for want in message.wants:
            if want.kind is Kind.HAVE:
                await self.send(peer, Message(haves=(want.cid,)))
            else:
                wire = MessageStream().send(Message(blocks=(block(CIDS.index(want.cid), SIZE),)))
                await self._drip(peer, wire)

    async def _drip(self, peer: PeerId, wire: bytes) -> None:
        channel = await self.node.streams.open(peer, [PROTOCOL], lambda _protocol: Bytes())
        async with channel:
            for octet in wire:
                try:
                    await channel.send(bytes([octet]))
                except HostError:
                    return
                await trio.sleep(1)


class Liar(Mallory):
    """Has everything, and sends something else."""

    async def answer(self, peer: PeerId, message: Message) -> None:
        for want in message.wants:
            if want.kind is Kind.HAVE:
                await self.send(peer, Message(haves=(want.cid,)))
            else:
                lie = b"not " + data_of(CIDS.index(want.cid), SIZE)
                await self.send(peer, Message(blocks=(Payload(Cid.of(RAW, lie), lie),)))


class Pusher(Mallory):
    """Sends what nobody asked for, again and again."""

    async def answer(self, peer: PeerId, message: Message) -> None:
        if message.wants:
            for number in range(1000, 1020):
                await self.send(peer, Message(blocks=(block(number, SIZE),)))


@asynccontextmanager
async def fetcher_and(count: int, network: MemoryNetwork) -> AsyncIterator[list[Node]]:
    """The first has connected to all others, and knows that they speak the protocol."""
    async with swarm(count + 1, network, links=0, keepalive=600) as nodes:
        for other in nodes[1:]:
            await nodes[0].connect(other.peer_id, other.addresses())
        await until(lambda: nodes[0].exchange.stats().peers == count, 30)
        yield nodes


async def fetch(session, cids, at_once: int = 32, timeout: float = 60) -> int:
    """Get them, so many at once, and check them; returns how many came."""
    slots = trio.Semaphore(at_once)
    came = 0

    async def one(cid: Cid) -> None:
        nonlocal came
        try:
            assert cid.verifies(await session.get(cid, timeout=timeout))
        finally:
            slots.release()
        came += 1

    async with trio.open_nursery() as nursery:
        for cid in cids:
            await slots.acquire()
            nursery.start_soon(one, cid)
    return came


async def test_from_three_at_once(autojump_clock):
    async with fetcher_and(3, MemoryNetwork(1)) as (alice, *others):
        sources = [Counted() for _ in others]
        for node, source in zip(others, sources, strict=True):
            source.seconds = 0.02
            node.exchange.set_source(source)
        began = trio.current_time()
        async with alice.exchange.session() as session:
            assert await fetch(session, CIDS) == len(CIDS)
        assert trio.current_time() - began < 0.02 * len(CIDS) * 0.7, "faster than one alone could read them"
        assert min(source.given for source in sources) > 10
        stats = alice.exchange.stats()
        assert (stats.blocks_received, stats.unasked) == (len(CIDS) + stats.duplicates, 0)
        await until(lambda: not any(node.exchange.stats().wants for node in others))


@pytest.mark.parametrize(
    ("bad", "offences"),
    [
        (Staller, {"late_block"}),
        (Dripper, {"late_block", "too_slow"}),
        (Liar, {"unasked_block"}),
        (Pusher, {"unasked_block"}),
    ],
)
async def test_one_who_harms_holds_up_little_and_pays(autojump_clock, bad, offences):
    async with fetcher_and(3, MemoryNetwork(2)) as (alice, mallory, *others):
        charged = []
        penalise = alice.penalise
        alice.exchange._charge = alice.streams._charge = lambda *what: (charged.append(what), penalise(*what))
        # mallory joined first, and is asked first
        bad(mallory)
        for node in others:
            node.exchange.set_source(Counted())
        began = trio.current_time()
        async with alice.exchange.session() as session:
            assert await fetch(session, CIDS) == len(CIDS)
            took = trio.current_time() - began
            await trio.sleep(20)
        assert took < 8
        assert {(peer, reason) for peer, reason, _ in charged} == {(mallory.peer_id, offence) for offence in offences}


@pytest.mark.slow
async def test_all_of_them_at_once(autojump_clock):
    async with fetcher_and(6, MemoryNetwork(3)) as (alice, a, b, c, d, *others):
        for bad, node in ((Staller, a), (Dripper, b), (Liar, c), (Pusher, d)):
            bad(node)
        for node in others:
            node.exchange.set_source(Counted())
        async with alice.exchange.session() as session:
            assert await fetch(session, CIDS) == len(CIDS)
        assert not any(alice.balance(node.peer_id) for node in others)


async def test_a_provider_that_goes_away_midway(autojump_clock):
    network = MemoryNetwork(4)
    async with fetcher_and(2, network) as (alice, bob, carol):
        for node in (bob, carol):
            source = Counted()
            source.seconds = 0.01
            node.exchange.set_source(source)
        async with alice.exchange.session() as session:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(fetch, session, CIDS)
                await until(lambda: alice.exchange.stats().blocks_received > 30)
                network.partition([ip_of(0), ip_of(2)], [ip_of(1)])
            assert alice.exchange.stats().blocks_received >= len(CIDS)
            network.partition([ip_of(0)], [ip_of(1)], [ip_of(2)])
            await until(lambda: not alice.connected())
            with pytest.raises(NotFoundError):
                await session.get(cid_of(999), timeout=60)


async def test_one_that_falls_silent_midway(autojump_clock):
    """No connection ends: only nothing comes any more."""
    network = MemoryNetwork(5)
    async with fetcher_and(2, network) as (alice, bob, carol):
        for node in (bob, carol):
            node.exchange.set_source(Counted())
        async with alice.exchange.session() as session, trio.open_nursery() as nursery:
            nursery.start_soon(fetch, session, CIDS)
            await until(lambda: alice.exchange.stats().blocks_received > 10)
            network.silence(ip_of(1), ip_of(0))
        assert alice.exchange.stats().blocks_received >= len(CIDS)


async def test_a_peer_that_is_not_connected_is_dialled(autojump_clock):
    async with swarm(2, MemoryNetwork(6), links=0) as (alice, bob):
        bob.exchange.set_source(Counted())
        alice.add_addresses(bob.peer_id, bob.addresses())
        async with alice.exchange.session() as session:
            with pytest.raises(NotFoundError):
                await session.get(CIDS[0], timeout=60)
            session.add_peers([bob.peer_id, alice.peer_id])
            assert await fetch(session, CIDS[:3]) == 3


async def test_a_peer_that_cannot_be_reached_is_nobody(autojump_clock):
    network = MemoryNetwork(7)
    async with swarm(2, network, links=0) as (alice, bob):
        alice.add_addresses(bob.peer_id, ["/ip4/10.9.9.9/tcp/4001"])
        async with alice.exchange.session() as session:
            session.add_peers([bob.peer_id])
            with pytest.raises(NotFoundError):
                await session.get(CIDS[0], timeout=60)


async def test_what_comes_later_is_sent_to_who_waits_for_it(autojump_clock):
    async with fetcher_and(2, MemoryNetwork(8)) as (alice, bob, carol):
        source = MemorySource()
        bob.exchange.set_source(source)
        Mallory(carol)  # who says nothing, so that alice goes on waiting
        async with alice.exchange.session() as session, trio.open_nursery() as nursery:
            nursery.start_soon(fetch, session, [cid_of(1)])
            await until(lambda: bob.exchange.stats().wants)
            source.add(block(1))
            bob.exchange.arrived([cid_of(1)])


async def test_a_slow_reader_holds_one_message_and_holds_up_nobody(autojump_clock):
    network = MemoryNetwork(9)
    async with fetcher_and(2, network) as (alice, bob, mallory):
        source = Counted()
        alice.exchange.set_source(source)
        await Mallory(mallory).send(alice.peer_id, wants(*CIDS))
        network.silence(ip_of(0), ip_of(2))
        await trio.sleep(0.5)
        given = source.given
        assert given * SIZE < 4 * limits.MIB, "what fits into the windows of the transport"
        assert alice.exchange.stats().sending <= limits.BITSWAP_TURN_BYTES
        async with bob.exchange.session() as session:
            assert await fetch(session, CIDS) == len(CIDS)
        await until(lambda: not alice.exchange.stats().sending and not alice.exchange.stats().wants, 120)
        assert source.given <= given + len(CIDS) + 8


async def test_a_source_may_refuse_a_peer(autojump_clock):
    async with fetcher_and(2, MemoryNetwork(10)) as (alice, bob, carol):
        source = MemorySource(block(1))
        source.refused.add(carol.peer_id)
        alice.exchange.set_source(source)
        async with bob.exchange.session() as session:
            session.add_peers([alice.peer_id])
            assert await session.get(cid_of(1), timeout=5) == data_of(1)
        async with carol.exchange.session() as session:
            session.add_peers([alice.peer_id])
            with pytest.raises(NotFoundError):
                await session.get(cid_of(1), timeout=5)


async def test_a_block_that_does_not_come_in_time(autojump_clock):
    async with fetcher_and(1, MemoryNetwork(11)) as (alice, mallory):
        Mallory(mallory)
        async with alice.exchange.session() as session:
            with pytest.raises(DeadlineError):
                await session.get(cid_of(1), timeout=2)


@pytest.mark.slow
@pytest.mark.timeout(300)
async def test_a_hundred_megabytes_take_little_memory(autojump_clock):
    size, count = 256 * limits.KIB, 400
    async with fetcher_and(3, MemoryNetwork(12)) as (alice, *others):
        for node in others:
            node.exchange.set_source(Counted(range(count), size))
        cids = [cid_of(number, size) for number in range(count)]
        tracemalloc.start()
        try:
            async with alice.exchange.session() as session:
                assert await fetch(session, cids) == count
            _, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        # 8 MiB under way, in the queues of four nodes and their network
        assert peak < 64 * limits.MIB, f"{peak / limits.MIB:.0f} MiB"
        assert alice.exchange.stats().bytes_received >= 100_000_000
