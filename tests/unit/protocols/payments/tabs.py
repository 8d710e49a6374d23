"""Tabs to test with, and what their payer signs."""

from __future__ import annotations

from nexusd_protocols.payments.authorization import Authorization, sign
from nexusd_protocols.payments.terms import PriceTerms
from nexusd_protocols.payments.verify import Verified, verify
from tests.harness.paying import NOW, PAYER, payment


def verified(terms: PriceTerms, *, number: int = 0, value: int | None = None, now_s: int = NOW) -> Verified:
    paid = payment(terms, nonce=bytes([number]) * 32, value=value, now_s=now_s)
    shown = verify(paid, [terms], now_s=now_s, further=number > 0)
    assert isinstance(shown, Verified), shown
    return shown


def text(authorization: Authorization, terms: PriceTerms) -> str:
    return f"0x{sign(authorization, terms.token, PAYER).hex()}"


def fits(terms: PriceTerms, units: int) -> bool:
    """Such a piece is cut before it is given to the tab."""
    return terms.cost(units) <= terms.step
