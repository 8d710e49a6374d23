from dataclasses import replace

from nexusd.store.invocations import Usage
from nexusd_protocols.ids import CapabilityName, MessageId
from tests.harness.soundness import faults
from tests.unit.store.messages import invocation
from tests.unit.store.people import ALICE, ALICES_SECOND, BOB, CAROL


async def test_an_invocation_comes_back_with_its_event(store) -> None:
    row = invocation(1, outcome="timeout")
    cursor = await store.invocations.record(ALICE, row)
    assert (await store.invocations.list(ALICE, limit=10)).rows == [replace(row, position=1)]
    [event] = await store.events.read(after=0, limit=10)
    assert (event.cursor, event.kind, event.type, event.at, event.peer) == (cursor, "invoke", "finished", 1011, BOB)
    assert event.row == replace(row, position=1)


async def test_invocations_are_paged(store) -> None:
    for number in range(5):
        await store.invocations.record(ALICE, invocation(number))
    await store.invocations.record(ALICES_SECOND, invocation(9))
    page = await store.invocations.list(ALICE, limit=2)
    assert [row.invocation for row in page.rows] == ["i3", "i4"]
    assert page.more
    page = await store.invocations.list(ALICE, after=0, limit=2)
    assert [row.invocation for row in page.rows] == ["i0", "i1"]


async def test_the_summary_adds_up_per_peer_capability_and_direction(store) -> None:
    await store.invocations.record(ALICE, invocation(1))
    await store.invocations.record(ALICE, invocation(2, input_bytes=30, output_bytes=50, outcome="timeout"))
    await store.invocations.record(ALICE, invocation(3, direction="out"))
    await store.invocations.record(ALICE, invocation(4, capability=CapabilityName("count")))
    await store.invocations.record(ALICE, invocation(5, peer=CAROL))
    await store.invocations.record(ALICES_SECOND, invocation(6))
    usage = await store.invocations.summary(ALICE)
    upper, count = CapabilityName("upper"), CapabilityName("count")
    expected = [
        Usage(BOB, count, "in", 1, 0, 3, 5, 10, 1004),
        Usage(BOB, upper, "in", 2, 1, 33, 55, 20, 1002),
        Usage(BOB, upper, "out", 1, 0, 3, 5, 10, 1003),
        Usage(CAROL, upper, "in", 1, 0, 3, 5, 10, 1005),
    ]
    assert usage == sorted(expected, key=lambda sums: (sums.peer, sums.capability, sums.direction))


async def test_old_calls_are_forgotten_with_their_events_but_not_what_was_paid_for(store, monkeypatch) -> None:
    monkeypatch.setattr("nexusd.store.invocations.AT_ONCE", 2)
    paid = {"payment": "k", "asset": "eip155:8453/83", "amount": 7, "units": 1}
    for number in range(1, 11):
        await store.invocations.record(ALICE, invocation(number, **(paid if number == 2 else {})))
    before = await store.metering.sums(ALICE)
    assert await store.invocations.forget(3) == 6
    rows = (await store.invocations.list(ALICE, limit=20)).rows
    assert [row.invocation for row in rows] == ["i2", "i8", "i9", "i10"]
    events = await store.events.read(after=0, limit=50, kinds=["invoke"])
    assert [event.row.invocation for event in events] == ["i2", "i8", "i9", "i10"]
    assert await store.metering.sums(ALICE) == before
    assert await faults(store) == []
    # the payment is known still
    await store.invocations.record(ALICE, invocation(11, **paid))
    assert sum(sums.amount for sums in await store.metering.sums(ALICE)) == 7
    assert await store.invocations.forget(3) == 1
    assert await store.invocations.forget(3) == 0
    assert await store.invocations.forget(0) == 2
    assert [row.invocation for row in (await store.invocations.list(ALICE, limit=20)).rows] == ["i2", "i11"]


async def test_what_others_stored_stays(store) -> None:
    await store.inbox.receive(ALICE, peer=BOB, message_id=MessageId("d1"), content="hi", format="text/plain", now=1)
    await store.invocations.record(ALICE, invocation(1))
    assert await store.invocations.forget(0) == 1
    assert [event.kind for event in await store.events.read(after=0, limit=9)] == ["dm"]
