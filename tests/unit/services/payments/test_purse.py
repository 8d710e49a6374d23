"""Paying, and what is not paid: providers that ask for other things than they may."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import trio

from nexusd.services.payments.purse import Payment
from nexusd.services.payments.views import explanation
from nexusd.services.trade import Wish
from nexusd_protocols.identity import AgentId
from nexusd_protocols.ids import CapabilityName
from nexusd_protocols.invoke import events
from nexusd_protocols.payments import faults, policy, published, terms, verify
from nexusd_protocols.payments.advertised import Price
from nexusd_protocols.payments.binding import Context
from nexusd_protocols.payments.purchase import PurchaseState
from nexusd_protocols.payments.tokens import USDC_POLYGON
from nexusd_protocols.payments.verify import Verified
from nexusd_protocols.rpc.codes import Refusal
from tests.harness.paying import NOW, THIEF, price, tab_price
from tests.harness.people import BOB, MALLORY
from tests.unit.services.payments.shopper import AGENT, REQUEST, ended, shopper


async def test_what_is_paid_is_bound_to_the_call_and_on_disk(tmp_path: Path) -> None:
    async with shopper(tmp_path) as alice:
        payment = await alice.purse.pay(alice.wish())
        assert isinstance(payment, Payment)
        row = await alice.row()
        assert row.state is PurchaseState.SIGNED
        assert json.loads(row.signed.payload) == payment.pay.payment
        found = verify.verify(payment.pay.payment, [price()], now_s=NOW, context=Context(BOB.peer_id, REQUEST))
        assert isinstance(found, Verified)
        assert found.bound
        for elsewhere in (Context(MALLORY.peer_id, REQUEST), Context(BOB.peer_id, bytes(32))):
            assert not isinstance(verify.verify(payment.pay.payment, [price()], now_s=NOW, context=elsewhere), Verified)


async def test_a_published_provider_is_paid_in_its_own_form(tmp_path: Path) -> None:
    async with shopper(tmp_path) as alice:
        said = published.render_terms(price())
        payment = await alice.purse.pay(alice.wish(demanded=events.PaymentDemanded(terms=said)))
        assert isinstance(payment, Payment)
        assert payment.pay.proof is not None
        assert isinstance(published.verify_proof(payment.pay.proof, [price()], now_s=NOW), Verified)


def _changed(**fields: Any) -> Callable[[dict[str, Any]], None]:
    def change(demand: dict[str, Any]) -> None:
        demand["accepts"][0].update(fields)

    return change


def _elsewhere(demand: dict[str, Any]) -> None:
    demand["resource"]["url"] = f"nexus://{MALLORY.peer_id}/summarize"


def _other_name(demand: dict[str, Any]) -> None:
    demand["accepts"][0]["extra"]["name"] = "USDC"


@pytest.mark.parametrize(
    ("change", "word"),
    [
        (_changed(amount="100001"), "this call may cost"),
        (_changed(amount="0.1"), "can be paid here"),
        (_changed(amount="1e5"), "can be paid here"),
        (_changed(asset="0x" + "22" * 20), "does not know"),
        (_changed(network="eip155:137", asset=USDC_POLYGON.asset, extra={}), "network is not on the list"),
        (_changed(network="eip155:1"), "does not know"),
        (_changed(maxTimeoutSeconds=3600), "longer than the policy"),
        (_changed(maxTimeoutSeconds=10**9), "can be paid here"),
        (_changed(payTo="0x" + "00" * 20), "can be paid here"),
        (_changed(extra={"name": "USD Coin", "version": "2", "more": "x" * 33_000}), "over 32768 bytes"),
        (_elsewhere, "another provider"),
        (_other_name, "is not the token's"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
async def test_other_terms_are_refused_and_nothing_is_signed(
    tmp_path: Path, change: Callable[[dict[str, Any]], None], word: str
) -> None:
    async with shopper(tmp_path) as alice:
        demand = json.loads(json.dumps(terms.required([price()], BOB.peer_id)))
        change(demand)
        refused = await alice.purse.pay(alice.wish(demand))
        assert isinstance(refused, Refusal)
        assert refused.code == "payment_refused"
        assert word in refused.message
        assert not [code for code in faults.CODES if code in refused.message], "that is for programs"
        assert await alice.row() is None


async def test_what_cannot_be_bound_is_refused_and_nothing_is_signed(tmp_path: Path) -> None:
    async with shopper(tmp_path) as alice:
        demand = terms.required([price()], BOB.peer_id)
        demand["accepts"][0]["extra"]["rate"] = 0.5
        refused = await alice.purse.pay(alice.wish(demand))
        assert isinstance(refused, Refusal)
        assert (refused.code, await alice.row()) == ("payment_refused", None)
        assert "no canonical form" in refused.message


async def test_nothing_is_paid_by_default_nor_with_a_locked_wallet(tmp_path: Path) -> None:
    async with shopper(tmp_path, allowed=False) as alice:
        refused = await alice.purse.pay(alice.wish())
        assert isinstance(refused, Refusal)
        assert refused.code == "payment_refused"
        await alice.allow()
        alice.account = None
        for there, code in ((True, "wallet_locked"), (False, "no_wallet")):
            alice.wallet = there
            locked = await alice.purse.pay(alice.wish())
            assert isinstance(locked, Refusal)
            assert locked.code == code


async def test_what_was_published_binds_the_provider(tmp_path: Path) -> None:
    async with shopper(tmp_path) as alice:
        for said, paid in (
            (Price(amount="100000", currency="USDC", network="base"), True),
            (Price(amount="99999", currency="USDC", network="base"), False),
            (Price(amount="100000", currency="EURC", network="base"), False),
            (Price(amount="100000", currency="USDC", network="polygon"), False),
        ):
            alice.prices = [said]
            assert isinstance(await alice.purse.pay(alice.wish()), Payment) is paid


@pytest.mark.parametrize(
    ("limits", "how"),
    [
        ({"networks": ["polygon"]}, "nexus pay policy set --allow-network polygon --allow-network base"),
        ({"assets": ["EURC"]}, "nexus pay policy set --allow-asset EURC --allow-asset USDC"),
        ({"capabilities": ["upper"]}, "--allow-capability upper --allow-capability summarize"),
        (
            {"capabilities": ["a", "b", "c", "d"]},
            "(`nexus pay policy show` has it; `nexus pay policy set --allow-capability …",
        ),
        ({"max_window_s": 60}, "nexus pay policy set --max-window"),
        ({"per_hour": "0"}, "nexus pay policy set --per-hour"),
        ({"per_payee": "0.01"}, "nexus pay policy set --per-payee"),
        ({"per_minute": "0"}, "nexus pay policy set --per-minute"),
    ],
)
async def test_a_refusal_says_what_would_change_it(tmp_path: Path, limits: dict[str, Any], how: str) -> None:
    async with shopper(tmp_path, **limits) as alice:
        demand = terms.required([price(max_timeout_s=61)], BOB.peer_id)
        refused = await alice.purse.pay(alice.wish(demand))
        assert isinstance(refused, Refusal)
        assert refused.message.endswith(f"{how}`)")
        assert refused.data["reason"] in policy.CODES  # type: ignore[index]


async def test_budgets_hold_for_calls_at_once(tmp_path: Path) -> None:
    async with shopper(tmp_path, per_day="0.35") as alice:
        answers: list[Any] = []

        async def one(wish: Wish) -> None:
            answers.append(await alice.purse.pay(wish))

        async with trio.open_nursery() as nursery:
            for _ in range(10):
                nursery.start_soon(one, alice.wish())
        assert sum(isinstance(each, Payment) for each in answers) == 3


async def test_who_gives_up_waiting_for_a_person_has_bought_nothing(tmp_path: Path) -> None:
    async with shopper(tmp_path, approve_above="0.05", per_day="0.10") as alice:
        with trio.move_on_after(0.1):
            await alice.purse.pay(alice.wish())
        (event,) = alice.told
        assert (event.type, event.data["amount"], event.data["network"]) == ("approval", "0.1 USDC", "base")
        row = await alice.row()
        assert (row.state, row.outcome) == (PurchaseState.CLOSED, "given up")
        # and its budget is free again
        async with trio.open_nursery() as nursery:
            answers: list[Any] = []

            async def one() -> None:
                answers.append(await alice.purse.pay(alice.wish()))

            nursery.start_soon(one)
            while not (waiting := await alice.store.purchases.approvals(AGENT, 10)):
                await trio.sleep(0.01)
            assert "`nexus pay approve call-2`" in explanation(waiting[0], online=True, now=alice.now)
            await alice.store.purchases.decide("call-2", True, alice.now)
            alice.now += 60_000
            alice.purse.decided("call-2")
        (payment,) = answers
        assert isinstance(payment, Payment)
        # it holds from when a person agreed, not from when it was asked
        assert payment.pay.payment["payload"]["authorization"]["validBefore"] == str(NOW + 60 + 60)


async def test_a_person_may_decide_before_anybody_waits_for_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with shopper(tmp_path, approve_above="0.05") as alice:
        purchases = alice.store.purchases
        intend = purchases.intend

        async def intend_and_decide(*given: Any, **options: Any) -> Any:
            intended = await intend(*given, **options)
            await purchases.decide("call-1", True, alice.now)
            alice.purse.decided("call-1")
            return intended

        monkeypatch.setattr(purchases, "intend", intend_and_decide)
        with trio.fail_after(5):
            assert isinstance(await alice.purse.pay(alice.wish()), Payment)


async def test_a_call_made_again_shows_what_was_signed_and_pays_no_more(tmp_path: Path) -> None:
    async with shopper(tmp_path, per_day="0.1") as alice:
        first = await alice.purse.pay(alice.wish(id="one"))
        assert isinstance(first, Payment)
        before = await alice.store.purchases.get("one")
        # whatever it costs by now, and though the budget is used up
        alice.now += 3_600_000
        dearer = terms.required([price(amount=999_999)], BOB.peer_id)
        again = await alice.purse.pay(alice.wish(dearer, id="one"))
        assert isinstance(again, Payment)
        assert (again.pay.payment, again.amount) == (first.pay.payment, first.amount)
        assert await alice.store.purchases.get("one") == before
        others: list[dict[str, Any]] = [
            {"request": bytes(32)},
            {"peer": MALLORY.peer_id},
            {"agent": AgentId(MALLORY.peer_id)},
        ]
        for changes in others:
            demand = terms.required([price()], changes.get("peer", BOB.peer_id))
            refused = await alice.purse.pay(alice.wish(demand, id="one", **changes))
            assert isinstance(refused, Refusal)
            assert (
                "--max-output must be as they were" if "request" in changes else "It paid for summarize of"
            ) in refused.message
        elsewhere = terms.required([price(pay_to=THIEF.address)], BOB.peer_id)
        assert isinstance(await alice.purse.pay(alice.wish(elsewhere, id="one")), Refusal)
        # what was delivered once stays so, whatever is said later
        done = ended(pieces=1)
        assert (await first.ended(done)).state == "paid"
        response = {"success": False, "errorReason": "nothing", "transaction": "", "network": price().token.network}
        await again.ended(ended(response=response, code="x"))
        row = await alice.store.purchases.get("one")
        assert row is not None
        assert row.state is PurchaseState.SPENT
        await alice.store.purchases.stop(True)
        assert isinstance(await alice.purse.pay(alice.wish(id="one")), Refusal)


async def test_what_is_shown_again_is_under_way_until_its_call_ends(tmp_path: Path) -> None:
    """It is not given up meanwhile."""
    async with shopper(tmp_path) as alice:
        for _ in range(2):
            payment = await alice.purse.pay(alice.wish(id="one"))
            assert isinstance(payment, Payment)
            assert alice.purse.is_under_way("one")
            await payment.ended(ended(code="connection_lost"))
            assert not alice.purse.is_under_way("one")


@pytest.mark.parametrize("step", ["intend", "signed"])
async def test_a_call_that_ends_while_its_payment_is_kept_costs_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    async with shopper(tmp_path, per_day="0.10") as alice:
        real = getattr(alice.store.purchases, step)
        begun = trio.Event()

        async def slowly(*given: Any, **options: Any) -> Any:
            begun.set()
            await trio.sleep(0.05)
            return await real(*given, **options)

        monkeypatch.setattr(alice.store.purchases, step, slowly)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(alice.purse.pay, alice.wish(id="one"))
            await begun.wait()
            nursery.cancel_scope.cancel()
        monkeypatch.undo()
        row = await alice.store.purchases.get("one")
        assert row is not None
        assert (row.state, row.outcome) == (PurchaseState.CLOSED, "given up")
        assert isinstance(await alice.purse.pay(alice.wish()), Payment)  # its budget is free again


async def test_of_two_calls_at_once_with_one_id_one_is_paid(tmp_path: Path) -> None:
    async with shopper(tmp_path) as alice:
        answers: list[Any] = []

        async def one(**changes: Any) -> None:
            answers.append(await alice.purse.pay(alice.wish(id="one", **changes)))

        async with trio.open_nursery() as nursery:
            for number in range(4):
                nursery.start_soon(partial(one, request=bytes([number]) * 32))
                nursery.start_soon(one)
        assert sum(isinstance(each, Payment) for each in answers) == 1
        refused = [each for each in answers if isinstance(each, Refusal)]
        assert {each.code for each in refused} == {"payment_refused"}
        assert len(refused) == 7


async def test_what_can_be_asked_for_again_is_what_was_paid_for(tmp_path: Path) -> None:
    async with shopper(tmp_path) as alice:
        wish = alice.wish(id="one")

        async def why_not(
            id_: str = "one", agent: Any = AGENT, peer: Any = BOB.peer_id, name: Any = wish.capability
        ) -> Any:
            refusal = await alice.purse.not_again(id_, agent, peer, name)
            return refusal and (refusal.code, refusal.message)

        assert await why_not() == ("payment_unknown", "There is no payment 'one'")
        assert isinstance(await alice.purse.pay(wish), Payment)
        assert await why_not() is None
        other = "payment_refused", f"It paid for summarize of {BOB.peer_id}"
        assert await why_not(name=CapabilityName("translate")) == other
        assert await why_not(peer=AGENT) == other
        assert await why_not(agent=BOB.peer_id) == other
        demand = terms.required([tab_price(amount=1000, ahead=100)], BOB.peer_id)
        assert isinstance(await alice.purse.pay(alice.wish(demand, id="tab", tab=True)), Payment)
        assert await why_not("tab") == ("payment_refused", "A tab paid for it: it is not taken up again")


async def test_what_was_never_signed_is_not_shown_again(tmp_path: Path) -> None:
    async with shopper(tmp_path, approve_above="0.01") as alice:
        with trio.move_on_after(0.2):
            await alice.purse.pay(alice.wish(id="one"))
        refused = await alice.purse.pay(alice.wish(id="one"))
        assert isinstance(refused, Refusal)
        assert "Nothing was signed" in refused.message
        assert await alice.purse.not_again("one", AGENT, BOB.peer_id, CapabilityName("summarize")) == refused


@pytest.mark.parametrize(("ahead", "signs"), [(100, True), (350, True), (351, False), (700, False)])
async def test_no_more_is_signed_before_anything_comes_than_is_usual_or_half(
    tmp_path: Path, ahead: int, signs: bool
) -> None:
    """A provider could name the whole tab, have it signed, and deliver nothing."""
    async with shopper(tmp_path) as alice:
        demand = terms.required([tab_price(amount=1000, ahead=ahead)], BOB.peer_id)
        answer = await alice.purse.pay(alice.wish(demand, tab=True, max_price="0.0007"))
        if signs:
            assert isinstance(answer, Payment)
        else:
            assert isinstance(answer, Refusal)
            assert "signed before anything comes" in answer.message


async def test_a_dear_unit_may_be_signed_for_before_it_comes(tmp_path: Path) -> None:
    async with shopper(tmp_path) as alice:
        demand = terms.required([tab_price(amount=1000, unit_price=34, ahead=680)], BOB.peer_id)
        assert isinstance(await alice.purse.pay(alice.wish(demand, tab=True, max_price="0.0007")), Payment)


async def test_the_budget_of_a_call_is_for_all_its_tabs(tmp_path: Path) -> None:
    async with shopper(tmp_path, per_request="0.001") as alice:
        demand = terms.required([tab_price(amount=700)], BOB.peer_id)
        refused = await alice.purse.pay(alice.wish(demand, tab=True, max_price="0.0011"))
        assert isinstance(refused, Refusal)
        assert "one request may cost" in refused.message
        assert isinstance(await alice.purse.pay(alice.wish(demand, tab=True, max_price="0.001")), Payment)
        assert (await alice.store.purchases.spent_view(AGENT, alice.now)).day == 1000
