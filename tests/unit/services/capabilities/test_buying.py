"""What a call cost, for its record."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from nexusd.services.capabilities.buying import paid
from nexusd.services.capabilities.ports import End
from nexusd_protocols.rpc.schema import PaymentSummary

SIGNED: Any = SimpleNamespace(asset="eip155:8453/83", amount=20_000, used=(20, "chunk"))


def ended(state: Any, **fields: Any) -> End:
    summary = PaymentSummary(id="p", state=state, amount="0.02", asset="USDC", network="base", pay_to="0xab", **fields)
    return End(None, 1, 16, 9, summary)


def test_what_came_is_recorded_by_the_receipt_and_not_by_what_a_tab_began_with() -> None:
    assert paid(SIGNED, ended("paid", units=8, unit="piece", receipt="verified")) == {
        "payment": "p",
        "asset": SIGNED.asset,
        "amount": 20_000,
        "units": 8,
        "unit": "chunk",
    }
    assert paid(SIGNED, ended("pending"))["units"] == 20, "without a receipt"
    assert paid(SIGNED, ended("paid", units=8, unit="piece", receipt="forged"))["units"] == 20


@pytest.mark.parametrize("state", ["unused", "unknown"])
def test_what_was_not_charged_or_perhaps_not_is_not_recorded_as_paid(state: str) -> None:
    assert paid(SIGNED, ended(state)) == {}
    assert paid(None, ended(state)) == {}
