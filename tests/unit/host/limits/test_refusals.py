"""Everything is counted, little is logged."""

from __future__ import annotations

from nexusd.host.limits.refusals import ADDRESSES, LINES, Refusals


def test_once_an_address_and_second():
    refusals = Refusals(0.0)
    assert [refusals.count("full", "a", at) for at in (0.0, 0.5, 0.99, 1.0, 1.5, 2.0)] == [
        True, False, False, True, False, True,
    ]  # fmt: skip
    assert refusals.count("full", "b", 0.0)
    assert refusals.total == 7


def test_reasons_are_counted_apart():
    refusals = Refusals(0.0)
    for reason in ("full", "silent", "full"):
        refusals.count(reason, "a", 0.0)
    assert refusals.reasons == {"full": 2, "silent": 1}


def test_addresses_without_end_do_not_fill_the_log():
    refusals = Refusals(0.0)
    assert sum(refusals.count("full", str(n), 0.0) for n in range(10_000)) == LINES
    assert refusals.count("full", "late", 1.0)
    assert refusals.total == 10_001


def test_addresses_without_end_do_not_fill_memory():
    refusals = Refusals(0.0)
    for n in range(3 * ADDRESSES):
        refusals.count("full", str(n), float(n))
    assert len(refusals._told) == ADDRESSES
