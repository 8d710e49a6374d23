"""How a call ended, for whoever made it."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from nexusd.client.invocation import failure_of
from nexusd_protocols.rpc import schema


def ended(state: str | None, code: str = "connection_lost", *, tabs: int = 0) -> schema.InvokeEnd:
    paid = None
    if state is not None:
        paid = schema.PaymentSummary(
            id="id-7",
            state=state,  # type: ignore[arg-type]
            amount="0.1",
            asset="USDC",
            network="base",
            pay_to="0x1",
            tabs=tabs,
        )
    error = {"code": code, "message": "gone"}
    return schema.InvokeEnd(invocation="1", error=error, input_bytes=0, output_bytes=0, duration_ms=0, payment=paid)


def test_what_programs_test_comes_beside_the_words() -> None:
    error: dict[str, Any] = {
        "code": "payment_invalid",
        "message": "no",
        "remoteCode": "PAYMENT_INVALID",
        "reason": "nexus_exposure",
    }
    error["prices"] = [{"amount": "0.1", "asset": "USDC", "network": "base", "unit": "call"}]
    failure = failure_of(msgspec.structs.replace(ended(None), error=error))
    assert failure is not None
    told = {name: error[name] for name in ("remoteCode", "reason", "prices")}
    assert failure.data == told


@pytest.mark.parametrize("state", ["unknown", "pending", "paid"])
def test_what_may_be_charged_is_not_to_be_paid_anew(state: str) -> None:
    failure = failure_of(ended(state))
    assert failure is not None
    assert "0.1 USDC may be charged" in failure.try_
    assert "--again id-7" in failure.try_


def test_of_what_broke_off_and_has_a_receipt_all_was_had_that_there_is() -> None:
    end = ended("paid", "invoke_cancelled")
    assert end.payment is not None
    payment = msgspec.structs.replace(end.payment, receipt="verified, with 1 of 5 bytes of the input")
    failure = failure_of(msgspec.structs.replace(end, payment=payment))
    assert failure is not None
    assert failure.try_.startswith("what came was paid for")
    assert "--again" not in failure.try_


@pytest.mark.parametrize("state", ["unused", None])
def test_what_was_not_charged_may_be_tried_again(state: str | None) -> None:
    failure = failure_of(ended(state))
    assert failure is not None
    assert failure.try_.startswith("try again")
    assert ("nothing is charged" in failure.try_) is (state is not None)


def test_what_the_provider_gave_up_may_be_had_for_what_was_signed() -> None:
    failure = failure_of(ended("unused", "invoke_cancelled"))
    assert failure is not None
    assert failure.try_.endswith("the same call with `--again id-7` signs nothing anew")
    refused = failure_of(ended("unused", "payment_invalid"))
    assert refused is not None
    assert "--again" not in refused.try_


def test_what_came_under_a_tab_was_paid_for_and_is_not_asked_for_again() -> None:
    failure = failure_of(ended("paid", tabs=2))
    assert failure is not None
    assert "nexus pay explain id-7" in failure.try_
    assert "--again" not in failure.try_


def test_a_call_that_has_cost_what_it_may_is_told_how_to_go_further() -> None:
    failure = failure_of(ended("paid", "price_reached", tabs=2))
    assert failure is not None
    assert "--max-price" in failure.try_
    assert "nexus pay explain id-7" in failure.try_
