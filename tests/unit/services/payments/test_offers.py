"""Which of a provider's offers is paid, and why none of them is."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import pytest

from nexusd.services.payments.purse import Payment
from nexusd_protocols.payments import terms, verify
from nexusd_protocols.payments.binding import Context
from nexusd_protocols.payments.tokens import USDC_BASE_SEPOLIA, USDC_POLYGON
from nexusd_protocols.payments.verify import Verified
from nexusd_protocols.rpc.codes import Refusal
from tests.harness.paying import NOW, THIEF, price, tab_price
from tests.harness.people import BOB
from tests.unit.services.payments.shopper import REQUEST, shopper

DEAR = price(amount=90_000)
CHEAP = price(token=USDC_POLYGON, amount=80_000)
CHEAPEST = price(token=USDC_BASE_SEPOLIA, amount=70_000, pay_to=THIEF.address)
EVERYWHERE = {"networks": ["base", "polygon", "base-sepolia"]}


def chosen(payment: Any) -> str:
    assert isinstance(payment, Payment), payment
    network: str = payment.pay.payment["accepted"]["network"]
    return network


@pytest.mark.parametrize("order", list(itertools.permutations([DEAR, CHEAP, CHEAPEST])))
async def test_the_cheapest_offer_that_may_be_paid_is_paid(tmp_path: Path, order: list[Any]) -> None:
    async with shopper(tmp_path, **EVERYWHERE) as alice:
        demand = terms.required(order, BOB.peer_id)
        assert chosen(await alice.purse.pay(alice.wish(demand))) == "eip155:84532"
        await alice.allow(networks=["base", "polygon"])
        alice.asked.clear()
        assert chosen(await alice.purse.pay(alice.wish(demand))) == "eip155:137"
        assert alice.asked == [137], "of what the policy refuses no chain is asked"
        await alice.allow(networks=["base"])
        payment = await alice.purse.pay(alice.wish(demand))
        assert chosen(payment) == "eip155:8453"
        # it is checked against the terms that were chosen
        assert isinstance(payment, Payment)
        context = Context(BOB.peer_id, REQUEST)
        found = verify.verify(payment.pay.payment, order, now_s=NOW, context=context)
        assert isinstance(found, Verified)
        assert (found.terms, found.bound) == (DEAR, True)


async def test_of_offers_that_cost_the_same_each_call_pays_the_same(tmp_path: Path) -> None:
    async with shopper(tmp_path, **EVERYWHERE) as alice:
        same = [price(), price(token=USDC_POLYGON), price(token=USDC_BASE_SEPOLIA)]
        for order in itertools.permutations(same):
            assert chosen(await alice.purse.pay(alice.wish(terms.required(order, BOB.peer_id)))) == "eip155:137"


async def test_what_the_wallet_cannot_fund_is_not_signed(tmp_path: Path) -> None:
    async with shopper(tmp_path, **EVERYWHERE) as alice:
        demand = terms.required([DEAR, CHEAP, CHEAPEST], BOB.peer_id)
        alice.holds = {84532: 69_999, 137: 0, 8453: 90_000}
        assert chosen(await alice.purse.pay(alice.wish(demand))) == "eip155:8453"
        assert alice.asked == [84532, 137, 8453]
        alice.holds[8453] = 89_999
        refused = await alice.purse.pay(alice.wish(demand))
        assert isinstance(refused, Refusal)
        assert refused.code == "payment_refused"
        assert "0.07 USDC on base-sepolia: the wallet holds 0.069999 USDC there, and needs 0.07 USDC" in refused.message
        assert "0.09 USDC on base: the wallet holds 0.089999 USDC there" in refused.message
        assert await alice.row() is None
        # each token is looked up once, however often it is named
        alice.asked.clear()
        often = terms.required([price(amount=90_000 + n) for n in range(16)], BOB.peer_id)
        assert isinstance(await alice.purse.pay(alice.wish(often)), Refusal)
        assert alice.asked == [8453]
        # one whose chain says nothing is not passed over
        del alice.holds[137]
        assert chosen(await alice.purse.pay(alice.wish(demand))) == "eip155:137"


async def test_each_offer_that_is_refused_says_why(tmp_path: Path) -> None:
    async with shopper(tmp_path, networks=["base"], per_request="0.05") as alice:
        refused = await alice.purse.pay(alice.wish(terms.required([DEAR, CHEAP], BOB.peer_id)))
        assert isinstance(refused, Refusal)
        assert refused.message == (
            "The provider asks for 0.08 USDC on polygon: the network is not on the list"
            " (`nexus pay policy set --allow-network base --allow-network polygon`); "
            "or for 0.09 USDC on base: more than one request may cost (`nexus pay policy set --per-request`)"
        )


async def test_what_is_refused_for_the_same_is_told_once_and_how_to_begin(tmp_path: Path) -> None:
    async with shopper(tmp_path, allowed=False) as alice:
        refused = await alice.purse.pay(alice.wish(terms.required([DEAR, CHEAP], BOB.peer_id)))
        assert isinstance(refused, Refusal)
        assert refused.message == (
            "The provider asks for 0.08 USDC on polygon: nothing may be paid yet"
            " (`nexus pay policy set --allow-network polygon --per-request 0.08`); "
            "or for 0.09 USDC on base: nothing may be paid yet"
            " (`nexus pay policy set --allow-network base --per-request 0.09`)"
        )
        await alice.store.purchases.stop(True)
        await alice.allow(**EVERYWHERE)
        refused = await alice.purse.pay(alice.wish(terms.required([DEAR, CHEAP], BOB.peer_id)))
        assert isinstance(refused, Refusal)
        assert refused.message == "Payments are switched off (`nexus pay stop --off`)"
        await alice.store.purchases.stop(False)
        await alice.allow(per_day="0.05", **EVERYWHERE)
        refused = await alice.purse.pay(alice.wish(terms.required([DEAR, CHEAP], BOB.peer_id)))
        assert isinstance(refused, Refusal)
        assert refused.message == (
            "The provider asks for 0.08 USDC on polygon, or 0.09 USDC on base: more than may be spent in a day"
            " (`nexus pay policy set --per-day`)"
        )


async def test_a_tab_is_chosen_among_tabs_and_a_price_among_prices(tmp_path: Path) -> None:
    async with shopper(tmp_path, **EVERYWHERE) as alice:
        tabs = [tab_price(unit_price=9, ahead=900), tab_price(token=USDC_POLYGON, unit_price=8, ahead=800)]
        demand = terms.required([*tabs, price()], BOB.peer_id)
        whole = await alice.purse.pay(alice.wish(demand))
        assert isinstance(whole, Payment)
        assert whole.amount == 100_000
        tab = await alice.purse.pay(alice.wish(demand, tab=True))
        assert (chosen(tab), tab.amount) == ("eip155:137", 800)  # type: ignore[union-attr]
        # a tab needs what it begins with, and no more
        alice.holds = {137: 799, 8453: 900}
        tab = await alice.purse.pay(alice.wish(demand, tab=True))
        assert chosen(tab) == "eip155:8453"
        for offered, tab_allowed, word in (
            (tabs, False, "(`nexus invoke --tab`)"),
            ([price()], True, "without `--tab`"),
        ):
            demand = terms.required(offered, BOB.peer_id)
            refused = await alice.purse.pay(alice.wish(demand, tab=tab_allowed))
            assert isinstance(refused, Refusal)
            assert refused.message.endswith(word)


async def test_a_call_made_again_shows_the_payment_on_its_network(tmp_path: Path) -> None:
    async with shopper(tmp_path, **EVERYWHERE) as alice:
        demand = terms.required([DEAR, CHEAP], BOB.peer_id)
        first = await alice.purse.pay(alice.wish(demand, id="one"))
        alice.holds = {137: 0}
        again = await alice.purse.pay(alice.wish(terms.required([DEAR, CHEAP, CHEAPEST], BOB.peer_id), id="one"))
        assert isinstance(first, Payment)
        assert isinstance(again, Payment)
        assert (again.pay, chosen(again)) == (first.pay, "eip155:137")
