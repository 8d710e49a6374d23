from nexusd.store.rooms import JoinedRoom
from tests.unit.store.messages import HALL, LAB, message
from tests.unit.store.people import ALICE, ALICES_SECOND


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
    assert await store.rooms.join(ALICE, LAB, 300) == JoinedRoom(LAB, 300, 1, bytes=len(message(1).signed))
    types = [(event.type, event.at) for event in await store.events.read(after=0, limit=10)]
    assert types == [("joined", 100), ("message", 150), ("left", 200), ("joined", 300)]


async def test_leaving_a_room_never_joined(store) -> None:
    assert not await store.rooms.leave(ALICE, LAB, 1)
    assert await store.events.newest() == 0


async def test_rooms_are_listed_by_name_with_their_counts(store) -> None:
    await store.rooms.join(ALICE, LAB, 1)
    await store.rooms.join(ALICE, HALL, 2)
    await store.log.append_many([(ALICE, message(1)), (ALICE, message(2))], now=3)
    size = len(message(1).signed + message(2).signed)
    assert await store.rooms.joined(ALICE) == [JoinedRoom(HALL, 2, 0), JoinedRoom(LAB, 1, 2, bytes=size)]


async def test_how_a_room_is_kept_is_changed_one_thing_at_a_time(store) -> None:
    await store.rooms.join(ALICE, LAB, 100)
    assert await store.rooms.configure(ALICE, LAB, retention="retained") == JoinedRoom(
        LAB, 100, 0, retention="retained"
    )
    await store.rooms.configure(ALICE, LAB, description="our lab")
    await store.rooms.configure(ALICE, LAB, mirror=True)
    expected = JoinedRoom(LAB, 100, 0, retention="retained", description="our lab", mirror=True)
    assert await store.rooms.get(ALICE, LAB) == expected
    assert await store.rooms.configure(ALICE, LAB, description="", mirror=False) == JoinedRoom(
        LAB, 100, 0, retention="retained"
    )
    assert await store.rooms.get(ALICES_SECOND, LAB) is None


async def test_a_room_that_is_mirrored_only_is_kept_and_not_joined(store) -> None:
    await store.rooms.configure(ALICE, LAB, mirror=True)
    await store.rooms.join(ALICE, HALL, 1)
    await store.rooms.leave(ALICE, HALL, 2)
    assert await store.rooms.joined(ALICE) == []
    assert await store.rooms.kept(ALICE) == [
        JoinedRoom(HALL, 1, 0, joined=False),
        JoinedRoom(LAB, 0, 0, joined=False, mirror=True),
    ]
