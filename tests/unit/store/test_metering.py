"""What was used: sums per peer, capability and direction, with the bytes that really went."""

from datetime import UTC, datetime

import apsw
from hypothesis import given, settings
from hypothesis import strategies as st

from nexusd.store.ledger import metering
from nexusd.store.ledger.metering import DAY_MS, EVERYBODY, KEEP_DAYS, Meter
from nexusd.store.schema import Layout, migrate, shipped_migrations
from nexusd_protocols.identity import PeerId
from nexusd_protocols.ids import CapabilityName
from tests.harness.soundness import faults
from tests.unit.store.messages import invocation
from tests.unit.store.people import ALICE, ALICES_SECOND, BOB, CAROL, MALLORY

UPPER = CapabilityName("upper")
USDC = "eip155:8453/833589fcd6edb6e08f4c7c32d4f71b54bda02913"


def meter(**fields):
    values = {
        "peer": BOB,
        "capability": UPPER,
        "direction": "in",
        "asset": "",
        "calls": 1,
        "failed": 0,
        "input_bytes": 3,
        "output_bytes": 5,
        "duration_ms": 10,
        "units": 0,
        "amount": 0,
        "first_day": 0,
        "last_at": 1001,
    }
    return Meter(**(values | fields))


async def test_calls_are_metered_both_ways_and_by_what_was_paid(store) -> None:
    await store.invocations.record(ALICE, invocation(1))
    await store.invocations.record(ALICE, invocation(2, outcome="timeout", input_bytes=70))
    for number, amount in ((3, 1 << 200), (4, 7)):
        paid = {"payment": f"{USDC}/p/{number}", "asset": USDC, "units": 12, "amount": amount}
        await store.invocations.record(ALICE, invocation(number, direction="out", **paid))
    await store.invocations.record(ALICES_SECOND, invocation(5))
    assert await store.metering.sums(ALICE) == [
        meter(calls=2, failed=1, input_bytes=73, output_bytes=10, duration_ms=20, last_at=1002),
        meter(
            direction="out",
            asset=USDC,
            calls=2,
            input_bytes=6,
            output_bytes=10,
            duration_ms=20,
            units=24,
            amount=(1 << 200) + 7,
            last_at=1004,
        ),
    ]
    assert await faults(store) == []
    [*_, row] = (await store.invocations.list(ALICE, limit=9)).rows
    assert (row.payment, row.asset, row.amount, row.units) == (f"{USDC}/p/4", USDC, 7, 12)


async def test_what_was_not_begun_is_no_call_and_did_not_fail(store) -> None:
    outcomes = [
        "payment_required",
        "PAYMENT_REQUIRED",
        "invalid_params",
        "nexus_exposure",
        "NOT_FOUND",
        "timeout",
        "ok",
    ]
    for number, outcome in enumerate(outcomes):
        await store.invocations.record(ALICE, invocation(number, outcome=outcome, output_bytes=0))
    # what was refused in the middle of its work was begun all the same
    await store.invocations.record(ALICE, invocation(7, outcome="nexus_exposure", output_bytes=5))
    paid = {"payment": f"{USDC}/p/8", "asset": USDC, "units": 1, "amount": 1}
    await store.invocations.record(ALICE, invocation(8, outcome="settlement_pending", output_bytes=0, **paid))
    free, bought = await store.metering.sums(ALICE)
    assert (free.calls, free.failed, free.not_begun) == (3, 2, 5)
    assert (bought.calls, bought.failed, bought.not_begun) == (1, 1, 0)
    assert await faults(store) == []
    await store.metering.fold((KEEP_DAYS + 2) * DAY_MS)
    assert [(sums.calls, sums.failed, sums.not_begun) for sums in await store.metering.sums(ALICE)] == [
        (3, 2, 5),
        (1, 1, 0),
    ]


async def test_units_of_one_kind_are_summed_apart_from_others(store) -> None:
    for number, unit in ((1, "chunk"), (2, "byte"), (3, "chunk")):
        paid = {"payment": f"{USDC}/p/{number}", "asset": USDC, "units": number, "unit": unit, "amount": 1}
        await store.invocations.record(ALICE, invocation(number, **paid))
    assert [(meter.unit, meter.units, meter.calls) for meter in await store.metering.sums(ALICE)] == [
        ("byte", 2, 1),
        ("chunk", 4, 2),
    ]
    assert (await store.invocations.list(ALICE, limit=1)).rows[0].unit == "chunk"
    assert await faults(store) == []


async def test_units_are_summed_up_to_what_a_row_holds(store) -> None:
    for number in range(3):
        paid = {"payment": f"{USDC}/p/{number}", "asset": USDC, "units": 5 * 10**18, "unit": "chunk", "amount": 1}
        await store.invocations.record(ALICE, invocation(number, started_at=number % 2 * 40 * DAY_MS, **paid))
    assert [(sums.units, sums.calls) for sums in await store.metering.sums(ALICE, until=DAY_MS)] == [(metering.MOST, 2)]
    await store.metering.fold((KEEP_DAYS + 90) * DAY_MS)
    assert [(sums.calls, sums.amount) for sums in await store.metering.sums(ALICE)] == [(3, 3)]


async def test_a_payment_is_counted_with_the_first_call_that_shows_it(store) -> None:
    paid = {"payment": f"{USDC}/p/n", "asset": USDC, "units": 1, "amount": 7}
    for number in (1, 2):
        await store.invocations.record(ALICE, invocation(number, **paid))
    (sums,) = await store.metering.sums(ALICE)
    assert (sums.calls, sums.amount, sums.units) == (2, 7, 1)
    # the other side of it, where both are agents here
    await store.invocations.record(ALICES_SECOND, invocation(3, **paid))
    await store.invocations.record(ALICE, invocation(4, direction="out", **paid))
    assert sum(row.amount for row in await store.metering.sums(ALICE)) == 14
    (sums,) = await store.metering.sums(ALICES_SECOND)
    assert sums.amount == 7
    assert await faults(store) == []


async def test_sums_are_over_days(store) -> None:
    for day in (1, 1, 2, 4):
        await store.invocations.record(ALICE, invocation(day, started_at=day * DAY_MS + 9))
    [only] = await store.metering.sums(ALICE, since=2 * DAY_MS + 100, until=5 * DAY_MS)
    assert (only.calls, only.first_day, only.last_at) == (2, 2, 4 * DAY_MS + 9)
    [only] = await store.metering.sums(ALICE, until=2 * DAY_MS)
    assert (only.calls, only.first_day) == (2, 1)
    assert await store.metering.sums(ALICE, since=5 * DAY_MS) == []


def day_of(text: str) -> int:
    return int(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp() * 1000) // DAY_MS


async def test_what_is_old_is_put_together_by_months_and_without_peers(store) -> None:
    for number, (day, peer) in enumerate(
        [("2025-01-31", BOB), ("2025-02-01", BOB), ("2025-02-28", CAROL), ("2025-02-28", BOB), ("2026-03-05", BOB)]
    ):
        await store.invocations.record(ALICE, invocation(number, peer=peer, started_at=day_of(day) * DAY_MS + 7))
    assert await store.metering.fold((day_of("2025-02-28") + KEEP_DAYS) * DAY_MS) == 2
    assert await store.metering.fold((day_of("2025-02-28") + KEEP_DAYS + 1) * DAY_MS) == 2
    assert await store.metering.fold((day_of("2025-02-28") + KEEP_DAYS + 1) * DAY_MS) == 0
    january, february = day_of("2025-01-01") * DAY_MS, day_of("2025-02-01") * DAY_MS
    [only] = await store.metering.sums(ALICE, until=february)
    assert (only.peer, only.calls, only.first_day) == (EVERYBODY, 1, january // DAY_MS)
    [folded] = await store.metering.sums(ALICE, since=february, until=february + DAY_MS)
    assert (folded.calls, folded.input_bytes, folded.last_at) == (3, 9, day_of("2025-02-28") * DAY_MS + 7)
    assert [(sums.peer, sums.calls) for sums in await store.metering.sums(ALICE)] == [(EVERYBODY, 4), (BOB, 1)]
    assert await faults(store) == []


async def test_of_too_many_rows_the_oldest_are_put_together(store, monkeypatch) -> None:
    monkeypatch.setattr(metering, "ROWS", 3)
    monkeypatch.setattr(metering, "AT_ONCE", 2)
    today = day_of("2026-11-29")
    for number in range(8):
        peer = PeerId(f"peer-{number}")
        await store.invocations.record(ALICE, invocation(number, peer=peer, started_at=today * DAY_MS + number))
    assert await store.metering.fold(today * DAY_MS) == 5
    rows = await store.metering.sums(ALICE)
    assert [(sums.peer, sums.calls) for sums in rows] == [(EVERYBODY, 5), *((f"peer-{n}", 1) for n in (5, 6, 7))]
    assert await faults(store) == []


CALLS = st.lists(
    st.tuples(
        st.integers(0, 1500),
        st.sampled_from([BOB, CAROL, MALLORY]),
        st.sampled_from(["in", "out"]),
        st.sampled_from([{}, {"asset": USDC, "unit": "request", "units": 1, "amount": 1 << 200}]),
    ),
    max_size=12,
)


@given(CALLS, st.integers(0, 3000))
@settings(max_examples=20, deadline=None)
def test_folding_loses_nothing(calls, today) -> None:
    """Of each agent, capability, direction, asset and unit; here on the database itself."""

    def sums(connection: apsw.Connection) -> list[tuple[object, ...]]:
        found: dict[tuple[object, ...], list[int]] = {}
        columns = "agent, capability, direction, asset, unit, calls, failed, not_begun, input_bytes, units, amount"
        for *name, count, bad, none, size, units, amount in connection.execute(f"SELECT {columns} FROM metering"):
            row = found.setdefault(tuple(name), [0] * 6)
            for place, value in enumerate((count, bad, none, size, units, int(amount))):
                row[place] += value
        return sorted((*name, *row) for name, row in found.items())

    connection = apsw.Connection(":memory:")
    try:
        migrate(connection, 0, Layout(shipped_migrations()))
        for day, peer, direction, paid in calls:
            metering.add_to_meter(
                connection,
                ALICE,
                peer=peer,
                capability=UPPER,
                direction=direction,
                at=day * DAY_MS,
                begun=day % 3 > 0,
                failed=day % 2 > 0,
                input_bytes=day,
                output_bytes=0,
                duration_ms=1,
                **paid,
            )
        before = sums(connection)
        while rows := connection.execute(metering.OLDEST, (today, 2)).fetchall():
            metering._fold(connection, rows)
        assert sums(connection) == before
        assert not connection.execute("SELECT 1 FROM metering WHERE peer <> '' AND day < ?", (today,)).fetchall()
    finally:
        connection.close()
