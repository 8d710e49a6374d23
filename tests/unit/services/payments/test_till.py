"""Prices as they are given, and the terms that they become."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from nexusd.services.payments.till import Till
from nexusd.services.payments.trust import Payers, Trust
from nexusd.store import Store
from nexusd_protocols.ids import CapabilityName
from nexusd_protocols.payments.address import checksummed
from nexusd_protocols.payments.tokens import Tokens
from nexusd_protocols.rpc.codes import Refusal
from nexusd_protocols.rpc.schema import PriceSpec
from tests.harness.paying import PAYEE
from tests.harness.stores import opened

NAME = CapabilityName("summarize")


class Nowhere:
    """No network has a node."""

    def online(self, chain_id: int) -> bool:
        return False


def till(store: Store, wallet: Any = None, chains: Any = None) -> Till:
    chains = chains or Nowhere()
    return Till(
        ledger=store.ledger,
        chains=chains,
        tokens=Tokens(),
        trust=Trust(),
        payers=Payers(Trust(), store.standings),
        clock=lambda: 0,
        wallet=lambda: wallet,
    )


@pytest.mark.parametrize("zero", ["0", "0.0", "0.000000"])
async def test_a_price_of_0_has_no_terms_and_needs_no_wallet(tmp_path: Path, zero: str) -> None:
    async with opened(tmp_path / "store.sqlite") as store:
        free = await till(store).prices(NAME, [PriceSpec(amount=zero)], 1000)
        assert free == [PriceSpec(amount="0", network="base", asset="USDC")]
        assert till(store).offers(NAME, free, 1000) == ()


@pytest.mark.parametrize(
    "spec",
    [
        PriceSpec(amount="0", tab=True),
        PriceSpec(amount="0", cap="1"),
        PriceSpec(amount="0", pay_to="0x" + "11" * 20),
        PriceSpec(amount="0", asset="DOGE"),
        PriceSpec(amount="0", network="moon"),
        PriceSpec(amount="-0"),
        PriceSpec(amount="0."),
        PriceSpec(amount="00"),
        PriceSpec(amount=""),
        PriceSpec(amount="0.0000001"),
    ],
)
async def test_what_is_no_price_of_0_is_refused(tmp_path: Path, spec: PriceSpec) -> None:
    async with opened(tmp_path / "store.sqlite") as store:
        answer = await till(store, PAYEE).prices(NAME, [spec], 1000)
        assert isinstance(answer, Refusal)
        assert answer.code == "invalid_params"


async def test_several_prices_become_terms_in_their_order(tmp_path: Path) -> None:
    async with opened(tmp_path / "store.sqlite") as store:
        shop = till(store, PAYEE.address)
        asked = [
            PriceSpec(amount="0.10"),
            PriceSpec(amount="0.08", network="eip155:137", pay_to="0x" + "11" * 20),
            PriceSpec(amount="0.0001", tab=True),
        ]
        full = await shop.prices(NAME, asked, 1000)
        assert isinstance(full, list)
        assert [(each.network, each.pay_to) for each in full] == [
            ("base", checksummed(PAYEE.address)),
            ("polygon", "0x" + "11" * 20),
            ("base", checksummed(PAYEE.address)),
        ]
        assert [(each.scheme, each.token.chain_id, each.amount) for each in shop.offers(NAME, full, 1000)] == [
            ("exact", 8453, 100_000),
            ("exact", 137, 80_000),
            ("nexus-tab", 8453, 5_000_000),  # what anybody is trusted with
        ]


@pytest.mark.parametrize(
    ("spec", "terms"),
    [
        ({"amount": "0.001"}, ("chunk", 1000, 1, 20_000, 5_000_000)),
        ({"amount": "0.001", "cap": "0.5"}, ("chunk", 1000, 1, 20_000, 500_000)),
        ({"amount": "0.001", "cap": "50"}, ("chunk", 1000, 1, 20_000, 5_000_000)),
        ({"amount": "1", "cap": "2"}, ("chunk", 1_000_000, 1, 2_000_000, 2_000_000)),
        ({"amount": "0.000001", "unit": "byte"}, ("byte", 1, 1, 16_384, 5_000_000)),
        ({"amount": "0.002", "unit": "second"}, ("second", 2000, 1, 40_000, 5_000_000)),
        ({"amount": "0.60", "unit": "token", "per": 10**6}, ("token_out", 600_000, 10**6, 120, 5_000_000)),
        ({"amount": "0.000001", "unit": "token", "per": 10**6}, ("token_out", 1, 10**6, 2, 5_000_000)),
    ],
)
async def test_tabs_by_what_they_count(tmp_path: Path, spec: Any, terms: Any) -> None:
    async with opened(tmp_path / "store.sqlite") as store:
        shop = till(store, PAYEE.address)
        full = await shop.prices(NAME, [PriceSpec(tab=True, **spec)], 1000)
        assert isinstance(full, list)
        (found,) = shop.offers(NAME, full, 1000)
        assert (found.unit, found.unit_price, found.per, found.ahead, found.amount) == terms
        # whatever the price is, a piece may go
        assert found.units(found.step) >= 1


@pytest.mark.parametrize(
    ("amount", "tab", "served"), [("0.1", False, True), ("0.100001", False, False), ("0.2", True, True)]
)
async def test_what_could_never_be_paid_without_a_node_is_not_served(
    tmp_path: Path, amount: str, tab: bool, served: bool
) -> None:
    async with Store.open(tmp_path / "store.sqlite") as store:
        shop = till(store, PAYEE.address)
        answer = await shop.prices(NAME, [PriceSpec(amount=amount, tab=tab)], 1000)
        assert isinstance(answer, list) is served, answer
        if isinstance(answer, Refusal):
            assert "No node of base is in rpc_urls" in answer.message
            assert "0.1 USDC" in answer.message


@pytest.mark.parametrize(
    ("specs", "word"),
    [
        ([PriceSpec(amount="0.1"), PriceSpec(amount="0.02", network="eip155:8453")], "two prices for USDC on base"),
        ([PriceSpec(amount="0.01", tab=True), PriceSpec(amount="0.02", tab=True)], "two prices for a piece in USDC"),
        ([PriceSpec(amount="0"), PriceSpec(amount="0.02", network="polygon")], "costs nothing has no other price"),
        ([PriceSpec(amount="3", tab=True)], "does not hold two pieces"),
        ([PriceSpec(amount="0.2", tab=True, cap="0.3", unit="second")], "a tab of 0.3 USDC does not hold two seconds"),
        ([PriceSpec(amount="1", cap="2")], "Only a tab"),
        ([PriceSpec(amount="1", unit="byte")], "Only a tab"),
        ([PriceSpec(amount="1", per=2)], "Only a tab"),
        ([PriceSpec(amount="0.1"), PriceSpec(amount="0.1", network="moon")], "a network is one of base"),
        (
            [PriceSpec(amount="0.1"), PriceSpec(amount="0.1", network="polygon", asset="DOGE")],
            "no token 'DOGE' on polygon",
        ),
    ],
)
async def test_prices_of_which_nobody_could_choose_are_refused(tmp_path: Path, specs: Any, word: str) -> None:
    async with opened(tmp_path / "store.sqlite") as store:
        answer = await till(store, PAYEE.address).prices(NAME, specs, 1000)
        assert isinstance(answer, Refusal)
        assert word in answer.message


class Gasless:
    """Every network has a node; `without` says where no gas can be paid for."""

    def __init__(self, *without: int) -> None:
        self.without = without

    def online(self, chain_id: int) -> bool:
        return True

    def unable(self, chain_id: int) -> str:
        return "no gas" if chain_id in self.without else ""


async def test_it_is_told_where_nothing_can_be_settled(tmp_path: Path) -> None:
    async with opened(tmp_path / "store.sqlite") as store:
        specs = [PriceSpec(amount="0.1", network=each) for each in ("base", "polygon")]
        told = []
        for without in ((), (8453,), (8453, 137)):
            seller = till(store, PAYEE.address, Gasless(*without))
            prices = await seller.prices(NAME, specs, 30_000)
            assert isinstance(prices, list)
            told.append(seller.unable(seller.offers(NAME, prices, 30_000)))
        assert told == ["", "", "base: no gas; polygon: no gas"]
