from dataclasses import replace

from nexusd.store.paging import PAGE_CHARS, Appended
from nexusd.store.rooms import JoinedRoom
from tests.unit.store.messages import HALL, LAB, message
from tests.unit.store.people import ALICE, ALICES_SECOND, CAROL


async def test_joining_twice_is_joining_once(store) -> None:
    assert await store.rooms.join(ALICE, LAB, 100) == JoinedRoom(LAB, 100, 0)
    assert await store.rooms.join(ALICE, LAB, 200) == JoinedRoom(LAB, 100, 0)
    assert [event.type for event in await store.events.read(after=0, limit=10)] == ["joined"]


async def test_leaving_keeps_the_history_and_joining_again_finds_it(store) -> None:
    await store.rooms.join(ALICE, LAB, 100)
    await store.log.append(ALICE, message(1), now=150)
    assert await store.rooms.leave(ALICE, LAB, 200)
    assert not await store.rooms.leave(ALICE, LAB, 201)
    assert await store.rooms.joined(ALICE) == []
    assert await store.log.count(ALICE, LAB) == 1
    assert await store.rooms.join(ALICE, LAB, 300) == JoinedRoom(LAB, 300, 1)
    types = [(event.type, event.at) for event in await store.events.read(after=0, limit=10)]
    assert types == [("joined", 100), ("message", 150), ("left", 200), ("joined", 300)]


async def test_leaving_a_room_never_joined(store) -> None:
    assert not await store.rooms.leave(ALICE, LAB, 1)
    assert await store.events.newest() == 0


async def test_rooms_are_listed_by_name_with_their_counts(store) -> None:
    await store.rooms.join(ALICE, LAB, 1)
    await store.rooms.join(ALICE, HALL, 2)
    await store.log.append_many([(ALICE, message(1)), (ALICE, message(2))], now=3)
    assert await store.rooms.joined(ALICE) == [JoinedRoom(HALL, 2, 0), JoinedRoom(LAB, 1, 2)]


async def test_a_message_comes_back_as_it_was(store) -> None:
    row = message(1, reply_to="m0", thread_id="t", references='["bafy"]', content="naïve 🙂 \x1b[31m\u0000end")
    appended = await store.log.append(ALICE, row, now=5)
    assert appended == Appended(1, 1)
    page = await store.log.history(ALICE, LAB, limit=10)
    assert page.rows == [replace(row, position=1)]


async def test_one_sender_and_id_is_one_message(store) -> None:
    first = message(1)
    assert await store.log.append(ALICE, first, now=5)
    assert await store.log.append(ALICE, replace(first, content="changed"), now=6) is None
    assert await store.log.count(ALICE, LAB) == 1
    assert [row.content for row in (await store.log.history(ALICE, LAB, limit=10)).rows] == [first.content]
    assert await store.events.newest() == 1


async def test_the_same_id_of_another_sender_room_or_agent_is_another_message(store) -> None:
    others = [
        (ALICE, message(1)),
        (ALICE, message(1, sender=CAROL)),
        (ALICE, message(1, room=HALL)),
        (ALICES_SECOND, message(1)),
    ]
    appended = await store.log.append_many([*others, *others], now=5)
    assert [result and result.position for result in appended] == [1, 2, 3, 4, None, None, None, None]
    assert await store.log.count(ALICE, LAB) == 2
    assert await store.log.count(ALICES_SECOND, LAB) == 1
    assert await store.log.count(ALICES_SECOND, HALL) == 0


async def test_history_is_paged_both_ways(store) -> None:
    await store.log.append_many(
        [(ALICE, message(number, room=room)) for number in range(10) for room in (LAB, HALL)], now=5
    )
    newest = await store.log.history(ALICE, LAB, limit=3)
    assert [row.message_id for row in newest.rows] == ["m7", "m8", "m9"]
    assert newest.more
    older = await store.log.history(ALICE, LAB, before=newest.rows[0].position, limit=100)
    assert [row.message_id for row in older.rows] == [f"m{number}" for number in range(7)]
    assert not older.more
    newer = await store.log.history(ALICE, LAB, after=older.rows[-1].position, limit=2)
    assert [row.message_id for row in newer.rows] == ["m7", "m8"]
    assert newer.more
    assert (await store.log.history(ALICES_SECOND, LAB, limit=3)).rows == []


async def test_a_page_of_large_messages_is_short(store) -> None:
    large = "x" * (PAGE_CHARS // 2)
    await store.log.append_many([(ALICE, message(number, content=large)) for number in range(5)], now=5)
    page = await store.log.history(ALICE, LAB, limit=50)
    assert [row.message_id for row in page.rows] == ["m3", "m4"]
    assert page.more


async def test_many_appends_are_one_commit(store) -> None:
    before = store.database.commits
    await store.log.append_many([(ALICE, message(number)) for number in range(100)], now=5)
    assert store.database.commits == before + 1
