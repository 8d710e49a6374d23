"""A payer's policy: deny by default, each limit by its name, and what a person's word lifts."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nexusd_protocols.payments import policy as policies
from nexusd_protocols.payments.policy import (
    CODES,
    Ask,
    Pay,
    Policy,
    Purchase,
    Refuse,
    Spent,
    concerns,
    decide,
    measured,
)
from nexusd_protocols.payments.terms import Required
from nexusd_protocols.payments.tokens import USDC_POLYGON, Token
from tests.harness.paying import NOW, PAYEE, price
from tests.harness.people import ALICE, BOB

OPEN = Policy(per_request=None, networks=frozenset({"eip155:8453"}))
WIDE = Token(chain_id=8453, address=PAYEE.address, symbol="USDC", name="Wide", version="1", decimals=18)


def purchase(**changes):
    fields = {"provider": BOB.peer_id, "capability": "summarize", "terms": price(), "amount": 100_000}
    return Purchase(**{**fields, **changes})


def test_nothing_is_paid_without_a_policy():
    assert decide(Policy(), Spent(), purchase(), NOW) == Refuse(policies.NETWORK)
    listed = Policy(networks=frozenset({"eip155:8453"}))
    assert decide(listed, Spent(), purchase(), NOW) == Refuse(policies.PER_REQUEST)
    assert decide(listed, Spent(), purchase(terms=price(amount=0), amount=0), NOW) == Pay()
    assert decide(OPEN, Spent(), purchase(), NOW) == Pay()


CASES = {
    policies.STOPPED: ({"stopped": True}, {}, {}),
    policies.OFFER_EXPIRED: ({}, {}, {"terms": price(valid_until=NOW - 1)}),
    policies.NETWORK: ({}, {}, {"terms": price(token=USDC_POLYGON)}),
    policies.ASSET: ({"assets": frozenset()}, {}, {}),
    policies.PEER: ({"peers": frozenset({ALICE.peer_id})}, {}, {}),
    policies.CAPABILITY: ({"capabilities": frozenset({"upper"})}, {}, {}),
    policies.WINDOW: ({"max_window_s": 59}, {}, {}),
    policies.PER_CALL: ({}, {}, {"max_price": 99_999}),
    policies.PER_REQUEST: ({"per_request": 99_999}, {}, {}),
    policies.PER_HOUR: ({"per_hour": 199_999}, {"hour": 100_000}, {}),
    policies.PER_DAY: ({"per_day": 199_999}, {"day": 100_000}, {}),
    policies.PER_PAYEE: ({"per_payee": 199_999}, {"payee_day": 100_000}, {}),
    policies.TOO_OFTEN: ({"per_minute_count": 3}, {"minute_count": 3}, {}),
    policies.UNACCOUNTED: ({"per_day": 200_000}, {"day": 100_000, "day_returned": 200_001}, {}),
}


@pytest.mark.parametrize("code", sorted(CODES.keys() - {policies.OTHER_PARTY}))
@pytest.mark.parametrize("approved", [False, True])
def test_each_limit_refuses_whatever_a_person_says(code, approved):
    limits, spent, bought = CASES[code]
    refused = decide(replace(OPEN, **limits), Spent(**spent), purchase(approved=approved, **bought), NOW)
    assert refused == Refuse(code)
    assert str(refused) == CODES[code]


@pytest.mark.parametrize("time", ["hour", "day", "payee"])
def test_what_came_back_without_the_chain_s_word_can_be_spent_once_more_and_no_further(time: str):
    """Whoever takes payments and says that it did not gets a limit twice at most."""
    limited = replace(OPEN, **{f"per_{time}": 200_000})
    counts = "payee_day" if time == "payee" else time
    for before, returned, decision in (
        (0, 200_000, Pay()),
        (100_000, 200_000, Pay()),
        (100_000, 200_001, Refuse(policies.UNACCOUNTED)),
        (0, 300_001, Refuse(policies.UNACCOUNTED)),
    ):
        spent = Spent(**{counts: before, f"{time}_returned": returned})
        assert decide(limited, spent, purchase(), NOW) == decision, (before, returned)
    assert decide(OPEN, Spent(day_returned=10**12), purchase(), NOW) == Pay()


def test_limits_hold_to_the_last_unit():
    tight = replace(OPEN, per_request=100_000, per_hour=200_000, per_day=200_000, per_payee=200_000, per_minute_count=4)
    spent = Spent(hour=100_000, day=100_000, payee_day=100_000, minute_count=3)
    assert decide(tight, spent, purchase(max_price=100_000), NOW) == Pay()


def test_a_person_decides_above_a_threshold_and_at_first():
    asks = replace(OPEN, approve_above=99_999, approve_first=True)
    stranger = Spent(payee_known=False)
    assert decide(asks, stranger, purchase(), NOW) == Ask("first")
    assert decide(asks, Spent(), purchase(), NOW) == Ask("amount")
    assert decide(asks, Spent(), purchase(amount=99_999), NOW) == Pay()
    assert decide(asks, stranger, purchase(approved=True), NOW) == Pay()


@pytest.mark.parametrize(
    ("amount", "decimals", "units"),
    [(5, 6, 5), (5, 2, 50_000), (10**18, 18, 10**6), (10**12 - 1, 18, 1), (10**12 + 1, 18, 2), (0, 18, 0)],
)
def test_tokens_are_measured_alike(amount, decimals, units):
    assert measured(amount, decimals) == units


def test_the_payee_is_who_the_terms_say():
    assert purchase().payee == PAYEE.address


def test_a_token_with_more_decimals_is_not_cheaper():
    limited = replace(OPEN, per_request=100_000)
    terms = price(token=WIDE, amount=10**17)
    assert decide(limited, Spent(), purchase(terms=terms, amount=10**17), NOW) == Pay()
    assert decide(limited, Spent(), purchase(terms=terms, amount=10**17 + 1), NOW) == Refuse(policies.PER_REQUEST)


@given(
    st.integers(0, 2**60), st.integers(0, 2**60), st.none() | st.integers(0, 2**60), st.none() | st.integers(0, 2**60)
)
def test_nobody_pays_over_a_limit(amount, day, per_request, per_day):
    limited = replace(OPEN, per_request=per_request, per_day=per_day)
    if decide(limited, Spent(day=day), purchase(amount=amount), NOW) == Pay():
        assert per_request is None or amount <= per_request
        assert per_day is None or day + amount <= per_day


def test_a_demand_is_for_what_was_called():
    demand = Required(BOB.peer_id, "summarize", (), (), "")
    assert concerns(demand, BOB.peer_id, "summarize") is None
    assert concerns(demand, ALICE.peer_id, "summarize") == Refuse(policies.OTHER_PARTY)
    assert concerns(demand, BOB.peer_id, "upper") == Refuse(policies.OTHER_PARTY)
