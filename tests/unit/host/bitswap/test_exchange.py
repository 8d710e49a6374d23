from __future__ import annotations

import pytest
import trio

from nexusd.host.bitswap import PROTOCOL
from nexusd.host.bitswap.exchange import ENTRIES, ENTRIES_PER_SECOND, INBOUND_STREAMS, Exchange
from nexusd.host.ports import DeadlineError, HostError, NotFoundError
from nexusd_protocols import limits
from nexusd_protocols.bitswap.message import Message, MessageStream, Want
from nexusd_protocols.errors import LocalProtocolError
from tests.harness.bitswap import MemorySource, block, cid_of, data_of, wants
from tests.harness.memnet import MemoryNetwork
from tests.harness.nodes import Bytes, connected, loopback, swarm, until

BLOCKS = [block(number, 5000) for number in range(80)]


async def test_both_ways_over_loopback():
    async with loopback("alice", "bob") as (alice, bob):
        await connected(alice, bob)
        for asker, giver in ((alice, bob), (bob, alice)):
            giver.exchange.set_source(MemorySource(*BLOCKS))
            async with asker.exchange.session() as session:
                for each in BLOCKS[:3]:
                    assert await session.get(each.cid, timeout=10) == each.data
        assert alice.exchange.stats().blocks_sent == bob.exchange.stats().blocks_sent == 3
        assert alice.exchange.stats().bytes_received == 15_000
        assert PROTOCOL in bob._host.get_mux().handlers


async def test_many_tasks_want_the_same_block(autojump_clock):
    async with swarm(2, MemoryNetwork(1)) as (alice, bob):
        bob.exchange.set_source(MemorySource(*BLOCKS))
        await until(lambda: alice.exchange.stats().peers)
        got = []

        async def get(session) -> None:
            got.append(await session.get(BLOCKS[0].cid, timeout=5))

        async with alice.exchange.session() as one, alice.exchange.session() as two, trio.open_nursery() as nursery:
            for session in (one, two) * 10:
                nursery.start_soon(get, session)
        assert got == [BLOCKS[0].data] * 20
        assert bob.exchange.stats().blocks_sent == 1


async def test_a_task_that_gives_up_leaves_the_others_waiting(autojump_clock):
    async with swarm(2, MemoryNetwork(2)) as (alice, bob):
        source = MemorySource(*BLOCKS)
        source.seconds = 3
        bob.exchange.set_source(source)
        await until(lambda: alice.exchange.stats().peers)
        async with alice.exchange.session() as session:

            async def impatient() -> None:
                with pytest.raises(DeadlineError, match="did not come in 1 s"):
                    await session.get(BLOCKS[0].cid, timeout=1)

            async with trio.open_nursery() as nursery:
                nursery.start_soon(impatient)
                assert await session.get(BLOCKS[0].cid, timeout=10) == BLOCKS[0].data
            with pytest.raises(DeadlineError):
                await session.get(BLOCKS[1].cid, timeout=1)
            await until(lambda: not bob.exchange.stats().wants, 30)


async def test_what_waits_for_its_turn_has_its_time_all_the_same(autojump_clock):
    async with swarm(2, MemoryNetwork(3)) as (alice, bob):
        source = MemorySource(*BLOCKS)
        source.seconds = 0.2
        bob.exchange.set_source(source)
        await until(lambda: alice.exchange.stats().peers)
        async with alice.exchange.session() as session, trio.open_nursery() as nursery:
            for each in BLOCKS:
                # all 80 take 16 seconds
                nursery.start_soon(lambda cid: session.get(cid, timeout=13.5), each.cid)


async def test_a_session_that_ended(autojump_clock):
    async with swarm(1, MemoryNetwork(4)) as (alice,):
        async with alice.exchange.session() as session:
            pass
        with pytest.raises(LocalProtocolError):
            await session.get(cid_of(1), timeout=1)
        with pytest.raises(LocalProtocolError):
            session.add_peers([])
        await session.__aexit__(None)


async def test_the_same_block_again_later(autojump_clock):
    async with swarm(2, MemoryNetwork(5)) as (alice, bob):
        bob.exchange.set_source(MemorySource(*BLOCKS))
        await until(lambda: alice.exchange.stats().peers)
        async with alice.exchange.session() as session:
            for _ in range(4):
                assert await session.get(BLOCKS[0].cid, timeout=5)
        assert bob.exchange.stats().blocks_sent == 4
        assert alice.exchange.stats().unasked == 0


async def test_nothing_is_here_where_there_is_no_source(autojump_clock):
    async with swarm(2, MemoryNetwork(6)) as (alice, _bob):
        await until(lambda: alice.exchange.stats().peers)
        async with alice.exchange.session() as session:
            with pytest.raises(NotFoundError, match="has bafk"):
                await session.get(cid_of(1), timeout=5)


async def nothing(_peer) -> None: ...


async def test_a_peer_is_known_by_its_first_words(autojump_clock):
    """They may come before what it says of itself."""
    async with swarm(2, MemoryNetwork(7)) as (alice, bob):
        alice._identify.ask = nothing
        await bob.connect(alice.peer_id, alice.addresses())
        channel = await bob.streams.open(alice.peer_id, [PROTOCOL], lambda _protocol: MessageStream())
        async with channel:
            await channel.send(wants(cid_of(1)))
        await until(lambda: bob.peer_id in alice.exchange._client.connected)


async def test_whoever_says_too_much_is_read_more_slowly(autojump_clock):
    async with swarm(2, MemoryNetwork(8)) as (alice, bob):
        await bob.connect(alice.peer_id, alice.addresses())
        storm = Message(cancels=tuple(map(cid_of, range(4096))))
        began = trio.current_time()
        async with await bob.streams.open(alice.peer_id, [PROTOCOL], lambda _protocol: MessageStream()) as channel:
            for _ in range(6):
                await channel.send(storm)
            await channel.send(wants(cid_of(1), answer=False))
            await until(lambda: alice.exchange.stats().wants, 60)
        took = trio.current_time() - began
        assert took == pytest.approx((6 * 4096 - ENTRIES) / ENTRIES_PER_SECOND, abs=0.5)
        assert not alice.balance(bob.peer_id)


async def test_a_message_for_each_stream_and_many_at_once(autojump_clock):
    """As js-bitswap sends them."""
    async with swarm(2, MemoryNetwork(9)) as (alice, bob):
        alice.exchange.set_source(MemorySource(*BLOCKS))
        got = []
        bob.streams.handle(PROTOCOL, lambda _peer: MessageStream(), lambda channel: self_read(channel, got))
        await bob.connect(alice.peer_id, alice.addresses())
        bob.streams._slots._outbound_limit = INBOUND_STREAMS

        async def say(cid) -> None:
            async with await bob.streams.open(alice.peer_id, [PROTOCOL], lambda _protocol: MessageStream()) as channel:
                await channel.send(wants(cid))

        async with trio.open_nursery() as nursery:
            for each in BLOCKS[:50]:
                nursery.start_soon(say, each.cid)
        await until(lambda: len(got) == 50)
        assert not alice.balance(bob.peer_id)


async def self_read(channel, got) -> None:
    while (message := await channel.receive()) is not None:
        got += message.blocks


async def test_what_breaks_the_protocol_costs_its_sender(autojump_clock):
    async with swarm(2, MemoryNetwork(10)) as (alice, bob):
        await bob.connect(alice.peer_id, alice.addresses())
        channel = await bob.streams.open(alice.peer_id, [PROTOCOL], lambda _protocol: Bytes())
        await channel.send(b"\x0c" + b"\xff" * 12)
        await until(lambda: alice.balance(bob.peer_id))
        assert alice.balance(bob.peer_id) == pytest.approx(10, abs=0.1)
        await channel.reset()


async def test_a_line_that_is_broken_is_mended(autojump_clock):
    async with swarm(2, MemoryNetwork(11)) as (alice, bob):
        source = MemorySource(*BLOCKS)
        bob.exchange.set_source(source)
        await until(lambda: alice.exchange.stats().peers)
        async with alice.exchange.session() as session:
            assert await session.get(BLOCKS[0].cid, timeout=5)
            await alice.exchange._lines[bob.peer_id]._channel._stream.reset()
            await bob.exchange._lines[alice.peer_id]._channel._stream.reset()
            assert await session.get(BLOCKS[1].cid, timeout=5) == data_of(1, 5000)


async def test_a_session_may_end_later_than_the_node(autojump_clock):
    async with swarm(2, MemoryNetwork(12)) as (alice, bob):
        Silent(bob)
        await until(lambda: alice.exchange.stats().peers)
        async with alice.exchange.session() as session:
            with pytest.raises(DeadlineError):
                await session.get(cid_of(1), timeout=0.1)
            await alice.aclose()
            for _ in range(2):
                with pytest.raises(HostError, match="not running"):
                    await session.get(cid_of(2), timeout=1)


class Silent:
    """Takes what comes, and answers nothing."""

    def __init__(self, node) -> None:
        node.streams.handle(PROTOCOL, lambda _peer: MessageStream(), self._hear)

    async def _hear(self, channel) -> None:
        while await channel.receive() is not None:
            pass


def test_before_it_runs():
    class Streams:
        def handle(self, *_args, **_options) -> None: ...

    exchange = Exchange(Streams(), block(1).cid, lambda *_: None)
    assert exchange.stats().peers == 0

    async def main() -> None:
        exchange.identified("peer", ["/other"])
        exchange.identified("peer", [PROTOCOL])
        session = exchange.session()
        with pytest.raises(HostError):
            await session.get(cid_of(1), timeout=1)

    trio.run(main)


def test_figures_fit_one_another():
    assert limits.BITSWAP_UNDER_WAY <= ENTRIES
    assert Want(cid_of(1)).answer, "or a peer that has nothing would be waited for"
