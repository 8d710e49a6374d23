"""Who is known, who is dialled and when, who is refused."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from itertools import pairwise
from random import Random
from types import SimpleNamespace
from typing import Any

import pytest
import trio
from trio.testing import MockClock

from nexusd.host.ports import PeerIdentified
from nexusd.services import peers as service
from nexusd.services.peers import DIALS_AT_ONCE, LONGEST_RETRY_S, LOST_RETRY_S, LOST_S, Peers
from nexusd.services.policy import Policy, TrustLists
from nexusd.services.ports import LiveEvent
from nexusd.store.errors import StorageFullError
from nexusd.store.peers import PeerRow
from nexusd_protocols.gossipsub.score import PeerScore, TopicScore
from nexusd_protocols.identity import PeerId
from nexusd_protocols.rpc import schema
from nexusd_protocols.rpc.codes import Refusal
from tests.harness.network import FakeNetwork
from tests.harness.nodes import signer

ALICE = signer("alice").peer_id
BOB = signer("bob").peer_id
MALLORY = signer("mallory").peer_id
AT = ("/ip4/10.0.0.2/tcp/4001",)


class MemoryPeers:
    """The store's peers without a disk, so that time may jump."""

    def __init__(self) -> None:
        self.rows: dict[PeerId, PeerRow] = {}
        self.blocks: dict[PeerId, str] = {}
        self.full = False

    async def _write(self, peer: PeerId, **fields: Any) -> None:
        await trio.lowlevel.checkpoint()
        if self.full:
            raise StorageFullError("The disk is full")
        self.rows[peer] = replace(self.rows.get(peer, PeerRow(peer=peer)), **fields)

    async def seen(self, peer: PeerId, *, addresses: Any, source: str, now: int) -> None:
        await self._write(peer, addresses=addresses, source=source, last_seen=now)

    async def identified(self, peer: PeerId, agent_version: str, now: int) -> None:
        await self._write(peer, agent_version=agent_version, last_seen=now)

    async def named(self, peer: PeerId, display_name: str, now: int) -> None:
        await self._write(peer, display_name=display_name, last_seen=now)

    async def list(self, limit: int) -> list[PeerRow]:
        return list(self.rows.values())[:limit]

    async def forget_stale(self, before: int) -> None:
        self.rows = {peer: row for peer, row in self.rows.items() if row.last_seen >= before}

    async def blocked(self) -> dict[PeerId, str]:
        return self.blocks

    async def block(self, peer: PeerId, reason: str, now: int) -> None:
        self.blocks[peer] = reason

    async def unblock(self, peer: PeerId) -> bool:
        return self.blocks.pop(peer, None) is not None


@pytest.fixture
def memory() -> MemoryPeers:
    return MemoryPeers()


class Running:
    """Alice's peers, on a network that the test moves."""

    def __init__(self, memory: MemoryPeers) -> None:
        self.network = FakeNetwork(ALICE)
        self.events: list[LiveEvent] = []
        self.scores: list[PeerScore] = []
        store: Any = SimpleNamespace(peers=memory)
        self.policy = Policy(TrustLists(), self.now)
        self.peers = Peers(
            self.network, store, self.events.append, self.now, Random(1), self.policy, lambda: self.scores
        )

    def now(self) -> int:
        return 1_800_000_000_000 + round(trio.current_time() * 1000)

    def told(self) -> list[str]:
        return [event.type for event in self.events]

    async def shown(self, peer: PeerId) -> schema.Peer:
        listed = await self.peers.list(schema.PeersListParams())
        return next(row for row in listed.peers if row.peer_id == peer)


@asynccontextmanager
async def alice(memory: MemoryPeers, **setup: Any) -> AsyncIterator[Running]:
    async with trio.open_nursery() as nursery:
        running = Running(memory)
        for name, value in setup.items():
            setattr(running.network, name, value)
        await running.peers.load()
        await nursery.start(running.peers.run)
        yield running
        nursery.cancel_scope.cancel()


async def test_an_offered_peer_is_dialled_at_once(memory: MemoryPeers, autojump_clock: MockClock) -> None:
    async with alice(memory, up={BOB}) as running:
        await running.peers.offer(BOB, AT, "mdns")
        await trio.sleep(0.1)
        assert running.told() == ["discovered", "connected"]
        row = await running.shown(BOB)
        assert (row.connected, row.direction, row.source) == (True, "out", "mdns")
        assert running.network.addresses_of[BOB][-1] == AT[0]


async def test_waits_between_tries_double_up_to_five_minutes(memory: MemoryPeers, autojump_clock: MockClock) -> None:
    async with alice(memory) as running:
        await running.peers.offer(BOB, AT, "static")
        await trio.sleep(3600)
        times = [at for _, at in running.network.dials]
        waits = [after - before for before, after in pairwise(times)]
        assert times[0] < 0.1
        for number, wait in enumerate(waits):
            expected = min(LONGEST_RETRY_S, 2.0 ** (number + 1))
            assert 0.5 * expected <= wait <= 1.5 * expected + 0.1
        assert len(times) > 3600 / (1.5 * LONGEST_RETRY_S)


async def test_a_peer_that_is_offered_often_is_not_dialled_more_and_more(
    memory: MemoryPeers, autojump_clock: MockClock
) -> None:
    """Each offer may dial once; it must not begin a series of retries of its own."""
    async with alice(memory) as running:
        for _ in range(50):
            await running.peers.offer(BOB, AT, "mdns")
            await trio.sleep(1)
        before = len(running.network.dials)
        assert before <= 101
        await trio.sleep(3600)
        assert len(running.network.dials) - before <= 3600 / (0.5 * LONGEST_RETRY_S) + 10


async def test_offers_during_a_dial_start_no_other(memory: MemoryPeers, autojump_clock: MockClock) -> None:
    async with alice(memory, dial_seconds=10.0, up={BOB}) as running:
        for _ in range(100):
            await running.peers.offer(BOB, AT, "mdns")
        await trio.sleep(30)
        assert len(running.network.dials) == 1


async def test_few_are_dialled_at_once(memory: MemoryPeers, autojump_clock: MockClock) -> None:
    others = [signer(f"peer-{number}").peer_id for number in range(40)]
    async with alice(memory, dial_seconds=1.0, up=set(others)) as running:
        for peer in others:
            await running.peers.offer(peer, AT, "mdns")
        await trio.sleep(30)
        assert running.network.most_dialling == DIALS_AT_ONCE
        assert running.peers.counts == (40, 40)


async def test_a_lost_peer_is_dialled_again_soon(memory: MemoryPeers, autojump_clock: MockClock) -> None:
    async with alice(memory, up={BOB}) as running:
        await running.peers.offer(BOB, AT, "mdns")
        await trio.sleep(100)
        running.network.go(BOB)
        await trio.sleep(2)
        assert running.told() == ["discovered", "connected", "disconnected", "connected"]


async def test_who_was_cut_off_is_tried_every_few_seconds_for_ten_minutes(
    memory: MemoryPeers, autojump_clock: MockClock
) -> None:
    async with alice(memory, up={BOB}) as running:
        await running.peers.offer(BOB, AT, "mdns")
        await trio.sleep(100)
        running.network.up.clear()
        running.network.go(BOB)
        cut = trio.current_time()
        await trio.sleep(3600)
        times = [at for _, at in running.network.dials if at >= cut]
        waits = [(before - cut, after - before) for before, after in pairwise(times)]
        assert all(wait <= 1.5 * LOST_RETRY_S for at, wait in waits if at < LOST_S - 10)
        assert all(wait >= 0.5 * LONGEST_RETRY_S for at, wait in waits if at > LOST_S + 10)
        assert waits[-1][0] > LOST_S


async def test_two_that_cannot_get_on_do_not_try_every_second(memory: MemoryPeers, autojump_clock: MockClock) -> None:
    async with alice(memory, up={BOB}) as running:
        await running.peers.offer(BOB, AT, "mdns")
        for _ in range(600):
            await trio.sleep(1)
            if BOB in running.network.connected():
                running.network.go(BOB)
        times = [at for _, at in running.network.dials]
        assert len(times) <= 20
        assert times[-1] - times[-2] > 10
        await trio.sleep(LONGEST_RETRY_S + service.STEADY_S)
        running.network.go(BOB)  # this one lasted
        await trio.sleep(2)
        assert BOB in running.network.connected()


async def test_who_comes_in_is_dialled_back_only_where_it_listens(
    memory: MemoryPeers, autojump_clock: MockClock
) -> None:
    async with alice(memory) as running:
        running.network.come(BOB, "in")
        await trio.sleep(1)
        assert (await running.shown(BOB)).addresses == []  # the port that it came from is no place to dial
        running.network.feed.announce(PeerIdentified(BOB, "js/1", AT, ()))
        await trio.sleep(1)
        row = await running.shown(BOB)
        assert (tuple(row.addresses), row.agent_version, row.direction) == (AT, "js/1", "in")
        running.network.go(BOB)
        await trio.sleep(2)
        assert [peer for peer, _ in running.network.dials][:1] == [BOB]


async def test_peers_are_remembered_and_redialled_after_a_restart(
    memory: MemoryPeers, autojump_clock: MockClock
) -> None:
    async with alice(memory, up={BOB}) as running:
        await running.peers.offer(BOB, AT, "mdns")
        await trio.sleep(1)
        await running.peers.named(BOB, "bob")
    async with alice(memory, up={BOB}) as running:
        assert running.peers.name_of(BOB) == "bob"
        assert [peer for peer, _ in await running.peers.remembered()] == [BOB]
        await trio.sleep(service.SPREAD_S + 1)
        assert (await running.shown(BOB)).connected
        assert await running.peers.remembered() == []


async def test_a_blocked_peer_is_cut_off_and_neither_dialled_nor_admitted(
    memory: MemoryPeers, autojump_clock: MockClock
) -> None:
    async with alice(memory, up={MALLORY}) as running:
        await running.peers.offer(MALLORY, AT, "mdns")
        await trio.sleep(1)
        await running.peers.block(schema.PeersBlockParams(peer=MALLORY, reason="spam"))
        await trio.sleep(600)
        assert running.network.connected() == []
        assert not running.network.gate(MALLORY)
        assert len(running.network.dials) == 1
        refusal = running.peers.admit(MALLORY)
        assert isinstance(refusal, Refusal)
        assert (refusal.code, "spam" in refusal.message) == ("peer_blocked", True)
        told: list[bool] = []
        running.peers.on_readmit(lambda: told.append(running.network.gate(MALLORY)))
        await running.peers.unblock(schema.PeersUnblockParams(peer=MALLORY))
        assert told == [True], "whoever follows that finds it allowed"
        await trio.sleep(1)
        assert (await running.shown(MALLORY)).connected


async def test_a_block_without_a_reason_says_that_it_is_one_once(
    memory: MemoryPeers, autojump_clock: MockClock
) -> None:
    async with alice(memory) as running:
        await running.peers.offer(MALLORY, AT, "mdns")
        await running.peers.block(schema.PeersBlockParams(peer=MALLORY))
        refusal = running.peers.admit(MALLORY)
        assert isinstance(refusal, Refusal)
        assert refusal.message == f"{MALLORY} is blocked: no reason given"


async def test_of_two_words_on_a_peer_at_once_disk_and_memory_keep_the_same(
    memory: MemoryPeers, autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with alice(memory) as running:
        block = memory.block

        async def slow(peer: PeerId, reason: str, now: int) -> None:
            await block(peer, reason, now)
            await written.wait()

        written = trio.Event()
        monkeypatch.setattr(memory, "block", slow)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(running.peers.block, schema.PeersBlockParams(peer=MALLORY, reason="spam"))
            await trio.testing.wait_all_tasks_blocked()
            nursery.start_soon(running.peers.unblock, schema.PeersUnblockParams(peer=MALLORY))
            await trio.testing.wait_all_tasks_blocked()
            written.set()
        assert running.policy.blocks == memory.blocks == {}


async def test_who_is_not_blocked_cannot_be_unblocked(memory: MemoryPeers, autojump_clock: MockClock) -> None:
    async with alice(memory) as running:
        refusal = await running.peers.unblock(schema.PeersUnblockParams(peer=BOB))
        assert isinstance(refusal, Refusal)


async def test_two_peers_that_end_alike_are_named_in_the_refusal(
    memory: MemoryPeers, autojump_clock: MockClock
) -> None:
    async with alice(memory) as running:
        twin = PeerId(BOB[:-8] + "2" + BOB[-7:])
        for peer in (BOB, twin):
            await running.peers.offer(peer, (), "mdns")
        refusal = running.peers.resolve(BOB[-6:])
        assert isinstance(refusal, Refusal)
        assert (refusal.code, refusal.data) == ("ambiguous_peer", {"peers": sorted([BOB, twin])})


@pytest.mark.parametrize(
    "address", ["", "/ip4/1.2.3.4/tcp/1", "nonsense/p2p/x", f"tcp/p2p/{BOB}", "/ip4/1.2.3.4/tcp/1/p2p/xyz"]
)
async def test_what_is_no_address(memory: MemoryPeers, autojump_clock: MockClock, address: str) -> None:
    async with alice(memory) as running:
        refusal = await running.peers.connect(schema.PeersConnectParams(address=address))
        assert isinstance(refusal, Refusal)
        assert refusal.code == "invalid_address"


async def test_connecting_by_hand_answers_when_connected(memory: MemoryPeers, autojump_clock: MockClock) -> None:
    async with alice(memory, up={BOB}) as running:
        answer = await running.peers.connect(schema.PeersConnectParams(address=f"{AT[0]}/p2p/{BOB}"))
        assert isinstance(answer, schema.Peer)
        assert (answer.connected, answer.direction, answer.source) == (True, "out", "manual")


async def test_only_a_person_vouches_for_a_peer(memory: MemoryPeers, autojump_clock: MockClock) -> None:
    async with alice(memory, up={BOB}) as running:
        for source in ("mdns", "cache", "inbound"):
            await running.peers.offer(BOB, AT, source)
        assert not running.peers.vouched(BOB)
        await running.peers.connect(schema.PeersConnectParams(address=f"{AT[0]}/p2p/{BOB}"))
        await running.peers.offer(BOB, AT, "mdns")
        assert running.peers.vouched(BOB)
        assert (await running.shown(BOB)).source == "manual"
        carol = signer("carol").peer_id
        await running.peers.offer(carol, AT, "bootstrap")
        assert running.peers.vouched(carol)


async def test_the_longest_unseen_make_room(
    memory: MemoryPeers, autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(service, "KNOWN_PEERS", 3)
    async with alice(memory) as running:
        running.network.come(BOB, "in")
        for number in range(10):
            await trio.sleep(1)
            await running.peers.offer(signer(f"peer-{number}").peer_id, (), "mdns")
        listed = await running.peers.list(schema.PeersListParams())
        assert [row.peer_id for row in listed.peers] == [BOB, signer("peer-9").peer_id, signer("peer-8").peer_id]


async def test_strangers_do_not_crowd_out_whom_a_person_named(
    memory: MemoryPeers, autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(service, "KNOWN_PEERS", 3)
    async with alice(memory) as running:
        await running.peers.offer(BOB, (), "bootstrap")
        for number in range(10):
            await trio.sleep(1)
            await running.peers.offer(signer(f"sybil-{number}").peer_id, (), "mdns")
        assert running.peers.vouched(BOB)


async def test_a_full_disk_does_not_end_the_daemon(memory: MemoryPeers, autojump_clock: MockClock) -> None:
    """What is not stored of a peer is stored when it is seen again."""
    memory.full = True
    async with alice(memory, up={BOB}) as running:
        await running.peers.offer(BOB, AT, "mdns")
        await trio.sleep(1)
        running.network.feed.announce(PeerIdentified(BOB, "js/1", AT, ()))
        await trio.sleep(1)
        await running.peers.named(BOB, "bob")
        row = await running.shown(BOB)
        assert (row.connected, row.agent_version, row.display_name) == (True, "js/1", "bob")
        assert memory.rows == {}
        memory.full = False
        running.network.go(BOB)
        await trio.sleep(2)
        assert list(memory.rows) == [BOB]


async def test_scores_are_of_the_connected_the_worst_first(memory: MemoryPeers, autojump_clock: MockClock) -> None:
    carol, dave = signer("carol").peer_id, signer("dave").peer_id
    general = TopicScore("/nexus/room/general", True, 1.5, 2.0, -0.5, 0.0, -20.0)
    async with alice(memory, up={MALLORY}) as running:
        for peer in (BOB, MALLORY, carol):
            running.network.come(peer, "in")
        await running.peers.offer(dave, AT, "mdns")  # away
        running.network.balances[carol] = 3.0
        running.scores = [
            PeerScore(BOB, 4.0, (), 0.0, 0.0, 0.0),
            PeerScore(MALLORY, -17.0, (general,), -4.0, -5.0, -6.0),
        ]
        await trio.sleep(0.1)
        rows = (await running.peers.list(schema.PeersListParams(scores=True))).peers
        assert [row.peer_id for row in rows] == [MALLORY, carol, BOB]
        worst, silent, best = (row.score for row in rows)
        assert worst == schema.PeerScore(
            total=-17.0,
            topics=[
                schema.TopicScore(topic=general.topic, in_mesh=True, p1=1.5, p2=2.0, p3=-0.5, p3b=0.0, p4=-20.0),
            ],
            p5=-4.0,
            p6=-5.0,
            p7=-6.0,
        )
        assert silent == schema.PeerScore(total=None, penalty=3.0)
        assert best == schema.PeerScore(total=4.0)
        assert (await running.shown(BOB)).score is None
