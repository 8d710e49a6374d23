"""Bans imposed, kept, told and ended."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest
import structlog
import trio
from trio.testing import MockClock

from nexusd.services.bans import Bans
from nexusd.services.policy import Policy, TrustLists
from nexusd.services.policy.bans import DAY, HOUR, MINUTE, REMEMBERED
from nexusd.services.ports import LiveEvent
from nexusd.store.bans import Ban
from nexusd.store.errors import StorageFullError
from nexusd_protocols.identity import PeerId, parse_peer_id
from nexusd_protocols.rpc import schema
from nexusd_protocols.rpc.codes import Refusal
from tests.harness.network import FakeNetwork
from tests.harness.nodes import signer

ALICE, BOB, MALLORY = (signer(name).peer_id for name in ("alice", "bob", "mallory"))
EPOCH = 1_800_000_000_000


class MemoryBans:
    """The store's bans without a disk, so that time may jump."""

    def __init__(self) -> None:
        self.rows: dict[PeerId, Ban] = {}
        self.full = False

    async def put(self, ban: Ban) -> None:
        await trio.lowlevel.checkpoint()
        if self.full:
            raise StorageFullError("The disk is full")
        self.rows[ban.peer] = ban

    async def remove(self, peers: list[PeerId]) -> None:
        await trio.lowlevel.checkpoint()
        if self.full:
            raise StorageFullError("The disk is full")
        for peer in peers:
            self.rows.pop(peer, None)

    async def list(self) -> list[Ban]:
        return list(self.rows.values())


@pytest.fixture
def memory() -> MemoryBans:
    return MemoryBans()


class Running:
    def __init__(self, memory: MemoryBans) -> None:
        self.network = FakeNetwork(ALICE)
        self.policy = Policy(TrustLists(), self.now)
        self.events: list[LiveEvent] = []
        self.readmitted: list[PeerId] = []
        self.skew = 0
        store: Any = SimpleNamespace(bans=memory)
        self.bans = Bans(
            policy=self.policy,
            network=self.network,
            store=store,
            emit=self.events.append,
            clock=self.now,
            resolve=lambda text: parse_peer_id(text) if len(text) > 20 else Refusal("unknown_peer"),
            readmit=self.readmitted.append,
        )

    def now(self) -> int:
        return EPOCH + self.skew + round(trio.current_time() * 1000)

    def told(self) -> list[str]:
        return [event.type for event in self.events]


@asynccontextmanager
async def alice(memory: MemoryBans) -> AsyncIterator[Running]:
    async with trio.open_nursery() as nursery:
        running = Running(memory)
        await running.bans.load()
        await nursery.start(running.bans.run)
        yield running
        nursery.cancel_scope.cancel()


async def test_who_owes_too_much_is_cut_off_kept_out_and_let_in_again(
    memory: MemoryBans, autojump_clock: MockClock
) -> None:
    async with alice(memory) as running:
        running.network.come(MALLORY, "in")
        with structlog.testing.capture_logs() as logs:
            running.network.convict(MALLORY, "too_many_pings", "203.0.113.7")
            assert not running.policy.allows(MALLORY), "from this very moment"
        assert {key: logs[0][key] for key in ("event", "peer", "address", "reason", "seconds", "times")} == {
            "event": "peer_banned",
            "peer": MALLORY,
            "address": "203.0.113.7",
            "reason": "too_many_pings",
            "seconds": 600,
            "times": 1,
        }
        await trio.sleep(1)
        assert running.network.connected() == []
        assert memory.rows[MALLORY].until - memory.rows[MALLORY].since == 10 * MINUTE
        await trio.sleep(598)
        assert (running.told(), running.policy.allows(MALLORY)) == (["banned"], False)
        await trio.sleep(2)
        assert (running.told(), running.policy.allows(MALLORY)) == (["banned", "unbanned"], True)
        assert running.events[0].data == {
            "peerId": MALLORY, "reason": "too_many_pings", "since": EPOCH, "until": EPOCH + 10 * MINUTE, "times": 1,
            "byHand": False,
        }  # fmt: skip
        assert running.events[1].data == {"peerId": MALLORY, "reason": "ended"}
        assert running.readmitted == [MALLORY]
        running.network.convict(MALLORY, "too_many_pings", "")
        await trio.sleep(0.1)
        assert memory.rows[MALLORY].until - memory.rows[MALLORY].since == HOUR


async def test_what_came_before_the_cut_is_not_punished_twice(memory: MemoryBans, autojump_clock: MockClock) -> None:
    async with alice(memory) as running:
        for _ in range(3):
            running.network.convict(MALLORY, "too_many_pings", "")
        await trio.sleep(1)
        assert running.told() == ["banned"]
        assert memory.rows[MALLORY].times == 1


async def test_a_ban_holds_over_a_restart_and_its_memory_too(memory: MemoryBans, autojump_clock: MockClock) -> None:
    async with alice(memory) as running:
        running.network.convict(MALLORY, "too_many_pings", "")
        await trio.sleep(1)
    async with alice(memory) as running:
        assert not running.policy.allows(MALLORY)
        await trio.sleep(600)
        assert running.told() == ["unbanned"]
    async with alice(memory) as running:
        assert running.policy.allows(MALLORY)
        await trio.sleep(1)
        assert running.told() == [], "it was told before"
        running.network.convict(MALLORY, "too_many_pings", "")
        await trio.sleep(1)
        assert memory.rows[MALLORY].times == 2


async def test_bans_of_last_month_are_forgotten_at_the_start_and_while_it_runs(
    memory: MemoryBans, autojump_clock: MockClock
) -> None:
    old = Ban(peer=BOB, reason="x", since=EPOCH - 30 * DAY, until=EPOCH - 29 * DAY)
    memory.rows = {BOB: old}
    async with alice(memory) as running:
        assert memory.rows == {}
        running.network.convict(MALLORY, "too_many_pings", "")
        await trio.sleep(600 + REMEMBERED / 1000 + 1)
        running.network.convict(BOB, "too_many_pings", "")
        await trio.sleep(1)
        assert list(memory.rows) == [BOB]


async def test_a_person_bans_and_unbans(memory: MemoryBans, autojump_clock: MockClock) -> None:
    async with alice(memory) as running:
        running.network.come(MALLORY, "in")
        done = await running.bans.ban(schema.PeersBanParams(peer=MALLORY, duration_ms=90_000, reason="too loud"))
        assert isinstance(done, schema.Done)
        assert running.network.connected() == []
        assert memory.rows[MALLORY] == Ban(
            peer=MALLORY, reason="too loud", since=EPOCH, until=EPOCH + 90_000, by_hand=True
        )
        assert isinstance(await running.bans.unban(schema.PeersUnbanParams(peer=MALLORY)), schema.Done)
        assert running.policy.allows(MALLORY)
        assert memory.rows == {}
        assert running.readmitted == running.network.pardoned == [MALLORY]
        assert running.events[1].data == {"peerId": MALLORY, "reason": "lifted"}
        refusal = await running.bans.unban(schema.PeersUnbanParams(peer=MALLORY))
        assert isinstance(refusal, Refusal)
        assert refusal.message.endswith("is not banned")


async def test_a_ban_without_a_reason_says_that_it_is_one_once(memory: MemoryBans, autojump_clock: MockClock) -> None:
    async with alice(memory) as running:
        await running.bans.ban(schema.PeersBanParams(peer=MALLORY, duration_ms=90_000))
        refusal = running.policy.refuses_peer(MALLORY)
        assert isinstance(refusal, Refusal)
        assert refusal.message.endswith(" UTC: no reason given")
        assert refusal.message.count("banned") == 1


@pytest.mark.parametrize(("peer", "code"), [(ALICE, "invalid_peer"), ("nobody", "unknown_peer")])
async def test_whom_nobody_can_ban(memory: MemoryBans, autojump_clock: MockClock, peer: str, code: str) -> None:
    async with alice(memory) as running:
        refusal = await running.bans.ban(schema.PeersBanParams(peer=peer))
        assert isinstance(refusal, Refusal)
        assert refusal.code == code
        assert memory.rows == {}


async def test_to_unban_the_blocked_says_what_to_do(memory: MemoryBans, autojump_clock: MockClock) -> None:
    async with alice(memory) as running:
        running.policy.blocks[BOB] = "spam"
        refusal = await running.bans.unban(schema.PeersUnbanParams(peer=BOB))
        assert isinstance(refusal, Refusal)
        assert "is blocked: unblock it" in refusal.message


async def test_a_full_disk_keeps_an_earned_ban_in_memory_and_refuses_a_persons(
    memory: MemoryBans, autojump_clock: MockClock
) -> None:
    memory.full = True
    async with alice(memory) as running:
        running.network.convict(MALLORY, "too_many_pings", "")
        await trio.sleep(1)
        assert not running.policy.allows(MALLORY)
        with pytest.raises(StorageFullError):
            await running.bans.ban(schema.PeersBanParams(peer=BOB))
        assert running.policy.allows(BOB)
        with pytest.raises(StorageFullError):
            await running.bans.unban(schema.PeersUnbanParams(peer=MALLORY))
        assert not running.policy.allows(MALLORY)


async def test_bans_end_though_the_wall_clock_is_set_while_it_sleeps(
    memory: MemoryBans, autojump_clock: MockClock
) -> None:
    memory.rows = {MALLORY: Ban(peer=MALLORY, reason="x", since=EPOCH, until=EPOCH + DAY)}
    async with alice(memory) as running:
        await trio.sleep(1)
        running.skew = DAY
        await trio.sleep(31)
        assert running.told() == ["unbanned"]


async def test_an_unban_while_the_ban_is_on_its_way_to_the_disk(memory: MemoryBans, autojump_clock: MockClock) -> None:
    """Disk and memory agree in the end, whichever comes first."""
    async with alice(memory) as running:
        running.network.convict(MALLORY, "too_many_pings", "")
        await running.bans.unban(schema.PeersUnbanParams(peer=MALLORY))
        await trio.sleep(1)
        assert running.policy.allows(MALLORY)
        assert memory.rows == {}


async def test_a_thousand_identities_cost_a_bounded_number_of_rows(
    memory: MemoryBans, autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("nexusd.services.policy.bans.BanTable.__init__.__kwdefaults__", {"size": 100})
    async with alice(memory) as running:
        kept = Ban(peer=BOB, reason="a person's", since=EPOCH, until=EPOCH + DAY, by_hand=True)
        running.policy.bans.add(kept)
        memory.rows[BOB] = kept
        for number in range(1000):
            running.network.convict(PeerId(f"sybil-{number}"), "too_many_pings", "")
            await trio.sleep(0.001)
        await trio.sleep(1)
        assert len(running.policy.bans) == len(memory.rows) == 100
        assert not running.policy.allows(BOB)
        assert replace(memory.rows[BOB]) == kept
