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
from nexusd.services.payments.views import purchase_view
from nexusd.store import Store
from nexusd_protocols.payments.purchase import PurchaseState
from nexusd_protocols.payments.tokens import Tokens
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
        self.overdue = Overdue(store.purchases, self.chains, Tokens(), lambda: self.now)

    async def sign(self, number: int, **fields: Any) -> Any:
        what = intent(number, **{"asset": self.asset, **fields})
        await self.store.purchases.intend(what, pay, now=ASKED)
        return await self.store.purchases.signed(what.id, signed(what), ASKED)

    async def row(self, number: int) -> Any:
        return await self.store.purchases.get(f"purchase-{number}")

    def fate(self, number: int, fate: Fate) -> None:
        self.chains.fates[number.to_bytes(32, "big")] = fate


@asynccontextmanager
async def books(directory: Path) -> AsyncIterator[Books]:
    token = Tokens().named(8453)
    assert token is not None
    async with Store.open(directory / "store.sqlite") as store:
        yield Books(store, f"{token.network}/{token.address.hex()}")


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


async def test_what_is_not_known_does_not_hold_up_the_others(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(overdue, "ASKED_AT_ONCE", 2)
    async with books(tmp_path) as here:
        for number in (1, 2, 3):
            await here.sign(number)
        here.fate(3, Fate("unused"))
        assert await here.overdue.round() == 0
        assert await here.overdue.round() == 1
        assert (await here.row(3)).state is PurchaseState.CLOSED


async def test_a_network_without_a_node_and_unknown_tokens_are_left_alone(tmp_path: Path) -> None:
    async with books(tmp_path) as here:
        await here.sign(1, asset=f"eip155:137/{'22' * 20}")
        await here.sign(2, asset=f"eip155:8453/{'22' * 20}")
        for number in (1, 2):
            here.fate(number, Fate("unused"))
        assert await here.overdue.round() == 0
        assert here.chains.asked == []
        assert (await here.row(1)).state is (await here.row(2)).state is PurchaseState.SIGNED
