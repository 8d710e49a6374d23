"""What goes is what nothing keeps, and nothing else, whatever happens meanwhile."""

import pytest
import trio
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from nexusd.store.blocks import collection
from nexusd.store.blocks.collection import GRACE_MS, Collected
from nexusd.store.blocks.pins import Pin
from nexusd.store.store import Store, blocks_path
from nexusd_protocols.content.block import Block
from tests.harness.examples import examples
from tests.harness.stores import opened
from tests.unit.store.blocks.content import node, raw
from tests.unit.store.people import ALICE, ALICES_SECOND

LATER = GRACE_MS + 10


def pin(block: Block, **fields) -> Pin:
    return Pin(**({"agent": ALICE, "owner": "user", "cid": block.cid, "retention": "archival"} | fields))


async def here(store: Store, *blocks: Block) -> list[bool]:
    found = await store.blocks.has(block.cid for block in blocks)
    return [block.cid in found for block in blocks]


async def test_what_is_below_a_pin_stays_and_the_rest_goes(store) -> None:
    shared, kept, loose = raw("shared"), raw("kept"), raw("loose")
    root, other = node(node(kept), shared), node(loose, shared)
    every = [shared, kept, loose, root, node(kept), other]
    await store.blocks.put(every, now=0)
    await store.blocks.pin(pin(root), now=0)
    expected = Collected(2, len(loose.data) + len(other.data), 0)
    assert await store.blocks.collect(now=LATER, dry_run=True) == expected
    assert await here(store, *every) == [True] * 6
    assert await store.blocks.collect(now=LATER) == expected
    assert await here(store, *every) == [True, True, False, True, True, False]
    assert await store.blocks.missing(root.cid, 9) == []
    assert await store.blocks.collect(now=LATER) == Collected(0, 0, 0)


async def test_a_pin_that_expired_keeps_nothing_and_goes(store) -> None:
    block = raw("block")
    await store.blocks.put([block], now=0)
    await store.blocks.pin(pin(block, expires_at=LATER), now=0)
    assert await store.blocks.collect(now=LATER - 1) == Collected(0, 0, 0)
    expected = Collected(1, len(block.data), 1)
    assert await store.blocks.collect(now=LATER, dry_run=True) == expected
    assert len((await store.blocks.pins(limit=9)).rows) == 1
    assert await store.blocks.collect(now=LATER) == expected
    assert (await store.blocks.pins(limit=9)).rows == []


async def test_one_of_two_pins_is_enough(store) -> None:
    block = raw("block")
    await store.blocks.put([block], now=0)
    await store.blocks.pin(pin(block, expires_at=1), now=0)
    await store.blocks.pin(pin(block, agent=ALICES_SECOND), now=0)
    assert await store.blocks.collect(now=LATER) == Collected(0, 0, 1)
    assert await here(store, block) == [True]


async def test_what_was_stored_or_used_of_late_stays(store) -> None:
    old, put_again, used, new = (raw(name) for name in ("old", "put again", "used", "new"))
    await store.blocks.put([old, put_again, used], now=0)
    await store.blocks.put([put_again, new], now=20)
    assert await store.blocks.get(used.cid) == used
    assert await store.blocks.collect(now=LATER, dry_run=True) == Collected(1, 3, 0)
    assert await store.blocks.collect(now=LATER) == Collected(1, 3, 0)
    assert await here(store, old, put_again, used, new) == [False, True, True, True]
    assert (await store.blocks.collect(now=2 * LATER + 20)).blocks == 3


@pytest.mark.parametrize("rescue", ["pin", "pin above", "put", "put above", "get"])
async def test_what_is_wanted_while_it_is_being_collected_stays(store, monkeypatch, rescue) -> None:
    """Between the search for loose blocks and their removal."""
    block = raw("block")
    above = node(block)
    await store.blocks.put([block], now=0)
    if rescue == "put above":
        await store.blocks.pin(pin(above), now=0)
    elif rescue == "pin above":
        await store.blocks.put([above], now=0)
    read = store.blocks.database.read

    async def and_then(fn):
        found = await read(fn)
        monkeypatch.setattr(store.blocks.database, "read", read)
        match rescue:
            case "pin":
                await store.blocks.pin(pin(block), now=LATER)
            case "pin above":
                await store.blocks.pin(pin(above), now=LATER)
            case "put":
                await store.blocks.put([block], now=LATER)
            case "put above":
                await store.blocks.put([above], now=LATER)
            case "get":
                await store.blocks.get(block.cid)
        return found

    monkeypatch.setattr(store.blocks.database, "read", and_then)
    assert await store.blocks.collect(now=LATER) == Collected(0, 0, 0)
    assert await here(store, block) == [True]


async def test_a_damaged_block_that_nothing_keeps_is_forgotten(store) -> None:
    block = raw("block")
    await store.blocks.put([block], now=0)
    await store.blocks.database.write(lambda c: c.execute("UPDATE block_data SET data = x'00'"))
    assert await store.blocks.get(block.cid) is None
    assert await store.blocks.collect(now=LATER) == Collected(0, 0, 0)
    assert await store.blocks.damaged(9) == []


async def test_collecting_goes_on_in_steps_beside_other_work(store, monkeypatch) -> None:
    monkeypatch.setattr(collection, "ROUND", 7)
    monkeypatch.setattr(collection, "REMOVED_AT_ONCE", 3)
    loose = [raw(f"loose {number}") for number in range(40)]
    await store.blocks.put(loose, now=0)
    new = [node(raw(f"new {number}")) for number in range(40)]
    async with trio.open_nursery() as nursery:
        for block in new:
            nursery.start_soon(lambda block=block: store.blocks.put([block], now=LATER))
        collected = await store.blocks.collect(now=LATER)
    assert collected.blocks == 40
    assert await here(store, *loose, *new) == [False] * 40 + [True] * 40


async def test_freed_room_is_given_back_to_the_disk(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(collection, "FREE_KEPT_BYTES", 1 << 20)
    monkeypatch.setattr(collection, "SHRUNK_AT_ONCE", 64)
    path = tmp_path / "store.sqlite"
    async with opened(path) as store:
        kept = raw("kept", 100_000)
        await store.blocks.put([raw(f"{number}", 250_000) for number in range(40)], now=0)
        await store.blocks.put([kept], now=0)
        await store.blocks.pin(pin(kept), now=0)
        assert (await store.blocks.collect(now=LATER)).blocks == 40
        usage = await store.blocks.usage()
        assert usage.free_bytes <= 1 << 20
        assert usage.file_bytes < 2 << 20
        assert await store.blocks.get(kept.cid) == kept
        assert await store.blocks.database.integrity() == []
    assert blocks_path(path).stat().st_size < 2 << 20


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=examples(30), deadline=None)
@given(
    parents=st.lists(st.sets(st.integers(0, 11), max_size=4), min_size=12, max_size=12),
    pinned=st.sets(st.integers(0, 11), max_size=3),
    absent=st.sets(st.integers(0, 11), max_size=3),
)
async def test_a_collection_keeps_exactly_what_is_below_pins(tmp_path_factory, parents, pinned, absent) -> None:
    blocks: list[Block] = []
    for number, children in enumerate(parents):  # each names some of those before it
        blocks.append(node(*(blocks[child] for child in sorted(children) if child < number), name=f"{number}"))
    present = [block for number, block in enumerate(blocks) if number not in absent]
    kept: set[int] = set()
    waiting = list(pinned)
    while waiting:
        number = waiting.pop()
        kept.add(number)
        if number not in absent:
            waiting += [child for child in parents[number] if child < number]
    async with opened(tmp_path_factory.mktemp("blocks") / "store.sqlite") as store:
        await store.blocks.put(present, now=0)
        for number in pinned:
            await store.blocks.pin(pin(blocks[number]), now=0)
        await store.blocks.collect(now=LATER)
        found = await here(store, *blocks)
    assert found == [number in kept and number not in absent for number in range(12)]


# --- how much is looked at --------------------------------------------------------------------------------------------
MINUTE = 60_000


@pytest.fixture
def searched(monkeypatch) -> list[str]:
    """Which searches there are from now on."""
    found: list[str] = []

    def watch(name: str, real) -> None:
        def search(*args, **fields):
            found.append(name)
            return real(*args, **fields)

        monkeypatch.setattr(collection, name, search)

    watch("find_loose", collection.find_loose)
    watch("find_aged", collection.find_aged)
    return found


async def test_nothing_is_looked_at_where_nothing_changed(store, searched) -> None:
    block = raw("block")
    await store.blocks.put([block], now=0)
    await store.blocks.pin(pin(block), now=0)
    for minute in range(120):
        await store.blocks.collect(now=LATER + minute * MINUTE)
    assert searched == ["find_loose"] * 2, "once at the start, and once an hour"


async def test_those_alone_are_looked_at_whose_hour_is_over(store, searched) -> None:
    kept = raw("kept")
    above = node(kept)
    await store.blocks.pin(pin(above), now=0)
    await store.blocks.collect(now=50 * MINUTE)
    for minute in range(51, 55):
        await store.blocks.put([raw(f"loose {minute}"), kept, above], now=minute * MINUTE)
    await store.blocks.collect(now=109 * MINUTE)
    gone = [(await store.blocks.collect(now=minute * MINUTE)).blocks for minute in range(110, 116)]
    assert gone == [0, 1, 1, 1, 1, 0]
    assert searched.count("find_loose") == 2, "the walk of the hour, at 110"
    assert await here(store, kept, above) == [True, True]


async def test_a_walk_for_what_was_unpinned_waits_for_a_while(store, searched) -> None:
    block = raw("block")
    await store.blocks.put([block], now=0)
    await store.blocks.pin(pin(block), now=0)
    await store.blocks.collect(now=LATER)
    await store.blocks.unpin(ALICE, "user", block.cid)
    gone = [
        (await store.blocks.collect(now=LATER + minute * MINUTE, patience_ms=5 * MINUTE)).blocks for minute in range(8)
    ]
    assert gone == [0, 0, 0, 0, 0, 1, 0, 0]
    assert searched == ["find_loose"] * 2


async def test_after_a_collection_that_failed_everything_is_looked_at(store, searched, monkeypatch) -> None:
    loose = raw("loose")
    await store.blocks.collect(now=0)
    await store.blocks.put([loose], now=1)
    with monkeypatch.context() as patch:
        patch.setattr(collection, "remove_loose", lambda *_, **__: 1 // 0)
        with pytest.raises(ZeroDivisionError):
            await store.blocks.collect(now=GRACE_MS + 1)
    assert (await store.blocks.collect(now=GRACE_MS + 2)).blocks == 1


_NUMBER = st.integers(0, 7)
_STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("put"), _NUMBER),
        st.tuples(st.just("pin"), _NUMBER),
        st.tuples(st.just("expire"), _NUMBER),
        st.tuples(st.just("unpin"), _NUMBER),
        st.tuples(st.just("remove"), _NUMBER),
        st.tuples(st.just("wait"), st.sampled_from([1, MINUTE, GRACE_MS // 2, GRACE_MS, -GRACE_MS, -3 * GRACE_MS])),
        st.tuples(st.just("collect"), st.just(0)),
    ),
    max_size=40,
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=examples(60), deadline=None)
@given(steps=_STEPS)
async def test_a_collection_finds_what_a_walk_of_everything_does(tmp_path_factory, steps) -> None:
    blocks: list[Block] = []
    for number in range(8):
        blocks.append(node(*blocks[number // 2 : number], name=f"{number}"))
    now = 10 * GRACE_MS
    async with opened(tmp_path_factory.mktemp("blocks") / "store.sqlite") as store:
        for what, number in [*steps, ("collect", 0)]:
            match what:
                case "put":
                    await store.blocks.put([blocks[number]], now=now)
                case "pin":
                    await store.blocks.pin(pin(blocks[number]), now=now)
                case "expire":
                    await store.blocks.pin(pin(blocks[number], expires_at=now + GRACE_MS // 2), now=now)
                case "unpin":
                    await store.blocks.unpin(ALICE, "user", blocks[number].cid)
                case "remove":
                    await store.blocks.remove(blocks[number].cid, needed=lambda _digest: False)
                case "wait":
                    now += number
                case "collect":
                    await store.blocks.collect(now=now)
                    assert await store.blocks.collect(now=now, dry_run=True) == Collected(0, 0, 0)
