"""Receipts: the vectors, and that nobody else can write one."""

from __future__ import annotations

import base64
import json

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nexusd_protocols import limits
from nexusd_protocols.identity import verify as signed_by
from nexusd_protocols.payments import faults
from nexusd_protocols.payments.faults import PaymentFault
from nexusd_protocols.payments.receipt import (
    Receipt,
    Standard,
    Tab,
    did_of,
    peer_of,
    sign,
    sign_standard,
    verify,
)
from tests.harness.people import ALICE, BOB, MALLORY
from tests.harness.vectors import named, vectors

DOC = vectors("payments")["receipts"]
NEXUS = DOC["nexus"][0]
(STANDARD,) = DOC["standard"]
RECEIPT = msgspec.convert(NEXUS["payload"], Receipt)


@pytest.mark.parametrize("case", **named(DOC["nexus"]))
def test_the_vectors(case):
    receipt = msgspec.convert(case["payload"], Receipt)
    assert verify(case["jws"]) == receipt
    assert sign(receipt, BOB) == case["jws"]
    assert sum(receipt.charges.values()) == int(receipt.amount)


def test_a_receipt_of_as_many_tabs_as_there_may_be():
    first = RECEIPT.authorization.rpartition("/")[2]
    nonces = [first, *(bytes([number] * 32).hex() for number in range(1, limits.PAYMENT_TABS))]
    tabs = tuple(Tab(nonce=f"0x{nonce}", amount="1000000000") for nonce in nonces)
    text = sign(msgspec.structs.replace(RECEIPT, tabs=tabs, amount=f"{64 * 10**9}"), BOB)
    assert isinstance(verify(text), Receipt)
    assert len(text) <= limits.RECEIPT_BYTES


def opened(text):
    """Header and payload of a JWS whose signature holds under the key that its header names."""
    head, payload, signature = (base64.urlsafe_b64decode(f"{part}==") for part in text.split("."))
    header = json.loads(head)
    signer = peer_of(header["kid"].partition("#")[0])
    assert signed_by(signer, text.rpartition(".")[0].encode(), signature)
    return header, json.loads(payload)


def test_the_vector_of_the_standard():
    did = STANDARD["did"]
    header = {"alg": "EdDSA", "kid": f"{did}#{did.removeprefix('did:key:')}"}
    assert opened(STANDARD["jws"]) == (header, STANDARD["payload"])
    assert STANDARD["peerId"] == ALICE.peer_id
    assert sign_standard(msgspec.convert(STANDARD["payload"], Standard), ALICE) == STANDARD["jws"]
    assert (did_of(ALICE.peer_id), peer_of(STANDARD["did"])) == (STANDARD["did"], ALICE.peer_id)


@pytest.mark.parametrize("case", **named(DOC["refused"]))
def test_refused(case):
    fault = verify(case["jws"])
    assert isinstance(fault, PaymentFault)
    assert fault.code == faults.BAD_RECEIPT


def test_that_of_the_standard_is_not_taken_for_ours():
    assert isinstance(verify(STANDARD["jws"]), PaymentFault)


def test_a_transaction_need_not_be_told():
    told = msgspec.convert({**STANDARD["payload"], "transaction": ""}, Standard)
    left = {name: value for name, value in STANDARD["payload"].items() if name != "transaction"}
    assert opened(sign_standard(told, BOB))[1] == left


@given(st.integers(0, len(NEXUS["jws"]) - 1), st.sampled_from("Aa0_-.=é"))
def test_no_character_can_be_changed(at, character):
    text = NEXUS["jws"]
    changed = text[:at] + character + text[at + 1 :]
    assert isinstance(verify(changed), PaymentFault) is (changed != text)


@given(st.text(max_size=200))
def test_anything_is_refused(text):
    assert isinstance(verify(text), PaymentFault)


def test_a_provider_signs_for_itself_and_what_it_would_accept():
    with pytest.raises(ValueError, match="provider"):
        sign(RECEIPT, MALLORY)
    with pytest.raises(ValueError, match="amount"):
        sign(msgspec.structs.replace(RECEIPT, amount="0.1"), BOB)


@pytest.mark.parametrize(
    "did",
    [
        "",
        "did:key:z",
        "did:web:example.com",
        "did:key:zQ3shokFTS3brHcDQrn82RUDfCZESWL1Z",
        "did:key:z" + "1" * 65,
        "did:key:z0",
        STANDARD["did"] + " ",
        STANDARD["did"].replace(":z", ":z1"),
    ],
)
def test_other_keys(did):
    with pytest.raises(ValueError, match=r".+"):
        peer_of(did)
