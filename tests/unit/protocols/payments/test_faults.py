"""Names of faults: written down, and shown by the vectors."""

from __future__ import annotations

from pathlib import Path

import pytest

from nexusd_protocols.payments import faults
from nexusd_protocols.payments.faults import CODES, PaymentError, PaymentFault
from tests.harness.vectors import vectors

SPEC = (Path(__file__).parents[4] / "protocols" / "specs" / "payments.md").read_text("utf-8")


@pytest.mark.parametrize("code", CODES)
def test_the_specification_lists_every_name(code):
    assert f"`{code}`" in SPEC


def test_every_constant_is_in_the_table():
    names = {value for name, value in vars(faults).items() if name.isupper() and isinstance(value, str)}
    assert names - {faults._EXACT} == CODES.keys()


def test_the_vectors_show_every_name_that_a_check_gives():
    shown = {row["code"] for row in vectors("payments")["refused"]}
    assert shown == {
        faults.INVALID_VERSION,
        faults.INVALID_PAYLOAD,
        faults.INVALID_SCHEME,
        faults.INVALID_NETWORK,
        faults.INVALID_REQUIREMENTS,
        faults.RECIPIENT_MISMATCH,
        faults.VALUE_MISMATCH,
        faults.VALID_AFTER,
        faults.VALID_BEFORE,
        faults.SIGNATURE,
        faults.UNBOUND,
        faults.BINDING_MISMATCH,
        faults.OFFER_EXPIRED,
    }


def test_what_a_fault_says():
    assert str(PaymentFault(faults.VALID_AFTER)) == f"{faults.VALID_AFTER}: {CODES[faults.VALID_AFTER]}"
    assert PaymentFault(faults.VALID_AFTER).words == CODES[faults.VALID_AFTER]
    assert PaymentFault(faults.EXPOSURE, "of this payer").words == f"{CODES[faults.EXPOSURE]} (of this payer)"
    assert str(PaymentError(faults.UNBOUND, "random")) == f"nexus_unbound: {CODES[faults.UNBOUND]} (random)"
