"""One call to what has a price, at the provider: what it is asked for, and what is made of what it shows.

demand -> caller -> payment -> read, verified -> RunningSale -> how the call ends
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import structlog

from nexusd.services.payments.closings import refused
from nexusd.services.payments.footing import Footing
from nexusd.services.payments.running_sale import RunningSale
from nexusd.services.payments.sale_inputs import SaleInputs
from nexusd.services.payments.shop import Shop
from nexusd.services.trade import Closing, Counter
from nexusd_protocols.identity import PeerId
from nexusd_protocols.invoke import commands, events
from nexusd_protocols.invoke.frames import Code
from nexusd_protocols.payments import binding, faults, published, terms
from nexusd_protocols.payments import gate_inputs as told
from nexusd_protocols.payments.binding import Context
from nexusd_protocols.payments.faults import PaymentFault
from nexusd_protocols.payments.tender import read
from nexusd_protocols.payments.terms import PriceTerms

log = structlog.get_logger(__name__)

UNBOUND_HINT: Final = "stock x402 clients pay so: accept_unbound takes it, where nobody else is paid at this address"


class Sale:
    """See `trade.Sale`."""

    def __init__(
        self, shop: Shop, peer: PeerId, opened: events.Opened, offers: Sequence[PriceTerms], description: str
    ) -> None:
        self._shop = shop
        self._peer = peer
        self._opened = opened
        self._footing = Footing(shop.trust, shop.payers, shop.chains, shop.credits, peer, offers)
        self._description = description
        request = binding.request_digest(
            request_id=opened.open.request_id,
            caller=opened.caller,
            to_agent=opened.to_agent,
            content=opened.open.content(),
        )
        self._context = Context(shop.agent.signer.peer_id, request)
        self._inputs = SaleInputs()
        self._running: RunningSale | None = None

    async def demand(self) -> commands.Demand | commands.Error:
        """See `trade.Sale`."""
        offers = await self._footing.demanded()
        if not offers:
            return commands.Error(Code.FORBIDDEN, self._footing.why_not)
        exact = next((offer for offer in offers if published.render_terms(offer) is not None), None)
        return commands.Demand(
            None if exact is None else published.render_terms(exact, description=self._description),
            terms.required(offers, self._context.provider, description=self._description),
        )

    async def run(self, counter: Counter, paid: events.PaymentOffered) -> Closing:
        """See `trade.Sale`."""
        offers = await self._footing.offers()
        if not offers:
            return Closing(command=commands.Error(Code.FORBIDDEN, self._footing.why_not), outcome=Code.FORBIDDEN)
        now_s = self._shop.clock() // 1000
        tender = read(paid, offers, tokens=self._shop.tokens, context=self._context, now_s=now_s)
        if isinstance(tender, PaymentFault):
            if tender.code == faults.UNBOUND:
                log.warning("payment_unbound", peer=self._peer, capability=offers[0].capability, hint=UNBOUND_HINT)
            return refused(tender, offers[0])
        if fault := await self._footing.paid_with(tender.payment):
            return refused(fault, offers[0])
        self._running = RunningSale(
            self._shop, self._peer, self._opened, self._context, self._footing, counter, tender, self._inputs
        )
        return await self._running.see_through()

    # --- while it runs ------------------------------------------------------------------------------------------------
    def began(self) -> None:
        """See `trade.Sale`."""
        self._work.began()

    @property
    def unit(self) -> str:
        """See `trade.Sale`."""
        return self._work.unit

    async def produce(self, event: str, data: Any, size: int, units: int | None) -> None:
        """See `trade.Sale`."""
        await self._work.produce(event, data, size, units)

    async def count(self, units: int) -> None:
        """See `trade.Sale`."""
        await self._work.count(units)

    @property
    def _work(self) -> RunningSale:
        assert self._running is not None  # it is what lets the work begin
        return self._running

    # --- at any time --------------------------------------------------------------------------------------------------
    def cancel(self) -> None:
        """See `trade.Sale`."""
        self._break_off(told.Cancelled())

    def lose(self) -> None:
        """See `trade.Sale`."""
        self._break_off(told.Gone())

    def fail(self, code: str) -> None:
        """See `trade.Sale`."""
        if self._running is None:
            self._inputs.tell(told.Failed(code))
        else:
            self._running.fail(told.Failed(code))

    def answered(self, answer: events.TabAnswer) -> None:
        """See `trade.Sale`."""
        self._inputs.tell(answer)

    def _break_off(self, input_: told.Input) -> None:
        if self._running is not None:
            self._running.stop_sending()
        self._inputs.tell(input_)
