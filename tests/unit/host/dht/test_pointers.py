"""Signed pointers in the DHT: what is no pointer is not stored, what has expired is not served, and nobody brings back
what was taken back."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import pytest

from nexusd.host.dht import PROTOCOL, PointerRecords
from nexusd.host.node import Node
from nexusd.host.ports import HostError
from nexusd_protocols.content.cid import JSON, Cid
from nexusd_protocols.kad.message import Kind, Message, MessageStream, Record
from nexusd_protocols.pointer.envelope import PointerError, read, sign, withdraw
from nexusd_protocols.pointer.keys import TTL_MS, Key
from tests.harness.memnet import MemoryNetwork
from tests.harness.nodes import connected, ip_of, running, signer, until
from tests.unit.host.dht.shelf import MemoryShelf

ALICE, MALLORY = signer("alice"), signer("mallory")
LAB = Key("room-pointer", ALICE.peer_id, "lab")
CID = Cid.of(JSON, b"{}")
HOUR = 3_600_000


@dataclass
class Time:
    """A wall clock that a test sets."""

    now: int = 1_760_000_000_000
    shelves: dict[str, MemoryShelf] = field(default_factory=dict)

    @asynccontextmanager
    async def up(self, *names: str) -> AsyncIterator[list[Node]]:
        network = MemoryNetwork(1)
        nodes = [
            Node(
                signer(name),
                listen=[f"/ip4/{ip_of(index)}/tcp/4001"],
                transports=[network.transport(ip_of(index))],
                schema=PointerRecords(lambda: self.now),
                keepalive=1e9,
                shelf=self.shelves.setdefault(name, MemoryShelf()),
                wall_clock=lambda: self.now,
            )
            for index, name in enumerate(names)
        ]
        async with running(*nodes):
            for node in nodes[1:]:
                await connected(nodes[0], node)
            await until(lambda: all(node.dht.size() for node in nodes) or len(nodes) == 1)
            yield nodes


async def push(node: Node, to: Node, key: str, value: bytes) -> bytes:
    """Have a record stored as a peer would that keeps no rule. Returns what the other keeps now. Raises HostError."""
    async with await node.streams.open(to.peer_id, [PROTOCOL], lambda _: MessageStream()) as channel:
        await channel.send(Message(Kind.PUT_VALUE, key.encode(), Record(key.encode(), value)))
        answer = await channel.receive(timeout=5)
    assert answer.record is not None
    return answer.record.value


async def test_a_pointer_is_found_by_its_key(autojump_clock):
    time = Time()
    value = sign(ALICE, LAB, CID, seq=1, now=time.now)
    async with time.up("bob", "alice", "carol") as (bob, alice, carol):
        assert bob.peer_id in await alice.dht.put(str(LAB), value)
        assert await carol.dht.get(str(LAB)) == value


async def test_an_expired_pointer_is_neither_served_nor_told_on(autojump_clock):
    time = Time()
    value = sign(ALICE, LAB, CID, seq=1, now=time.now)
    async with time.up("bob", "alice", "carol") as (bob, alice, carol):
        await alice.dht.put(str(LAB), value)
        await until(lambda: bob.dht.stored()[0] == 1)
        time.now += TTL_MS["room-pointer"]
        assert await carol.dht.get(str(LAB)) == value
        time.now += 1
        assert await carol.dht.get(str(LAB)) is None
        assert await alice.dht.get(str(LAB)) is None, "not even the issuer's own"
        await until(lambda: bob.dht.stored()[0] == 0, 30)
        await until(lambda: not time.shelves["alice"].own, 60)
        with pytest.raises(PointerError, match="expired"):
            await alice.dht.put(str(LAB), value)


async def test_what_expired_while_the_node_was_off_is_not_told(autojump_clock):
    time = Time()
    async with time.up("alice") as (alice,):
        await alice.dht.put(str(LAB), sign(ALICE, LAB, CID, seq=1, now=time.now))
    assert time.shelves["alice"].own
    time.now += 7 * HOUR
    async with time.up("alice", "bob") as (_alice, bob):
        await until(lambda: not time.shelves["alice"].own, 60)
        assert bob.dht.stored()[0] == 0


def refusals(now: int) -> dict[str, tuple[str, bytes]]:
    of_mallory = Key("room-pointer", MALLORY.peer_id, "lab")
    forged = sign(MALLORY, of_mallory, CID, seq=99, now=now).replace(MALLORY.peer_id.encode(), ALICE.peer_id.encode())
    good = sign(ALICE, LAB, CID, seq=99, now=now)
    return {
        "forged": (str(LAB), forged),
        "foreign_key": (str(LAB), sign(MALLORY, of_mallory, CID, seq=99, now=now)),
        "expired": (str(LAB), sign(ALICE, LAB, CID, seq=99, now=now - 7 * HOUR)),
        "future": (str(LAB), sign(ALICE, LAB, CID, seq=99, now=now + 400_000)),
        "replayed": (str(Key("room-pointer", ALICE.peer_id, "hall")), good),
        "wrong_kind": (str(Key("profile-pointer", ALICE.peer_id)), good),
        "bad_key": ("/nexus/room/lab", good),
        "not_canonical": (str(LAB), good + b" "),
        "oversized": (str(LAB), good + b" " * 1000),
        "bad_json": (str(LAB), b"unsigned"),
    }


@pytest.mark.parametrize("reason", refusals(10**12))
async def test_what_is_refused(autojump_clock, reason):
    time = Time()
    held = sign(ALICE, LAB, CID, seq=1, now=time.now)
    key, value = refusals(time.now)[reason]
    async with time.up("bob", "alice", "mallory") as (bob, alice, mallory):
        await alice.dht.put(str(LAB), held)
        with pytest.raises(PointerError, match=reason):
            await mallory.dht.put(key, value)
        with pytest.raises(HostError):
            await push(mallory, bob, key, value)
        assert await mallory.dht.get(str(LAB)) == held
        if key != str(LAB):
            assert await bob.dht.get(key) is None


async def test_an_older_pointer_brings_nothing_back(autojump_clock):
    time = Time()
    first = sign(ALICE, LAB, CID, seq=1, now=time.now)
    second = sign(ALICE, LAB, Cid.of(JSON, b"[]"), seq=2, now=time.now)
    async with time.up("bob", "alice", "mallory") as (bob, alice, mallory):
        await alice.dht.put(str(LAB), first)
        assert await mallory.dht.get(str(LAB)) == first
        await alice.dht.put(str(LAB), second)
        assert await push(mallory, bob, str(LAB), first) == second, "bob says what he keeps"
        with pytest.raises(ValueError, match="newer"):
            await alice.dht.put(str(LAB), first)
        time.now += HOUR
        third = withdraw(ALICE, LAB, seq=3, now=time.now)
        await alice.dht.put(str(LAB), third)
        for older in (first, second):
            assert await push(mallory, bob, str(LAB), older) == third
        # until the time of all that came before is over too
        time.now += TTL_MS["room-pointer"]
        found = await mallory.dht.get(str(LAB))
        assert found == third
        assert read(str(LAB), found, time.now).withdrawn
        time.now += 1
        assert await mallory.dht.get(str(LAB)) is None
        for older in (first, second):
            with pytest.raises(HostError):
                await push(mallory, bob, str(LAB), older)


async def test_a_get_prefers_the_newest_and_repairs_who_has_an_older_one(autojump_clock):
    time = Time()
    first, second = (sign(ALICE, LAB, CID, seq=seq, now=time.now) for seq in (1, 2))
    async with time.up("bob", "mallory", "carol") as (bob, mallory, carol):
        await push(mallory, bob, str(LAB), first)
        await push(bob, carol, str(LAB), second)
        assert await mallory.dht.get(str(LAB)) == second
        await until(lambda: bob.dht._records.get(str(LAB).encode(), time.now) == second)


def test_what_an_earlier_version_kept_is_over():
    assert PointerRecords(lambda: 0).valid_until(str(LAB), b"unsigned") == 0
    assert PointerRecords(lambda: 0).valid_until(str(LAB), sign(ALICE, LAB, CID, seq=1, now=5)) == 5 + 6 * HOUR
