"""Prices and demands: what is offered is read again, and what this node does not pay is refused by name."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nexusd_protocols import limits
from nexusd_protocols.payments import faults
from nexusd_protocols.payments.address import Address
from nexusd_protocols.payments.faults import PaymentFault
from nexusd_protocols.payments.terms import (
    PriceTerms,
    Required,
    parse_resource_url,
    read_required,
    read_requirements,
    required,
    resource_url,
)
from nexusd_protocols.payments.tokens import KNOWN, Tokens
from tests.harness.paying import price, tab_price
from tests.harness.people import BOB
from tests.harness.vectors import named, vectors

DOC = vectors("payments")
TOKENS = Tokens()

UINT = st.integers(1, 2**256 - 1)
COMMON = {
    "token": st.sampled_from(KNOWN),
    "pay_to": st.binary(min_size=20, max_size=20).filter(any).map(Address),
    "max_timeout_s": st.integers(1, limits.PAYMENT_TIMEOUT_S),
    "binding": st.sampled_from(["optional", "required"]),
    "offer_id": st.text(st.characters(min_codepoint=0x21, max_codepoint=0x7E), max_size=64),
    "valid_until": st.integers(0, 2**53 - 1),
}


def tabs(amount, per):
    return st.builds(
        tab_price,
        amount=st.just(amount),
        unit_price=st.integers(1 + (amount * per >> 53), amount),  # fewer units than 2^53
        ahead=st.integers(0, amount),
        credit=st.integers(0, amount),
        per=st.just(per),
        unit=st.sampled_from(["second", "chunk", "byte", "token_in", "token_out"]),
        **COMMON,
    )


PRICES = st.builds(
    price, amount=st.just(0) | UINT, flow=st.sampled_from(["authorization", "upfront"]), **COMMON
) | st.tuples(UINT, st.integers(1, 10**9)).flatmap(lambda size: tabs(*size))


@given(PRICES)
def test_what_is_offered_is_read_again(terms):
    entry = json.loads(json.dumps(terms.requirements()))
    assert read_requirements(entry, TOKENS, terms.capability) == terms


@given(st.lists(PRICES, min_size=1, max_size=limits.PAYMENT_OFFERS))
def test_a_demand_is_read_again(prices):
    demand = read_required(json.loads(json.dumps(required(prices, BOB.peer_id, error="pay"))), TOKENS)
    assert isinstance(demand, Required)
    assert [offer.terms for offer in demand.offers] == prices
    assert [offer.raw for offer in demand.offers] == [terms.requirements() for terms in prices]
    assert (demand.provider, demand.capability, demand.error) == (BOB.peer_id, "summarize", "pay")


@pytest.mark.parametrize("case", **named(DOC["demands"]))
def test_demands(case):
    demand = read_required(case["demand"], TOKENS)
    if "code" in case:
        assert isinstance(demand, PaymentFault)
        assert demand.code == case["code"]
        return
    assert isinstance(demand, Required)
    expect = case["expect"]
    assert (demand.provider, demand.capability) == (expect["provider"], expect["capability"])
    told = [" ".join(offer.raw[field] for field in ("scheme", "network", "amount")) for offer in demand.offers]
    assert told == expect["offers"]
    assert [fault.code for fault in demand.faults] == expect["faults"]
    assert set(expect["faults"]) <= faults.CODES.keys()


@pytest.mark.parametrize(
    "changes",
    [
        {"capability": "two words"},
        {"pay_to": Address(b"")},
        {"pay_to": Address(bytes(20))},
        {"amount": -1},
        {"amount": 2**256},
        {"max_timeout_s": 0},
        {"max_timeout_s": limits.PAYMENT_TIMEOUT_S + 1},
        {"valid_until": -1},
        {"offer_id": "x" * 65},
        {"offer_id": "a b"},
        {"flow": "tab"},
        {"unit": "chunk"},
        {"unit_price": 1},
        {"ahead": 1},
        {"flow": "tab", "unit": "chunk", "unit_price": 0},
        {"flow": "tab", "unit": "chunk", "unit_price": 100_001},
        {"flow": "tab", "unit": "chunk", "unit_price": 1, "ahead": 100_001},
        {"flow": "tab", "unit": "chunk", "unit_price": 1, "ahead": -1},
        {"flow": "tab", "unit": "chunk", "unit_price": 1, "credit": -1},
        {"flow": "tab", "unit": "chunk", "unit_price": 1, "credit": 100_001},
        {"flow": "tab", "unit": "chunk", "unit_price": 1, "per": 0},
        {"flow": "tab", "unit": "chunk", "unit_price": 1, "per": 10**9 + 1},
        {"flow": "tab", "unit": "chunk", "unit_price": 1, "amount": 2**53},
        {"credit": 1},
        {"per": 2},
    ],
)
def test_what_cannot_be_offered(changes):
    with pytest.raises(ValueError, match=r".+"):
        price(**changes)


@given(st.integers(1, 10**6), st.integers(1, 10**6), st.integers(0, 10**6))
def test_units_cost_no_less_than_they_buy(unit_price, per, units):
    terms = tab_price(unit_price=unit_price, per=per, amount=10**9)
    cost = terms.cost(units)
    assert (cost - 1) * per < units * unit_price <= cost * per or cost == 0 == units
    assert terms.units(cost) >= units
    assert terms.cost(terms.units(cost)) <= cost


def test_the_price_of_a_million_tokens():
    terms = tab_price(unit="token_out", unit_price=150_000, per=10**6)
    assert [terms.cost(units) for units in (0, 1, 6, 7, 1000, 10**6)] == [0, 1, 1, 2, 150, 150_000]
    assert [terms.units(amount) for amount in (0, 1, 150_000)] == [0, 6, 10**6]


def test_the_free_tier():
    assert price(amount=0).free
    assert not price().free


def test_a_description_is_for_people():
    assert required([price()], BOB.peer_id, description="Summaries")["resource"]["description"] == "Summaries"
    assert "error" not in required([price()], BOB.peer_id)


@pytest.mark.parametrize(
    ("nexus", "detail"),
    [
        ([], "no object"),
        ({"binding": "perhaps"}, "binding"),
        ({"offerId": 7}, "not a text"),
        ({"validUntil": "soon"}, "whole number"),
        ({"validUntil": True}, "whole number"),
    ],
)
def test_what_is_ours_in_an_entry(nexus, detail):
    entry = price().requirements()
    entry["extra"]["nexus"] = nexus
    fault = read_requirements(entry, TOKENS, "summarize")
    assert isinstance(fault, PaymentFault)
    assert (fault.code, detail in fault.detail) == (faults.INVALID_REQUIREMENTS, True)


def test_resources():
    url = resource_url(BOB.peer_id, "summarize")
    assert parse_resource_url(url) == (BOB.peer_id, "summarize")
    for wrong in (
        url + "\n",
        "",
        "nexus://",
        f"http://{BOB.peer_id}/x",
        f"nexus://{BOB.peer_id}",
        f"nexus://{BOB.peer_id}/a/b",
    ):
        with pytest.raises(ValueError, match=r".+"):
            parse_resource_url(wrong)


@given(st.recursive(st.none() | st.text(max_size=9) | st.integers(), lambda x: st.dictionaries(st.text(max_size=9), x)))
def test_anything_is_refused(value):
    assert isinstance(read_required(value, TOKENS), PaymentFault)
    assert isinstance(read_requirements(value, TOKENS, "summarize"), PaymentFault)


def test_terms_are_what_a_demand_says():
    assert isinstance(read_requirements(price().requirements(), TOKENS, "summarize"), PriceTerms)
