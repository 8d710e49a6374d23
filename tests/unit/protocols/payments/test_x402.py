"""Payments that are made, and settlements that are told and read."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nexusd_protocols import limits
from nexusd_protocols.payments import faults, terms, x402
from nexusd_protocols.payments.address import Address
from nexusd_protocols.payments.faults import PaymentFault
from nexusd_protocols.payments.x402 import Settlement, read_settlement
from tests.harness.paying import NONCE, NOW, PAYEE, PAYER, payment, price, signed, tab_price
from tests.harness.people import BOB

HASHES = st.just("") | st.binary(min_size=32, max_size=32).map(lambda raw: f"0x{raw.hex()}")
JWS = st.just("") | st.from_regex(r"[A-Za-z0-9_.-]{1,80}", fullmatch=True)
SETTLEMENTS = st.builds(
    Settlement,
    network=st.just("eip155:8453"),
    payer=st.none() | st.binary(min_size=20, max_size=20).map(Address),
    transaction=HASHES,
    amount=st.none() | st.integers(0, 2**256 - 1),
    error=st.sampled_from(["", faults.SETTLEMENT_PENDING, faults.UNEXPECTED_SETTLE, "later"]),
    message=st.text(st.characters(exclude_categories=["Cs"]), max_size=20),
    receipt=JWS,
    nexus_receipt=JWS,
)


def test_an_authorisation_pays_the_price_for_as_long_as_the_terms_say():
    authorization = x402.authorize(price(), PAYER.address, NONCE, NOW)
    assert (authorization.to, authorization.value) == (PAYEE.address, 100_000)
    assert (authorization.valid_after, authorization.valid_before) == (0, NOW + 60)
    assert x402.authorize(tab_price(), PAYER.address, NONCE, NOW).value == 500
    assert x402.authorize(tab_price(), PAYER.address, NONCE, NOW, value=900).value == 900


def test_a_payment_repeats_the_offer_as_it_came():
    raw = {**price().requirements(), "later": {"b": 1, "a": [2]}}
    demand = terms.Required(BOB.peer_id, "summarize", (), (), "")
    made = x402.payment(terms.Offer(price(), raw), demand, *signed(price()), bytes(32))
    assert made["accepted"] == raw
    assert made["resource"] == {"url": f"nexus://{BOB.peer_id}/summarize"}
    assert made["extensions"] == {"nexus-binding": {"salt": "0x" + "00" * 32}}
    assert len(json.dumps(made)) < limits.PAYMENT_BYTES // 8
    assert payment(price())["extensions"] == {}


@given(SETTLEMENTS)
def test_what_is_told_is_read_again(settlement):
    assert read_settlement(json.loads(json.dumps(settlement.wire()))) == settlement


def test_three_outcomes():
    paid = Settlement(network="eip155:8453")
    assert (paid.success, paid.pending) == (True, False)
    pending = Settlement(network="eip155:8453", error=faults.SETTLEMENT_PENDING, transaction="0x" + "ab" * 32)
    assert (pending.success, pending.pending) == (False, True)
    assert pending.wire()["errorReason"] == "settlement_pending"


GOOD = Settlement(network="eip155:8453", receipt="a.b.c").wire()


def test_a_failure_has_a_reason():
    failed = read_settlement({**GOOD, "success": False})
    assert isinstance(failed, Settlement)
    assert failed.error == faults.UNEXPECTED_SETTLE


@pytest.mark.parametrize(
    "changes",
    [
        {"success": 1},
        {"success": None},
        {"network": None},
        {"network": "x" * 65},
        {"transaction": "0x12"},
        {"transaction": None},
        {"payer": "bob"},
        {"amount": "01"},
        {"amount": 1},
        {"errorReason": "late"},
        {"errorReason": 1},
    ],
)
def test_refused(changes):
    fault = read_settlement({**GOOD, **changes})
    assert isinstance(fault, PaymentFault)
    assert fault.code == faults.INVALID_PAYLOAD


@pytest.mark.parametrize(
    "extensions", [None, [], {"offer-receipt": None}, {"offer-receipt": {"info": {"receipt": "x"}}}]
)
def test_a_receipt_that_is_none(extensions):
    settlement = read_settlement({**GOOD, "extensions": extensions})
    assert isinstance(settlement, Settlement)
    assert settlement.receipt == ""
    long = {"offer-receipt": {"info": {"receipt": {"signature": "x" * (limits.RECEIPT_BYTES + 1)}}}}
    settlement = read_settlement({**GOOD, "extensions": long})
    assert isinstance(settlement, Settlement)
    assert settlement.receipt == ""


@pytest.mark.parametrize("value", [None, [], "x", {}])
def test_anything_is_refused(value):
    assert isinstance(read_settlement(value), PaymentFault)
