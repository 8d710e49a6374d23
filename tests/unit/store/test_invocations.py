from dataclasses import replace

from nexusd.store.invocations import Usage
from nexusd_protocols.ids import CapabilityName
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
