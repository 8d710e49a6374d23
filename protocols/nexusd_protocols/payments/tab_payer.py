"""The payer's side of a tab: what it signs, by its own count of what came, and where it stops."""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from nexusd_protocols import limits
from nexusd_protocols.payments import faults
from nexusd_protocols.payments.authorization import Authorization
from nexusd_protocols.payments.faults import PaymentFault
from nexusd_protocols.payments.tab import (
    EXACT,
    Asked,
    Authorise,
    Exhausted,
    GivenUp,
    OpenTab,
    PayerInput,
    PayerOutput,
    Received,
    Stop,
    Supplied,
)
from nexusd_protocols.payments.terms import PriceTerms, Unit


class TabPayer:
    """The machine: `handle(input, now_s) -> outputs`. Begins with the authorisation that opened the first tab."""

    def __init__(self, terms: PriceTerms, authorization: Authorization, *, budget: int, now_s: int) -> None:
        """`budget` is what the call may cost in all, over all its tabs. Raises ValueError where the first tab begins
        over it."""
        if authorization.value > budget:
            raise ValueError("the tab begins with more than the call may cost")
        self.tab = 0
        self.stopped = False
        self.exhausted = False
        """It said that it signs nothing more."""
        self._terms: Final = terms
        self._budget = budget
        self._began_s = now_s
        self._authorization = authorization
        self._before = 0
        """Signed under the tabs before."""
        self._base = 0
        """Units that these have paid for."""
        self._units = 0
        self._pieces = 0
        self._received = 0
        self._supplied = 0
        self._final = False
        self._next: OpenTab | None = None

    @property
    def signed(self) -> int:
        """The amount that was signed last under this tab."""
        return self._authorization.value

    @property
    def total(self) -> int:
        """What the call can cost by now, whatever the provider does."""
        return self._before + self.signed

    @property
    def paid(self) -> int:
        """Units that this pays for."""
        return self._base + self._terms.units(self.signed)

    def opened(self, authorization: Authorization) -> None:
        """The tab that OpenTab asked for was signed. Raises ValueError where it did not ask for this."""
        if self._next is None or authorization.value != self._next.amount:
            raise ValueError("no such tab is to be opened")
        self._before, self._base = self.total, self.paid
        self.tab, self._units = self._next.tab, 0
        self._authorization, self._next = authorization, None

    def handle(self, event: PayerInput, now_s: int) -> list[PayerOutput]:
        """What follows from an input."""
        if self.stopped:
            return []
        match event:
            case Received(size):
                self._pieces += 1
                self._received += size
                return self._unasked(now_s)
            case Supplied(size):
                self._supplied += size
                return []
            case GivenUp():
                return self._give_up(now_s)
            case Asked():
                fault = self._fault(event, now_s)
                return self._stop(fault) if fault else self._answer(event)

    def _unasked(self, now_s: int) -> list[PayerOutput]:
        """A provider that delivers on and on and never asks has lost its way, and may ask for all of it at once."""
        most = self.paid + self._terms.units(self._terms.credit)
        if self._terms.unit in EXACT and self.seen(now_s) > most:
            return self._stop("more came than was signed for, and nothing was asked for it")
        return []

    def _fault(self, ask: Asked, now_s: int) -> str:
        """What is wrong with an ask; empty if it is as agreed."""
        terms, rolls, lowers = self._terms, ask.tab != self.tab, self._lowers(ask)
        if self._next is not None or self._final or (self.exhausted and not lowers):
            return "out of its turn"
        if rolls and ask.tab != self.tab + 1:
            return "out of its turn"
        base, seen = self.paid if rolls else self._base, self.seen(now_s)
        if (not rolls and ask.units < self._units) or (ask.units and base + ask.units > seen):
            return f"{base + ask.units} units were not delivered"
        if lowers:
            return ""
        if ask.amount > min(terms.amount, terms.cost(ask.units) + terms.ahead):
            return "more than the terms allow for what was delivered"
        growth = ask.amount if rolls else ask.amount - self.signed
        if growth <= 0:
            return "a tab that does not grow"
        if rolls:
            return self._too_early(ask, terms.cost(seen), now_s)
        # what is below a unit is nobody's fault
        small = 2 * (growth + terms.cost(1)) < terms.ahead + terms.credit
        return "growing in steps too small" if small and ask.amount < terms.amount and not ask.final else ""

    def _too_early(self, ask: Asked, delivered: int, now_s: int) -> str:
        terms = self._terms
        if ask.tab >= limits.PAYMENT_TABS:
            return f"more than the {limits.PAYMENT_TABS} tabs of one call"
        # what was signed ahead under the old tab is still to come, and what is below a unit never does
        if self.total + ask.amount > delivered + ask.tab * terms.cost(1) + 2 * terms.ahead:
            return "more tabs than were delivered for"
        last_s = self._authorization.valid_before - limits.PAYMENT_TAB_END_S - limits.PAYMENT_WINDOW_SLACK_S
        return "" if self.signed == terms.amount or now_s >= last_s else "a new tab while the old one is good"

    def _answer(self, ask: Asked) -> list[PayerOutput]:
        """Sign what is asked for; at the end of what the call may cost, the whole units that are left."""
        self._final = ask.final
        if self._lowers(ask):
            return [self._authorise(ask.units, ask.amount)]
        rolls = ask.tab != self.tab
        before = 0 if rolls else self.signed
        amount, left = ask.amount, self._budget - self.total
        if amount - before >= left:
            self.exhausted = True
            if amount - before > left:
                amount = self._terms.cost(self._terms.units(before + left))
            if amount <= before:
                return [Exhausted(ask.tab)]
        if rolls:
            self._next = OpenTab(ask.tab, amount, self.exhausted)
            return [self._next]
        return [self._authorise(ask.units, amount)]

    def _authorise(self, units: int, amount: int) -> Authorise:
        self._units = units
        self._authorization = replace(self._authorization, value=amount)
        return Authorise(self.tab, self._authorization, self.exhausted)

    def _give_up(self, now_s: int) -> list[PayerOutput]:
        """Sign for what came in place of more, where both sides count it alike. What is still on its way was delivered,
        too; then the provider keeps what was signed before."""
        came = self.seen(now_s) - self._base
        amount = self._terms.cost(max(0, came))
        if self._terms.unit not in EXACT or self._final or self._next is not None or not 0 < amount < self.signed:
            return []
        self._final = self.exhausted = True
        return [self._authorise(came, amount)]

    def _lowers(self, ask: Asked) -> bool:
        """Whether, at the end, less is wanted than is signed."""
        return ask.final and ask.tab == self.tab and 0 < ask.amount < self.signed

    def seen(self, now_s: int) -> int:
        """Units that can have been delivered by now, by what this side has seen."""
        unit: Unit = self._terms.unit
        match unit:
            case "chunk":
                return self._pieces
            case "byte" | "token_out":
                return self._received  # a token has a byte at least
            case "token_in":
                return self._supplied + limits.PAYMENT_PROMPT_TOKENS
            case "second":
                return now_s - self._began_s + limits.PAYMENT_SECONDS_SLACK
            case "request":
                return 0

    def _stop(self, detail: str) -> list[PayerOutput]:
        self.stopped = True
        return [Stop(PaymentFault(faults.TAB_FAULT, detail))]
