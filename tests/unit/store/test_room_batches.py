"""Which hours are to be sealed, and what they were sealed into."""

import pytest

from nexusd.store.room_batches import HourOfLog, Place, place_of
from nexusd_protocols.content.cid import DAG_CBOR, Cid
from nexusd_protocols.history.batch import BatchRef
from nexusd_protocols.history.bounds import HOUR_MS
from nexusd_protocols.history.day import DayRef
from tests.unit.store.messages import HALL, LAB, at, edit, message
from tests.unit.store.people import ALICE, ALICES_SECOND


def ref(hour: int, part: int = 0, text: str = "") -> BatchRef:
    return BatchRef(hour, part, Cid.of(DAG_CBOR, f"{hour} {part} {text}".encode()), 1)


def in_hour(hour: int, number: int):
    return at(hour * HOUR_MS + number, message(number))


async def dirty(store, before: int = 1000) -> list[int]:
    return await store.batches.dirty_hours(ALICE, LAB, before, 10)


async def seal(store, hour: int, *refs: BatchRef) -> list[Cid]:
    state = await store.batches.signed_of_hour(ALICE, LAB, hour)
    return await store.batches.save_batches(ALICE, LAB, hour, state.changes, refs)


async def test_hours_in_which_something_is_held_are_to_be_sealed(store) -> None:
    await store.log.append_many([(ALICE, in_hour(hour, hour)) for hour in (7, 3, 5)], now=1)
    assert await dirty(store) == [3, 5, 7]
    assert await dirty(store, before=7) == [3, 5]
    assert await store.batches.dirty_hours(ALICE, LAB, 1000, 1) == [3]
    assert await store.batches.dirty_hours(ALICE, HALL, 1000, 10) == []
    assert await store.batches.dirty_hours(ALICES_SECOND, LAB, 1000, 10) == []


async def test_all_kinds_of_an_hour_go_into_its_batches_in_room_order(store) -> None:
    said = in_hour(3, 5)
    pair = [at(3 * HOUR_MS + 9, message(8, salt=salt)) for salt in "ab"]
    rows = [said, at(3 * HOUR_MS, edit(6, said, "new")), *pair, in_hour(4, 1), at(4 * HOUR_MS - 1, message(7))]
    await store.log.append_many([(ALICE, row) for row in rows], now=1)
    expected = sorted((row for row in rows if row.timestamp < 4 * HOUR_MS), key=lambda row: (row.timestamp, row.digest))
    assert await store.batches.signed_of_hour(ALICE, LAB, 3) == HourOfLog([row.signed for row in expected], 1)
    assert await store.batches.signed_of_hour(ALICE, LAB, 9) == HourOfLog([], 0)


async def test_a_sealed_hour_is_clean_until_it_changes(store) -> None:
    await store.log.append_many([(ALICE, in_hour(hour, hour)) for hour in (3, 5)], now=1)
    assert await seal(store, 3, ref(3, 0), ref(3, 1)) == []
    assert await dirty(store) == [5]
    assert await store.batches.batch_refs(ALICE, LAB, limit=9) == [ref(3, 0), ref(3, 1)]
    await store.log.append(ALICE, in_hour(3, 30), now=2)
    assert await dirty(store) == [3, 5]
    assert await store.batches.batch_refs(ALICE, LAB, limit=9) == [ref(3, 0), ref(3, 1)]
    assert await seal(store, 3, ref(3, 0, "new"), ref(3, 1)) == [ref(3, 0).cid]
    assert await store.batches.batch_refs(ALICE, LAB, limit=9) == [ref(3, 0, "new"), ref(3, 1)]


async def test_an_hour_that_changed_while_it_was_being_sealed_stays_dirty(store) -> None:
    await store.log.append(ALICE, in_hour(3, 1), now=1)
    state = await store.batches.signed_of_hour(ALICE, LAB, 3)
    await store.log.append(ALICE, in_hour(3, 2), now=2)
    await store.batches.save_batches(ALICE, LAB, 3, state.changes, [ref(3)])
    assert await dirty(store) == [3]


async def test_what_is_buried_makes_its_hour_dirty_and_a_refusal_does_not(store) -> None:
    rows = [in_hour(3, 1), in_hour(3, 2)]
    await store.log.append_many([(ALICE, row) for row in rows], now=1)
    await seal(store, 3, ref(3))
    await store.log.bury(ALICE, LAB, [(3 * HOUR_MS + 5, b"\1" * 32)], "quota_exceeded", now=2)
    assert await dirty(store) == []
    await store.log.bury(ALICE, LAB, [(rows[0].timestamp, rows[0].digest)], "unwanted", now=3)
    assert await dirty(store) == [3]
    assert (await store.batches.signed_of_hour(ALICE, LAB, 3)).signed == [rows[1].signed]


async def test_batches_are_listed_by_hour_and_part(store) -> None:
    await store.log.append_many([(ALICE, in_hour(hour, hour)) for hour in (3, 4, 5)], now=1)
    for hour in (5, 3, 4):
        await seal(store, hour, ref(hour, 1), ref(hour, 0))
    refs = [ref(hour, part) for hour in (3, 4, 5) for part in (0, 1)]
    assert await store.batches.batch_refs(ALICE, LAB, limit=9) == refs
    assert await store.batches.batch_refs(ALICE, LAB, limit=3) == refs[:3]
    assert await store.batches.batch_refs(ALICE, LAB, from_hour=4, to_hour=5, limit=9) == refs[2:4]


async def test_days_and_the_head(store) -> None:
    await store.rooms.join(ALICE, LAB, 1)
    one, two = (DayRef(day, Cid.of(DAG_CBOR, bytes([day])), day) for day in (1, 2))
    assert await store.batches.head(ALICE, LAB) is None
    await store.batches.save_days(ALICE, LAB, [two, one], head=one.cid)
    assert await store.batches.days(ALICE, LAB) == [one, two]
    assert await store.batches.head(ALICE, LAB) == one.cid
    changed = DayRef(2, one.cid, 5)
    await store.batches.save_days(ALICE, LAB, [DayRef(1, one.cid, 0), changed])
    assert await store.batches.days(ALICE, LAB) == [changed]
    assert await store.batches.head(ALICE, LAB) == one.cid


async def test_what_expires_takes_its_batches_along(store) -> None:
    await store.log.append_many([(ALICE, in_hour(hour, hour)) for hour in (23, 24, 25)], now=1)
    for hour in (23, 24, 25):
        await seal(store, hour, ref(hour))
    days = [DayRef(day, ref(day).cid, 1) for day in (0, 1)]
    await store.batches.save_days(ALICE, LAB, days)
    await store.log.expire(ALICE, LAB, 24 * HOUR_MS + 30)
    assert await store.batches.batch_refs(ALICE, LAB, limit=9) == [ref(24), ref(25)]
    assert await dirty(store) == [24]
    assert await store.batches.days(ALICE, LAB) == days[1:]


async def test_of_a_room_that_was_never_here_nothing_is_saved(store) -> None:
    with pytest.raises(LookupError):
        await store.batches.save_batches(ALICE, LAB, 3, 0, [ref(3)])
    with pytest.raises(LookupError):
        await store.batches.save_days(ALICE, LAB, [])


async def test_places_are_those_of_the_messages_in_the_order_of_their_digests(store) -> None:
    rows = [in_hour(3, number) for number in range(5)]
    await store.log.append_many([(ALICE, row) for row in [*rows, in_hour(4, 9)]], now=1)
    await store.log.refuse(ALICE, LAB, [(3 * HOUR_MS + 5, b"\1" * 32)], "quota_exceeded", now=2)
    found = await store.batches.places_of_hour(ALICE, LAB, 3)
    assert found.changes == (await store.batches.signed_of_hour(ALICE, LAB, 3)).changes
    assert [place_of(packed) for packed in found.packed] == sorted(
        (Place(row.timestamp, row.digest, len(row.signed)) for row in rows), key=lambda place: place.digest
    )


async def test_an_hour_whose_day_was_not_saved_stays_dirty(store) -> None:
    await store.log.append(ALICE, in_hour(3, 1), now=1)
    state = await store.batches.places_of_hour(ALICE, LAB, 3)
    await store.batches.save_batches(ALICE, LAB, 3, 0, [ref(3)])
    assert await dirty(store) == [3]
    await store.batches.save_days(ALICE, LAB, [DayRef(0, ref(3).cid, 1)], sealed={3: state.changes})
    assert await dirty(store) == []
