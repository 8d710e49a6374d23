"""The provider's side of a tab, alone against a payer that cheats."""

from __future__ import annotations

from dataclasses import replace

import pytest

from nexusd_protocols import limits
from nexusd_protocols.payments import faults
from nexusd_protocols.payments.authorization import Authorization, sign
from nexusd_protocols.payments.tab import (
    Ask,
    Cost,
    Covered,
    Exhausted,
    Finished,
    Grown,
    Lowered,
    Opened,
    Produced,
    Rolled,
    Sent,
    Stop,
    Tick,
    Wanted,
)
from nexusd_protocols.payments.tab_provider import TabProvider
from tests.harness.paying import NOW, PAYER, THIEF, tab_price
from tests.unit.protocols.payments.tabs import text, verified


def asking(**changes) -> tuple[TabProvider, Ask, Authorization]:
    """A provider that waits for an answer, and the tab's authorisation."""
    terms = tab_price(**changes)
    opened = verified(terms)
    provider = TabProvider(opened)
    for _ in range(50):
        provider.handle(Produced(1), NOW)
        outputs = provider.handle(Sent(1), NOW)
    (ask,) = outputs
    assert isinstance(ask, Ask)
    return provider, ask, opened.authorization


def test_the_answer_that_was_asked_for():
    provider, ask, authorization = asking()
    assert ask == Ask(0, 50, 750, False)
    grown = replace(authorization, value=750)
    assert provider.handle(Tick(), NOW + limits.PAYMENT_PATIENCE_S) == []
    (covered,) = provider.handle(Grown(0, 750, text(grown, tab_price())), NOW)
    token = tab_price().token
    assert covered == Covered(grown.key(token), 750, sign(grown, token, PAYER))
    assert (provider.signed, provider.covered) == (750, 150)


@pytest.mark.parametrize("amount", [500, 499, 749, 751, 0])
def test_another_amount_is_refused(amount):
    provider, _, authorization = asking()
    grown = Grown(0, amount, text(replace(authorization, value=amount), tab_price()))
    (stop,) = provider.handle(grown, NOW)
    assert isinstance(stop, Stop)
    assert provider.signed == 500
    assert provider.handle(Produced(1), NOW) == []


@pytest.mark.parametrize("amount", [500, 751])
def test_what_a_payer_has_left_is_more_than_before_and_no_more_than_was_asked_for(amount):
    provider, _, authorization = asking()
    grown = Grown(0, amount, text(replace(authorization, value=amount), tab_price()), final=True)
    (stop,) = provider.handle(grown, NOW)
    assert isinstance(stop, Stop)


def test_a_payer_that_signs_no_more_gets_what_it_signed_for():
    provider, _, authorization = asking()
    grown = replace(authorization, value=600)
    (covered,) = provider.handle(Grown(0, 600, text(grown, tab_price()), final=True), NOW)
    assert isinstance(covered, Covered)
    assert all(provider.handle(Sent(1), NOW) == [] for _ in range(70))
    assert provider.handle(Wanted(120), NOW) == []
    (stop,) = provider.handle(Wanted(121), NOW)
    assert isinstance(stop, Stop)
    assert stop.fault.code == faults.PRICE_REACHED
    # the same where a piece waits already when it says so
    provider, *_ = asking()
    assert provider.handle(Wanted(101), NOW) == []
    assert provider.handle(Exhausted(0), NOW) == [Ask(0, 50, 250, True)]
    (stop,) = provider.handle(Exhausted(0), NOW)
    assert isinstance(stop, Stop)
    assert stop.fault.code == faults.PRICE_REACHED


def test_a_payer_that_signs_no_more_gets_nothing_more_on_credit():
    terms = tab_price(ahead=5, credit=495)
    provider = TabProvider(verified(terms))
    assert provider.handle(Produced(50), NOW) == [Cost(0)]
    (ask,) = provider.handle(Sent(50), NOW)
    assert isinstance(ask, Ask)
    assert provider.handle(Exhausted(0), NOW) == []
    assert provider.handle(Produced(1), NOW) == [Cost(51)]


def test_a_signature_that_is_not_the_payers():
    wrong = {
        "of another amount": lambda grown: text(replace(grown, value=751), tab_price()),
        "of another window": lambda grown: text(replace(grown, valid_before=grown.valid_before + 1), tab_price()),
        "for another payee": lambda grown: text(replace(grown, to=THIEF.address), tab_price()),
        "under another nonce": lambda grown: text(replace(grown, nonce=b"n" * 32), tab_price()),
        "of a thief": lambda grown: "0x" + THIEF.sign_digest(grown.digest(tab_price().token)).hex(),
        "of nobody": lambda _: "0x" + "11" * 65,
        "short": lambda _: "0x11",
    }
    for name, make in wrong.items():
        provider, ask, authorization = asking()
        (stop,) = provider.handle(Grown(0, 750, make(replace(authorization, value=ask.amount))), NOW)
        assert isinstance(stop, Stop), name
        assert provider.signed == 500
        if "another" in name:
            assert "window, payee or nonce" in stop.fault.detail


@pytest.mark.parametrize("tab", [0, 1])
def test_an_answer_without_a_question_and_one_that_is_late(tab):
    for answer in (Grown(tab, 750, "0x"), Exhausted(tab)):
        provider = TabProvider(verified(tab_price()))
        (stop,) = provider.handle(answer, NOW)
        assert isinstance(stop, Stop)
    provider, *_ = asking()
    (stop,) = provider.handle(Tick(), NOW + limits.PAYMENT_PATIENCE_S + 1)
    assert isinstance(stop, Stop)
    assert "in time" in stop.fault.detail


def full() -> TabProvider:
    """A provider that waits for the second tab: the first was full from the beginning, and is used up."""
    provider = TabProvider(verified(tab_price(amount=500)))
    for _ in range(100):
        assert provider.handle(Sent(1), NOW) == []
    assert provider.handle(Wanted(101), NOW) == [Ask(1, 0, 500, False)]
    return provider


def test_the_tab_that_was_asked_for():
    provider, opened = full(), verified(tab_price(amount=500), number=1)
    assert provider.handle(Opened(1, opened), NOW) == [Rolled(1, opened, 100)]
    assert (provider.tab, provider.covered) == (1, 200)


@pytest.mark.parametrize(
    ("tab", "changes", "detail"),
    [
        (1, {"value": 501}, "another amount"),
        (1, {"value": 499}, "another amount"),
        (1, {"number": 0}, "a nonce that was there before"),
        (2, {}, "not asked for"),
        (0, {}, "not asked for"),
        (1, {"now_s": NOW - 1}, "ends before"),
    ],
    ids=["more", "less", "same nonce", "later", "now", "shorter"],
)
def test_a_new_tab_is_the_one_that_was_asked_for(tab, changes, detail):
    fields = {"number": 1, "value": 500, "now_s": NOW} | changes
    terms = tab_price(amount=501 if fields["value"] > 500 else 500, ahead=min(500, fields["value"]))
    (stop,) = full().handle(Opened(tab, verified(terms, **fields)), NOW)
    assert isinstance(stop, Stop)
    assert detail in stop.fault.detail


@pytest.mark.parametrize("changes", [{"unit_price": 4}, {"pay_to": THIEF.address}, {"max_timeout_s": 900}])
def test_a_new_tab_is_on_the_same_terms(changes):
    (stop,) = full().handle(Opened(1, verified(tab_price(amount=500, **changes), number=1)), NOW)
    assert isinstance(stop, Stop)
    assert "on other terms" in stop.fault.detail


def test_a_new_tab_is_of_the_same_payer():
    opened = verified(tab_price(amount=500), number=1)
    stranger = replace(opened, authorization=replace(opened.authorization, from_=THIEF.address))
    (stop,) = full().handle(Opened(1, stranger), NOW)
    assert isinstance(stop, Stop)
    assert "another payer" in stop.fault.detail


def test_a_nonce_of_any_tab_before_is_refused():
    provider = full()
    for number in (1, 2):
        provider.handle(Opened(number, verified(tab_price(amount=500), number=number)), NOW)
        for _ in range(100):
            provider.handle(Sent(1), NOW)
        outputs = provider.handle(Wanted(100 * number + 101), NOW)
    assert outputs == [Ask(3, 0, 500, False)]
    (stop,) = provider.handle(Opened(3, verified(tab_price(amount=500), number=0)), NOW)
    assert isinstance(stop, Stop)


def test_a_piece_is_no_larger_than_half_of_what_both_risk():
    provider = TabProvider(verified(tab_price(credit=100)))
    assert provider.handle(Produced(60), NOW) == [Cost(40)]
    (stop,) = provider.handle(Produced(61), NOW)
    assert isinstance(stop, Stop)
    assert provider.largest == 60


def test_a_last_tab_for_what_is_paid_already_is_not_opened():
    provider = TabProvider(verified(tab_price(amount=500, credit=100)))
    for _ in range(100):
        provider.handle(Sent(1), NOW)
    assert provider.owed == provider.covered
    assert provider.handle(Finished(), NOW) == []


@pytest.mark.parametrize("amount", [250, 251, 499])
def test_a_payer_that_gives_up_signs_for_what_it_got(amount):
    provider, _, authorization = asking()
    less = replace(authorization, value=amount)
    (lowered,) = provider.handle(Grown(0, amount, text(less, tab_price()), final=True), NOW)
    assert isinstance(lowered, Lowered)
    assert (provider.signed, provider.asking) == (amount, False)
    # and gets nothing more for it
    (stop,) = provider.handle(Wanted(101), NOW)
    assert isinstance(stop, Stop)


@pytest.mark.parametrize("amount", [249, 1, 0])
def test_what_is_below_what_was_delivered_is_not_taken(amount):
    provider, _, authorization = asking()
    less = replace(authorization, value=amount)
    assert provider.handle(Grown(0, amount, text(less, tab_price()), final=True), NOW) == []
    assert provider.signed == 500
    assert provider.handle(Wanted(100), NOW) == [], "what was signed before holds"


def test_nobody_else_gives_up_for_a_payer():
    provider, _, authorization = asking()
    digest = replace(authorization, value=300).digest(tab_price().token)
    (stop,) = provider.handle(Grown(0, 300, f"0x{THIEF.sign_digest(digest).hex()}", final=True), NOW)
    assert isinstance(stop, Stop)


def ended(**changes) -> tuple[TabProvider, Authorization]:
    """A provider that asked at the end for what was delivered, four units of a hundred, and the tab's authorisation."""
    opened = verified(tab_price(**changes))
    provider = TabProvider(opened)
    provider.handle(Sent(4), NOW)
    assert provider.handle(Finished(), NOW) == [Ask(0, 4, 20, True)]
    return provider, opened.authorization


def test_at_the_end_less_is_signed_for_what_was_delivered():
    provider, authorization = ended()
    less, token = replace(authorization, value=20), tab_price().token
    assert provider.handle(Grown(0, 20, text(less, tab_price())), NOW) == [
        Lowered(less.key(token), 20, sign(less, token, PAYER))
    ]
    assert (provider.signed, provider.covered, provider.asking) == (20, 4, False)
    assert provider.handle(Finished(), NOW) == []


@pytest.mark.parametrize("amount", [19, 21, 500, 0])
def test_no_other_amount_will_do(amount):
    provider, authorization = ended()
    signed = Grown(0, amount, text(replace(authorization, value=amount), tab_price()))
    (stop,) = provider.handle(signed, NOW)
    assert isinstance(stop, Stop)
    assert provider.signed == 500


@pytest.mark.parametrize(("amount", "taken"), [(19, False), (21, True)])
def test_a_payer_may_give_up_just_when_it_is_asked(amount, taken):
    provider, authorization = ended()
    signed = Grown(0, amount, text(replace(authorization, value=amount), tab_price()), final=True)
    assert len(provider.handle(signed, NOW)) == taken
    assert (provider.signed, provider.asking) == (amount if taken else 500, False)


def test_where_nothing_more_is_signed_the_last_is_for_what_was_delivered():
    provider, *_ = asking()
    assert provider.handle(Exhausted(0), NOW) == []
    assert provider.handle(Wanted(101), NOW) == [Ask(0, 50, 250, True)]
    (stop,) = provider.handle(Exhausted(0), NOW)
    assert isinstance(stop, Stop)
    assert stop.fault.code == faults.PRICE_REACHED
    provider, *_ = asking()
    provider.handle(Exhausted(0), NOW)
    provider.handle(Wanted(101), NOW)
    (stop,) = provider.handle(Tick(), NOW + limits.PAYMENT_PATIENCE_S + 1)
    assert isinstance(stop, Stop)
    assert stop.fault.code == faults.PRICE_REACHED


@pytest.mark.parametrize(("unit", "units"), [("second", 1), ("token_out", 1), ("chunk", 0)])
def test_what_counted_nothing_costs_one(unit, units):
    provider = TabProvider(verified(tab_price(unit=unit)))
    assert provider.handle(Sent(0), NOW) == []
    assert provider.handle(Finished(), NOW) == [Ask(0, 1, 5, True)] * units


def test_nobody_gives_up_for_less_than_a_unit():
    provider = TabProvider(verified(tab_price(unit="second")))
    authorization = provider._authorization
    provider.handle(Sent(0), NOW)
    less = Grown(0, 4, text(replace(authorization, value=4), tab_price()), final=True)
    assert provider.handle(less, NOW) == []
    assert provider.signed == 500


def test_what_was_signed_before_is_enough_where_nothing_is_answered():
    provider, _ = ended()
    assert provider.handle(Tick(), NOW + limits.PAYMENT_PATIENCE_S) == []
    assert provider.asking
    assert provider.handle(Tick(), NOW + limits.PAYMENT_PATIENCE_S + 1) == []
    assert not provider.asking
    provider, _ = ended()
    assert provider.handle(Exhausted(0), NOW) == []
    assert provider.handle(Finished(), NOW) == []


def test_what_waited_when_the_work_ended_is_not_asked_for():
    provider = TabProvider(verified(tab_price()))
    provider.handle(Sent(100), NOW)
    assert provider.handle(Exhausted(0), NOW) == []
    assert provider.handle(Finished(), NOW) == []
    assert provider.handle(Wanted(99), NOW) == []


def test_nothing_delivered_nothing_asked():
    provider = TabProvider(verified(tab_price()))
    assert provider.handle(Finished(), NOW) == []
    assert provider.owed == 0
