"""What was used: sums per peer, capability and direction, with the bytes that really went."""

from nexusd.store.ledger.metering import DAY_MS, Meter
from nexusd_protocols.ids import CapabilityName
from tests.harness.soundness import faults
from tests.unit.store.messages import invocation
from tests.unit.store.people import ALICE, ALICES_SECOND, BOB

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
