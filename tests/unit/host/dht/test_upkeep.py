"""What the DHT does by itself: telling again, keeping over restarts, within bounds."""

from __future__ import annotations

from contextlib import asynccontextmanager

import pytest
import trio

from nexusd.host.dht.upkeep import KEEP_SECONDS, RENEW_SECONDS, Upkeep
from nexusd_protocols.kad.providers import Providers
from nexusd_protocols.kad.records import Records
from nexusd_protocols.kad.renewals import INTERVAL_MS, RETRY_MS, Renewal, Renewals
from nexusd_protocols.kad.routing_table import RoutingTable
from tests.harness.kad import PROVIDED, PROVIDED_KEY, Numbered
from tests.harness.memnet import MemoryNetwork
from tests.harness.mesh import EPOCH_MS
from tests.harness.nodes import connected, ip_of, running, signer, until
from tests.unit.host.dht.shelf import MemoryShelf


class World:
    """Nodes on one network in memory, each with a shelf that outlives it."""

    def __init__(self) -> None:
        self.network = MemoryNetwork(1)
        self.pace = 1
        self.shelves: dict[str, MemoryShelf] = {}

    def now(self) -> int:
        """The wall clock may go faster than the loop's: a day of pings and heartbeats takes a minute to simulate."""
        return EPOCH_MS + round(trio.current_time() * 1000) * self.pace

    @asynccontextmanager
    async def up(self, *names: str):
        from nexusd.host.node import Node

        nodes = []
        for name in names:
            ip = ip_of("abcdefgh".index(name[0]))
            nodes.append(
                Node(
                    signer(name),
                    listen=[f"/ip4/{ip}/tcp/4001"],
                    transports=[self.network.transport(ip)],
                    schema=Numbered(),
                    keepalive=1e9,
                    shelf=self.shelves.setdefault(name, MemoryShelf()),
                    wall_clock=self.now,
                )
            )
        async with running(*nodes):
            for node in nodes[1:]:
                await connected(nodes[0], node)
            await until(lambda: all(node.dht.size() for node in nodes) or len(nodes) == 1)
            yield nodes


async def test_what_nobody_took_is_told_when_somebody_comes(autojump_clock):
    world = World()
    async with world.up("alice") as (alice,):
        assert await alice.dht.put("/nexus/x", b"1") == []
        assert await alice.dht.provide(PROVIDED) == []
        assert await alice.dht.get("/nexus/x") == b"1", "it is here"
        async with world.up("bob") as (bob,):
            await connected(alice, bob)
            await until(lambda: bob.dht.stored() == (1, 1), 5)
            assert await bob.dht.get("/nexus/x") == b"1"


async def test_what_is_ours_is_told_again_before_others_forget(autojump_clock):
    world = World()
    world.pace = 500
    hour = 3600 / world.pace
    async with world.up("alice", "bob") as (alice, bob):
        assert await alice.dht.put("/nexus/x", b"1") == [bob.peer_id]
        assert await alice.dht.provide(PROVIDED) == [bob.peer_id]
        kept = world.shelves["bob"]
        await trio.sleep(KEEP_SECONDS + 1)
        first = kept.records[b"/nexus/x"].received_at
        await trio.sleep(22 * hour + RENEW_SECONDS + KEEP_SECONDS)
        assert first < kept.records[b"/nexus/x"].received_at
        assert kept.providers[(PROVIDED_KEY, alice.peer_id)].received_at > first
        await alice.dht.withdraw("/nexus/x")
        await alice.dht.stop_providing(PROVIDED)
        await trio.sleep(49 * hour + KEEP_SECONDS)
        assert bob.dht.stored() == (0, 0)
        assert (kept.records, kept.providers) == ({}, {})


async def test_what_is_ours_and_what_is_others_is_there_after_a_restart(autojump_clock):
    world = World()
    async with world.up("alice", "bob") as (alice, bob):
        await alice.dht.put("/nexus/x", b"1")
        await alice.dht.provide(PROVIDED)
    async with world.up("bob", "carol") as (bob, carol):
        assert bob.dht.stored() == (1, 1), "what was taken just before the end too"
        assert await carol.dht.get("/nexus/x") == b"1"
        assert [found.peer for found in await carol.dht.find_providers(PROVIDED)] == [alice.peer_id]
    world.shelves["bob"] = MemoryShelf()
    await trio.sleep(INTERVAL_MS / 1000)
    async with world.up("alice", "bob") as (alice, bob):
        await until(lambda: bob.dht.stored() == (1, 1), 60)


async def test_a_record_that_others_have_a_better_one_of_is_told_no_more(autojump_clock):
    world = World()
    async with world.up("alice") as (alice,), world.up("bob") as (bob,):
        await bob.dht.put("/nexus/x", b"2")
        await alice.dht.put("/nexus/x", b"1")
        await connected(alice, bob)
        await until(lambda: not world.shelves["alice"].own, RETRY_MS / 1000)
        assert await alice.dht.get("/nexus/x") == b"2"


async def test_a_put_older_than_what_others_have_is_refused(autojump_clock):
    world = World()
    async with world.up("alice", "bob") as (alice, bob):
        await bob.dht.put("/nexus/x", b"2")
        with pytest.raises(ValueError, match="newer"):
            await alice.dht.put("/nexus/x", b"1")
        assert not world.shelves["alice"].own


async def test_a_full_disk_loses_nothing_that_it_did_not_have(autojump_clock):
    world = World()
    async with world.up("alice", "bob") as (alice, bob):
        world.shelves["bob"].full = True
        await alice.dht.put("/nexus/x", b"1")
        await trio.sleep(3 * KEEP_SECONDS)
        assert not world.shelves["bob"].records
        with pytest.raises(OSError, match="full"):
            await bob.dht.provide(PROVIDED)
        world.shelves["bob"].full = False
        await trio.sleep(2 * KEEP_SECONDS)
        assert set(world.shelves["bob"].records) == {b"/nexus/x"}


async def test_a_record_that_was_replaced_while_it_was_told_stays():
    shelf, renewals = MemoryShelf(), Renewals(lambda: 0.0)

    async def tell(renewal: Renewal) -> None:
        """Others have a better one already: the next of our own."""
        await upkeep.keep(renewals.put("record", renewal.key, b"2", 0))

    async def look(_key: bytes) -> None:
        raise AssertionError("nothing is looked up")

    upkeep = Upkeep(
        RoutingTable(signer("alice").peer_id),
        Records(signer("alice").peer_id),
        Providers(),
        renewals,
        shelf,
        tell=tell,
        look=look,
        online=lambda: False,
        valid_until=lambda _key, _value: None,
        clock=lambda: 0,
        entropy=bytes,
    )
    first = await upkeep.keep(renewals.put("record", b"/nexus/x", b"1", 0))
    with pytest.raises(ValueError, match="newer"):
        await upkeep.tell(first)
    assert renewals.value(b"/nexus/x") == b"2"
    assert [kept.value for kept in shelf.own.values()] == [b"2"]
