"""What becomes of payments that nobody answered for."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import trio

from nexusd.services.payments import overdue
from nexusd.services.payments.overdue import Overdue
from nexusd.services.payments.ports import Fate
from nexusd.services.payments.views import explanation, purchase_view
from nexusd.store import Store
from nexusd_protocols import limits
from nexusd_protocols.payments.policy import Spent
from nexusd_protocols.payments.purchase import PurchaseState
from nexusd_protocols.payments.tokens import Tokens
from tests.harness.stores import opened
from tests.unit.protocols.payments.charges import UNTIL
from tests.unit.store.payments import ALICE, intent, pay, signed

ASKED = UNTIL * 1000 - 60_000


class Chains:
    """Base with a node that knows `fates` by nonce, and nothing of the others."""

    def __init__(self) -> None:
        self.nodes = {8453}
        self.fates: dict[bytes, Fate] = {}
        self.asked: list[tuple[bytes, int]] = []

    def online(self, chain_id: int) -> bool:
        return chain_id in self.nodes

    async def fate(self, token: Any, authorization: Any, since_s: int) -> Fate | None:
        await trio.lowlevel.checkpoint()
        self.asked.append((authorization.nonce, since_s))
        return self.fates.get(authorization.nonce)


class Books:
    """Purchases that were signed, and the rounds over them."""

    def __init__(self, store: Store, asset: str) -> None:
        self.store = store
        self.chains: Any = Chains()
        self.now = UNTIL * 1000 + 1000
        self.asset = asset
        self.overdue = Overdue(store.purchases, self.chains, Tokens(), lambda: self.now, lambda _purchase: False)

    async def sign(self, number: int, **fields: Any) -> Any:
        what = intent(number, **{"asset": self.asset, **fields})
        await self.store.purchases.intend(what, pay, now=ASKED)
        return await self.store.purchases.signed(what.id, signed(what), ASKED)

    async def row(self, number: int) -> Any:
        return await self.store.purchases.get(f"purchase-{number}")

    async def spent(self) -> Spent:
        return await self.store.purchases.spent_view(ALICE, self.now)

    def fate(self, number: int, fate: Fate) -> None:
        self.chains.fates[number.to_bytes(32, "big")] = fate


@asynccontextmanager
async def books(directory: Path) -> AsyncIterator[Books]:
    token = Tokens().named(8453)
    assert token is not None
    async with opened(directory / "store.sqlite") as store:
        yield Books(store, token.asset_id)


async def test_each_ends_as_the_chain_says(tmp_path: Path) -> None:
    async with books(tmp_path) as here:
        for number, fate in enumerate((Fate("paid", "0xaa", 100), Fate("canceled", "0xbb"), Fate("unused")), 1):
            await here.sign(number)
            here.fate(number, fate)
        assert (await here.store.purchases.spent_view(ALICE, here.now)).day == 300
        assert await here.overdue.round() == 3
        rows = [await here.row(number) for number in (1, 2, 3)]
        assert [row.state.value for row in rows] == ["spent", "closed", "closed"]
        assert [row.outcome for row in rows] == ["", "canceled", "unused"]
        assert purchase_view(rows[0], Tokens()).transaction == "0xaa"
        assert (await here.store.purchases.spent_view(ALICE, here.now)).day == 100
        assert {since for _, since in here.chains.asked} == {ASKED // 1000}
        assert await here.overdue.round() == 0
        assert len(here.chains.asked) == 3


async def test_nobody_is_asked_before_the_window_closes(tmp_path: Path) -> None:
    async with books(tmp_path) as here:
        await here.sign(1)
        here.fate(1, Fate("unused"))
        here.now = UNTIL * 1000
        assert await here.overdue.round() == 0
        assert here.chains.asked == []


async def test_what_is_not_known_counts_on_and_is_asked_again_later(tmp_path: Path) -> None:
    async with books(tmp_path) as here:
        await here.sign(1)
        for _ in range(3):
            assert await here.overdue.round() == 0
        assert len(here.chains.asked) == 1
        assert (await here.row(1)).state is PurchaseState.SIGNED
        here.now += overdue.AGAIN_MS
        here.fate(1, Fate("unused"))
        assert await here.overdue.round() == 1


async def test_the_chain_is_asked_soon_at_first_and_then_more_and_more_seldom(tmp_path: Path) -> None:
    async with books(tmp_path) as here:
        await here.sign(1)
        asked = []
        for minute in range(60):
            await here.overdue.round()
            if len(here.chains.asked) > len(asked):
                asked.append(minute)
            here.now += 60_000
        assert asked == [0, 1, 3, 7, 15, 25, 35, 45, 55]


async def test_what_is_not_known_does_not_hold_up_the_others(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(overdue, "ASKED_AT_ONCE", 2)
    async with books(tmp_path) as here:
        for number in (1, 2, 3):
            await here.sign(number)
        here.fate(3, Fate("unused"))
        assert await here.overdue.round() == 0
        assert await here.overdue.round() == 1
        assert (await here.row(3)).state is PurchaseState.CLOSED


async def test_without_a_node_it_counts_until_it_cannot_be_used_any_more(tmp_path: Path) -> None:
    """And so it does in a token that is not known any more: nobody is asked about either."""
    over = UNTIL * 1000 + limits.PAYMENT_CLOCK_MS
    async with books(tmp_path) as here:
        for number, asset in ((1, f"eip155:137/{'22' * 20}"), (2, f"eip155:8453/{'22' * 20}")):
            await here.sign(number, asset=asset)
            here.fate(number, Fate("unused"))
        here.now = over - 1
        assert await here.overdue.round() == 0
        assert (await here.row(1)).state is (await here.row(2)).state is PurchaseState.SIGNED
        assert (await here.spent()).day == 200
        here.now = over
        assert await here.overdue.round() == 2
        for number in (1, 2):
            row = await here.row(number)
            assert (row.state, row.outcome, row.cost) == (PurchaseState.CLOSED, "unanswered", 100)
        assert (await here.spent()).day == 0
        assert (await here.spent()).day_returned == 200  # it may have been used before
        assert here.chains.asked == []
        assert await here.overdue.round() == 0


async def test_what_is_answered_for_while_it_is_given_up_stays_spent(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with books(tmp_path) as here:
        here.chains.nodes.clear()
        await here.sign(1)
        here.now = UNTIL * 1000 + limits.PAYMENT_CLOCK_MS
        purchases = here.store.purchases
        look = purchases.overdue

        async def look_and_be_late(*given: Any, **options: Any) -> Any:
            found = await look(*given, **options)
            await purchases.spent("purchase-1", response=b"{}", now=here.now)
            return found

        monkeypatch.setattr(purchases, "overdue", look_and_be_late)
        assert await here.overdue.round() == 0
        assert (await here.row(1)).state is PurchaseState.SPENT


async def test_a_node_that_is_named_later_knows_what_became_of_it(tmp_path: Path) -> None:
    async with books(tmp_path) as here:
        here.chains.nodes.clear()
        await here.sign(1)
        await here.sign(2)
        here.now = UNTIL * 1000 + limits.PAYMENT_CLOCK_MS
        assert await here.overdue.round() == 2
        here.chains.nodes.add(8453)
        here.fate(1, Fate("paid", "0xaa", 100))
        here.fate(2, Fate("unused"))
        assert await here.overdue.round() == 2
        assert [(await here.row(number)).state.value for number in (1, 2)] == ["spent", "closed"]
        spent = await here.spent()
        assert (spent.day, spent.day_returned) == (100, 0)
        assert await here.overdue.round() == 0


async def test_a_provider_that_took_what_it_says_it_did_not_is_found_out(tmp_path: Path) -> None:
    async with books(tmp_path) as here:
        for number in (1, 2):
            await here.sign(number)
            await here.store.purchases.closed(f"purchase-{number}", "unused", ASKED)  # its word, whatever it is
        here.fate(1, Fate("paid", "0xaa", 100))
        here.fate(2, Fate("unused"))
        assert await here.overdue.round() == 2
        rows = [await here.row(number) for number in (1, 2)]
        assert [(row.state.value, row.cost) for row in rows] == [("spent", 100), ("closed", 0)]
        assert (await here.spent()).day == 100


async def test_all_tabs_of_a_call_are_asked_for(tmp_path: Path) -> None:
    async with books(tmp_path) as here:
        what = intent(1, tab=True, asset=here.asset)
        await here.store.purchases.intend(what, pay, now=ASKED)
        await here.store.purchases.signed(what.id, signed(what, amount=30), ASKED)
        await here.store.purchases.rolled(what.id, signed(what, amount=50, tab=7), pay, ASKED)
        here.fate(1, Fate("paid", "0xaa", 30))
        assert await here.overdue.round() == 0
        here.now += overdue.AGAIN_MS
        here.chains.fates[(7).to_bytes(32, "little")] = Fate("unused")
        assert await here.overdue.round() == 1
        row = await here.row(1)
        assert (row.state.value, row.cost, purchase_view(row, Tokens()).transaction) == ("spent", 30, "0xaa")


async def test_what_its_state_means_is_said(tmp_path: Path) -> None:
    ended = UNTIL * 1000
    over = ended + limits.PAYMENT_CLOCK_MS
    async with books(tmp_path) as here:
        row = await here.sign(1)
        assert "--again" in explanation(row, online=False, now=ended - 1)
        assert "the chain is being asked" in explanation(row, online=True, now=ended)
        assert "ten minutes more" in explanation(row, online=False, now=ended)
        failed = await here.store.purchases.closed("purchase-1", "failed", ASKED)
        assert "counts as spent until" in explanation(failed, online=False, now=over - 1)
        said = explanation(failed, online=False, now=over)
        assert "the provider says" in said
        assert "rpc_urls" in said
        await here.sign(2)
        silent = await here.store.purchases.closed("purchase-2", "unanswered", over)
        assert "nobody answered for it, and it cannot be used any more" in explanation(silent, online=False, now=over)
        assert "the chain is asked whether" in explanation(silent, online=True, now=over)
        unused = await here.store.purchases.closed("purchase-2", "unused", over, unused=True)
        assert "costs nothing" in explanation(unused, online=True, now=over)
        spent = await here.store.purchases.spent("purchase-1", now=over)
        assert explanation(spent, online=True, now=over) == ""
