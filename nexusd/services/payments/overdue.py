"""Payments whose time is over, and of which the provider has not said that it took them: the chain says what became of
them.

signed, closed -> paid: spent, with the transaction | cancelled, or ended unused: closed, and costs nothing

A network without a node says nothing. What was signed there and not answered for cannot be used any more ten minutes
behind its end, and counts no longer; that it was used before is possible, and bounded (`policy.decide`).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import structlog

from nexusd.services.payments.ports import Chains, Fate
from nexusd.services.payments.views import token_of
from nexusd.services.ports import WallClock
from nexusd.store.ledger import Purchases
from nexusd_protocols import ndjson
from nexusd_protocols.payments.purchase import UNANSWERED, PurchaseRow, PurchaseState, over_at
from nexusd_protocols.payments.tokens import Token, Tokens
from nexusd_protocols.payments.x402 import Settlement

log = structlog.get_logger(__name__)

ASKED_AT_ONCE: Final = 16
"""Payments in a token that its node is asked about in one round."""
LOOKED_AT: Final = 512
"""Rows in a token that one round looks through for these."""
AGAIN_MS: Final = 60_000
"""What the chain could not say is asked for again so much later, behind all that was not asked for yet, and then after
twice as long each time: right behind the end of an authorisation the chain has still to come so far."""
LATEST_MS: Final = 600_000


class Overdue:
    """Finds out how they ended."""

    def __init__(
        self,
        purchases: Purchases,
        chains: Chains,
        tokens: Tokens,
        clock: WallClock,
        under_way: Callable[[str], bool],
    ) -> None:
        """`under_way` as `Purse.is_under_way`: a call may go on under another tab when the one before is over."""
        self._purchases = purchases
        self._chains = chains
        self._tokens = tokens
        self._clock = clock
        self._under_way = under_way
        self._again: dict[str, tuple[int, int]] = {}
        """By purchase: when the chain is asked again, and how long that is after the last time."""

    async def round(self) -> int:
        """Look once at what is overdue, and keep what is found. Returns of how many."""
        now = self._clock()
        self._again = {id_: (at, wait) for id_, (at, wait) in self._again.items() if at + wait > now}
        ended = 0
        for token in self._tokens:
            if self._chains.online(token.chain_id):
                ended += await self._ask(token, now)
        return ended + await self._give_up(now)

    # --- where there is a node ----------------------------------------------------------------------------------------
    async def _ask(self, token: Token, now: int) -> int:
        rows = await self._purchases.overdue(now, LOOKED_AT, network=token.network)
        rows = [row for row in rows if row.intent.asset == token.asset_id]
        rows += await self._purchases.doubted(now, LOOKED_AT, asset=token.asset_id)
        answered = 0
        rows = [row for row in rows if self._is_time(row, now) and not self._under_way(row.intent.id)]
        for row in rows[:ASKED_AT_ONCE]:
            fate = await self._fate(row, token)
            if fate is None:
                _, wait = self._again.get(row.intent.id, (0, AGAIN_MS // 2))
                wait = min(2 * wait, LATEST_MS)
                self._again[row.intent.id] = now + wait, wait
                continue
            await self._keep(row, fate)
            answered += 1
        return answered

    def _is_time(self, row: PurchaseRow, now: int) -> bool:
        at, _ = self._again.get(row.intent.id, (0, 0))
        return at <= now

    async def _fate(self, row: PurchaseRow, token: Token) -> Fate | None:
        """Of all that was signed for it. None: of some of it nobody knows."""
        fates: list[Fate] = []
        for signed in await self._purchases.tabs(row):
            fate = await self._chains.fate(token, signed.authorization, row.asked_at // 1000)
            if fate is None:
                return None
            fates.append(fate)
        paid = [fate for fate in fates if fate.state == "paid"]
        if not paid:
            return fates[-1]
        return Fate("paid", paid[-1].transaction, sum(fate.amount for fate in paid))

    async def _keep(self, row: PurchaseRow, fate: Fate) -> None:
        id_, now = row.intent.id, self._clock()
        if fate.state == "paid":
            assert row.signed is not None
            payer = row.signed.authorization.from_
            network = row.intent.asset.partition("/")[0]
            found = Settlement(network=network, payer=payer, transaction=fate.transaction, amount=fate.amount)
            await self._purchases.spent(id_, response=ndjson.encode(found.wire()), now=now, amount=fate.amount)
        else:
            await self._purchases.closed(id_, fate.state, now, unused=True)
        log.info("payment_traced", purchase=id_, state=fate.state, transaction=fate.transaction)

    # --- where there is none ------------------------------------------------------------------------------------------
    async def _give_up(self, now: int) -> int:
        """Close what nobody can say anything about, once it cannot be used any more."""
        closed = 0
        for row in await self._purchases.overdue(now, LOOKED_AT):
            token = token_of(row.intent.asset, self._tokens)
            asked = token is not None and self._chains.online(token.chain_id)
            if self._under_way(row.intent.id):
                continue
            if asked or row.state is not PurchaseState.SIGNED or row.signed is None or over_at(row.signed) > now:
                continue
            ended = await self._purchases.closed(row.intent.id, UNANSWERED, now)
            if ended.state is PurchaseState.CLOSED:  # and was not answered for since these were looked up
                log.info("payment_not_answered_for", purchase=row.intent.id)
                closed += 1
        return closed
