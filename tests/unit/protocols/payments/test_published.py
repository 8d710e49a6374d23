"""The published network's terms and proofs: read and written, and no more than they can say."""

from __future__ import annotations

import msgspec
import pytest

from nexusd_protocols.invoke.frames import Proof, Terms
from nexusd_protocols.payments import faults, published
from nexusd_protocols.payments.address import checksummed
from nexusd_protocols.payments.faults import PaymentFault
from nexusd_protocols.payments.terms import PriceTerms
from nexusd_protocols.payments.tokens import USDC_BASE, USDC_POLYGON, Token, Tokens
from nexusd_protocols.payments.verify import Verified
from tests.harness.paying import NOW, PAYEE, PAYER, price, signed, tab_price

TOKENS = Tokens()
MINE = Token(chain_id=31337, address=PAYEE.address, symbol="TEST", name="Test", version="1", decimals=6)


def proof_of(terms: PriceTerms, **changes: object) -> Proof:
    proof = published.render_proof(*signed(terms, now_s=NOW), terms.token)
    return msgspec.structs.replace(proof, **changes)


def test_terms_in_the_published_form():
    terms = published.render_terms(price(valid_until=NOW + 300), description="a page")
    assert terms == Terms(
        amount="100000",
        currency="USDC",
        recipient=checksummed(PAYEE.address),
        description="a page",
        network="base",
        valid_until=(NOW + 300) * 1000,
        expires_at=(NOW + 300) * 1000,
    )
    assert published.read_terms(terms, TOKENS, "summarize") == price(valid_until=NOW + 300, max_timeout_s=300)


@pytest.mark.parametrize("terms", [tab_price(), price(binding="required"), price(token=MINE)])
def test_what_they_cannot_say_is_not_offered_in_them(terms):
    assert published.render_terms(terms) is None
    assert published.verify_proof(proof_of(price()), [terms], now_s=NOW) == PaymentFault(faults.UNKNOWN_ASSET)


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"network": "solana"}, faults.INVALID_NETWORK),
        ({"currency": "ETH"}, faults.UNKNOWN_ASSET),
        ({"amount": "0.10"}, faults.INVALID_REQUIREMENTS),
        ({"recipient": "bob.eth"}, faults.INVALID_REQUIREMENTS),
        ({"recipient": "0x" + "00" * 20}, faults.INVALID_REQUIREMENTS),
        ({"expires_at": "soon"}, faults.INVALID_REQUIREMENTS),
    ],
)
def test_terms_that_are_not_paid(changes, code):
    fields = {"amount": "100000", "currency": "USDC", "recipient": checksummed(PAYEE.address), **changes}
    fault = published.read_terms(Terms(**fields), TOKENS, "summarize")
    assert isinstance(fault, PaymentFault)
    assert fault.code == code


def test_a_network_need_not_be_named():
    terms = Terms(amount="5", currency="USDC", recipient=checksummed(PAYEE.address), expires_at=0)
    read = published.read_terms(terms, TOKENS, "summarize")
    assert isinstance(read, PriceTerms)
    assert (read.token, read.valid_until) == (USDC_BASE, 0)


@pytest.mark.parametrize(("when", "seconds"), [(NOW, NOW), (NOW * 1000, NOW), (str(NOW * 1000 + 999), NOW)])
def test_times_in_either_unit(when, seconds):
    terms = Terms(amount="5", currency="USDC", recipient=checksummed(PAYEE.address), valid_until=when)
    read = published.read_terms(terms, TOKENS, "summarize")
    assert isinstance(read, PriceTerms)
    assert read.valid_until == seconds


@pytest.mark.parametrize("token", [USDC_BASE, USDC_POLYGON])
@pytest.mark.parametrize("text", [False, True])
def test_a_proof_pays(token, text):
    terms = price(token=token)
    proof = proof_of(terms)
    if text:  # some write numbers, some their text
        proof = msgspec.structs.replace(proof, valid_after="0", valid_before=str(NOW + 60))
    verified = published.verify_proof(proof, [terms], now_s=NOW)
    assert isinstance(verified, Verified)
    assert (verified.payer, verified.version, verified.bound) == (PAYER.address, 1, False)


def test_a_published_payers_window_of_five_minutes():
    proof = published.render_proof(*signed(price(), valid_before=NOW + 300), USDC_BASE)
    assert isinstance(published.verify_proof(proof, [price()], now_s=NOW), Verified)


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"amount": "1"}, faults.VALUE_MISMATCH),
        ({"to": "0x" + "11" * 20}, faults.RECIPIENT_MISMATCH),
        ({"from_": "0x" + "11" * 20}, faults.SIGNATURE),
        ({"signature": "0x11"}, faults.SIGNATURE),
        ({"nonce": "0x" + "11" * 32}, faults.SIGNATURE),
        ({"nonce": "7"}, faults.INVALID_PAYLOAD),
        ({"valid_before": None}, faults.INVALID_PAYLOAD),
        ({"valid_before": NOW}, faults.VALID_BEFORE),
        ({"currency": "ETH"}, faults.UNKNOWN_ASSET),
    ],
)
def test_a_proof_that_does_not_pay(changes, code):
    fault = published.verify_proof(proof_of(price(), **changes), [price()], now_s=NOW)
    assert isinstance(fault, PaymentFault)
    assert fault.code == code
