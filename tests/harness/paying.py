"""Accounts with public keys, tokens and prices for tests of payments. Never fund them."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from nexusd_protocols.payments import binding, terms, x402
from nexusd_protocols.payments.authorization import Account, Authorization, sign
from nexusd_protocols.payments.terms import PriceTerms
from nexusd_protocols.payments.tokens import USDC_BASE
from tests.harness.people import BOB
from tests.harness.vectors import vectors

_SECRETS = {row["name"]: bytes.fromhex(row["secret"][2:]) for row in vectors("payments")["accounts"]}
PAYER = Account(_SECRETS["payer"])
PAYEE = Account(_SECRETS["payee"])
THIEF = Account(_SECRETS["hardhat0"])
NOW = 1_800_000_000
"""Unix seconds."""
NONCE = bytes(range(32))


def price(**changes: Any) -> PriceTerms:
    """0.1 USDC on Base for `summarize`."""
    fields: dict[str, Any] = {
        "capability": "summarize",
        "token": USDC_BASE,
        "pay_to": PAYEE.address,
        "amount": 100_000,
    }
    return PriceTerms(**{**fields, **changes})


def tab_price(**changes: Any) -> PriceTerms:
    """A tab of 0.25 USDC: 5 units of money for a chunk, of which 100 are paid ahead."""
    fields: dict[str, Any] = {"flow": "tab", "unit": "chunk", "unit_price": 5, "ahead": 500, "amount": 250_000}
    fields["max_timeout_s"] = 600
    return price(**{**fields, **changes})


def signed(
    price: PriceTerms, *, nonce: bytes = NONCE, now_s: int = NOW, value: int | None = None, **changes: Any
) -> tuple[Authorization, bytes]:
    """An authorisation that pays a price, with some fields changed, and the payer's signature."""
    authorization = replace(x402.authorize(price, PAYER.address, nonce, now_s, value=value), **changes)
    return authorization, sign(authorization, price.token, PAYER)


def payment(price: PriceTerms, *, context: binding.Context | None = None, **options: Any) -> dict[str, Any]:
    """A PaymentPayload of version 2, bound where there is a context."""
    demand = terms.Required(BOB.peer_id, price.capability, (), (), "")
    offer = terms.Offer(price, price.requirements())
    salt = None
    if context is not None:
        salt = bytes(32)
        options["nonce"] = binding.nonce(context, binding.offer_digest(offer.raw), salt)
    return x402.payment(offer, demand, *signed(price, **options), salt)
