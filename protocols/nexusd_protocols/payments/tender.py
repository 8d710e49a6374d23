"""What a caller tenders for its call: a payment, held against what is asked, or an older one that the ledger may
know."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from nexusd_protocols import limits, ndjson
from nexusd_protocols.invoke import events
from nexusd_protocols.payments import faults, published, verify
from nexusd_protocols.payments.binding import Context
from nexusd_protocols.payments.faults import PaymentFault
from nexusd_protocols.payments.tab import least_window_s
from nexusd_protocols.payments.terms import PriceTerms
from nexusd_protocols.payments.tokens import Tokens
from nexusd_protocols.payments.verify import Presented, Verified

LATE: Final = frozenset(
    {
        faults.VALID_BEFORE,
        faults.OFFER_EXPIRED,
        faults.INVALID_SCHEME,
        faults.INVALID_NETWORK,
        faults.INVALID_REQUIREMENTS,
        faults.VALUE_MISMATCH,
    }
)
"""What a retry meets when the prices or the clock have moved on: what it paid for is given all the same."""


@dataclass(frozen=True, slots=True)
class Tender:
    """A payment that its payer has signed. `late` is what is wrong with it now, if it was right when it was first
    shown."""

    payment: Presented
    late: PaymentFault | None = None


def read(
    paid: events.PaymentOffered, offers: Sequence[PriceTerms], *, tokens: Tokens, context: Context, now_s: int
) -> Tender | PaymentFault:
    """What was tendered, or why it is nothing."""
    if paid.payment is None:
        assert paid.proof is not None
        plain = published.verify_proof(paid.proof, offers, now_s=now_s)
        return plain if isinstance(plain, PaymentFault) else Tender(plain)
    if ndjson.json_size(paid.payment) > limits.PAYMENT_BYTES:
        return PaymentFault(faults.INVALID_PAYLOAD, f"over {limits.PAYMENT_BYTES} bytes")
    found = verify.verify(paid.payment, offers, now_s=now_s, context=context)
    if isinstance(found, Verified) and found.terms.flow == "tab":
        least_s = least_window_s(found.terms)
        if found.authorization.valid_before - now_s < least_s:
            return PaymentFault(faults.VALID_BEFORE, f"a tab that ends within {least_s} s")
    if isinstance(found, Verified):
        return Tender(found)
    if found.code not in LATE:
        return found
    shown = verify.identify(paid.payment, tokens)
    return found if isinstance(shown, PaymentFault) else Tender(shown, found)
