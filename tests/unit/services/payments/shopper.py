"""alice, who buys: her purse over a real ledger of purchases."""

from __future__ import annotations

import itertools
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import trio

from nexusd.services.payments.policies import Policies
from nexusd.services.payments.purse import Purse
from nexusd.services.trade import Ended, Wish
from nexusd.store import Store
from nexusd_protocols.identity import AgentId
from nexusd_protocols.ids import CapabilityName
from nexusd_protocols.invoke import events
from nexusd_protocols.payments import terms
from nexusd_protocols.payments.advertised import Price
from nexusd_protocols.payments.tokens import Token, Tokens
from nexusd_protocols.rpc import schema
from tests.harness.paying import NOW, PAYER, price
from tests.harness.people import ALICE, BOB
from tests.harness.stores import opened

AGENT = AgentId(ALICE.peer_id)
REQUEST = bytes(range(32))


class Shopper:
    """alice, who buys of bob."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.now = NOW * 1000
        self.account: Any = PAYER
        self.prices: list[Price] = []
        self.holds: dict[int, int] = {}
        """What the wallet holds, by chain; of others nobody can tell."""
        self.asked: list[int] = []
        self.wallet = True
        self.told: list[Any] = []
        self.policies = Policies(store)
        salts = itertools.count()
        self.purse = Purse(
            purchases=store.purchases,
            policies=self.policies,
            tokens=Tokens(),
            clock=lambda: self.now,
            entropy=lambda size: next(salts).to_bytes(size),
            emit=self.told.append,
            account=lambda: self.account,
            published_prices=lambda _peer, _capability: self.prices,
            holds=self._held,
            has_wallet=lambda: self.wallet,
        )
        self.calls = 0

    async def _held(self, token: Token, holder: Any) -> int | None:
        await trio.lowlevel.checkpoint()
        assert holder == PAYER.address
        self.asked.append(token.chain_id)
        return self.holds.get(token.chain_id)

    async def allow(self, **limits: Any) -> None:
        given = {"per_request": "1", "networks": ["base"], **limits}
        assert await self.policies.change(AGENT, schema.PayPolicySetParams(**given), None) is None

    def wish(self, demand: Any = None, **changes: Any) -> Wish:
        self.calls += 1
        if demand is None:
            demand = terms.required([price()], BOB.peer_id)
        fields: dict[str, Any] = {
            "id": f"call-{self.calls}",
            "agent": AGENT,
            "peer": BOB.peer_id,
            "capability": CapabilityName("summarize"),
            "request": REQUEST,
            "demanded": events.PaymentDemanded(required=demand),
            "max_price": "0.10",
        }
        return Wish(**{**fields, **changes})

    async def row(self) -> Any:
        return await self.store.purchases.get(f"call-{self.calls}")


def ended(**fields: Any) -> Ended:
    """How a call ended of which nothing came."""
    nothing: dict[str, Any] = {"input": bytes(32), "input_bytes": 0, "result": bytes(32), "output_bytes": 0}
    return Ended(**{**nothing, "pieces": 0, "response": None, "code": "", **fields})


@asynccontextmanager
async def shopper(directory: Path, **limits: Any) -> AsyncIterator[Shopper]:
    async with opened(directory / "store.sqlite") as store:
        found = Shopper(store)
        if limits.pop("allowed", True):
            await found.allow(**limits)
        yield found
