"""What a call with tabs comes to at each of its ends: what was delivered, and no more."""

from __future__ import annotations

from pathlib import Path

import pytest
import trio

from nexusd.services.payments import running_sale
from nexusd.services.payments.trust import Allowance, Trust
from nexusd.services.trade import Failure
from nexusd_protocols.invoke import events
from nexusd_protocols.payments import faults
from nexusd_protocols.payments.charge import State
from tests.harness.paying import tab_price
from tests.unit.services.payments.fair import CAP, Call, fair, pieces, settle_one


async def give_up(call: Call, count: int) -> None:
    """As the daemon of a caller does that is told to stop, when so many pieces have come."""
    while len(call.came) < count:
        await trio.sleep(0.001)
    last = await call.payment.given_up()
    if last is not None:
        call.sale.answered(events.TabGrown(last.tab, last.amount, last.signature, last.final))
    call.sale.cancel()


@pytest.mark.parametrize("count", [1, 4, 70, 199, 201])
async def test_a_caller_that_gives_up_pays_for_what_came(tmp_path: Path, count: int) -> None:
    async with fair(tmp_path) as market:

        async def work(call: Call) -> None:
            await pieces(count)(call)
            await give_up(call, count)
            await trio.sleep_forever()

        call = Call(market, work)
        closing = await call.run()
        assert (closing.outcome, len(call.came), closing.amount) == ("cancelled", count, 5 * count)
        assert sum(row.entry.amount for row in await call.rows() if row.state is State.DUE) == 5 * count


async def test_a_caller_that_gives_up_too_late_to_have_seen_it_all_pays_what_it_signed(tmp_path: Path) -> None:
    async with fair(tmp_path) as market:

        async def work(call: Call) -> None:
            await pieces(4)(call)
            last = await call.payment.given_up()
            assert last is not None
            await pieces(1)(call)
            call.sale.answered(events.TabGrown(last.tab, last.amount, last.signature, last.final))
            call.sale.cancel()
            await trio.sleep_forever()

        closing = await Call(market, work).run()
        assert (closing.outcome, closing.amount) == ("cancelled", 500)


@pytest.mark.parametrize("code", ["APPLICATION_ERROR", "OUTPUT_TOO_LARGE", "TIMEOUT"])
async def test_work_that_fails_is_paid_for_as_far_as_it_came(tmp_path: Path, code: str) -> None:
    async with fair(tmp_path) as market:

        async def work(call: Call) -> Failure:
            await pieces(7)(call)
            return Failure(code, "no more")

        call = Call(market, work)
        closing = await call.run()
        assert (closing.outcome, len(call.came), closing.amount) == (code, 7, 35)
        summary = await call.summary(closing)
        assert (summary.state, summary.amount, summary.receipt) == ("paid", "0.000035", "verified")


@pytest.mark.parametrize("known", [True, False])
@pytest.mark.parametrize("count", [1, 4, 10, 20, 99, 100, 101, 199, 200, 201, 333])
async def test_what_is_charged_is_what_was_delivered(tmp_path: Path, count: int, known: bool) -> None:
    async with fair(tmp_path) as market:
        if known:
            market.bob.trust = Trust(known=Allowance(tab=CAP, exposure=10_000), trusted_peers=frozenset())
            for number in (1, 2, 3):
                await settle_one(market, number)
        call = Call(market, pieces(count))
        closing = await call.run()
        assert (closing.outcome, len(call.came), closing.amount) == ("ok", count, 5 * count)
        summary = await call.summary(closing)
        assert (summary.state, summary.receipt) == ("paid", "verified")


async def test_a_provider_that_stops_settles_up(tmp_path: Path) -> None:
    async with fair(tmp_path) as market:

        async def work(call: Call) -> None:
            await pieces(10)(call)
            call.sale.fail("CANCELLED")
            await trio.sleep_forever()

        closing = await Call(market, work).run()
        assert (closing.outcome, closing.amount) == ("CANCELLED", 50)


async def test_a_provider_that_stops_waits_for_nobody(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(running_sale, "SETTLE_UP_S", 0.01)
    async with fair(tmp_path) as market:

        async def work(call: Call) -> None:
            await pieces(10)(call)
            call.silent = True
            call.sale.fail("CANCELLED")
            await trio.sleep_forever()

        closing = await Call(market, work).run()
        assert (closing.outcome, closing.amount) == ("CANCELLED", 500)


async def test_where_the_price_is_reached_only_what_fitted_is_charged(tmp_path: Path) -> None:
    async with fair(tmp_path) as market:
        market.prices = [tab_price(unit="byte", unit_price=5, ahead=1000, amount=CAP)]

        async def work(call: Call) -> None:
            for _ in range(100):
                await call.sale.produce("partial", "x" * 70, 70, None)

        call = Call(market, work)
        closing = await call.run("0.002")
        assert (closing.outcome, len(call.came), closing.amount) == (faults.PRICE_REACHED, 5, 5 * 70 * 5)


async def test_where_there_is_no_room_only_what_came_is_charged(tmp_path: Path) -> None:
    async with fair(tmp_path) as market:
        market.chains.nodes = set()
        market.bob.trust = Trust(stranger=Allowance(tab=CAP, exposure=10_000), offline=600)
        call = Call(market, pieces(1000))
        closing = await call.run()
        assert (closing.outcome, closing.amount) == (faults.EXPOSURE, 5 * len(call.came))


async def test_a_last_word_counts_also_where_the_tab_waits_for_room(tmp_path: Path) -> None:
    async with fair(tmp_path) as market:
        market.bob.trust = Trust(stranger=Allowance(tab=CAP, exposure=600))

        async def work(call: Call) -> None:
            await pieces(85)(call)
            while not market.chains.woken:
                await trio.sleep(0.001)
            await give_up(call, 85)
            await trio.sleep_forever()

        closing = await Call(market, work).run()
        assert (closing.outcome, closing.amount) == ("cancelled", 5 * 85)


async def test_work_of_less_than_a_second_costs_one(tmp_path: Path) -> None:
    async with fair(tmp_path) as market:
        market.prices = [tab_price(unit="second", unit_price=10, ahead=50, amount=5000)]

        async def work(call: Call) -> None:
            await call.sale.produce("result", "done", 4, None)

        call = Call(market, work)
        closing = await call.run()
        assert (closing.outcome, closing.units, closing.amount) == ("ok", 1, 10)
        assert (await call.summary(closing)).receipt == "verified"


async def test_a_payer_that_may_sign_nothing_more_pays_what_it_signed(tmp_path: Path) -> None:
    async with fair(tmp_path) as market:

        async def work(call: Call) -> None:
            await pieces(4)(call)
            await market.buyer.purchases.stop(True)

        closing = await Call(market, work).run()
        assert (closing.outcome, closing.amount) == ("ok", 500)
