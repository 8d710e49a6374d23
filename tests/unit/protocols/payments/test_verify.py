"""Whether a payment pays: the vectors, and that nothing that was changed still does."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nexusd_protocols import limits
from nexusd_protocols.payments import eip712, faults
from nexusd_protocols.payments.address import checksummed
from nexusd_protocols.payments.authorization import Account, sign
from nexusd_protocols.payments.binding import Context
from nexusd_protocols.payments.faults import PaymentFault
from nexusd_protocols.payments.terms import PriceTerms, read_requirements
from nexusd_protocols.payments.tokens import USDC_BASE_SEPOLIA, USDC_POLYGON, Tokens
from nexusd_protocols.payments.verify import Presented, Verified, identify, read, verify
from tests.harness.examples import examples
from tests.harness.paying import NOW, PAYER, THIEF, payment, price, tab_price
from tests.harness.people import BOB, CAROL
from tests.harness.vectors import named, vectors

DOC = vectors("payments")
TOKENS = Tokens()
CONTEXT = Context(BOB.peer_id, bytes(range(32)))


def terms_of(case: dict[str, Any]) -> PriceTerms:
    terms = read_requirements(case["terms"], TOKENS, "summarize")
    assert isinstance(terms, PriceTerms), terms
    return terms


def context_of(case: dict[str, Any]) -> Context | None:
    told = case.get("context")
    return None if told is None else Context(told["provider"], bytes.fromhex(told["request"][2:]))


def outcome(case: dict[str, Any]) -> Verified | PaymentFault:
    # through the text, as it comes from a peer
    received = read(json.dumps(case["payment"]).encode())
    return verify(received, [terms_of(case)], now_s=case["now"], context=context_of(case))


@pytest.mark.parametrize("case", **named(DOC["accepted"]))
def test_accepted(case):
    verified, expect = outcome(case), case["expect"]
    assert isinstance(verified, Verified), verified
    assert (checksummed(verified.payer), verified.key) == (expect["payer"], expect["key"])
    assert f"0x{verified.authorization.digest(verified.token).hex()}" == expect["digest"]
    assert verified.bound is expect["bound"]
    if "structHash" in expect:
        fields = verified.authorization
        struct = eip712.transfer_hash(
            fields.from_, fields.to, fields.value, fields.valid_after, fields.valid_before, fields.nonce
        )
        assert f"0x{struct.hex()}" == expect["structHash"]
    again = identify(case["payment"], TOKENS)
    assert isinstance(again, Presented)
    assert (again.key, again.signature, again.salt) == (verified.key, verified.signature, verified.salt)


@pytest.mark.parametrize("case", **named([case for case in DOC["accepted"] if "secret" in case]))
def test_signing_gives_the_same_signature(case):
    verified = outcome(case)
    assert isinstance(verified, Verified)
    signature = sign(verified.authorization, verified.token, Account(bytes.fromhex(case["secret"][2:])))
    assert f"0x{signature.hex()}" == case["payment"]["payload"]["signature"]


def test_each_offer_is_paid_by_its_own_terms_and_by_no_other():
    offers = [
        price(),
        price(token=USDC_POLYGON, amount=120_000),
        price(token=USDC_BASE_SEPOLIA, amount=90_000, pay_to=THIEF.address),
        tab_price(),
    ]
    for offer in offers:
        paid = payment(offer, context=CONTEXT)
        verified = verify(paid, offers, now_s=NOW, context=CONTEXT)
        assert isinstance(verified, Verified), verified
        assert (verified.terms, verified.scheme) == (offer, offer.scheme)
        shown = identify(paid, TOKENS)
        assert isinstance(shown, Presented)
        assert (shown.scheme, shown.key) == (verified.scheme, verified.key)
        # the terms of one, and the authorisation of another
        for other in offers:
            if other is not offer:
                mixed = {**paid, "accepted": other.requirements()}
                assert isinstance(verify(mixed, offers, now_s=NOW, context=CONTEXT), PaymentFault)
        rest = [each for each in offers if each is not offer]
        assert isinstance(verify(paid, rest, now_s=NOW, context=CONTEXT), PaymentFault)


@pytest.mark.parametrize("case", **named(DOC["refused"]))
def test_refused(case):
    fault = outcome(case)
    assert isinstance(fault, PaymentFault)
    assert fault.code == case["code"], fault
    assert fault.code in faults.CODES


@pytest.mark.parametrize("case", **named(DOC["unreadable"]))
def test_unreadable(case):
    data = "".join(text * times for text, times in case.get("parts", [[case.get("data"), 1]]))
    fault = read(data.encode())
    assert isinstance(fault, PaymentFault)
    assert fault.code == case["code"]


def test_ten_megabytes_cost_nothing():
    assert read(b'"' + b"x" * 10_000_000 + b'"') == PaymentFault(
        faults.INVALID_PAYLOAD, f"over {limits.PAYMENT_BYTES} bytes"
    )


# --- which offer ---------------------------------------------------------------------------------------------------
OFFERS = [price(), price(amount=5), price(token=USDC_POLYGON), tab_price(), tab_price(token=USDC_BASE_SEPOLIA)]


@pytest.mark.parametrize("chosen", OFFERS)
def test_the_offer_that_was_accepted(chosen):
    verified = verify(payment(chosen), OFFERS, now_s=NOW)
    assert isinstance(verified, Verified)
    assert verified.terms == chosen


@pytest.mark.parametrize("chosen", OFFERS[:2])
def test_version_1_is_matched_by_what_it_pays(chosen):
    inner = payment(chosen)["payload"]
    old = {"x402Version": 1, "scheme": "exact", "network": "base", "payload": inner}
    verified = verify(old, OFFERS, now_s=NOW)
    assert isinstance(verified, Verified)
    assert (verified.terms, verified.bound) == (chosen, False)


def test_nothing_was_offered():
    assert verify(payment(price()), [], now_s=NOW) == PaymentFault(faults.INVALID_SCHEME)


def test_the_case_of_an_address_does_not_matter():
    shown = payment(price())
    shown["accepted"]["asset"] = shown["accepted"]["asset"].lower()
    shown["accepted"]["payTo"] = "0x" + shown["accepted"]["payTo"][2:].upper()
    verified = verify(shown, OFFERS, now_s=NOW)
    assert isinstance(verified, Verified)
    assert verified.terms == price()


def test_an_r_of_no_point():
    shown = payment(price())
    shown["payload"]["signature"] = "0x" + f"{5:064x}{1:064x}1b"
    assert verify(shown, OFFERS, now_s=NOW) == PaymentFault(faults.SIGNATURE, "recovers no key")


# --- replays -------------------------------------------------------------------------------------------------------
def test_the_same_authorisation_has_one_key():
    # the ledger keeps it under the key: another version, case or v is the same payment
    first = payment(price())
    inner = copy.deepcopy(first["payload"])
    as_v1 = {"x402Version": 1, "scheme": "exact", "network": "base", "payload": inner}
    shouted = copy.deepcopy(first)
    shouted["payload"]["signature"] = "0x" + first["payload"]["signature"][2:].upper()
    shouted["payload"]["authorization"]["from"] = "0x" + PAYER.address.hex().upper()
    parity = copy.deepcopy(first)
    signature = first["payload"]["signature"]
    parity["payload"]["signature"] = signature[:-2] + f"{int(signature[-2:], 16) - 27:02x}"
    verdicts = [verify(shown, [price()], now_s=NOW) for shown in (first, as_v1, shouted, parity)]
    assert all(isinstance(verdict, Verified) for verdict in verdicts)
    assert len({(verdict.key, verdict.signature) for verdict in verdicts}) == 1


def test_one_authorisation_at_ten_providers():
    bound = payment(price(), context=CONTEXT)
    accepted = verify(bound, [price()], now_s=NOW, context=CONTEXT)
    assert isinstance(accepted, Verified)
    assert accepted.bound
    for number in range(10):
        elsewhere = Context(CAROL.peer_id, bytes([number]) * 32)
        assert verify(bound, [price()], now_s=NOW, context=elsewhere) == PaymentFault(faults.BINDING_MISMATCH)


def test_what_was_paid_is_known_when_price_and_clock_have_moved_on():
    paid = payment(price())
    later = verify(paid, [price(amount=7)], now_s=NOW + 9999)
    assert isinstance(later, PaymentFault)
    known = identify(paid, TOKENS)
    assert isinstance(known, Presented)
    assert known.payer == PAYER.address


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"scheme": "upto"}, faults.INVALID_SCHEME),
        ({"network": "base"}, faults.UNKNOWN_ASSET),
        ({"network": 1}, faults.INVALID_NETWORK),
        ({"asset": "0x" + "11" * 20}, faults.UNKNOWN_ASSET),
    ],
)
def test_what_cannot_be_identified(change, code):
    shown = payment(price())
    shown["accepted"].update(change)
    fault = identify(shown, TOKENS)
    assert isinstance(fault, PaymentFault)
    assert fault.code == code


def test_nobody_identifies_with_anothers_payment():
    shown = payment(price())
    shown["payload"]["authorization"]["from"] = checksummed(price().pay_to)
    assert identify(shown, TOKENS) == PaymentFault(faults.SIGNATURE, "signed by somebody else")
    unknown = identify({"x402Version": 1, "scheme": "exact", "network": "atlantis"}, TOKENS)
    assert unknown == PaymentFault(faults.INVALID_NETWORK)


# --- times ---------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("field", "at", "code"),
    [
        ("valid_after", NOW - 1, None),
        ("valid_after", NOW, faults.VALID_AFTER),
        ("valid_before", NOW + 5, faults.VALID_BEFORE),
        ("valid_before", NOW + 6, None),
        ("valid_before", NOW + 120, None),
        ("valid_before", NOW + 121, faults.VALID_BEFORE),
    ],
)
def test_the_window(field, at, code):
    verdict = verify(payment(price(), **{field: at}), [price()], now_s=NOW)
    assert (verdict.code if isinstance(verdict, PaymentFault) else None) == code


@pytest.mark.parametrize("skew", [-600, 600])
def test_a_clock_that_is_ten_minutes_wrong(skew):
    verdict = verify(payment(price()), [price()], now_s=NOW + skew)
    assert isinstance(verdict, PaymentFault)
    assert verdict.code == faults.VALID_BEFORE


# --- anything ------------------------------------------------------------------------------------------------------
def paths(value: Any, way: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The way to each value in an object."""
    yield way
    if isinstance(value, dict):
        for key, item in value.items():
            yield from paths(item, (*way, key))


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=10),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)
GOOD = payment(price(), context=CONTEXT)
LAX = {("resource",), ("resource", "url")}
"""What the payment is said to be for is for people: the binding says it."""


@settings(max_examples=examples(400))
@given(st.sampled_from([way for way in paths(GOOD) if way and way not in LAX]), JSON | st.just(...))
def test_nothing_that_was_changed_still_pays(way, value):
    changed: Any = copy.deepcopy(GOOD)
    holder = changed
    for step in way[:-1]:
        holder = holder[step]
    same = holder[way[-1]] == value and type(holder[way[-1]]) is type(value)
    if value is ...:
        del holder[way[-1]]
    else:
        holder[way[-1]] = value
    verdict = verify(changed, [price(binding="required")], now_s=NOW, context=CONTEXT)
    assert isinstance(verdict, PaymentFault) is not same


@given(JSON)
def test_anything_is_refused(value):
    verdict = verify(value, OFFERS, now_s=NOW, context=CONTEXT)
    assert isinstance(verdict, PaymentFault)
    assert verdict.code in faults.CODES
    assert isinstance(identify(value, TOKENS), PaymentFault)
