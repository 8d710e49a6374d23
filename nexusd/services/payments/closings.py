"""How a paid call ends for its caller: the last frame, and the SettlementResponse that it carries."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from nexusd.services.payments.receipts import standard
from nexusd.services.trade import Closing, Failure
from nexusd_protocols.identity import Signer
from nexusd_protocols.invoke import commands
from nexusd_protocols.invoke.frames import Code
from nexusd_protocols.payments import faults, receipt
from nexusd_protocols.payments import gate_outputs as wanted
from nexusd_protocols.payments.address import Address
from nexusd_protocols.payments.faults import PaymentFault
from nexusd_protocols.payments.terms import PriceTerms, Unit
from nexusd_protocols.payments.tokens import Token
from nexusd_protocols.payments.x402 import Settlement

UNFUNDED: Final = "unfunded: no chain was asked"
NOT_CHARGED: Final = "nothing was charged"
_STOPS: Final = "the provider is shutting down"
_BROKEN_OFF: Final = "the call was broken off, and stays so: what was handed over of it is given again, if it was kept"

_CODES: Final = {
    faults.SETTLEMENT_PENDING: Code.SETTLEMENT_PENDING,
    faults.IN_PROGRESS: Code.BUSY,
    faults.PRICE_REACHED: Code.PAYMENT_REQUIRED,
}
"""What a fault is called in an error frame; the others are PAYMENT_INVALID."""


def refused(fault: PaymentFault, terms: PriceTerms) -> Closing:
    """A payment that pays nothing. Other programs know some of the codes at most: words go along."""
    response = Settlement(network=terms.token.network, error=fault.code, message=fault.words)
    return Closing(command=commands.Error(Code.PAYMENT_INVALID, str(fault), response.wire()), outcome=fault.code)


@dataclass(frozen=True, slots=True, kw_only=True)
class Ending:
    """What is to be told of the end of a call. `detail` says more than the code that it ended with; `units` of `unit`
    were delivered."""

    end: wanted.End
    payer: Address
    token: Token
    signer: Signer
    online: bool
    unit: Unit
    units: int
    failure: Failure | None = None
    detail: str = ""

    def closing(self) -> Closing:
        """As the call says it."""
        code, response = self.end.code, self._response().wire()
        command: commands.ProviderCommand
        if not code and self._broke_off:
            code, command = Code.CANCELLED, commands.Error(Code.CANCELLED, _BROKEN_OFF, response)
        elif not code:
            command = commands.Done(response)
        elif code == "cancelled":
            command = commands.Cancel("the caller gave up")
        else:
            command = commands.Error(*self._word(), response)
        charges = self.end.charges
        return Closing(
            command=command,
            outcome=code or "ok",
            key=charges[0].entry.key if charges else "",
            asset=self.token.asset_id if charges else "",
            amount=self._amount,
            units=self.units if charges else 0,
            unit=self.unit if charges else "",
        )

    @property
    def _broke_off(self) -> bool:
        """Whether what went well was to give again what was handed over of a call that did not."""
        if not self.end.charges:
            return False
        found = receipt.verify(self.end.charges[0].receipt.decode())
        return isinstance(found, receipt.Receipt) and not found.complete

    @property
    def _amount(self) -> int:
        return sum(charge.entry.amount for charge in self.end.charges)

    def _word(self) -> tuple[str, str]:
        """The code of the error frame, and what it says."""
        code = self.end.code
        if self.failure is not None and self.failure.code == code:
            return code, self.failure.message
        if code in _CODES:
            return _CODES[code], self.detail or faults.CODES[code]
        if code in faults.CODES:
            # with its name: a response that something was charged names no fault
            return Code.PAYMENT_INVALID, str(PaymentFault(code, self.detail))
        if code == "output_too_large":
            return Code.OUTPUT_TOO_LARGE, "more output than is held back until it is paid: ask for it as a stream"
        if code == Code.CANCELLED:
            return Code.CANCELLED, _STOPS
        return Code.INTERNAL, "the provider failed"

    def _response(self) -> Settlement:
        code, charges, network = self.end.code, self.end.charges, self.token.network
        if not charges:
            if not code:  # it went well, and came to nothing
                return Settlement(network=network, payer=self.payer, amount=0, message=NOT_CHARGED)
            known = code in faults.CODES
            return Settlement(
                network=network,
                payer=self.payer,
                error=code if known else faults.UNEXPECTED_SETTLE,
                message=PaymentFault(code, self.detail).words if known else NOT_CHARGED,
            )
        first = charges[0]
        return Settlement(
            network=network,
            payer=first.entry.authorization.from_,
            transaction=first.transaction,
            amount=self._amount,
            error=faults.SETTLEMENT_PENDING if code == faults.SETTLEMENT_PENDING else "",
            message="" if self.online else UNFUNDED,
            receipt=standard(first, self.signer),
            nexus_receipt=first.receipt.decode(),
        )
