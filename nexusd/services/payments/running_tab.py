"""The tab of a call at the provider: what it asks its caller, whom it believes, and what the chain says meanwhile.

    gate, work, clock, caller ──> TabProvider ──> caller: due        gate: Raised, Rolled, Failed

An open tab can be cancelled, or drained, at any moment: the chain is asked again and again while the work goes on, and
what it says against the tab ends the work.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Final

import structlog

from nexusd.host.ports import HostError
from nexusd.services.payments.ports import Chains
from nexusd.services.trade import Counter
from nexusd_protocols.errors import LocalProtocolError
from nexusd_protocols.invoke import commands, events
from nexusd_protocols.payments import faults, tab, verify
from nexusd_protocols.payments import gate_inputs as told
from nexusd_protocols.payments.binding import Context
from nexusd_protocols.payments.charge import Charge, Reservation, State
from nexusd_protocols.payments.faults import PaymentFault
from nexusd_protocols.payments.tab_provider import TabProvider
from nexusd_protocols.payments.terms import PriceTerms
from nexusd_protocols.payments.verify import Verified

log = structlog.get_logger(__name__)

TICK_S: Final = 5.0
"""How often the clock is looked at."""
WATCH_S: Final = 10.0
"""How often the chain is asked about an open tab: five blocks of Base."""

Row = Callable[[str], Awaitable[Charge | None]]
Tell = Callable[[told.Input], None]


class RunningTab:
    """See the module. Its methods are called by the task of the sale, one after the other."""

    def __init__(
        self,
        payment: Verified,
        context: Context,
        counter: Counter,
        chains: Chains,
        *,
        entry: Callable[[Verified, int], Reservation],
        row: Row,
        tell: Tell,
    ) -> None:
        """`entry` makes the reservation of a tab by its number, `row` reads its charge, `tell` tells the gate."""
        self.detail = ""
        """Why it stopped."""
        self.payments: dict[str, Verified] = {payment.key: payment}
        """By ledger key: the payment that each tab was opened with."""
        self.terms: Final[PriceTerms] = payment.terms
        self._machine = TabProvider(payment)
        self._context = context
        self._counter = counter
        self._chains = chains
        self._entry = entry
        self._row = row
        self._tell = tell
        self._newest = payment

    # --- what is delivered --------------------------------------------------------------------------------------------
    @property
    def delivered(self) -> int:
        """Units."""
        return self._machine.owed

    @property
    def largest(self) -> int:
        """Units that one piece may count."""
        return self._machine.largest

    @property
    def asking(self) -> bool:
        """Whether the caller was asked and has not answered."""
        return self._machine.asking and not self._machine.stopped

    def produced(self, units: int, now_s: int) -> int | None:
        """Units that are to be paid for in all before a piece of so many may go; None: the tab stops."""
        (answer,) = self._machine.handle(tab.Produced(units), now_s) or (None,)
        if isinstance(answer, tab.Cost):
            return answer.units
        if isinstance(answer, tab.Stop):
            self._stop(answer.fault)
        return None

    async def handle(self, input_: tab.Sent | tab.Wanted | tab.Finished | tab.Tick, now_s: int) -> None:
        """What happened here."""
        await self._carry_out(self._machine.handle(input_, now_s))

    async def answered(self, answer: events.TabAnswer, now_s: int) -> None:
        """What the caller answers."""
        match answer:
            case events.TabGrown(number, amount, signature, final):
                given: tab.ProviderInput = tab.Grown(number, amount, signature, final)
            case events.TabExhausted(number):
                given = tab.Exhausted(number)
            case events.TabOpened(number, payment, final):
                opened = self._verified(payment, now_s)
                if isinstance(opened, PaymentFault):
                    self._stop(opened)
                    return
                given = tab.Opened(number, opened, final)
        await self._carry_out(self._machine.handle(given, now_s))

    def _verified(self, payment: object, now_s: int) -> Verified | PaymentFault:
        margin_s = tab.least_window_s(self.terms)
        return verify.verify(payment, [self.terms], now_s=now_s, context=self._context, margin_s=margin_s, further=True)

    async def _carry_out(self, outputs: list[tab.ProviderOutput]) -> None:
        for output in outputs:
            match output:
                case tab.Ask(number, units, amount, final):
                    try:
                        await self._counter.ask(commands.Due(number, units, amount, final))
                    except (HostError, LocalProtocolError):
                        self._tell(told.Gone())
                case tab.Covered(key, amount, signature):
                    self._signed(amount, signature)
                    self._tell(told.Raised(key, amount, signature))
                case tab.Lowered(key, amount, signature):
                    self._signed(amount, signature)
                    self._tell(told.Lowered(key, amount, signature))
                case tab.Rolled(number, payment, base):
                    self._newest = payment
                    self.payments[payment.key] = payment
                    self._tell(told.Rolled(self._entry(payment, number), base))
                case tab.Stop(fault):
                    self._stop(fault)

    def _signed(self, amount: int, signature: bytes) -> None:
        authorization = replace(self._newest.authorization, value=amount)
        self._newest = replace(self._newest, authorization=authorization, signature=signature)

    def _stop(self, fault: PaymentFault) -> None:
        self.detail = fault.detail
        log.info("tab_stopped", code=fault.code, reason=fault.detail)
        self._tell(told.Failed(fault.code))

    # --- the chain ----------------------------------------------------------------------------------------------------
    async def watch(self) -> None:
        """Ask once whether the payer took anything back, and what it has."""
        for key in list(self.payments):
            row = await self._row(key)
            if row is None:
                continue
            if row.state is State.LOST:
                self._stop(PaymentFault(faults.LOST, row.reason))
                return
            if row.open_tab and key == self._newest.key:
                found = await self._chains.watch(self._newest)
                if isinstance(found, PaymentFault):
                    self._stop(found)
                    return
                if found.balance is not None:
                    self._tell(told.Funded(found.balance))
