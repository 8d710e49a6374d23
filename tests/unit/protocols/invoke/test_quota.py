"""Limits and counts of one call."""

from __future__ import annotations

from nexusd_protocols import limits
from nexusd_protocols.invoke.quota import Limits, Meter


def test_the_lower_of_each_holds():
    ours = Limits(max_duration_ms=1, max_input_bytes=20, max_output_bytes=3)
    theirs = Limits(max_duration_ms=10, max_input_bytes=2, max_output_bytes=3)
    assert ours.within(theirs) == theirs.within(ours)
    assert ours.within(theirs) == Limits(max_duration_ms=1, max_input_bytes=2, max_output_bytes=3)


def test_without_limits_the_ceilings_hold():
    assert Limits() == Limits(
        max_duration_ms=limits.INVOKE_DURATION_CEILING_MS,
        max_input_bytes=limits.INVOKE_INPUT_CEILING_BYTES,
        max_output_bytes=limits.INVOKE_OUTPUT_CEILING_BYTES,
    )


def test_order():
    meter = Meter()
    assert meter.in_order(0)
    assert meter.in_order(7)
    meter.count(3, 7)
    assert meter.in_order(7)
    assert meter.in_order(8)
    assert not meter.in_order(6)
    meter.count(4, 9)
    assert (meter.bytes, meter.pieces) == (7, 2)
