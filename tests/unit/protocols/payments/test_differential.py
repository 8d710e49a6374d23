"""Beside eth-account and the official x402 package, which others wrote: the same digests, signers and verdicts."""

from __future__ import annotations

import random
import time

import pytest

from nexusd_protocols.payments.address import Address, checksummed
from nexusd_protocols.payments.authorization import Account, Authorization, recover, sign
from nexusd_protocols.payments.terms import required
from nexusd_protocols.payments.tokens import KNOWN, USDC_BASE_SEPOLIA
from nexusd_protocols.payments.verify import Verified, verify
from tests.harness import official_x402 as official
from tests.harness.paying import PAYER, payment, price, tab_price
from tests.harness.people import BOB

SEED = 20261


def any_uint(rng: random.Random) -> int:
    """Of any length, and now and then at an end."""
    return rng.choice([0, 1, 2**256 - 1, *(rng.getrandbits(rng.randrange(1, 257)) for _ in range(5))])


@pytest.mark.parametrize("count", [100, pytest.param(10_000, marks=pytest.mark.slow)])
@pytest.mark.timeout(600)
def test_digests_signatures_and_signers(count):
    rng = random.Random(SEED)
    for number in range(count):
        account = Account(rng.randbytes(32))
        token = rng.choice(KNOWN)
        authorization = Authorization(
            from_=account.address,
            to=Address(rng.randbytes(20)),
            value=any_uint(rng),
            valid_after=any_uint(rng),
            valid_before=any_uint(rng),
            nonce=rng.randbytes(32),
        )
        said = f"seed {SEED}, number {number}: {authorization}"
        assert authorization.digest(token) == official.hasher(authorization, token), said
        signature = sign(authorization, token, account)
        assert recover(authorization, token, signature) == account.address, said
        assert official.eth_recover(authorization, token, signature) == checksummed(account.address), said
        if number % 20 == 0:  # the same bytes: both follow RFC 6979
            assert official.eth_sign(authorization, token, account) == signature, said


@pytest.mark.parametrize("token", KNOWN, ids=[token.network for token in KNOWN])
def test_our_payments_satisfy_the_official_facilitator(token):
    facilitator, now = official.Official(), int(time.time())
    terms = price(token=token)
    assert facilitator.verify(payment(terms, now_s=now), terms.requirements()) == ""
    stale = payment(terms, now_s=now - 3600)
    assert facilitator.verify(stale, terms.requirements()).endswith("valid_before")
    other = price(token=token, amount=1)
    assert "value" in facilitator.verify(payment(terms, now_s=now), other.requirements())


@pytest.mark.parametrize("token", KNOWN, ids=[token.network for token in KNOWN])
def test_the_official_clients_payments_pay_us(token):
    terms = price(token=token)
    made = official.client_payment(terms.requirements(), PAYER)
    verified = verify(made, [terms], now_s=int(time.time()))
    assert isinstance(verified, Verified), verified
    assert (verified.payer, verified.version, verified.bound) == (PAYER.address, 2, False)
    network = token.v1_network
    old = official.client_payment_v1(terms.requirements(), PAYER, network)
    verified = verify(old, [terms], now_s=int(time.time()))
    assert isinstance(verified, Verified), verified
    assert (verified.payer, verified.version) == (PAYER.address, 1)


@pytest.mark.parametrize(("networks", "chosen"), [("eip155:84532", 1), ("eip155:8453", 0), ("eip155:*", 0)])
def test_the_official_client_chooses_among_our_offers_and_pays_the_one_it_chose(networks, chosen):
    offers = [price(), price(token=USDC_BASE_SEPOLIA, amount=90_000), tab_price()]
    made = official.client_choice(required(offers, BOB.peer_id), PAYER, networks)
    verified = verify(made, offers, now_s=int(time.time()))
    assert isinstance(verified, Verified), verified
    assert (verified.terms, verified.bound) == (offers[chosen], False)


def test_the_official_client_repeats_what_is_ours_in_the_terms():
    terms = price(offer_id="offer-7", valid_until=int(time.time()) + 60)
    made = official.client_payment(terms.requirements(), PAYER)
    assert made["accepted"] == terms.requirements()
    assert isinstance(verify(made, [terms], now_s=int(time.time())), Verified)
