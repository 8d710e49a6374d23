"""The x402 objects that this node makes, and the answer that it reads. (specs/payments.md §2, §6)

payer:    authorize(terms) -> sign -> payment(offer, …)      PaymentPayload
provider: Settlement -> wire()                               SettlementResponse, with the receipt
payer:    read_settlement(object) -> Settlement
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any, Final

from nexusd_protocols import limits
from nexusd_protocols.payments import binding, faults, money
from nexusd_protocols.payments.address import Address, checksummed, read_address
from nexusd_protocols.payments.authorization import Authorization
from nexusd_protocols.payments.faults import PaymentFault
from nexusd_protocols.payments.terms import Offer, PriceTerms, Required, resource_url

RECEIPT_EXTENSION: Final = "offer-receipt"
"""Where the specification of x402 puts signed receipts."""
NEXUS_RECEIPT: Final = "nexus-receipt"
"""Where ours is, which says more. (receipt.py)"""

_HASH: Final = re.compile(r"(?:0x[0-9a-fA-F]{64})?")


def authorize(
    terms: PriceTerms, payer: Address, nonce: bytes, now_s: int, *, value: int | None = None
) -> Authorization:
    """What the payer of `terms` signs. `value` is the amount that a tab begins with (`ahead`, if not given). It holds
    from the beginning of time, since clocks differ, until the terms' time is over; make it after a person has agreed,
    not before."""
    if value is None:
        value = terms.ahead if terms.flow == "tab" else terms.amount
    return Authorization(
        from_=payer,
        to=terms.pay_to,
        value=value,
        valid_after=0,
        valid_before=now_s + terms.max_timeout_s,
        nonce=nonce,
    )


def payment(
    offer: Offer, demand: Required, authorization: Authorization, signature: bytes, salt: bytes | None = None
) -> dict[str, Any]:
    """PaymentPayload, version 2. `salt` is that of a bound nonce."""
    return {
        "x402Version": 2,
        "resource": {"url": resource_url(demand.provider, demand.capability)},
        "accepted": offer.raw,
        "payload": {"signature": f"0x{signature.hex()}", "authorization": authorization.wire()},
        "extensions": {} if salt is None else binding.extension(salt),
    }


@dataclass(frozen=True, slots=True, kw_only=True)
class Settlement:
    """What became of a payment. Without an `error` it is `success`; with `settlement_pending` it was sent to the chain
    as `transaction`, and nobody may ask for another. `transaction` is empty where nothing was sent yet: a provider that
    settles later says so by success without one. `receipts` are JWS by their name."""

    network: str
    payer: Address | None = None
    transaction: str = ""
    amount: int | None = None
    error: str = ""
    message: str = ""
    receipt: str = ""
    nexus_receipt: str = ""

    @property
    def success(self) -> bool:
        """Whether the provider takes this as paid."""
        return not self.error

    @property
    def pending(self) -> bool:
        """Whether it was sent and its outcome is unknown."""
        return self.error == faults.SETTLEMENT_PENDING

    def wire(self) -> dict[str, Any]:
        """SettlementResponse."""
        response: dict[str, Any] = {
            "success": self.success,
            "transaction": self.transaction,
            "network": self.network,
        }
        if self.payer is not None:
            response["payer"] = checksummed(self.payer)
        if self.amount is not None:
            response["amount"] = str(self.amount)
        if self.error:
            response["errorReason"] = self.error
        if self.message:
            response["errorMessage"] = self.message[: limits.ERROR_MESSAGE_CHARS]
        extensions = {
            name: {"info": {"receipt": {"format": "jws", "signature": jws}}}
            for name, jws in ((RECEIPT_EXTENSION, self.receipt), (NEXUS_RECEIPT, self.nexus_receipt))
            if jws
        }
        if extensions:
            response["extensions"] = extensions
        return response


def read_settlement(response: object) -> Settlement | PaymentFault:
    """A provider's SettlementResponse. Its texts are untrusted, its receipts unchecked."""
    if not isinstance(response, dict) or not isinstance(response.get("success"), bool):
        return PaymentFault(faults.INVALID_PAYLOAD, "success is missing")
    success, error = response["success"], response.get("errorReason") or ""
    network, transaction = response.get("network"), response.get("transaction", "")
    if not isinstance(error, str) or len(error) > limits.REASON_CHARS or (success and error):
        return PaymentFault(faults.INVALID_PAYLOAD, "errorReason")
    if not isinstance(network, str) or len(network) > limits.FRAME_WORD_CHARS:
        return PaymentFault(faults.INVALID_PAYLOAD, "network")
    if not isinstance(transaction, str) or not _HASH.fullmatch(transaction):
        return PaymentFault(faults.INVALID_PAYLOAD, "transaction")
    payer, amount, message = response.get("payer"), response.get("amount"), response.get("errorMessage")
    try:
        return Settlement(
            network=network,
            payer=None if payer is None else read_address(payer),
            transaction=transaction,
            amount=None if amount is None else money.parse_uint(amount),
            error=error if success else error or faults.UNEXPECTED_SETTLE,
            message=message[: limits.ERROR_MESSAGE_CHARS] if isinstance(message, str) else "",
            receipt=_receipt(response, RECEIPT_EXTENSION),
            nexus_receipt=_receipt(response, NEXUS_RECEIPT),
        )
    except ValueError as fault:
        return PaymentFault(faults.INVALID_PAYLOAD, str(fault))


def _receipt(response: dict[str, Any], name: str) -> str:
    """A receipt's JWS, empty where there is none that could be one."""
    found: object = response.get("extensions")
    for step in (name, "info", "receipt", "signature"):
        found = found.get(step) if isinstance(found, dict) else None
    return found if isinstance(found, str) and len(found) <= limits.RECEIPT_BYTES else ""
