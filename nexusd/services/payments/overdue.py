"""Payments that were signed and never answered for: the chain says what became of them once their time is over.

signed -> paid: spent, with the transaction | canceled, or ended unused: closed, and counts no more

A network without a node says nothing: there they count as spent, as what cannot be known.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

import structlog

from nexusd.services.payments.ports import Chains, Fate
from nexusd.services.payments.views import token_of
from nexusd.services.ports import WallClock
from nexusd.store.ledger import Purchases
from nexusd_protocols import ndjson
from nexusd_protocols.payments.purchase import PurchaseRow
from nexusd_protocols.payments.tokens import Tokens
from nexusd_protocols.payments.x402 import Settlement

log = structlog.get_logger(__name__)

ASKED_AT_ONCE: Final = 16
"""Payments of a network that its node is asked about in one round."""
LOOKED_AT: Final = 512
"""Rows of a network that one round looks through for these."""
AGAIN_MS: Final = 600_000
"""What the chain could not say is asked for again so much later, behind all that was not asked for yet."""


class Overdue:
    """Closes what nobody answered for."""

    def __init__(self, purchases: Purchases, chains: Chains, tokens: Tokens, clock: WallClock) -> None:
        self._purchases = purchases
        self._chains = chains
        self._tokens = tokens
        self._clock = clock
        self._again: dict[str, int] = {}

    async def round(self) -> int:
        """Ask once about what is overdue, and keep the answers. Returns how many there were."""
        now = self._clock()
        self._again = {id_: at for id_, at in self._again.items() if at > now}
        return sum([await self._network(network, now) for network in self._networks()])

    def _networks(self) -> Iterable[str]:
        return sorted({token.network for token in self._tokens if self._chains.online(token.chain_id)})

    async def _network(self, network: str, now: int) -> int:
        rows = await self._purchases.overdue(now, LOOKED_AT, network=network)
        answered = 0
        for row in [row for row in rows if row.intent.id not in self._again][:ASKED_AT_ONCE]:
            fate = await self._fate(row)
            if fate is None:
                self._again[row.intent.id] = now + AGAIN_MS
                continue
            await self._keep(row, fate)
            answered += 1
        return answered

    async def _fate(self, row: PurchaseRow) -> Fate | None:
        token = token_of(row.intent.asset, self._tokens)
        if token is None or row.signed is None:
            return None
        return await self._chains.fate(token, row.signed.authorization, row.asked_at // 1000)

    async def _keep(self, row: PurchaseRow, fate: Fate) -> None:
        id_, now = row.intent.id, self._clock()
        if fate.state == "paid":
            assert row.signed is not None
            payer = row.signed.authorization.from_
            network = row.intent.asset.partition("/")[0]
            found = Settlement(network=network, payer=payer, transaction=fate.transaction, amount=fate.amount)
            await self._purchases.spent(id_, response=ndjson.encode(found.wire()), now=now)
        else:
            await self._purchases.closed(id_, fate.state, now, unused=True)
        log.info("payment_traced", purchase=id_, state=fate.state, transaction=fate.transaction)
