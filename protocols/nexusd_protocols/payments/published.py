"""The payment objects of the published network: `terms` and `proof` in the frames of invoke. (specs/payments.md §6.1)

They say less than x402's: a currency by its symbol, a network by its short name, and times that some programs write in
milliseconds. What they say is put into x402's form and read by the same code; what they cannot say (other tokens, tabs,
bindings) is not offered in them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Final

from nexusd_protocols.invoke.frames import Proof, Terms
from nexusd_protocols.payments import faults, money
from nexusd_protocols.payments.address import checksummed, read_address
from nexusd_protocols.payments.authorization import Authorization
from nexusd_protocols.payments.faults import PaymentFault
from nexusd_protocols.payments.terms import EXACT, PriceTerms
from nexusd_protocols.payments.tokens import V1_NETWORKS, Token, Tokens
from nexusd_protocols.payments.verify import Verified, verify

NETWORK: Final = "base"
"""What is meant where a network is not named: the published programs know one."""

WINDOW_S: Final = 300
"""For how long published payers make an authorisation hold, whatever the terms say."""

_MILLISECONDS: Final = 100_000_000_000
"""Numbers above it are no unix seconds before the year 5138."""


def render_terms(terms: PriceTerms, *, description: str = "") -> Terms | None:
    """The terms as published callers read them; None where they cannot say it."""
    network = terms.token.v1_network
    if terms.scheme != EXACT or network is None or terms.binding == "required":
        return None
    return Terms(
        amount=str(terms.amount),
        currency=terms.token.symbol,
        recipient=checksummed(terms.pay_to),
        description=description or None,
        network=network,
        valid_until=terms.valid_until * 1000 or None,
        expires_at=terms.valid_until * 1000 or None,
    )


def read_terms(terms: Terms, tokens: Tokens, capability: str) -> PriceTerms | PaymentFault:
    """What a published provider wants, if this node can pay it."""
    chain_id = V1_NETWORKS.get(terms.network or NETWORK)
    if chain_id is None:
        return PaymentFault(faults.INVALID_NETWORK)
    token = tokens.named(chain_id, terms.currency)
    if token is None:
        return PaymentFault(faults.UNKNOWN_ASSET)
    try:
        return PriceTerms(
            capability=capability,
            token=token,
            pay_to=read_address(terms.recipient),
            amount=money.parse_uint(terms.amount),
            max_timeout_s=WINDOW_S,
            valid_until=_seconds(terms.valid_until) or _seconds(terms.expires_at),
        )
    except ValueError as error:
        return PaymentFault(faults.INVALID_REQUIREMENTS, str(error))


def render_proof(authorization: Authorization, signature: bytes, token: Token) -> Proof:
    """A payment as published providers read it."""
    wire = authorization.wire()
    return Proof(
        from_=wire["from"],
        to=wire["to"],
        amount=wire["value"],
        currency=token.symbol,
        signature=f"0x{signature.hex()}",
        nonce=wire["nonce"],
        valid_after=authorization.valid_after,
        valid_before=authorization.valid_before,
    )


def verify_proof(proof: Proof, offers: Sequence[PriceTerms], *, now_s: int) -> Verified | PaymentFault:
    """Whether a published payer's proof pays one of the offers that `render_terms` can say. It names no network: it is
    that of the first offer in its currency. `terms` of the result are the offer's, with the window of published payers.
    """
    able = [
        replace(terms, max_timeout_s=max(terms.max_timeout_s, WINDOW_S))
        for terms in offers
        if terms.token.symbol == proof.currency and render_terms(terms) is not None
    ]
    if not able:
        return PaymentFault(faults.UNKNOWN_ASSET)
    return verify(_payment(proof, able[0].token), able, now_s=now_s)


def _payment(proof: Proof, token: Token) -> dict[str, Any]:
    """The proof as a PaymentPayload of version 1."""
    return {
        "x402Version": 1,
        "scheme": EXACT,
        "network": token.v1_network,
        "payload": {
            "signature": proof.signature,
            "authorization": {
                "from": proof.from_,
                "to": proof.to,
                "value": proof.amount,
                "validAfter": _decimal(proof.valid_after),
                "validBefore": _decimal(proof.valid_before),
                "nonce": proof.nonce,
            },
        },
    }


def _decimal(when: int | str | None) -> str | None:
    """A number as the decimal text that x402 has."""
    return str(when) if isinstance(when, int) else when


def _seconds(when: int | str | None) -> int:
    """Unix seconds of a time, 0 for none. Raises ValueError."""
    if not when:
        return 0
    number = when if isinstance(when, int) else money.parse_uint(when)
    return number // 1000 if number > _MILLISECONDS else number
