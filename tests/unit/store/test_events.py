"""The event log: filters against brute force, resuming, waiting."""

import itertools
import random

import pytest
import trio
import trio.testing

from nexusd.store import Store
from nexusd.store.errors import StorageClosedError
from nexusd.store.paging import PAGE_CHARS
from nexusd_protocols.ids import MessageId
from tests.harness.stores import opened
from tests.unit.store.messages import HALL, LAB, invocation, message
from tests.unit.store.people import ALICE, BOB, CAROL

SEED = 20


async def happen(store: Store, number: int, rng: random.Random) -> None:
    """Something that is stored, of any kind."""
    peer, room = rng.choice([BOB, CAROL]), rng.choice([LAB, HALL])
    match rng.randrange(5):
        case 0:
            await store.log.append(ALICE, message(number, sender=peer, room=room), now=number)
        case 1:
            await store.inbox.receive(
                ALICE, peer=peer, message_id=MessageId(f"d{number}"), content="psst", format="text/plain", now=number
            )
        case 2:
            sent = await store.inbox.begin_send(
                ALICE, peer=peer, message_id=MessageId(f"d{number}"), content="yes", format="text/plain", now=number
            )
            await store.inbox.finish_send(ALICE, sent, "stored", now=number)
        case 3:
            await store.invocations.record(ALICE, invocation(number, peer=peer))
        case 4:
            if not await store.rooms.leave(ALICE, room, number):
                await store.rooms.join(ALICE, room, number)


async def read_all(store: Store, limit: int, **filters):
    found, after = [], 0
    while page := await store.events.read(after=after, limit=limit, **filters):
        assert len(page) <= limit
        found += page
        after = page[-1].cursor
    return found


async def test_every_filter_gives_what_it_says_in_order(store) -> None:
    print("seed", SEED)
    rng = random.Random(SEED)
    for number in range(150):
        await happen(store, number, rng)
    everything = await read_all(store, 500)
    assert [event.cursor for event in everything] == list(range(1, 151))
    assert {event.kind for event in everything} == {"room", "dm", "invoke"}
    kinds = [
        None,
        *(set(some) for size in (1, 2, 3) for some in itertools.combinations(("room", "dm", "invoke"), size)),
    ]
    for chosen, room, peer in itertools.product([*kinds, {"peer", "dm"}], [None, LAB], [None, BOB]):
        expected = [
            event
            for event in everything
            if (chosen is None or event.kind in chosen)
            and (room is None or event.room == room)
            and (peer is None or event.peer == peer)
        ]
        assert await read_all(store, 7, kinds=chosen, room=room, peer=peer) == expected


async def test_each_event_carries_its_row(store) -> None:
    await store.rooms.join(ALICE, LAB, 1)
    await store.log.append(ALICE, message(1), now=2)
    await store.invocations.record(ALICE, invocation(1))
    joined, said, called = await store.events.read(after=0, limit=10)
    assert joined.row is None
    assert said.row.content == "text 1"
    assert (said.room, said.peer, said.agent) == (LAB, BOB, ALICE)
    assert called.row.invocation == "i1"


async def test_kinds_that_are_never_stored_match_nothing(store) -> None:
    await store.rooms.join(ALICE, LAB, 1)
    assert await store.events.read(after=0, limit=10, kinds={"presence", "peer"}) == []
    assert await store.events.read(after=0, limit=10, kinds=set()) == []


async def test_large_rows_make_short_pages(store) -> None:
    large = "x" * (PAGE_CHARS // 2)
    await store.log.append_many([(ALICE, message(number, content=large)) for number in range(5)], now=1)
    sizes, after = [], 0
    while page := await store.events.read(after=after, limit=100):
        sizes.append(len(page))
        after = page[-1].cursor
    assert sizes == [2, 2, 1]


async def test_a_row_larger_than_a_page_comes_alone(store) -> None:
    await store.log.append(ALICE, message(1, content="x" * (PAGE_CHARS + 1)), now=1)
    await store.log.append(ALICE, message(2), now=1)
    assert [event.cursor for event in await store.events.read(after=0, limit=10)] == [1]
    assert [event.cursor for event in await store.events.read(after=1, limit=10)] == [2]


async def test_the_ends_of_the_log(tmp_path) -> None:
    path = tmp_path / "store.sqlite"
    async with opened(path) as store:
        assert (await store.events.oldest(), await store.events.newest()) == (0, 0)
        await store.rooms.join(ALICE, LAB, 1)
        await store.rooms.leave(ALICE, LAB, 2)
        assert (await store.events.oldest(), await store.events.newest()) == (1, 2)
    async with opened(path) as store:
        assert (await store.events.oldest(), await store.events.newest()) == (1, 2)


async def test_a_failed_write_leaves_no_event_and_no_gap(store) -> None:
    sent = await store.inbox.begin_send(
        ALICE, peer=BOB, message_id=MessageId("d1"), content="yes", format="text/plain", now=1
    )
    with pytest.raises(LookupError):
        await store.inbox.finish_send(ALICE, sent + 1, "stored", now=1)
    assert await store.events.newest() == 0
    assert await store.inbox.finish_send(ALICE, sent, "stored", now=1) == 1


async def test_those_who_wait_wake_after_the_commit_and_find_the_event(store) -> None:
    found = []

    async def wait(number: int) -> None:
        newest = await store.events.wait_beyond(0)
        found.append((number, newest, len(await store.events.read(after=0, limit=10))))

    async with trio.open_nursery() as nursery:
        for number in range(50):
            nursery.start_soon(wait, number)
        await trio.testing.wait_all_tasks_blocked()
        await store.settings.set("port", "4001")
        assert found == []
        await store.rooms.join(ALICE, LAB, 1)
    assert sorted(found) == [(number, 1, 1) for number in range(50)]


async def test_a_follower_misses_nothing(store) -> None:
    seen: list[int] = []

    async def follow() -> None:
        after = 0
        while after < 300:
            await store.events.wait_beyond(after)
            while page := await store.events.read(after=after, limit=13):
                seen.extend(event.cursor for event in page)
                after = page[-1].cursor

    async with trio.open_nursery() as nursery:
        nursery.start_soon(follow)
        for number in range(300):
            nursery.start_soon(lambda number=number: store.log.append(ALICE, message(number), now=number))
    assert seen == list(range(1, 301))


async def test_closing_ends_the_waiting(tmp_path) -> None:
    async def wait(store: Store) -> None:
        with pytest.raises(StorageClosedError):
            await store.events.wait_beyond(0)

    async with trio.open_nursery() as nursery:  # noqa: SIM117 - the store closes while the task waits
        async with opened(tmp_path / "store.sqlite") as store:
            nursery.start_soon(wait, store)
            await trio.testing.wait_all_tasks_blocked()
