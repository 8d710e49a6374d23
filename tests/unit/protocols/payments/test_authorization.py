"""Authorisations and signatures: who signed, in one form only."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nexusd_protocols.payments import faults
from nexusd_protocols.payments.address import Address
from nexusd_protocols.payments.authorization import (
    Account,
    Authorization,
    N,
    normalised,
    read_nonce,
    read_signature,
    recover,
    recover_digest,
    sign,
)
from nexusd_protocols.payments.faults import PaymentFault
from nexusd_protocols.payments.tokens import KNOWN, USDC_BASE
from tests.harness.examples import examples
from tests.harness.paying import PAYER, THIEF, price, signed

UINT = st.integers(0, 2**256 - 1)
AUTHORIZATIONS = st.builds(
    Authorization,
    from_=st.just(PAYER.address),
    to=st.binary(min_size=20, max_size=20).map(Address),
    value=UINT,
    valid_after=UINT,
    valid_before=UINT,
    nonce=st.binary(min_size=32, max_size=32),
)


@settings(max_examples=examples(50))
@given(AUTHORIZATIONS, st.sampled_from(KNOWN))
def test_the_signer_is_recovered(authorization, token):
    signature = sign(authorization, token, PAYER)
    assert signature == sign(authorization, token, PAYER)
    assert recover(authorization, token, signature) == PAYER.address
    assert normalised(signature) == signature


@settings(max_examples=examples(50))
@given(AUTHORIZATIONS, st.integers(0, 64), st.integers(1, 255))
def test_no_byte_can_be_changed(authorization, at, flip):
    signature = bytearray(sign(authorization, USDC_BASE, PAYER))
    signature[at] ^= flip
    if bytes(signature[64:]) not in (b"\x00", b"\x01"):
        assert recover(authorization, USDC_BASE, bytes(signature)) != PAYER.address


def test_every_field_is_signed():
    authorization, signature = signed(price())
    for field, value in {
        "from_": THIEF.address,
        "to": THIEF.address,
        "value": 1,
        "valid_after": 1,
        "valid_before": 1,
        "nonce": bytes(32),
    }.items():
        assert recover(replace(authorization, **{field: value}), USDC_BASE, signature) != PAYER.address
    for token in KNOWN[1:]:
        assert recover(authorization, token, signature) != PAYER.address


def test_a_signature_has_one_form():
    authorization, signature = signed(price())
    r, s, v = signature[:32], int.from_bytes(signature[32:64], "big"), signature[64]
    high = r + (N - s).to_bytes(32, "big") + bytes([55 - v])
    # the library alone would take it, as the same payer
    fault = recover(authorization, USDC_BASE, high)
    assert fault == PaymentFault(faults.SIGNATURE, "s is out of its lower half")
    low = signature[:64] + bytes([v - 27])
    assert normalised(low) == signature
    assert recover(authorization, USDC_BASE, low) == PAYER.address


def test_a_point_that_is_not_on_the_curve():
    fault = recover_digest(bytes(32), (5).to_bytes(32, "big") + (1).to_bytes(32, "big") + b"\x1b")
    assert fault == PaymentFault(faults.SIGNATURE, "recovers no key")


@pytest.mark.parametrize("size", [0, 64, 66])
def test_a_signature_has_its_length(size):
    fault = recover_digest(bytes(32), b"\x01" * size)
    assert fault == PaymentFault(faults.SIGNATURE, "a signature has 65 bytes")


def test_only_the_payer_signs():
    authorization, _ = signed(price())
    with pytest.raises(ValueError, match="account that pays"):
        sign(authorization, USDC_BASE, THIEF)


@pytest.mark.parametrize("secret", [b"", b"\x01" * 31, bytes(32), N.to_bytes(32, "big")])
def test_what_is_no_key(secret):
    with pytest.raises(ValueError, match=r"32 bytes|[Ss]ecret"):
        Account(secret)


def test_an_account_never_shows_its_key():
    assert PAYER.secret().hex() not in repr(PAYER)
    assert "0x7099" in repr(PAYER)


@pytest.mark.parametrize("text", [None, 1, "", "0x", "11" * 65, "0x" + "11" * 64, "0x" + "11" * 66, "0x" + "1g" * 65])
def test_the_text_of_a_signature(text):
    with pytest.raises(ValueError, match="65 bytes"):
        read_signature(text)


@pytest.mark.parametrize("text", [None, 1, "", "0x", "11" * 32, "0x" + "11" * 31, "0x" + "11" * 33, "0x" + "1g" * 32])
def test_the_text_of_a_nonce(text):
    with pytest.raises(ValueError, match="32 bytes"):
        read_nonce(text)


def test_the_key_is_the_same_whatever_the_signature():
    authorization, _ = signed(price())
    key = authorization.key(USDC_BASE)
    assert key == key.lower()
    assert key == replace(authorization, value=1, valid_before=5).key(USDC_BASE)
    assert key.count("/") == 3
