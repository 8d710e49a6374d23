"""Whole things from several peers, whatever they do."""

from __future__ import annotations

import os

import pytest
import trio
from trio.testing import MockClock

from nexusd.host.ports import HostError, NotFoundError
from nexusd_protocols.content import dag_cbor
from nexusd_protocols.content.block import Block
from nexusd_protocols.content.cid import DAG_CBOR, RAW, Cid
from nexusd_protocols.rpc import schema
from nexusd_protocols.rpc.codes import Refusal
from tests.harness.swarm import slowly

SIZE = 3_000_000
"""12 leaves and a node."""


async def test_all_of_it_comes_and_is_kept_for_a_while(hosts):
    alice, bob = await hosts("alice"), await hosts("bob")
    data = os.urandom(SIZE)
    cid = await alice.put(data)
    state = await bob.fetch(cid)
    assert (state.done, state.blocks, state.bytes, state.total) == (True, 13, state.fetched, state.fetched)
    assert await bob.get(cid) == data
    pin = (await bob.kept())[cid]
    assert (pin.owner, pin.retention, pin.size) == ("cache", "cache", state.bytes)
    assert 1 < bob.exchange.most_under_way <= 32
    assert bob.exchange.sessions == 0
    again = await bob.fetch(cid)
    assert (again.done, again.fetched, again.bytes) == (True, 0, state.bytes)
    assert [event.type for event in bob.events][-1] == "fetched"
    assert bob.events[-1].data == again


async def test_what_one_keeps_already_is_kept_as_it_was(hosts):
    alice, bob = await hosts("alice"), await hosts("bob")
    cid = await alice.put(b"small")
    await bob.content.pin(schema.ContentPinParams(cid=cid))
    await bob.fetch(cid)
    assert [pin.owner for pin in (await bob.kept()).values()] == ["user"]


async def test_what_came_is_not_fetched_again(hosts, autojump_clock: MockClock):
    alice, bob = await hosts("alice"), await hosts("bob")
    data = os.urandom(SIZE)
    cid = await alice.put(data)

    async def lost(block: Cid) -> None:
        if len(alice.exchange.given) >= 6:
            raise NotFoundError("gone")

    alice.exchange.before = lost
    refused = await bob.fetch(cid)
    assert isinstance(refused, Refusal)
    assert refused.code == "content_not_found"
    assert cid in await bob.kept(), "what came of it stays for a while"
    alice.exchange.before = None
    state = await bob.fetch(cid)
    assert state.done
    assert len(alice.exchange.given) == 13


async def test_a_peer_that_comes_back_is_asked_again(hosts, autojump_clock: MockClock):
    alice, bob = await hosts("alice"), await hosts("bob")
    cid = await alice.put(os.urandom(SIZE))
    began = trio.current_time()

    async def away(block: Cid) -> None:
        if len(alice.exchange.given) >= 6 and trio.current_time() - began < 15:
            raise NotFoundError("restarting")

    alice.exchange.before = away
    state = await bob.fetch(cid)
    assert state.done


async def test_nobody_has_it(hosts):
    await hosts("alice")
    bob = await hosts("bob")
    nowhere = str(Cid.of(RAW, b"nowhere"))
    refused = await bob.fetch(nowhere)
    assert refused.code == "content_not_found"
    assert bob.names.asked == [nowhere]
    assert await bob.kept() == {}
    bob.names.alone = True
    assert (await bob.get(nowhere)).code == "content_not_found"
    with pytest.raises(HostError):
        await bob.content.fetch_block(Cid.of(RAW, b"nowhere"), ())


async def test_the_dht_names_who_has_it(hosts):
    alice, bob = await hosts("alice", alone=True), await hosts("bob", alone=True)
    data = os.urandom(SIZE)
    cid = await alice.put(data)
    await trio.testing.wait_all_tasks_blocked()
    assert (await bob.fetch(cid)).done
    assert await bob.get(cid) == data


async def test_a_peer_that_is_named_is_asked(hosts):
    alice, bob = await hosts("alice", alone=True), await hosts("bob", alone=True)
    bob.names.alone = True
    cid = await alice.put(b"small")
    assert (await bob.fetch(cid)).code == "content_not_found"
    assert (await bob.fetch(cid, peers=["alice"])).done
    assert await bob.content.fetch_block(Cid.parse(cid), [alice.peer]) == b"small"


async def test_whoever_waits_no_more_ends_it(hosts, autojump_clock: MockClock):
    alice, bob = await hosts("alice"), await hosts("bob")
    cid = await alice.put(os.urandom(SIZE))
    alice.exchange.before = slowly(25)
    state = await bob.fetch(cid, wait_ms=1000)
    assert (state.done, (await bob.content.show()).fetches) == (False, 1)
    for _ in range(3):
        assert not (await bob.fetch(cid, wait_ms=8000)).done
        await trio.sleep(5)
    assert (await bob.content.show()).fetches == 1, "somebody asks again and again"
    await trio.sleep(11)
    assert (await bob.content.show()).fetches == 0


async def test_two_who_want_the_same_share_one_fetch(hosts):
    alice, bob = await hosts("alice"), await hosts("bob")
    cid = await alice.put(os.urandom(SIZE))
    async with trio.open_nursery() as nursery:
        for _ in range(4):
            nursery.start_soon(bob.fetch, cid)
    assert len(alice.exchange.given) == 13


async def test_a_peer_that_sends_what_the_codec_does_not_allow(hosts):
    alice, bob = await hosts("alice"), await hosts("bob")
    wrong = Block.of(DAG_CBOR, b"\x18\x01")
    await alice.store.blocks.put([wrong], now=1)
    alice.exchange.source = _Raw({wrong.cid: wrong.data})
    assert (await bob.fetch(str(wrong.cid))).code == "bad_content"
    assert (await bob.get(str(wrong.cid))).code == "bad_content"


class _Raw:
    """A source that looks at nothing."""

    def __init__(self, blocks: dict[Cid, bytes]) -> None:
        self._blocks = blocks

    async def size(self, cid: Cid, peer: str) -> int | None:
        data = await self.get(cid, peer)
        return None if data is None else len(data)

    async def get(self, cid: Cid, peer: str) -> bytes | None:
        await trio.lowlevel.checkpoint()
        return self._blocks.get(cid)


async def test_a_small_thing_with_more_paths_than_anybody_can_count(hosts):
    alice, bob = await hosts("alice"), await hosts("bob")
    block = Block.of(RAW, b"leaf")
    blocks = [block]
    for number in range(100):
        below = blocks[-1].cid
        data = dag_cbor.encode({"a": below, "b": below, "n": number})
        blocks.append(Block.of(DAG_CBOR, data, [below]))
    root = await alice.content.keep(alice.agent, "user", blocks, "archival")
    state = await bob.fetch(str(root))
    assert state.done
    assert len(alice.exchange.given) == 101


async def test_a_damaged_block_is_had_again(hosts, autojump_clock: MockClock):
    alice, bob = await hosts("alice"), await hosts("bob")
    data = os.urandom(600_000)
    cid = await alice.put(data)
    await bob.fetch(cid)
    leaf = Cid.of(RAW, data[:262_144])
    await alice.store.blocks.database.write(
        lambda connection: connection.execute(
            "UPDATE block_data SET data = zeroblob(length(data)) WHERE id = (SELECT data FROM blocks WHERE digest = ?)",
            (leaf.digest,),
        ).fetchall()
    )
    assert await alice.content.source().get(leaf, bob.peer) is None, "it is never served"
    assert (await alice.content.show()).damaged == [str(leaf)]
    assert alice.content.found_damaged == 1
    await trio.sleep(40)
    assert (await alice.content.show()).damaged == []
    assert await alice.get(cid) == data
