"""Faults of authors: the careless are hardly noticed, the hostile are not read."""

from __future__ import annotations

from nexusd.services.rooms.admission import AUTHORS, CAPACITY, DRAIN_PER_S, Admission
from nexusd_protocols.identity import PeerId

BOB, MALLORY = PeerId("bob"), PeerId("mallory")
NOW = 1_800_000_000_000


def test_who_did_nothing_wrong_is_read() -> None:
    admission = Admission()
    assert not admission.refuses(BOB, NOW)
    admission.charge(BOB, 0, NOW)
    assert not admission.refuses(BOB, NOW)


def test_over_the_capacity_nothing_is_read_until_it_drained() -> None:
    admission = Admission()
    for _ in range(10):
        admission.charge(MALLORY, 10, NOW)
    assert not admission.refuses(MALLORY, NOW)  # 100 is just full
    admission.charge(MALLORY, 10, NOW)
    assert admission.refuses(MALLORY, NOW)
    assert admission.refuses(MALLORY, NOW + 1_999)
    assert not admission.refuses(MALLORY, NOW + 2_000)
    assert not admission.refuses(BOB, NOW)


def test_who_errs_now_and_then_is_always_read() -> None:
    admission = Admission()
    for second in range(1000):
        admission.charge(BOB, 5, NOW + second * 1000)
        assert not admission.refuses(BOB, NOW + second * 1000)


def test_the_debt_has_a_ceiling() -> None:
    admission = Admission()
    for _ in range(1000):
        admission.charge(MALLORY, 10, NOW)
    forgiven = NOW + round(CAPACITY / DRAIN_PER_S * 1000)
    assert admission.refuses(MALLORY, forgiven - 1)
    assert not admission.refuses(MALLORY, forgiven + 1)


def test_a_clock_that_goes_back_forgives_nothing_and_costs_nothing() -> None:
    admission = Admission()
    admission.charge(MALLORY, 150, NOW)
    assert admission.refuses(MALLORY, NOW - 3_600_000)
    assert not admission.refuses(MALLORY, NOW - 3_600_000 + 10_000)


def test_authors_without_end_are_forgotten_the_longest_quiet_first() -> None:
    admission = Admission()
    admission.charge(BOB, 150, NOW)
    admission.charge(MALLORY, 150, NOW)
    for number in range(AUTHORS - 1):
        if number == AUTHORS // 2:
            admission.charge(MALLORY, 50, NOW)
        admission.charge(PeerId(f"sybil-{number}"), 1, NOW)
    assert not admission.refuses(BOB, NOW)
    assert admission.refuses(MALLORY, NOW)
    assert len(admission._buckets) == AUTHORS
