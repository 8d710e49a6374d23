"""A purchase under way: what was signed for a call, what more is signed under its tabs, and how it ended."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import trio

from nexusd.services.trade import Ended, MoreUnderTab, Wish
from nexusd_protocols.invoke import commands, events
from nexusd_protocols.payments.authorization import Account, sign
from nexusd_protocols.payments.purchase import Signed
from nexusd_protocols.payments.tab import Asked, Authorise, Exhausted, GivenUp, OpenTab, Received, Stop, Supplied
from nexusd_protocols.payments.tab_payer import TabPayer
from nexusd_protocols.payments.terms import Offer, PriceTerms, Required
from nexusd_protocols.rpc.codes import Refusal
from nexusd_protocols.rpc.schema import PaymentSummary

if TYPE_CHECKING:
    from nexusd.services.payments.purse import Purse


@dataclass(frozen=True, slots=True)
class Chosen:
    """What is to be paid: the offer as it came, or (of a published provider) its terms alone."""

    demand: Required
    offer: Offer
    bare: bool = False

    @property
    def terms(self) -> PriceTerms:
        """Of the offer."""
        return self.offer.terms


class Payment:
    """See `trade.Payment`."""

    def __init__(
        self,
        purse: Purse,
        wish: Wish,
        chosen: Chosen,
        pay: commands.Pay,
        signed: Signed,
        account: Account,
        tab: TabPayer | None,
    ) -> None:
        token = chosen.terms.token
        self.pay = pay
        self.asset = token.asset_id
        self._purse = purse
        self._wish = wish
        self._chosen = chosen
        self._signed = [signed]
        """Of each tab, in order, the authorisation over most; of a call without one the only one."""
        self._account = account
        self._tab = tab
        self._turn = trio.Lock()
        self._supplied = 0
        self._charged: int | None = None
        """What it came to, once it is over."""

    @property
    def amount(self) -> int:
        """See `trade.Payment`."""
        return sum(each.authorization.value for each in self._signed) if self._charged is None else self._charged

    @property
    def used(self) -> tuple[int, str]:
        """See `trade.Payment`."""
        return (1, "request") if self._tab is None else (self._tab.paid, self._chosen.terms.unit)

    def received(self, size: int) -> Refusal | None:
        """See `trade.Payment`."""
        if self._tab is None:
            return None
        for answer in self._tab.handle(Received(size), self._purse.now_s()):
            if isinstance(answer, Stop):
                return _ends(answer)
        return None

    async def due(self, event: events.PaymentDue, supplied: int) -> MoreUnderTab | Refusal:
        """See `trade.Payment`."""
        if self._tab is None:
            return Refusal("payment_refused", "The provider asks for more where no tab was agreed")
        async with self._turn:
            return await self._answer(self._tab, event, supplied)

    async def _answer(self, tab: TabPayer, event: events.PaymentDue, supplied: int) -> MoreUnderTab | Refusal:
        now_s = self._purse.now_s()
        tab.handle(Supplied(supplied - self._supplied), now_s)
        self._supplied = supplied
        asked = Asked(event.tab, event.units, event.amount, event.final)
        (answer,) = tab.handle(asked, now_s) or (None,)
        match answer:
            case Authorise():
                return await self._grow(answer)
            case OpenTab():
                return await self._open(tab, answer)
            case Exhausted(number):
                return commands.Exhausted(number)
            case Stop():
                return _ends(answer)
        return Refusal("payment_refused", "The tab has ended")

    async def given_up(self) -> commands.Grow | None:
        """See `trade.Payment`."""
        if self._tab is None:
            return None
        async with self._turn:
            if await self._purse.stopped():
                return None
            for answer in self._tab.handle(GivenUp(), self._purse.now_s()):
                if isinstance(answer, Authorise):
                    return self._lower(answer)
        return None

    async def _grow(self, answer: Authorise) -> MoreUnderTab | Refusal:
        if answer.authorization.value < self._signed[-1].authorization.value:
            # nothing is kept of it: a provider may still use what was signed for more, and so that counts
            return commands.Exhausted(answer.tab) if await self._purse.stopped() else self._lower(answer)
        signature = sign(answer.authorization, self._chosen.terms.token, self._account)
        more = replace(self._signed[-1], authorization=answer.authorization, signature=signature)
        refusal = await self._purse.grow(self._wish, more)
        if refusal is not None:
            return refusal
        self._signed[-1] = more  # before anybody can give up: it is on the disk
        return commands.Grow(answer.tab, answer.authorization.value, f"0x{signature.hex()}", answer.final)

    def _lower(self, answer: Authorise) -> commands.Grow:
        signature = sign(answer.authorization, self._chosen.terms.token, self._account)
        return commands.Grow(answer.tab, answer.authorization.value, f"0x{signature.hex()}", answer.final)

    async def _open(self, tab: TabPayer, answer: OpenTab) -> MoreUnderTab | Refusal:
        signed, payload = self._purse.authorise(self._wish, self._chosen, self._account, answer.amount)
        refusal = await self._purse.roll(self._wish, self._chosen, signed)
        if refusal is not None:
            return refusal
        self._signed.append(signed)  # as in `_grow`
        tab.opened(signed.authorization)
        return commands.OpenTab(answer.tab, payload, answer.final)

    def reached(self) -> str:
        """See `trade.Payment`."""
        if self._tab is None or not self._tab.exhausted:
            return ""
        token = self._chosen.terms.token
        return f"The call has cost what it may, {token.show(token.parse(self._wish.max_price))}, and came no further"

    async def ended(self, how: Ended) -> PaymentSummary:
        """See `trade.Payment`."""
        signed = [each.authorization for each in self._signed]
        summary, self._charged = await self._purse.ended(self._wish, self._chosen, how, signed)
        return summary


def _ends(stop: Stop) -> Refusal:
    return Refusal("payment_refused", f"The tab ends here: {stop.fault.detail}", {"reason": stop.fault.code})
