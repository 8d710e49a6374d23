"""Sales over a real ledger: what is on disk before anything goes out, and what a payment buys when it comes again."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest
import trio
from structlog.testing import capture_logs

from nexusd.services.payments.ports import Funds
from nexusd.services.payments.sale import Sale
from nexusd.services.payments.trust import Trust
from nexusd.services.trade import Closing, Failure
from nexusd_protocols.identity import AgentId
from nexusd_protocols.invoke import commands, events
from nexusd_protocols.payments import faults, receipt
from nexusd_protocols.payments.charge import Delivered, State
from nexusd_protocols.payments.faults import PaymentFault
from nexusd_protocols.payments.tokens import USDC_POLYGON
from tests.harness.paying import PAYEE, payment, price, tab_price
from tests.harness.people import ALICE, BOB
from tests.unit.services.payments.market import Call, market, responded, say_two, shop_of

ASSET = price().token


async def test_a_whole_result_is_on_disk_with_its_receipt_before_any_of_it_goes(tmp_path: Path) -> None:
    async with market(tmp_path) as shop:
        call, opened = Call(shop, say_two), shop.opened()
        closing = await shop.sell(call, opened, shop.pay(opened))
        assert isinstance(closing.command, commands.Done)
        assert call.came == ["one", "two"]
        assert call.states == [(State.DUE, Delivered.ALL)] * 2
        row = await shop.store.ledger.row(closing.key)
        assert row is not None
        signed = receipt.verify(row.receipt.decode())
        assert isinstance(signed, receipt.Receipt)
        assert (signed.amount, signed.usage.output_bytes, signed.complete) == ("100000", 6, True)
        assert signed.result == f"0x{row.result.digest.hex()}"
        response = responded(closing)
        assert response["success"]
        assert response["extensions"]["nexus-receipt"]["info"]["receipt"]["signature"] == row.receipt.decode()
        assert (closing.amount, closing.outcome) == (100_000, "ok")
        assert shop.chains.woken


async def test_of_a_stream_due_is_on_disk_before_the_first_piece(tmp_path: Path) -> None:
    async with market(tmp_path) as shop:
        call, opened = Call(shop, say_two), shop.opened(stream=True)
        await shop.sell(call, opened, shop.pay(opened))
        assert call.states == [(State.DUE, Delivered.PART)] * 2
        assert (await shop.row()).delivered is Delivered.ALL


async def test_what_was_paid_for_is_given_again_without_work_or_charge(tmp_path: Path) -> None:
    async with market(tmp_path) as shop:
        opened = shop.opened()
        paid = shop.pay(opened)
        first = await shop.sell(Call(shop, say_two), opened, paid)
        # also when its time is over, and the price is another
        shop.now += 3_600_000
        shop.price = price(amount=999_999)
        again = Call(shop, say_two)
        second = await shop.sell(again, opened, paid)
        assert isinstance(second.command, commands.Done)
        assert again.came == ["one", "two"]
        assert (shop.works, second.key) == (1, first.key)
        assert responded(second)["extensions"] == responded(first)["extensions"]


async def test_what_could_not_be_settled_is_not_demanded(tmp_path: Path) -> None:
    async with market(tmp_path) as shop:
        opened = shop.opened()
        paid = shop.pay(opened)
        first = await shop.sell(Call(shop, say_two), opened, paid)
        shop.chains.without_gas = "the wallet is locked"
        refused = await Sale(shop_of(shop), ALICE.peer_id, shop.opened("r2"), [shop.price], "").demand()
        assert isinstance(refused, commands.Error)
        assert refused.message == "no payment can be settled here now; nothing was asked for"
        # without a node nobody waits for gas
        polygon = price(token=USDC_POLYGON)
        demand = await Sale(shop_of(shop), ALICE.peer_id, shop.opened("r3"), [shop.price, polygon], "").demand()
        assert isinstance(demand, commands.Demand)
        assert [each["network"] for each in demand.required["accepts"]] == ["eip155:137"]
        # and what was paid for is given again
        again = await shop.sell(Call(shop, say_two), opened, paid)
        assert (again.outcome, again.key, shop.works) == ("ok", first.key, 1)


async def test_of_several_prices_the_one_that_was_chosen_is_charged(tmp_path: Path) -> None:
    async with market(tmp_path) as shop:
        shop.chains.nodes = {8453, 137}
        base, polygon = shop.price, price(token=USDC_POLYGON, amount=120_000)
        shop.others = [polygon, tab_price()]
        opened = shop.opened()
        demand = await Sale(shop_of(shop), ALICE.peer_id, opened, [base, *shop.others], "").demand()
        assert isinstance(demand, commands.Demand)
        networks = [each["network"] for each in demand.required["accepts"]]
        assert networks == ["eip155:8453", "eip155:137", "eip155:8453"]
        shop.price = polygon
        paid = shop.pay(opened)
        shop.price = base
        closing = await shop.sell(Call(shop, say_two), opened, paid)
        assert (closing.outcome, closing.amount) == ("ok", 120_000)
        assert closing.asset == f"eip155:137/{USDC_POLYGON.address.hex()}"
        assert responded(closing)["network"] == "eip155:137"
        # also when that network is paid on no more
        shop.others = []
        again = await shop.sell(Call(shop, say_two), opened, paid)
        assert (again.outcome, again.key, shop.works) == ("ok", closing.key, 1)
        new = shop.opened("r2")
        shop.price = polygon
        paid = shop.pay(new)
        shop.price = base
        assert (await shop.sell(Call(shop, say_two), new, paid)).outcome == faults.INVALID_NETWORK


async def test_one_authorisation_buys_one_request(tmp_path: Path) -> None:
    async with market(tmp_path) as shop:
        opened = shop.opened()
        paid = shop.pay(opened)
        await shop.sell(Call(shop, say_two), opened, paid)
        other = await shop.sell(Call(shop, say_two), shop.opened("r2"), paid)
        assert other.outcome == faults.BINDING_MISMATCH
        unbound = payment(shop.price, nonce=bytes(31) + b"x")
        await shop.sell(Call(shop, say_two), opened, unbound)
        used = await shop.sell(Call(shop, say_two), shop.opened("r2"), unbound)
        assert used.outcome == faults.USED
        assert shop.works == 2
        shop.trust = Trust(hold_strangers=False)
        shop.price = price(binding="required")
        with capture_logs() as logs:
            refused = await shop.sell(Call(shop, say_two), opened, payment(shop.price, nonce=bytes(31) + b"y"))
        assert refused.outcome == faults.UNBOUND
        # the client reads x402's answer, the provider what to set
        response = responded(refused)
        assert (response["success"], response["errorReason"]) == (False, "nexus_unbound")
        assert "nexus-binding" in response["errorMessage"]
        (told,) = [each for each in logs if each["event"] == "payment_unbound"]
        assert "accept_unbound" in told["hint"]


async def test_shown_a_hundred_times_at_once_it_works_once(tmp_path: Path) -> None:
    async with market(tmp_path) as shop:
        opened = shop.opened()
        paid = shop.pay(opened)
        shown: list[Any] = []

        async def one() -> None:
            call = Call(shop, say_two)
            shown.append((await shop.sell(call, opened, paid), call))

        async with trio.open_nursery() as nursery:
            for _ in range(100):
                nursery.start_soon(one)
        assert shop.works == 1
        assert {closing.outcome for closing, _ in shown} <= {"ok", faults.IN_PROGRESS}
        assert all(call.came == ["one", "two"] for closing, call in shown if closing.outcome == "ok")
        (total,) = await shop.store.ledger.totals(AgentId(BOB.peer_id))
        assert (total.charges, total.amount) == (1, 100_000)


async def test_shown_twice_at_once_the_other_is_not_taken_for_somebody_elses(tmp_path: Path) -> None:
    async with market(tmp_path) as shop:
        opened = shop.opened()
        paid = payment(shop.price)
        both, settled, asked = trio.Event(), trio.Event(), 0
        answer = shop.chains.check

        async def slow(verified: Any) -> Funds | PaymentFault:
            nonlocal asked
            asked += 1
            if asked == 2:
                both.set()
            await settled.wait()
            return PaymentFault(faults.TRANSACTION_STATE)

        ended: dict[str, Closing] = {}

        async def one(name: str, request: events.Opened) -> None:
            ended[name] = await shop.sell(Call(shop, say_two), request, paid)

        async with trio.open_nursery() as nursery:
            shop.chains.check = slow  # type: ignore[method-assign]
            nursery.start_soon(one, "the same", opened)
            nursery.start_soon(one, "another", shop.opened("r2"))
            await both.wait()
            shop.chains.check = answer  # type: ignore[method-assign]
            await one("first", opened)
            settled.set()
        assert {name: closing.outcome for name, closing in ended.items()} == {
            "first": "ok",
            "the same": "ok",
            "another": faults.USED,
        }
        assert shop.works == 1
        assert ended["the same"].key == ended["first"].key


async def test_failed_work_is_released_and_may_be_tried_again(tmp_path: Path) -> None:
    async with market(tmp_path) as shop:
        opened = shop.opened()
        paid = shop.pay(opened)

        async def fail(call: Call) -> Failure:
            await call.say("half")
            return Failure("COMMAND_FAILED", "exit status 3")

        call = Call(shop, fail)
        closing = await shop.sell(call, opened, paid)
        assert closing.command == commands.Error("COMMAND_FAILED", "exit status 3", responded(closing))
        assert (responded(closing)["success"], call.came, closing.key) == (False, [], "")
        assert (await shop.row()).state is State.RELEASED
        again = await shop.sell(Call(shop, say_two), opened, paid)
        assert again.outcome == "ok"
        assert (await shop.row()).attempts == 2


async def test_a_stream_that_broke_off_is_done_again_for_the_same_input_only(tmp_path: Path) -> None:
    async with market(tmp_path) as shop:
        opened = shop.opened(stream=True)
        paid = shop.pay(opened)

        async def half(call: Call) -> Failure | None:
            await call.say("one")
            return Failure("COMMAND_FAILED", "it broke")

        first = Call(shop, half)
        closing = await shop.sell(first, opened, paid)
        assert (closing.outcome, first.came, closing.amount) == ("COMMAND_FAILED", ["one"], 100_000)
        other = Call(shop, say_two)
        other.whole_input = b"another question".ljust(32)
        closing = await shop.sell(other, opened, paid)
        assert (closing.outcome, other.came, other.works) == (faults.USED, [], 0)
        assert isinstance(closing.command, commands.Error)
        assert "another input" in closing.command.message
        again = Call(shop, say_two)
        closing = await shop.sell(again, opened, paid)
        assert (closing.outcome, again.came) == ("ok", ["one", "two"])
        assert (await shop.row()).attempts == 3


async def test_who_bounds_the_output_has_had_what_it_paid_for(tmp_path: Path) -> None:
    async with market(tmp_path) as shop:
        opened = shop.opened(stream=True)
        paid = shop.pay(opened)

        async def too_much(call: Call) -> Failure | None:
            await call.say("one", "two")
            return Failure("OUTPUT_TOO_LARGE", "over the 6 bytes of this call")

        first = Call(shop, too_much)
        assert (await shop.sell(first, opened, paid)).outcome == "OUTPUT_TOO_LARGE"
        row = await shop.row()
        assert (row.state, row.delivered) == (State.DUE, Delivered.ALL)
        # asked for again, it is given what it had, and nothing is worked on; a part is not passed off as the whole
        again = Call(shop, say_two)
        closing = await shop.sell(again, opened, paid)
        assert (closing.outcome, again.works, again.came) == ("CANCELLED", 0, ["one", "two"])
        assert isinstance(closing.command, commands.Error)
        assert closing.command.message.startswith("the call was broken off")
        kept = receipt.verify(row.receipt.decode())
        assert isinstance(kept, receipt.Receipt)
        assert not kept.complete
        told = responded(closing)["extensions"]["nexus-receipt"]["info"]["receipt"]["signature"]
        assert told == row.receipt.decode()


async def test_a_caller_that_gives_up_pays_only_behind_the_first_piece(tmp_path: Path) -> None:
    async with market(tmp_path) as shop:
        opened = shop.opened(stream=True)

        async def cancel(sale: Sale) -> None:
            await began.wait()
            sale.cancel()

        async def think(call: Call) -> None:
            began.set()
            await trio.sleep_forever()

        began = trio.Event()
        early = await shop.sell(Call(shop, think), opened, shop.pay(opened), during=cancel)
        assert (early.outcome, early.key, (await shop.row()).state) == ("cancelled", "", State.RELEASED)

        async def talk(call: Call) -> None:
            await call.say("one")
            while not call.came:
                await trio.lowlevel.checkpoint()
            began.set()
            await trio.sleep_forever()

        began = trio.Event()
        opened = shop.opened("r2", stream=True)
        late = await shop.sell(Call(shop, talk), opened, shop.pay(opened), during=cancel)
        assert (late.outcome, late.amount) == ("cancelled", 100_000)
        row = await shop.store.ledger.row(late.key)
        assert row is not None
        signed = receipt.verify(row.receipt.decode())
        assert isinstance(signed, receipt.Receipt)
        assert (row.state, signed.complete, signed.usage.output_bytes) == (State.DUE, False, 3)


@pytest.mark.parametrize(("said", "state"), [((), State.RELEASED), (("one",), State.DUE)])
async def test_a_provider_that_stops_says_so_and_does_it_again_for_the_same_payment(
    tmp_path: Path, said: tuple[str, ...], state: State
) -> None:
    async with market(tmp_path) as shop:
        opened = shop.opened(stream=True)
        paid = shop.pay(opened)
        at_it = trio.Event()

        async def talk(call: Call) -> None:
            await call.say(*said)
            while len(call.came) < len(said):
                await trio.lowlevel.checkpoint()
            at_it.set()
            await trio.sleep_forever()

        async def stop(sale: Sale) -> None:
            await at_it.wait()
            sale.fail("CANCELLED")

        closing = await shop.sell(Call(shop, talk), opened, paid, during=stop)
        assert closing.command == commands.Error("CANCELLED", "the provider is shutting down", responded(closing))
        assert (await shop.row()).state is state
        again = Call(shop, say_two)
        closing = await shop.sell(again, opened, paid)
        assert (closing.outcome, closing.amount, again.came) == ("ok", 100_000, ["one", "two"])


async def test_a_caller_that_is_gone_finds_its_result_kept(tmp_path: Path) -> None:
    async with market(tmp_path) as shop:
        opened = shop.opened()
        paid = shop.pay(opened)
        call = Call(shop, say_two)
        call.gone = True
        await shop.sell(call, opened, paid)
        assert (await shop.row()).state is State.DUE
        again = Call(shop, say_two)
        await shop.sell(again, opened, paid)
        assert (again.came, shop.works) == (["one", "two"], 1)


async def test_a_stranger_gets_it_once_it_is_settled(tmp_path: Path) -> None:
    async with market(tmp_path) as shop:
        shop.trust = Trust(accept_unbound=True)
        opened = shop.opened()
        call = Call(shop, say_two)

        async def settle(_: Sale) -> None:
            while (row := await shop.row()) is None or row.state is not State.DUE:
                await trio.sleep(0.01)
            assert call.came == []
            await shop.store.ledger.settled(row.entry.key, "0x" + "ab" * 32, 7, shop.now)
            shop.chains.moved.set()

        closing = await shop.sell(call, opened, shop.pay(opened), during=settle)
        assert (closing.outcome, call.came) == ("ok", ["one", "two"])
        assert call.states == [(State.SETTLED, Delivered.ALL)] * 2
        assert responded(closing)["transaction"] == "0x" + "ab" * 32


async def test_what_costs_more_than_a_payer_may_owe_waits_for_its_settlement_by_itself(tmp_path: Path) -> None:
    async with market(tmp_path) as shop:
        shop.price = price(amount=60_000_000)
        shop.trust = Trust(total=50_000_000, accept_unbound=True)
        call, opened = Call(shop, say_two), shop.opened()
        call.left_s = 0.05
        closing = await shop.sell(call, opened, shop.pay(opened))
        assert (closing.outcome, call.works, call.came) == (faults.SETTLEMENT_PENDING, 1, [])
        another = shop.opened("r2")
        closing = await shop.sell(Call(shop, say_two), another, shop.pay(another))
        assert (closing.outcome, shop.works) == (faults.EXPOSURE, 1)


async def test_what_is_not_settled_is_not_handed_over_nor_asked_for_again(tmp_path: Path) -> None:
    async with market(tmp_path) as shop:
        shop.trust = Trust(accept_unbound=True)
        opened = shop.opened()
        call = Call(shop, say_two)
        call.left_s = 0.05
        closing = await shop.sell(call, opened, shop.pay(opened))
        assert closing.outcome == faults.SETTLEMENT_PENDING
        assert isinstance(closing.command, commands.Error)
        assert closing.command.code == "SETTLEMENT_PENDING"
        assert (call.came, responded(closing)["errorReason"]) == ([], faults.SETTLEMENT_PENDING)
        assert closing.amount == 100_000

        async def lose(_: Sale) -> None:
            row = await shop.row()
            await shop.store.ledger.lost(row.entry.key, "cancelled", shop.now)
            shop.chains.moved.set()

        again = Call(shop, say_two)
        lost = await shop.sell(again, opened, shop.pay(opened), during=lose)
        assert (lost.outcome, again.came, lost.key) == (faults.LOST, [], "")


async def test_what_the_chain_speaks_against_is_not_reserved(tmp_path: Path) -> None:
    async with market(tmp_path) as shop:
        opened = shop.opened()
        shop.chains.answer = PaymentFault(faults.TRANSACTION_STATE)
        closing = await shop.sell(Call(shop, say_two), opened, shop.pay(opened))
        assert closing.outcome == faults.TRANSACTION_STATE
        shop.chains.answer = Funds(99_999)
        closing = await shop.sell(Call(shop, say_two), opened, shop.pay(opened))
        assert closing.outcome == faults.INSUFFICIENT_FUNDS
        assert (shop.works, await shop.row()) == (0, None)


async def test_without_a_chain_exposure_is_small_and_it_is_said(tmp_path: Path) -> None:
    async with market(tmp_path) as shop:
        shop.chains.nodes = set()
        opened = shop.opened()
        closing = await shop.sell(Call(shop, say_two), opened, shop.pay(opened))
        assert responded(closing)["errorMessage"].startswith("unfunded")
        other = shop.opened("r2")
        closing = await shop.sell(Call(shop, say_two), other, shop.pay(other))
        assert (closing.outcome, shop.works) == (faults.EXPOSURE, 1)


async def test_garbage_is_refused_by_name(tmp_path: Path) -> None:
    async with market(tmp_path) as shop:
        opened = shop.opened()
        good = shop.pay(opened)
        for paid in (7, {}, {**good, "x402Version": 3}, {**good, "payload": {}}, "x" * 100_000):
            closing = await shop.sell(Call(shop, say_two), opened, paid)
            assert closing.outcome in (faults.INVALID_PAYLOAD, faults.INVALID_VERSION)
        wrong = msgspec.json.decode(msgspec.json.encode(good))
        wrong["payload"]["authorization"]["value"] = "1"
        closing = await shop.sell(Call(shop, say_two), opened, wrong)
        assert (closing.outcome, shop.works) == (faults.VALUE_MISMATCH, 0)
        assert PAYEE.address == shop.price.pay_to
