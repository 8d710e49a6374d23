"""The provider's side of a tab: what it may deliver, when it asks for more, and what it takes for an answer."""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from nexusd_protocols import limits
from nexusd_protocols.payments import authorization as signed
from nexusd_protocols.payments import faults
from nexusd_protocols.payments.faults import PaymentFault
from nexusd_protocols.payments.tab import (
    EXACT,
    Ask,
    Cost,
    Covered,
    Exhausted,
    Finished,
    Grown,
    Lowered,
    Opened,
    Produced,
    ProviderInput,
    ProviderOutput,
    Rolled,
    Sent,
    Stop,
    Tick,
    Wanted,
)
from nexusd_protocols.payments.verify import Verified


class TabProvider:
    """The machine: `handle(input, now_s) -> outputs`. Begins with the payment that opened the first tab."""

    def __init__(
        self,
        payment: Verified,
        *,
        patience_s: int = limits.PAYMENT_PATIENCE_S,
        tabs: int = limits.PAYMENT_TABS,
    ) -> None:
        """`patience_s` is how long an answer may take, `tabs` how many a call may have."""
        self.tab = 0
        self.stopped = False
        self._terms: Final = payment.terms
        self._patience_s = patience_s
        self._tabs = tabs
        self._authorization = payment.authorization
        self._nonces = {payment.authorization.nonce}
        self._credit: Final = payment.terms.units(payment.terms.credit)
        self._base = 0
        """Units that the tabs before have paid for."""
        self._produced = 0
        self._sent = 0
        self._wanted = 0
        self._went = False
        """Anything was delivered at all."""
        self._finished = False
        self._exhausted = False
        """The payer signs nothing more."""
        self._settled_up = False
        """It was asked for a signature over what was delivered, in place of more."""
        self._asked: tuple[Ask, int] | None = None
        """What the payer has yet to answer, and since when."""

    @property
    def signed(self) -> int:
        """The amount that the payer signed last under this tab."""
        return self._authorization.value

    @property
    def asking(self) -> bool:
        """Whether the payer was asked and has not answered."""
        return self._asked is not None

    @property
    def covered(self) -> int:
        """Units that what was signed pays for, over all tabs."""
        return self._base + self._terms.units(self.signed)

    @property
    def owed(self) -> int:
        """Units that were delivered."""
        return self._sent

    @property
    def largest(self) -> int:
        """Units that one piece may count."""
        return self._terms.units(self._terms.step)

    def handle(self, event: ProviderInput, now_s: int) -> list[ProviderOutput]:
        """What follows from an input."""
        if self.stopped:
            return []
        match event:
            case Produced(units):
                if self._terms.cost(units) > self._terms.step:
                    return self._stop("a piece that costs more than half of what both sides risk")
                self._produced += units
                credit = 0 if self._exhausted else self._credit
                return [Cost(max(0, self._produced - credit))]
            case Sent(units):
                self._sent += units
                self._went = True
                return self._ask(now_s)
            case Wanted(units):
                self._wanted = units
                return self._ask(now_s)
            case Finished():
                self._finished, self._wanted = True, 0
                if self._went and self._terms.unit not in EXACT:
                    self._sent = max(
                        1, self._sent
                    )  # what took less than a second, or no whole token, is not for nothing
                return self._ask(now_s)
            case Grown():
                return self._then_ask(self._on_grown(event), now_s)
            case Opened():
                return self._then_ask(self._on_opened(event), now_s)
            case Exhausted(tab):
                asked = self._answered(tab)
                if asked is None:
                    return self._stop("an answer that was not asked for")
                self._asked, self._exhausted = None, True
                return self._ask(now_s)
            case Tick():
                late = self._asked is not None and now_s - self._asked[1] > self._patience_s
                return self._too_late(now_s) if late else []

    def _too_late(self, now_s: int) -> list[ProviderOutput]:
        if self._lowers:  # what was signed before is more
            self._asked = None
            return self._ask(now_s)
        return self._stop("no answer in time")

    def _then_ask(self, outputs: list[ProviderOutput], now_s: int) -> list[ProviderOutput]:
        return outputs if self.stopped else [*outputs, *self._ask(now_s)]

    # --- asking -------------------------------------------------------------------------------------------------------
    def _ask(self, now_s: int) -> list[ProviderOutput]:
        """Ask when half of what both risk is left, so that the answer is here before a piece waits for it; and at the
        end for what was delivered, be it more than is signed or less. For one thing at a time."""
        waits = self._wanted > self.covered
        if self._asked is not None:
            return []
        over = self._finished or (waits and self._exhausted)
        if over and not self._settled_up and 0 < self._due < self.signed:
            self._settled_up = True
            return [self._asks(Ask(self.tab, self._delivered, self._due, final=True), now_s)]
        if not (waits or self._is_time()):
            return []
        if self._exhausted:
            return self._stop("the call has cost all that it may", faults.PRICE_REACHED) if waits else []
        terms, tab, base = self._terms, self.tab, self._base
        if self.signed == terms.amount or self._authorization.valid_before <= now_s + limits.PAYMENT_TAB_END_S:
            if not (waits or self._finished):
                return []  # one is left when all of it is used: what it leaves over would be paid for nothing
            tab, base = tab + 1, self.covered
            if tab >= self._tabs:
                return self._stop(f"more than the {self._tabs} tabs of one call") if waits else []
        units = max(0, self._sent - base)
        # what a tab does not hold is asked for under the next one
        amount = min(terms.cost(units) + (0 if self._finished else terms.ahead), terms.amount)
        final = self._finished and base + terms.units(amount) >= self._sent
        return [self._asks(Ask(tab, units, amount, final), now_s)]

    @property
    def _delivered(self) -> int:
        """Units under the newest tab."""
        return max(0, self._sent - self._base)

    @property
    def _due(self) -> int:
        """What these cost."""
        return self._terms.cost(self._delivered)

    def _asks(self, ask: Ask, now_s: int) -> Ask:
        self._asked = ask, now_s
        return ask

    @property
    def _lowers(self) -> bool:
        """Whether what is asked for is less than is signed."""
        return self._asked is not None and self._asked[0].tab == self.tab and self._asked[0].amount < self.signed

    def _is_time(self) -> bool:
        if self._finished:
            return self._sent > self.covered
        terms = self._terms
        growth = terms.cost(max(0, self._sent - self._base)) + terms.ahead - self.signed
        return 2 * growth >= terms.ahead + terms.credit

    # --- answers ------------------------------------------------------------------------------------------------------
    def _answered(self, tab: int) -> Ask | None:
        """What was asked for that tab, and is answered now."""
        asked = self._asked[0] if self._asked is not None else None
        return asked if asked is not None and asked.tab == tab else None

    def _on_grown(self, event: Grown) -> list[ProviderOutput]:
        asked, lowers = self._answered(event.tab), self._lowers
        answers = asked is not None and event.amount == asked.amount
        if event.tab == self.tab and event.final and event.amount < self.signed and not (lowers and answers):
            return self._on_given_up(event)
        if asked is None or asked.tab != self.tab or not _is_enough(event.amount, asked, event.final and not lowers):
            return self._stop("an answer that was not asked for")
        if event.amount <= self.signed and not lowers:
            return self._stop("a tab that does not grow")
        return self._signed(event, Lowered if lowers else Covered)

    def _on_given_up(self, event: Grown) -> list[ProviderOutput]:
        """The caller gives up, and signs for what it got. If more was delivered, what it signed before is kept; and
        what was delivered is a unit at least."""
        self._settled_up = True
        if event.amount < max(self._terms.cost(1), self._due):
            self._asked, self._exhausted = None, True
            return []
        return self._signed(event, Lowered)

    def _signed(self, event: Grown, kept: type[Covered | Lowered]) -> list[ProviderOutput]:
        grown = replace(self._authorization, value=event.amount)
        try:
            signature = signed.read_signature(event.signature)
        except ValueError as error:
            return self._stop(str(error))
        if signed.recover(grown, self._terms.token, signature) != grown.from_:
            return self._stop("signed by somebody else, or over another window, payee or nonce")
        self._authorization, self._asked, self._exhausted = grown, None, event.final
        return [kept(grown.key(self._terms.token), grown.value, signature)]

    def _on_opened(self, event: Opened) -> list[ProviderOutput]:
        asked, opened, before = self._answered(event.tab), event.payment.authorization, self._authorization
        if asked is None or asked.tab == self.tab:
            return self._stop("a tab that was not asked for")
        if not _is_enough(opened.value, asked, event.final) or opened.nonce in self._nonces:
            return self._stop("a tab that begins with another amount, or under a nonce that was there before")
        if (opened.from_, opened.to, event.payment.terms) != (before.from_, before.to, self._terms):
            return self._stop("a tab of another payer, or on other terms")
        if opened.valid_before < before.valid_before:
            return self._stop("a tab that ends before the one that it follows")
        self._base = self.covered
        self._nonces.add(opened.nonce)
        self.tab, self._authorization, self._asked, self._exhausted = asked.tab, opened, None, event.final
        return [Rolled(self.tab, event.payment, self._base)]

    def _stop(self, detail: str, code: str = faults.TAB_FAULT) -> list[ProviderOutput]:
        self.stopped = True
        return [Stop(PaymentFault(code, detail))]


def _is_enough(amount: int, asked: Ask, final: bool) -> bool:
    """A payer signs what it was asked for, or what it has left."""
    return 0 < amount <= asked.amount if final else amount == asked.amount
