"""Content that messages of rooms refer to."""

from __future__ import annotations

import os

import pytest
import trio
from trio.testing import MockClock

from nexusd.services.content import autopin
from nexusd_protocols.content import dag_cbor, dag_pb
from nexusd_protocols.content.block import Block
from nexusd_protocols.content.cid import DAG_CBOR, DAG_PB, RAW, Cid
from nexusd_protocols.ids import RoomId
from tests.harness.swarm import slowly

LAB = RoomId("lab")


async def settled(host) -> None:
    """Wait until nothing is fetched any more."""
    with trio.fail_after(100):
        while True:
            await trio.sleep(0.5)
            if not (await host.content.show()).fetches:
                return


async def test_it_is_kept_for_the_room(hosts, autojump_clock: MockClock):
    alice, bob = await hosts("alice"), await hosts("bob")
    cid = await alice.put(os.urandom(600_000))
    bob.content.referred(LAB, alice.peer, [cid, "0198c0de-not-a-cid", cid])
    await settled(bob)
    pin = (await bob.kept())[cid]
    assert (pin.owner, pin.retention, pin.name) == ("room:lab", "retained", "referred")
    assert (await bob.content.show()).others >= 600_000
    # the author keeps it already
    alice.content.referred(LAB, alice.peer, [cid])
    await settled(alice)
    assert [pin.owner for pin in (await alice.kept()).values()] == ["user"]


async def test_it_may_be_off(hosts, autojump_clock: MockClock):
    alice, bob = await hosts("alice"), await hosts("bob", autopin=False)
    cid = await alice.put(b"small")
    bob.content.referred(LAB, alice.peer, [cid])
    await settled(bob)
    assert await bob.kept() == {}
    assert (await bob.content.show()).autopin is False


async def test_eight_a_message_and_ten_messages_a_minute(hosts, autojump_clock: MockClock):
    alice, bob = await hosts("alice"), await hosts("bob")
    cids = [await alice.put(bytes([number, other])) for number in range(12) for other in range(9)]
    for number in range(12):
        bob.content.referred(LAB, alice.peer, cids[number * 9 : number * 9 + 9])
    await settled(bob)
    assert len(await bob.kept()) == 80
    await trio.sleep(60)
    bob.content.referred(LAB, alice.peer, cids[-9:])
    await settled(bob)
    assert len(await bob.kept()) == 88


async def test_the_oldest_makes_room(hosts, monkeypatch: pytest.MonkeyPatch, autojump_clock: MockClock):
    monkeypatch.setattr(autopin, "PINS", 3)
    alice, bob = await hosts("alice"), await hosts("bob")
    cids = [await alice.put(bytes([number])) for number in range(5)]
    for cid in cids:
        bob.content.referred(LAB, alice.peer, [cid])
        await settled(bob)
    assert set(await bob.kept()) == set(cids[2:])


@pytest.mark.parametrize(("total", "room"), [(500_000, 10_000_000), (10_000_000, 500_000)])
async def test_what_is_over_a_budget_is_not_kept(hosts, total: int, room: int, autojump_clock: MockClock):
    alice, bob = await hosts("alice"), await hosts("bob", total=total, room=room)
    large, small = await alice.put(os.urandom(600_000)), await alice.put(os.urandom(1000))
    bob.content.referred(LAB, alice.peer, [large, small])
    await settled(bob)
    assert set(await bob.kept()) == {small}
    assert len(alice.exchange.given) == 2, "of the large one the first block only"


async def test_what_came_and_could_not_be_kept_counts_for_as_long_as_it_is_there(hosts, autojump_clock: MockClock):
    alice, bob = await hosts("alice"), await hosts("bob", total=500_000, room=10_000_000)
    for _ in range(3):
        # a block that leads to more than may be kept, and as many bytes again of its own
        large = Block.of(DAG_CBOR, dag_cbor.encode({"data": os.urandom(300_000), "next": Cid.of(RAW, b"nowhere")}))
        await alice.store.blocks.put([large], now=alice.now[0])
        bob.content.referred(LAB, alice.peer, [str(large.cid)])
        await settled(bob)
    assert len(alice.exchange.given) == 2
    small = await alice.put(b"small")
    bob.content.referred(LAB, alice.peer, [small])
    await settled(bob)
    assert await bob.kept() == {}
    await trio.sleep(autopin.WASTED_S + 120)
    bob.content.referred(LAB, alice.peer, [small])
    await settled(bob)
    assert set(await bob.kept()) == {small}


@pytest.mark.parametrize("fits", [True, False])
async def test_very_many_links_count(hosts, fits: bool, autojump_clock: MockClock):
    alice = await hosts("alice")
    links = autopin.FEW_LINKS + 100
    total = 100_000 + autopin.LINK_BYTES * links * fits
    bob = await hosts("bob", total=total, room=10_000_000)
    leaf = Block.of(RAW, b"leaf")
    raw = dag_pb.encode([dag_pb.Link(leaf.cid, f"{number:08}", 4) for number in range(links)], None)
    full = Block.of(DAG_PB, raw, [leaf.cid])
    await alice.store.blocks.put([leaf, full], now=alice.now[0])
    bob.content.referred(LAB, alice.peer, [str(full.cid)])
    await settled(bob)
    assert set(await bob.kept()) == ({str(full.cid)} if fits else set())
    assert (await bob.content.show()).others >= autopin.LINK_BYTES * links * fits


async def test_what_nobody_has_is_not_kept(hosts, autojump_clock: MockClock):
    await hosts("alice")
    bob = await hosts("bob")
    bob.content.referred(LAB, bob.peer, [str(Cid.of(RAW, b"nowhere"))])
    await settled(bob)
    assert await bob.kept() == {}


async def test_more_than_can_wait_is_left_out(hosts, monkeypatch: pytest.MonkeyPatch, autojump_clock: MockClock):
    monkeypatch.setattr(autopin, "WAITING", 60)
    alice, bob = await hosts("alice"), await hosts("bob")
    alice.exchange.before = slowly(1)
    cids = [await alice.put(number.to_bytes(2, "big")) for number in range(80)]
    for number in range(0, 80, 8):
        bob.content.referred(LAB, f"sender {number // 16}", cids[number : number + 8])
    await trio.sleep(200)
    assert len(await bob.kept()) == autopin.WAITING + autopin.AT_ONCE
