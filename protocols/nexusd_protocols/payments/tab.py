"""A tab: one authorisation that grows while the work goes on. (specs/payments.md §9)

    provider: Produced, Sent, Wanted, Finished ──> Cost, Ask              what was delivered, and what is wanted for it
              Grown, Opened                    ──> Covered, Rolled        what the payer signed
    payer:    Received, Supplied, Asked        ──> Authorise, OpenTab     what it is to sign, checked by its own count
    both:                                      ──> Stop                   at the first thing that was not agreed

The payer signs growing amounts under one nonce. The token accepts one of them, ever; so it never pays more than it
signed last, and the provider keeps the highest. `ahead` of the terms is what the payer risks: it signs no more than
that beyond what it got, twice that while one tab follows another. `credit` is what the provider risks: it delivers so
much beyond what was signed. A piece costs at most half of both together; so the provider asks while the other half is
left, and nobody waits. Until it settles, the provider also risks the tab as a whole: the payer can cancel it, or show
an older signature itself. So the most that one tab grows to, `amount` of the terms, follows from trust. Behind it, and
before its time is over, comes another tab with another nonce. A tab has paid for as many whole units as what was signed
under it buys.

Amounts without a tab are over all tabs of the call. Times are unix seconds.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

from nexusd_protocols import limits
from nexusd_protocols.payments import authorization as signed
from nexusd_protocols.payments import faults
from nexusd_protocols.payments.authorization import Authorization
from nexusd_protocols.payments.faults import PaymentFault
from nexusd_protocols.payments.terms import PriceTerms, Unit
from nexusd_protocols.payments.verify import Verified


# --- to the provider ------------------------------------------------------------------------------------------------
@dataclass(frozen=True, slots=True)
class Produced:
    """The work made a piece that counts `units`."""

    units: int


@dataclass(frozen=True, slots=True)
class Sent:
    """A piece of `units` left for the payer."""

    units: int


@dataclass(frozen=True, slots=True)
class Wanted:
    """A piece waits until `amount` is covered."""

    amount: int


@dataclass(frozen=True, slots=True)
class Finished:
    """Nothing more is delivered."""


@dataclass(frozen=True, slots=True)
class Grown:
    """The payer says that tab `tab` may grow to `amount`. `signature` is text, as it came."""

    tab: int
    amount: int
    signature: str


@dataclass(frozen=True, slots=True)
class Opened:
    """The payer opened tab `tab` with a payment that was verified under the same terms."""

    tab: int
    payment: Verified


@dataclass(frozen=True, slots=True)
class Tick:
    """Time passed."""


ProviderInput = Produced | Sent | Wanted | Finished | Grown | Opened | Tick


# --- from the provider ----------------------------------------------------------------------------------------------
@dataclass(frozen=True, slots=True)
class Cost:
    """Answers Produced: `amount` must be covered, and committed, before the piece leaves."""

    amount: int


@dataclass(frozen=True, slots=True)
class Ask:
    """Tell the payer what was delivered under the tab and what is wanted for it: `invoke.payment_due`."""

    tab: int
    units: int
    amount: int
    final: bool


@dataclass(frozen=True, slots=True)
class Covered:
    """The payer signed `amount` under tab `tab`: commit it."""

    tab: int
    amount: int
    signature: bytes


@dataclass(frozen=True, slots=True)
class Rolled:
    """Tab `tab` began with `payment`: commit it. What was signed under the one before is all that it comes to."""

    tab: int
    payment: Verified


# --- to the payer ---------------------------------------------------------------------------------------------------
@dataclass(frozen=True, slots=True)
class Received:
    """A piece of the output came: `size` bytes, as they count against maxOutputBytes."""

    size: int


@dataclass(frozen=True, slots=True)
class Supplied:
    """A piece of the input went: `size` bytes."""

    size: int


@dataclass(frozen=True, slots=True)
class Asked:
    """The provider says that it delivered `units` under tab `tab`, and wants `amount` signed in all."""

    tab: int
    units: int
    amount: int
    final: bool


PayerInput = Received | Supplied | Asked


# --- from the payer -------------------------------------------------------------------------------------------------
@dataclass(frozen=True, slots=True)
class Authorise:
    """Reserve the budget, commit, sign this, and send it."""

    tab: int
    authorization: Authorization


@dataclass(frozen=True, slots=True)
class OpenTab:
    """The same for a new tab, under a new nonce, which begins with `amount`."""

    tab: int
    amount: int


@dataclass(frozen=True, slots=True)
class Stop:
    """End the call: it is not as agreed. What was signed stays signed, and nothing more is."""

    fault: PaymentFault


ProviderOutput = Cost | Ask | Covered | Rolled | Stop
PayerOutput = Authorise | OpenTab | Stop


class TabProvider:
    """The provider's machine: `handle(input, now_s) -> outputs`. Begins with the payment that opened the tab."""

    def __init__(
        self,
        payment: Verified,
        *,
        credit: int = 0,
        patience_s: int = limits.PAYMENT_PATIENCE_S,
        rolls: bool = True,
    ) -> None:
        """`patience_s` is how long an answer may take. Without `rolls` the call ends where its one tab is full."""
        self.tab = 0
        self.stopped = False
        self._terms: Final = payment.terms
        self._credit = credit
        self._patience_s = patience_s
        self._rolls = rolls
        self._authorization = payment.authorization
        self._base = 0
        """Units that the tabs before have paid for."""
        self._produced = 0
        self._sent = 0
        self._final = False
        self._asked: tuple[Ask, int] | None = None
        """What the payer has yet to answer, and since when."""

    @property
    def signed(self) -> int:
        """The highest amount that the payer signed under this tab."""
        return self._authorization.value

    @property
    def covered(self) -> int:
        """What may be delivered for what was signed, without credit."""
        return self._base * self._terms.unit_price + self.signed

    @property
    def owed(self) -> int:
        """What was delivered."""
        return self._sent * self._terms.unit_price

    def handle(self, event: ProviderInput, now_s: int) -> list[ProviderOutput]:
        """What follows from an input."""
        if self.stopped:
            return []
        match event:
            case Produced(units):
                if units * self._terms.unit_price * 2 > self._terms.ahead + self._credit:
                    return self._stop("a piece that costs more than half of what both sides risk")
                self._produced += units
                return [Cost(max(0, self._produced * self._terms.unit_price - self._credit))]
            case Sent(units):
                self._sent += units
                return self._ask(now_s)
            case Wanted(amount):
                if amount > self.owed + self._terms.ahead:
                    return self._stop("more than may be signed ahead")
                return self._ask(now_s, waits=amount > self.covered)
            case Finished():
                self._final = True
                return self._ask(now_s)
            case Grown():
                return self._then_ask(self._on_grown(event), now_s)
            case Opened():
                return self._then_ask(self._on_opened(event), now_s)
            case Tick():
                late = self._asked is not None and now_s - self._asked[1] > self._patience_s
                return self._stop("no answer in time") if late else []

    def _then_ask(self, outputs: list[ProviderOutput], now_s: int) -> list[ProviderOutput]:
        return outputs if self.stopped else [*outputs, *self._ask(now_s)]

    def _ask(self, now_s: int, *, waits: bool = False) -> list[ProviderOutput]:
        """Ask when half of what both risk is left, so that the answer is here before a piece waits for it; and at the
        end for what is not covered. For one thing at a time."""
        terms, left = self._terms, self.covered + self._credit - self.owed
        if self._final:
            needed, ahead = self.owed > self.covered, 0
        else:
            needed, ahead = left * 2 <= terms.ahead + self._credit, terms.ahead
        if self._asked is not None or not needed:
            return []
        tab, base = self.tab, self._base
        full = self.signed == terms.amount
        if full or self._authorization.valid_before <= now_s + limits.PAYMENT_TAB_END_S:
            if not self._rolls:  # what was signed is delivered, and not more
                return self._stop("the tab is full, or its time is over") if waits else []
            tab, base, ahead = tab + 1, base + self.signed // terms.unit_price, terms.ahead
        units = max(0, self._sent - base)
        # what a tab does not hold is asked for under the next one
        amount = min(units * terms.unit_price + ahead, terms.amount)
        ask = Ask(tab, units, amount, self._final and base * terms.unit_price + amount >= self.owed)
        self._asked = ask, now_s
        return [ask]

    def _on_grown(self, event: Grown) -> list[ProviderOutput]:
        asked = self._asked[0] if self._asked is not None else None
        if asked is None or asked.tab != self.tab or (event.tab, event.amount) != (asked.tab, asked.amount):
            return self._stop("an answer that was not asked for")
        grown = replace(self._authorization, value=event.amount)
        try:
            signature = signed.read_signature(event.signature)
        except ValueError as error:
            return self._stop(str(error))
        if signed.recover(grown, self._terms.token, signature) != grown.from_:
            return self._stop("signed by somebody else")
        self._authorization, self._asked = grown, None
        return [Covered(self.tab, grown.value, signature)]

    def _on_opened(self, event: Opened) -> list[ProviderOutput]:
        asked = self._asked[0] if self._asked is not None else None
        opened = event.payment.authorization
        if asked is None or asked.tab == self.tab or event.tab != asked.tab:
            return self._stop("a tab that was not asked for")
        if opened.value != asked.amount or opened.nonce == self._authorization.nonce:
            return self._stop("a tab that begins with another amount, or under the same nonce")
        self._base += self.signed // self._terms.unit_price
        self.tab, self._authorization, self._asked = asked.tab, opened, None
        return [Rolled(self.tab, event.payment)]

    def _stop(self, detail: str) -> list[ProviderOutput]:
        self.stopped = True
        return [Stop(PaymentFault(faults.TAB_FAULT, detail))]


class TabPayer:
    """The payer's machine: `handle(input, now_s) -> outputs`. Begins with the authorisation that opened the tab."""

    def __init__(self, terms: PriceTerms, authorization: Authorization, *, budget: int, now_s: int) -> None:
        """`budget` is what the call may cost in all, over all its tabs. Raises ValueError where the first tab begins
        over it."""
        if authorization.value > budget:
            raise ValueError("the tab begins with more than the call may cost")
        self.tab = 0
        self.stopped = False
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

    def opened(self, authorization: Authorization) -> None:
        """The tab that OpenTab asked for was signed. Raises ValueError where it did not ask for this."""
        if self._next is None or authorization.value != self._next.amount:
            raise ValueError("no such tab is to be opened")
        self._before += self.signed
        self._base += self.signed // self._terms.unit_price
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
            case Supplied(size):
                self._supplied += size
            case Asked():
                fault = self._fault(event, now_s)
                return self._stop(fault) if fault else self._answer(event)
        return []

    def _fault(self, ask: Asked, now_s: int) -> str:
        """What is wrong with an ask; empty if it is as agreed."""
        terms, rolls = self._terms, ask.tab != self.tab
        if self._next is not None or self._final or (rolls and ask.tab != self.tab + 1):
            return "out of its turn"
        base = self._base + (self.signed // terms.unit_price if rolls else 0)
        if (not rolls and ask.units < self._units) or (ask.units and base + ask.units > self._most(now_s)):
            return f"{base + ask.units} units were not delivered"
        if ask.amount > min(terms.amount, ask.units * terms.unit_price + terms.ahead):
            return "more than the terms allow for what was delivered"
        growth = ask.amount if rolls else ask.amount - self.signed
        if growth <= 0:
            return "a tab that does not grow"
        if self.total + growth > self._budget:
            return "over what the call may cost"
        if rolls:
            # what was signed ahead under the old tab is still to come, and what is below a unit never does
            if self.total + growth > (self._most(now_s) + ask.tab) * terms.unit_price + 2 * terms.ahead:
                return "more tabs than were delivered for"
            last_s = self._authorization.valid_before - limits.PAYMENT_TAB_END_S - limits.PAYMENT_WINDOW_SLACK_S
            return "" if self.signed == terms.amount or now_s >= last_s else "a new tab while the old one is good"
        if growth * 2 < terms.ahead and ask.amount < terms.amount and not ask.final:
            return "growing in steps too small"
        return ""

    def _answer(self, ask: Asked) -> list[PayerOutput]:
        self._final = ask.final
        if ask.tab != self.tab:
            self._next = OpenTab(ask.tab, ask.amount)
            return [self._next]
        self._units = ask.units
        self._authorization = replace(self._authorization, value=ask.amount)
        return [Authorise(self.tab, self._authorization)]

    def _most(self, now_s: int) -> int:
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
