"""The payer's side of a tab, alone against a provider that cheats."""

from __future__ import annotations

from dataclasses import replace

import pytest

from nexusd_protocols import limits
from nexusd_protocols.payments import faults
from nexusd_protocols.payments.tab import Asked, Authorise, Exhausted, OpenTab, Received, Stop, Supplied
from nexusd_protocols.payments.tab_payer import TabPayer
from tests.harness.paying import NOW, signed, tab_price


@pytest.fixture
def payer():
    terms = tab_price(credit=500)
    machine = TabPayer(terms, signed(terms)[0], budget=5000, now_s=NOW)
    for _ in range(200):
        assert machine.handle(Received(10), NOW) == []
    return machine


@pytest.mark.parametrize(
    ("ask", "detail"),
    [
        (Asked(0, 201, 1000, False), "201 units were not delivered"),
        (Asked(0, 100, 1001, False), "more than the terms allow"),
        (Asked(0, 200, 500, False), "does not grow"),
        (Asked(0, 200, 499, False), "does not grow"),
        (Asked(0, 200, 600, False), "steps too small"),
        (Asked(1, 50, 700, False), "while the old one is good"),
        (Asked(2, 100, 1000, False), "out of its turn"),
        (Asked(0, 10**9, 10**12, False), "not delivered"),
    ],
)
def test_a_payer_stops_at_the_first_thing_that_was_not_agreed(payer, ask, detail):
    (stop,) = payer.handle(ask, NOW)
    assert isinstance(stop, Stop)
    assert stop.fault.code == faults.TAB_FAULT
    assert detail in stop.fault.detail
    assert payer.total == 500
    assert payer.handle(Asked(0, 100, 1000, False), NOW) == []


def test_a_payer_signs_what_is_left_of_its_budget_and_then_nothing(payer):
    for _ in range(800):
        assert payer.handle(Received(10), NOW) == [] or payer.stopped
    assert payer.stopped  # so much is not given without asking
    terms = tab_price(ahead=499)
    payer = TabPayer(terms, signed(terms)[0], budget=1002, now_s=NOW)
    for _ in range(50):
        payer.handle(Received(10), NOW)
    assert payer.handle(Asked(0, 50, 749, False), NOW) == [Authorise(0, replace(signed(terms)[0], value=749))]
    for _ in range(90):
        payer.handle(Received(10), NOW)
    (answer,) = payer.handle(Asked(0, 140, 1199, False), NOW)
    assert answer == Authorise(0, replace(signed(terms)[0], value=1000), final=True)
    assert (payer.total, payer.exhausted) == (1000, True)
    (stop,) = payer.handle(Asked(0, 150, 1249, False), NOW)
    assert isinstance(stop, Stop)
    assert "out of its turn" in stop.fault.detail


def test_a_payer_that_has_nothing_left_says_so():
    terms = tab_price()
    payer = TabPayer(terms, signed(terms)[0], budget=503, now_s=NOW)
    for _ in range(50):
        payer.handle(Received(10), NOW)
    assert payer.handle(Asked(0, 50, 750, False), NOW) == [Exhausted(0)]
    assert payer.total == 500


def test_the_last_tab_holds_what_is_left():
    terms = tab_price(amount=500)
    payer = TabPayer(terms, signed(terms)[0], budget=512, now_s=NOW)
    for _ in range(50):
        payer.handle(Received(10), NOW)
    assert payer.handle(Asked(1, 0, 500, False), NOW) == [OpenTab(1, 10, final=True)]


@pytest.mark.parametrize("unit", ["chunk", "byte"])
def test_a_provider_that_never_asks_is_left(unit):
    terms = tab_price(unit=unit, credit=50)
    payer = TabPayer(terms, signed(terms)[0], budget=5000, now_s=NOW)
    assert all(payer.handle(Received(1), NOW) == [] for _ in range(110))
    (stop,) = payer.handle(Received(1), NOW)
    assert isinstance(stop, Stop)
    assert "nothing was asked" in stop.fault.detail


def test_units_do_not_shrink_and_nothing_follows_the_last(payer):
    (answer,) = payer.handle(Asked(0, 150, 1250, False), NOW)
    assert isinstance(answer, Authorise)
    assert answer.authorization.value == payer.signed == 1250
    last, *_ = payer.handle(Asked(0, 160, 1300, True), NOW)
    assert isinstance(last, Authorise)
    (stop,) = payer.handle(Asked(0, 170, 1350, False), NOW)
    assert isinstance(stop, Stop)


def test_an_older_count_is_refused(payer):
    payer.handle(Asked(0, 150, 1250, False), NOW)
    (stop,) = payer.handle(Asked(0, 149, 1245, True), NOW)
    assert isinstance(stop, Stop)


def test_a_tab_begins_within_the_budget():
    terms = tab_price()
    with pytest.raises(ValueError, match="more than the call may cost"):
        TabPayer(terms, signed(terms)[0], budget=499, now_s=NOW)


def test_only_the_tab_that_was_asked_for_is_opened(payer):
    with pytest.raises(ValueError, match="no such tab"):
        payer.opened(signed(tab_price())[0])


def test_new_tabs_are_not_signed_for_nothing():
    terms = tab_price(max_timeout_s=60)  # so short that a new tab is always in order
    payer = TabPayer(terms, signed(terms)[0], budget=10**6, now_s=NOW)
    (first,) = payer.handle(Asked(1, 0, 500, False), NOW)
    assert first == OpenTab(1, 500)
    payer.opened(signed(terms, nonce=bytes(32))[0])
    (stop,) = payer.handle(Asked(2, 0, 500, False), NOW)
    assert isinstance(stop, Stop)
    assert payer.total == 1000


@pytest.mark.parametrize("unit", ["token_in", "second"])
def test_units_that_the_payer_cannot_count_are_bounded(unit):
    terms = tab_price(unit=unit, ahead=0)
    payer = TabPayer(terms, signed(terms)[0], budget=10**6, now_s=NOW)
    payer.handle(Supplied(100), NOW)
    most = 100 + limits.PAYMENT_PROMPT_TOKENS if unit == "token_in" else 7 + limits.PAYMENT_SECONDS_SLACK
    (answer,) = payer.handle(Asked(0, most, most * 5, False), NOW + 7)
    assert isinstance(answer, Authorise)
    (answer,) = payer.handle(Asked(0, most + 1, most * 5 + 5, False), NOW + 7)
    assert isinstance(answer, Stop)
