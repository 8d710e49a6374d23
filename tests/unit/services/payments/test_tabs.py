"""Whole calls with tabs, over the real ledger of one side and the real books of the other."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
import trio

from nexusd.services.payments import running_sale
from nexusd.services.payments.overdue import Overdue
from nexusd.services.payments.ports import Fate, Funds
from nexusd.services.payments.purse import Payment
from nexusd.services.payments.sale import Sale
from nexusd.services.payments.trust import Allowance, Trust
from nexusd.services.trade import Closing
from nexusd_protocols.identity import AgentId
from nexusd_protocols.invoke import commands, events
from nexusd_protocols.payments import faults, receipt
from nexusd_protocols.payments.authorization import Authorization
from nexusd_protocols.payments.charge import State
from nexusd_protocols.payments.faults import PaymentFault
from nexusd_protocols.payments.tokens import Tokens
from tests.harness.paying import NOW, tab_price
from tests.harness.people import ALICE, BOB
from tests.harness.stores import opened
from tests.unit.services.payments.fair import CAP, Call, fair, pieces, receipt_of, settle_one
from tests.unit.services.payments.market import shop_of


async def test_a_stranger_goes_on_from_tab_to_tab_and_one_receipt_names_them_all(tmp_path: Path) -> None:
    async with fair(tmp_path) as market:
        call = Call(market, pieces(700))
        closing = await call.run()
        assert (closing.outcome, len(call.came), call.objection) == ("ok", 700, None)
        rows = await call.rows()
        assert len(rows) == 4
        assert [row.entry.number for row in rows] == [0, 1, 2, 3]
        assert [row.entry.amount for row in rows[:-1]] == [CAP] * 3
        assert len({row.entry.key for row in rows}) == 4
        assert all(row.state is State.DUE and not row.open_tab for row in rows)
        total = sum(row.entry.amount for row in rows)
        assert total == closing.amount == 700 * 5
        assert (closing.units, closing.unit, closing.key) == (700, "chunk", rows[0].entry.key)
        told = receipt_of(closing)
        assert told.charges == {f"0x{row.entry.authorization.nonce.hex()}": row.entry.amount for row in rows}
        assert (told.amount, told.usage.units, told.usage.unit, told.complete) == (str(total), 700, "chunk", True)
        assert [bool(row.receipt) for row in rows] == [True, False, False, False]
        summary = await call.summary(closing)
        assert (summary.state, summary.receipt, summary.tabs, summary.units, summary.unit) == (
            "paid",
            "verified",
            4,
            700,
            "piece",
        )
        bought = await market.buyer.purchases.get(summary.id)
        assert bought is not None
        # what was signed for more could be used all the same: that counts
        assert (bought.tabs, bought.total, bought.cost) == (3, 4 * CAP, 4 * CAP)
        assert (call.payment.amount, call.payment.used) == (total, (700, "chunk"))
        signed = await market.buyer.purchases.tabs(bought)
        assert [each.key for each in signed] == [row.entry.key for row in rows]


async def shown_again(call: Call) -> tuple[Closing, list[Any]]:
    """What comes of showing the payment that opened the call once more, and what comes with it."""
    again = Call(call.fair, pieces(0))
    again.payment = cast("Payment", SimpleNamespace(received=lambda _size: None))
    again.sale = Sale(shop_of(call.fair.bob), ALICE.peer_id, call.opened, call.fair.prices, "")
    with trio.fail_after(20):
        closing = await again.sale.run(again, events.PaymentOffered(payment=call.payment.pay.payment))
    return closing, again.came


async def test_shown_again_a_call_is_given_again_and_ends_with_all_of_its_tabs(tmp_path: Path) -> None:
    async with fair(tmp_path) as market:
        call = Call(market, pieces(700))
        closing = await call.run()
        rows = await call.rows()
        await Call(market, pieces(300)).run()
        again, came = await shown_again(call)
        assert came == call.came
        assert isinstance(again.command, commands.Done)
        assert isinstance(closing.command, commands.Done)
        assert again.command.response == closing.command.response
        assert (again.key, again.amount) == (rows[0].entry.key, sum(receipt_of(again).charges.values()))
        assert await market.seller.ledger.of_call(rows[0].entry.request) == rows, "nothing more was charged"


async def test_of_a_request_that_was_paid_for_twice_each_payment_ends_with_its_own_tabs(tmp_path: Path) -> None:
    async with fair(tmp_path) as market:
        first, second = Call(market, pieces(250)), Call(market, pieces(450))
        await first.run()
        second.opened = first.opened
        async with opened(tmp_path / "other.sqlite") as buyer:  # alice's daemon knows nothing of the first
            await market.buys_with(buyer)
            assert (await second.run()).outcome == "ok"
        for call in (first, second):
            closing, came = await shown_again(call)
            assert came == call.came
            assert closing.amount == sum(receipt_of(closing).charges.values())


async def test_who_is_known_pays_to_the_unit(tmp_path: Path) -> None:
    async with fair(tmp_path) as market:
        market.bob.trust = Trust(known=Allowance(tab=CAP, exposure=10_000), trusted_peers=frozenset())
        for number in (1, 2, 3):
            await settle_one(market, number)
        call = Call(market, pieces(333))
        closing = await call.run()
        assert (closing.outcome, closing.amount, closing.units) == ("ok", 333 * 5, 333)
        assert call.asked[-1].final
        rows = await call.rows()
        assert [row.entry.amount for row in rows] == [CAP, 665]
        assert (await call.summary(closing)).amount == "0.001665"


async def test_who_takes_what_is_on_credit_and_leaves_pays_ahead_from_then_on(tmp_path: Path) -> None:
    async with fair(tmp_path) as market:
        most = 1200
        market.bob.trust = Trust(known=Allowance(tab=most, exposure=10_000))
        for number in (1, 2, 3):
            await settle_one(market, number)

        async def work(call: Call) -> None:
            call.silent = True
            await pieces(100)(call)
            call.sale.cancel()
            await trio.sleep_forever()

        unpaid = 0
        for _ in range(12):
            call = Call(market, work)
            closing = await call.run()
            unpaid += max(0, 5 * len(call.came) - closing.amount)
        assert 900 <= unpaid <= most
        assert market.bob.credits.of(ALICE.peer_id) == market.bob.credits.total == unpaid
        market.bob.credits.forgive(ALICE.peer_id)
        closing = await Call(market, pieces(333)).run()
        assert (closing.outcome, closing.amount) == ("ok", 333 * 5)
        assert market.bob.credits.total == 0


async def test_calls_at_once_share_the_credit_of_their_peer(tmp_path: Path) -> None:
    async with fair(tmp_path) as market:
        market.bob.trust = Trust(known=Allowance(tab=CAP, exposure=100_000))
        for number in (1, 2, 3):
            await settle_one(market, number)
        ready = trio.Event()

        async def work(call: Call) -> None:
            await ready.wait()
            await pieces(10)(call)

        calls = [Call(market, work) for _ in range(4)]
        offered = [await call.pay("0.1") for call in calls]
        assert all(isinstance(paid, Payment) for paid in offered)
        outcomes: list[str] = []

        async def run(call: Call, paid: Any) -> None:
            call.payment = paid
            closing = await call.sale.run(call, events.PaymentOffered(payment=paid.pay.payment))
            outcomes.append(closing.outcome)
            if outcomes == [faults.EXPOSURE] * 2:
                ready.set()

        with trio.fail_after(20):
            async with trio.open_nursery() as nursery:
                for call, paid in zip(calls, offered, strict=True):
                    nursery.start_soon(run, call, paid)
        assert outcomes == [faults.EXPOSURE, faults.EXPOSURE, "ok", "ok"]
        assert market.bob.credits.total == 0


async def test_a_call_goes_on_to_what_it_may_cost_and_says_so(tmp_path: Path) -> None:
    async with fair(tmp_path) as market:
        call = Call(market, pieces(5000))
        closing = await call.run("0.002503")
        assert closing.outcome == faults.PRICE_REACHED
        assert isinstance(closing.command, commands.Error)
        assert closing.command.code == "PAYMENT_REQUIRED"
        # 500 units, and 3 that buy none
        assert (len(call.came), closing.amount) == (500, 2500)
        assert "0.002503 USDC" in call.payment.reached()
        told = receipt_of(closing)
        assert (told.complete, told.usage.units, len(told.charges)) == (False, 500, 3)
        summary = await call.summary(closing)
        assert (summary.state, summary.amount, summary.receipt) == ("paid", "0.0025", "verified")


async def test_what_a_stranger_may_owe_bounds_nothing_but_the_time(tmp_path: Path) -> None:
    async with fair(tmp_path) as market:
        market.bob.trust = Trust(stranger=Allowance(tab=CAP, exposure=1500))
        call = Call(market, pieces(1000))
        async with trio.open_nursery() as nursery:
            nursery.start_soon(market.settle)
            closing = await call.run()
            nursery.cancel_scope.cancel()
        assert (closing.outcome, len(call.came)) == ("ok", 1000)
        assert len(await call.rows()) >= 5


async def test_no_more_is_taken_of_an_account_than_it_has(tmp_path: Path) -> None:
    """The tabs before count as long as they are not settled; from then on the balance is less by them."""
    async with fair(tmp_path) as market:
        has = CAP + 500

        async def settle() -> None:
            """Once the second tab cannot grow beside the first."""
            ledger = market.seller.ledger
            while market.chains.woken < 2:
                await trio.sleep(0.01)
            (first,) = await ledger.next_due(market.bob.now, 9)
            market.chains.answer = Funds(has - first.entry.amount)
            await ledger.settled(first.entry.key, "0x" + "ab" * 32, 1, market.bob.now)
            market.chains.moved.set()

        market.chains.answer = Funds(has)
        call = Call(market, pieces(1000))
        async with trio.open_nursery() as nursery:
            nursery.start_soon(settle)
            closing = await call.run()
        assert closing.outcome == faults.INSUFFICIENT_FUNDS
        assert CAP < closing.amount <= has
        assert len(call.came) * 5 <= closing.amount


async def test_without_a_chain_the_call_ends_at_what_may_be_owed(tmp_path: Path) -> None:
    async with fair(tmp_path) as market:
        market.chains.nodes = set()
        market.bob.trust = Trust(stranger=Allowance(tab=CAP, exposure=10_000), offline=1500)
        call = Call(market, pieces(1000))
        closing = await call.run()
        assert closing.outcome == faults.EXPOSURE
        assert closing.amount <= 1500
        assert len(call.came) * 5 <= closing.amount


async def test_a_caller_that_gives_up_between_two_tabs_has_paid_for_what_it_got(tmp_path: Path) -> None:
    async with fair(tmp_path) as market:

        async def work(call: Call) -> None:
            await pieces(210)(call)
            call.sale.cancel()
            await trio.sleep_forever()

        call = Call(market, work)
        closing = await call.run()
        assert closing.outcome == "cancelled"
        rows = await call.rows()
        assert rows[0].entry.amount == CAP
        assert 1050 <= closing.amount == sum(row.entry.amount for row in rows) <= call.payment.amount
        assert not any(row.open_tab for row in rows)
        signed = receipt.verify(rows[0].receipt.decode())
        assert isinstance(signed, receipt.Receipt)
        assert (signed.complete, signed.usage.units) == (False, 210)


@pytest.mark.parametrize("code", [faults.TRANSACTION_STATE, faults.INSUFFICIENT_FUNDS])
async def test_a_payer_that_takes_it_back_while_it_is_served_is_found_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: str
) -> None:
    monkeypatch.setattr(running_sale, "WATCH_S", 0.01)
    async with fair(tmp_path) as market:

        async def work(call: Call) -> None:
            await pieces(20)(call)
            market.chains.answer = PaymentFault(code)
            await trio.sleep_forever()

        call = Call(market, work)
        closing = await call.run()
        assert closing.outcome == code
        (row,) = await call.rows()
        assert (row.state, row.open_tab, len(call.came)) == (State.DUE, False, 20)


async def test_one_tab_that_was_lost_ends_the_call_under_another(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(running_sale, "WATCH_S", 0.01)
    async with fair(tmp_path) as market:

        async def work(call: Call) -> None:
            await pieces(250)(call)
            first = (await call.rows())[0]
            await market.seller.ledger.lost(first.entry.key, "cancelled", market.bob.now, by_payer=True)
            await trio.sleep_forever()

        closing = await Call(market, work).run()
        assert closing.outcome == faults.LOST
        # and nothing is given on trust any more, to the peer or the account
        refused = await Call(market, pieces(1)).pay("0.1")
        assert isinstance(refused, commands.Error)
        assert refused.code == "FORBIDDEN"
        assert "taken back" in refused.message
        await market.seller.standings.clear(peer=ALICE.peer_id)
        assert (await Call(market, pieces(1)).run()).outcome == "ok"


async def test_an_account_that_took_something_back_gets_no_tab_with_another_peer(tmp_path: Path) -> None:
    async with fair(tmp_path) as market:
        call = Call(market, pieces(20))
        await call.run()
        (row,) = await call.rows()
        await market.seller.ledger.lost(row.entry.key, "cancelled", market.bob.now, by_payer=True)
        await market.seller.standings.clear(peer=ALICE.peer_id)
        assert (await Call(market, pieces(1)).run()).outcome == "ok"
        call = Call(market, pieces(20))
        await call.run()
        newest = (await market.seller.ledger.list(AgentId(BOB.peer_id), limit=1)).rows[-1]
        stranger = replace(newest.entry, peer=BOB.peer_id)
        database = market.seller.database
        await market.seller.ledger.lost(newest.entry.key, "cancelled", market.bob.now, by_payer=True)
        await database.write(
            lambda connection: connection.execute("UPDATE offences SET offender = ?", (stranger.peer,))
        )
        closing = await Call(market, pieces(1)).run()
        assert closing.outcome == faults.NOT_TRUSTED


async def test_a_payer_that_never_answers_is_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(running_sale, "TICK_S", 0.01)
    async with fair(tmp_path) as market:

        async def work(call: Call) -> None:
            call.silent = True
            await pieces(100)(call)
            market.bob.now += 31_000
            await pieces(1000)(call)

        call = Call(market, work)
        closing = await call.run()
        assert closing.outcome == faults.TAB_FAULT
        assert isinstance(closing.command, commands.Error)
        assert "no answer in time" in closing.command.message
        assert (len(call.came), closing.amount) == (100, 500)


async def test_a_provider_that_asks_for_what_was_not_delivered_is_left(tmp_path: Path) -> None:
    async with fair(tmp_path) as market:

        async def work(call: Call) -> None:
            await call.ask(commands.Due(0, 90, 950))
            await trio.sleep_forever()

        call = Call(market, work)
        closing = await call.run()
        assert closing.outcome == "cancelled"
        assert call.objection is not None
        assert "90 units were not delivered" in call.objection.message


async def test_a_tab_follows_before_the_time_of_the_one_before_is_over(tmp_path: Path) -> None:
    async with fair(tmp_path) as market:

        async def work(call: Call) -> None:
            for _ in range(4):
                await pieces(40)(call)
                market.bob.now += 400_000

        call = Call(market, work)
        closing = await call.run()
        assert (closing.outcome, len(call.came), call.objection) == ("ok", 160, None)
        rows = await call.rows()
        assert len(rows) >= 2
        ends = [row.entry.authorization.valid_before for row in rows]
        assert ends == sorted(ends)
        assert all(NOW < end <= market.bob.now // 1000 + 600 for end in ends)


async def test_work_that_pauses_until_its_tab_was_settled_goes_on_under_another(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fate(_token: Any, paid: Authorization, _since_s: int) -> Fate:
        await trio.lowlevel.checkpoint()
        return Fate("paid", "0x" + "ab" * 32, paid.value)

    async with fair(tmp_path) as market:
        monkeypatch.setattr(market.chains, "fate", fate)

        async def work(call: Call) -> None:
            await pieces(20)(call)
            market.bob.now += 1_300_000
            (row,) = await call.rows()
            await market.seller.ledger.settled(row.entry.key, "0x" + "ab" * 32, 1, market.bob.now)
            traced = Overdue(
                market.buyer.purchases, market.chains, Tokens(), lambda: market.bob.now, market.purse.is_under_way
            )
            assert await traced.round() == 0
            market.chains.nodes = set()
            assert await traced.round() == 0
            market.chains.nodes = {8453}
            await pieces(300)(call)

        call = Call(market, work)
        closing = await call.run()
        assert (closing.outcome, len(call.came), call.objection) == ("ok", 320, None)
        assert [row.state for row in await call.rows()] == [State.SETTLED, State.DUE, State.DUE]
        id_ = (await call.summary(closing)).id
        assert not market.purse.is_under_way(id_)


async def test_bytes_are_paid_as_they_come_and_long_texts_are_cut(tmp_path: Path) -> None:
    async with fair(tmp_path) as market:
        market.prices = [tab_price(unit="byte", unit_price=1, ahead=100, amount=5000)]

        async def work(call: Call) -> None:
            await call.sale.produce("partial", "ö" * 333, 666, None)

        call = Call(market, work)
        closing = await call.run()
        assert (closing.outcome, closing.units, closing.unit) == ("ok", 666, "byte")
        assert "".join(call.came) == "ö" * 333
        assert max(len(piece.encode()) for piece in call.came) <= 50

        async def structured(call: Call) -> None:
            await call.sale.produce("partial", ["x" * 100], 104, None)

        with pytest.raises(BaseExceptionGroup) as caught:
            await Call(market, structured).run()
        assert caught.group_contains(ValueError, match="no text")


async def test_tokens_are_what_is_reported_and_what_is_told_at_the_end(tmp_path: Path) -> None:
    async with fair(tmp_path) as market:
        market.prices = [tab_price(unit="token_out", unit_price=150_000, per=10**6, ahead=30, amount=500)]

        async def work(call: Call) -> None:
            for word in ("never", " gonna", " give"):
                await call.sale.produce("token", word, len(word), 2)
            await call.sale.count(4)

        call = Call(market, work)
        closing = await call.run()
        assert (closing.outcome, closing.units, closing.unit) == ("ok", 10, "token_out")
        assert closing.amount == 2, "ten at 0.15 each, and not the 30 that it began with"


async def test_seconds_of_work_are_counted_without_output(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(running_sale, "SECOND_S", 0.001)
    async with fair(tmp_path) as market:
        market.prices = [tab_price(unit="second", unit_price=10, ahead=50, amount=5000)]

        async def work(call: Call) -> None:
            market.bob.now += 100_000
            while call.payment.amount < 300:
                await trio.sleep(0.001)
            await call.sale.produce("result", "done", 4, None)

        call = Call(market, work)
        closing = await call.run()
        assert (closing.outcome, closing.unit, call.came) == ("ok", "second", ["done"])
        assert closing.units >= 24
        assert closing.units * 10 <= closing.amount <= closing.units * 10 + 50


async def test_a_tab_that_would_not_hold_two_units_is_not_offered(tmp_path: Path) -> None:
    async with fair(tmp_path) as market:
        market.bob.trust = Trust(stranger=Allowance(tab=9, exposure=100))
        refused = await Call(market, pieces(1)).pay("0.1")
        assert isinstance(refused, commands.Error)
        assert "two units" in refused.message
