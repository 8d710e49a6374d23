"""A purchase under way: the tabs that are signed under it, and how it ends."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import trio

from nexusd.services.payments.payment import Payment
from nexusd_protocols.invoke import commands, events
from nexusd_protocols.payments import terms, verify
from nexusd_protocols.payments.binding import Context
from nexusd_protocols.payments.purchase import PurchaseState
from nexusd_protocols.payments.verify import Verified
from nexusd_protocols.rpc.codes import Refusal
from tests.harness.paying import NOW, PAYEE, tab_price
from tests.harness.people import BOB
from tests.unit.services.payments.shopper import REQUEST, ended, shopper


async def test_what_the_provider_did_not_take_still_counts(tmp_path: Path) -> None:
    async with shopper(tmp_path, per_day="0.10") as alice:
        payment = await alice.purse.pay(alice.wish())
        assert isinstance(payment, Payment)
        response = {"success": False, "errorReason": "insufficient_funds", "network": "eip155:8453", "transaction": ""}
        summary = await payment.ended(ended(response=response, code="PAYMENT_INVALID"))
        assert summary.state == "unused"
        assert isinstance(await alice.purse.pay(alice.wish()), Refusal)
        alice.now += (60 + 600 + 1) * 1000
        assert isinstance(await alice.purse.pay(alice.wish()), Payment)


async def test_a_receipt_for_something_else_is_not_verified(tmp_path: Path) -> None:
    async with shopper(tmp_path) as alice:
        payment = await alice.purse.pay(alice.wish())
        assert isinstance(payment, Payment)
        receipt = {"info": {"receipt": {"format": "jws", "signature": "a.b.c"}}}
        response = {
            "success": True,
            "network": "eip155:8453",
            "transaction": "",
            "extensions": {"nexus-receipt": receipt},
        }
        summary = await payment.ended(ended(pieces=1, response=response))
        assert summary.state == "paid"
        assert summary.receipt.startswith("bad: ")
        assert (await alice.row()).state is PurchaseState.SPENT


async def test_of_an_answer_no_more_is_kept_than_is_read(tmp_path: Path) -> None:
    async with shopper(tmp_path) as alice:
        payment = await alice.purse.pay(alice.wish())
        assert isinstance(payment, Payment)
        response = {"success": True, "network": "eip155:8453", "transaction": "", "more": "x" * 60_000}
        await payment.ended(ended(pieces=1, response=response))
        row = await alice.row()
        assert json.loads(row.response) == {"success": True, "network": "eip155:8453", "transaction": ""}


async def test_a_receipt_of_what_is_still_to_come_is_not_told_of(tmp_path: Path) -> None:
    async with shopper(tmp_path) as alice:
        payment = await alice.purse.pay(alice.wish())
        assert isinstance(payment, Payment)
        signed = {"nexus-receipt": {"info": {"receipt": {"format": "jws", "signature": "a.b.c"}}}}
        response = {"success": False, "errorReason": "settlement_pending", "network": "eip155:8453"}
        summary = await payment.ended(ended(response=response | {"extensions": signed}, code="SETTLEMENT_PENDING"))
        assert (summary.state, summary.receipt) == ("pending", "none")


async def test_a_tab_is_signed_for_what_came_and_no_more(tmp_path: Path) -> None:
    async with shopper(tmp_path) as alice:
        demand = terms.required([tab_price()], BOB.peer_id)
        assert isinstance(await alice.purse.pay(alice.wish(demand)), Refusal)
        payment = await alice.purse.pay(alice.wish(demand, tab=True, max_price="0.001"))
        assert isinstance(payment, Payment)
        assert payment.amount == 500
        for _ in range(60):
            assert payment.received(3) is None
        grown = await payment.due(events.PaymentDue(0, 60, 800, False), 0)
        assert isinstance(grown, commands.Grow)
        assert (grown.amount, grown.final, payment.amount) == (800, False, 800)
        row = await alice.row()
        assert row.signed.authorization.value == 800
        # more units than came
        stopped = await payment.due(events.PaymentDue(0, 90, 950, False), 0)
        assert isinstance(stopped, Refusal)
        assert "not delivered" in stopped.message
        assert payment.amount == 800
        assert PAYEE.address == tab_price().pay_to


@asynccontextmanager
async def under_a_tab(directory: Path, max_price: str = "0.0013", **changes: Any) -> AsyncIterator[tuple[Any, Payment]]:
    """alice has a tab of at most 700 at bob's, ten pieces of 5 are here."""
    async with shopper(directory) as alice:
        demand = terms.required([tab_price(amount=700, **changes)], BOB.peer_id)
        payment = await alice.purse.pay(alice.wish(demand, tab=True, max_price=max_price))
        assert isinstance(payment, Payment), payment
        for _ in range(90):
            assert payment.received(3) is None
        yield alice, payment


async def test_a_tab_is_followed_by_another_up_to_what_the_call_may_cost(tmp_path: Path) -> None:
    async with under_a_tab(tmp_path) as (alice, payment):
        assert isinstance(await payment.due(events.PaymentDue(0, 60, 700, False), 0), commands.Grow)
        opened = await payment.due(events.PaymentDue(1, 0, 500, False), 0)
        assert isinstance(opened, commands.OpenTab)
        assert (opened.tab, opened.final, payment.amount, payment.reached()) == (1, False, 1200, "")
        # another nonce, bound to the same call, and on disk before it is shown
        context = Context(BOB.peer_id, REQUEST)
        found = verify.verify(opened.payment, [tab_price(amount=700)], now_s=NOW, context=context)
        assert isinstance(found, Verified)
        assert found.bound
        row = await alice.row()
        assert (row.signed.key, row.tabs, row.before, row.total) == (found.key, 1, 700, 1200)
        first, second = await alice.store.purchases.tabs(row)
        assert first.authorization.value == 700
        assert first.key != second.key == found.key
        for _ in range(100):
            payment.received(3)
        # what is left is signed, and nothing more
        last = await payment.due(events.PaymentDue(1, 50, 700, False), 0)
        assert isinstance(last, commands.Grow)
        assert (last.amount, last.final, payment.amount) == (600, True, 1300)
        assert "0.0013 USDC" in payment.reached()
        assert payment.used == (260, "chunk")
        stopped = await payment.due(events.PaymentDue(1, 60, 700, False), 0)
        assert isinstance(stopped, Refusal)


async def test_where_nothing_is_left_for_another_tab_that_is_said(tmp_path: Path) -> None:
    async with under_a_tab(tmp_path, max_price="0.000704", ahead=300, credit=200) as (alice, payment):
        assert isinstance(await payment.due(events.PaymentDue(0, 80, 700, False), 0), commands.Grow)
        assert await payment.due(events.PaymentDue(1, 0, 300, False), 0) == commands.Exhausted(1)
        assert payment.reached()
        assert (await alice.row()).tabs == 0


@pytest.mark.parametrize(("step", "amount"), [("signed", 700), ("rolled", 1200)])
async def test_who_is_cut_off_while_more_is_kept_knows_what_was_signed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str, amount: int
) -> None:
    async with under_a_tab(tmp_path) as (alice, payment):
        keep = getattr(alice.store.purchases, step)

        async def keep_and_cut_off(*given: Any) -> Any:
            kept = await keep(*given)
            scope.cancel()
            await trio.lowlevel.checkpoint()
            return kept

        monkeypatch.setattr(alice.store.purchases, step, keep_and_cut_off)
        with trio.CancelScope() as scope:
            await payment.due(events.PaymentDue(0, 60, 700, False), 0)
            await payment.due(events.PaymentDue(1, 0, 500, False), 0)
        assert scope.cancel_called
        assert (await alice.row()).total == payment.amount == amount


@pytest.mark.parametrize("how", ["policy", "switch"])
async def test_no_further_tab_is_opened_where_a_person_changed_their_mind(tmp_path: Path, how: str) -> None:
    async with under_a_tab(tmp_path) as (alice, payment):
        await payment.due(events.PaymentDue(0, 60, 700, False), 0)
        if how == "policy":
            await alice.allow(per_request="0.001")
        else:
            await alice.store.purchases.stop(True)
        stopped = await payment.due(events.PaymentDue(1, 0, 500, False), 0)
        assert isinstance(stopped, Refusal)
        assert "No further tab" in stopped.message
        assert payment.amount == 700
        assert (await alice.row()).total == 700


async def test_a_provider_that_delivers_on_and_on_and_never_asks_is_left(tmp_path: Path) -> None:
    async with under_a_tab(tmp_path) as (_, payment):
        refused = [payment.received(3) for _ in range(11)]
        assert refused[:-1] == [None] * 10
        assert isinstance(refused[-1], Refusal)
        assert "nothing was asked" in refused[-1].message
