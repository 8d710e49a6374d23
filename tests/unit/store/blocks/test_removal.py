"""What is removed on request is all of one thing, but for what something else needs."""

from nexusd.store.blocks.collection import Collected
from nexusd.store.blocks.pins import Pin
from nexusd.store.blocks.usage import Pinned
from nexusd_protocols.content.block import Block
from tests.unit.store.blocks.content import node, raw
from tests.unit.store.people import ALICE


def nothing(_digest: bytes) -> bool:
    return False


def pin(block: Block, **fields) -> Pin:
    return Pin(**({"agent": ALICE, "owner": "user", "cid": block.cid, "retention": "archival"} | fields))


async def test_all_below_it_goes_at_once_but_what_is_kept(store) -> None:
    shared, own, beside = raw("shared"), raw("own"), raw("beside")
    root, other = node(node(own), shared), node(shared)
    await store.blocks.put([shared, own, beside, node(own), root, other], now=5)
    await store.blocks.pin(pin(other), now=5)
    gone = await store.blocks.remove(root.cid, needed=nothing)
    assert gone == Collected(3, len(own.data) + len(node(own).data) + len(root.data), 0)
    assert await store.blocks.has([shared.cid, own.cid, beside.cid, root.cid, other.cid]) == {
        shared.cid,
        beside.cid,
        other.cid,
    }
    assert await store.blocks.remove(root.cid, needed=nothing) == Collected(0, 0, 0)


async def test_what_a_pin_above_keeps_does_not_go(store) -> None:
    leaf = raw("leaf")
    above = node(node(leaf))
    await store.blocks.put([leaf, node(leaf), above], now=5)
    await store.blocks.pin(pin(above), now=5)
    assert await store.blocks.remove(node(leaf).cid, needed=nothing) == Collected(0, 0, 0)


async def test_what_is_needed_does_not_go(store) -> None:
    """A put under way has stored it, and pins it when it ends."""
    old, new = raw("old"), raw("new")
    await store.blocks.put([old, new, node(old, new)], now=5)
    gone = await store.blocks.remove(node(old, new).cid, needed=lambda digest: digest == new.cid.digest)
    assert gone.blocks == 2
    assert await store.blocks.has([old.cid, new.cid]) == {new.cid}


async def test_many_go_in_small_steps_and_leave_their_room(store) -> None:
    leaves = [raw(str(number), 20_000) for number in range(200)]
    await store.blocks.put([*leaves, node(*leaves)], now=5)
    commits = store.blocks.database.commits
    assert (await store.blocks.remove(node(*leaves).cid, needed=nothing)).blocks == 201
    assert store.blocks.database.commits - commits >= 4
    assert await store.blocks.free_bytes() >= 200 * 20_000


async def test_owners(store) -> None:
    await store.blocks.pin(pin(raw("a"), size=5), now=1)
    await store.blocks.pin(pin(raw("b"), owner="room:lab", size=7), now=1)
    await store.blocks.pin(pin(raw("c"), owner="room:lab", size=8), now=1)
    assert await store.blocks.owners() == {"user": Pinned(1, 5), "room:lab": Pinned(2, 15)}
    assert (await store.blocks.usage()).by_owner == await store.blocks.owners()


async def test_what_waits_in_the_log(store) -> None:
    before = store.blocks.pending_bytes
    await store.blocks.put([raw("large", 1_000_000)], now=1)
    assert store.blocks.pending_bytes - before >= 1_000_000
