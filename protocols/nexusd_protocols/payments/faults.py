"""Why a payment is refused: a value, with a name from one table. (specs/payments.md §8)

The names of x402 are kept where it has one; what begins with `nexus_` is ours.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

_EXACT: Final = "invalid_exact_evm_payload"

INVALID_VERSION: Final = "invalid_x402_version"
INVALID_PAYLOAD: Final = "invalid_payload"
INVALID_SCHEME: Final = "invalid_scheme"
INVALID_NETWORK: Final = "invalid_network"
INVALID_REQUIREMENTS: Final = "invalid_payment_requirements"
RECIPIENT_MISMATCH: Final = f"{_EXACT}_recipient_mismatch"
VALUE_MISMATCH: Final = f"{_EXACT}_authorization_value_mismatch"
VALID_AFTER: Final = f"{_EXACT}_authorization_valid_after"
VALID_BEFORE: Final = f"{_EXACT}_authorization_valid_before"
SIGNATURE: Final = f"{_EXACT}_signature"
INSUFFICIENT_FUNDS: Final = "insufficient_funds"
TRANSACTION_STATE: Final = "invalid_transaction_state"
UNEXPECTED_VERIFY: Final = "unexpected_verify_error"
UNEXPECTED_SETTLE: Final = "unexpected_settle_error"
SETTLEMENT_PENDING: Final = "settlement_pending"
UNBOUND: Final = "nexus_unbound"
BINDING_MISMATCH: Final = "nexus_binding_mismatch"
OFFER_EXPIRED: Final = "nexus_offer_expired"
UNKNOWN_ASSET: Final = "nexus_unknown_asset"
TAB_FAULT: Final = "nexus_tab_fault"
PRICE_REACHED: Final = "nexus_price_reached"
BAD_RECEIPT: Final = "nexus_bad_receipt"
USED: Final = "nexus_authorization_used"
ATTEMPTS: Final = "nexus_too_many_attempts"
IN_PROGRESS: Final = "nexus_in_progress"
EXPOSURE: Final = "nexus_exposure"
BUSY: Final = "nexus_too_many_charges"
LOST: Final = "nexus_payment_lost"
NOT_TRUSTED: Final = "nexus_not_trusted"

CODES: Final = {
    INVALID_VERSION: "x402Version is neither the number 1 nor 2",
    INVALID_PAYLOAD: "not JSON, too large, or a field that is missing or has another form",
    INVALID_SCHEME: "a scheme that was not offered",
    INVALID_NETWORK: "a network that was not offered, or named as the other version names it",
    INVALID_REQUIREMENTS: "the terms that are accepted are not those that were offered",
    RECIPIENT_MISMATCH: "the authorisation pays somebody else",
    VALUE_MISMATCH: "the authorisation is over another amount",
    VALID_AFTER: "the authorisation does not hold yet",
    VALID_BEFORE: "the authorisation does not hold for long enough, or for too long",
    SIGNATURE: "the signature is not the payer's, or not in its one form",
    INSUFFICIENT_FUNDS: "the payer has less than it has authorised",
    TRANSACTION_STATE: "the authorisation was used or cancelled on the chain",
    UNEXPECTED_VERIFY: "the payment could not be checked now",
    UNEXPECTED_SETTLE: "the payment could not be settled",
    SETTLEMENT_PENDING: "the payment was sent to the chain, and its outcome is not known yet",
    UNBOUND: "the authorisation is not bound to this request, and the terms demand it",
    BINDING_MISMATCH: "the authorisation is bound to another request, provider or offer",
    OFFER_EXPIRED: "the offer holds no longer",
    UNKNOWN_ASSET: "a token that this node does not know",
    TAB_FAULT: "the tab was not kept as agreed",
    PRICE_REACHED: "the call has cost all that its caller pays",
    BAD_RECEIPT: "not a receipt, or not signed by whom it names",
    USED: "the authorisation was shown for another call, or by another peer",
    ATTEMPTS: "the work was begun as often as it may be under one authorisation",
    IN_PROGRESS: "the same call is being worked on",
    EXPOSURE: "too much is owed already that is not settled",
    BUSY: "too many payments of this payer are not settled",
    LOST: "the payment was taken back, or came too late to be settled",
    NOT_TRUSTED: "a payment of this payer was taken back, so that it gets nothing before it is settled",
}
"""Every name, and what it means."""


@dataclass(frozen=True, slots=True)
class PaymentFault:
    """A payment, offer or receipt is refused. `code` is one of CODES; `detail` says more, and may quote the peer."""

    code: str
    detail: str = ""

    def __str__(self) -> str:
        return f"{self.code}: {self.words}"

    @property
    def words(self) -> str:
        """What is wrong, for people: without the code, which is for programs."""
        return f"{CODES[self.code]} ({self.detail})" if self.detail else CODES[self.code]


class PaymentError(ValueError):
    """How a fault leaves the depth of a parser. Functions that others use return `fault` instead."""

    def __init__(self, code: str, detail: str = "") -> None:
        self.fault = PaymentFault(code, detail)
        super().__init__(str(self.fault))
