"""A price as a provider states it before it is called: in its documents and in its answers. (specs/payments.md §2.1)

It says what a demand will say, without the payee: whoever looked it up compares the demand with it.
"""

from __future__ import annotations

from collections.abc import Iterable
from fractions import Fraction
from typing import Annotated, NamedTuple

import msgspec
from msgspec import Meta

from nexusd_protocols import limits
from nexusd_protocols.payments.terms import UNITS, PriceTerms
from nexusd_protocols.payments.tokens import network_name

_Digits = Annotated[str, Meta(pattern=r"^(0|[1-9][0-9]{0,77})\Z")]
_Word = Annotated[str, Meta(max_length=limits.FRAME_WORD_CHARS)]


class Price(msgspec.Struct, frozen=True, rename="camel", kw_only=True, omit_defaults=True):
    """What a call costs: `amount` is a whole number of the currency's smallest unit, in decimal digits. With a `unit`
    it is a tab: `per` of them cost `unit_price`, and `amount` is what one tab grows to at most."""

    amount: _Digits
    currency: Annotated[str, Meta(min_length=1, max_length=limits.FRAME_WORD_CHARS)]
    network: _Word = ""
    unit: _Word = ""
    unit_price: _Digits = "0"
    per: Annotated[int, Meta(ge=1, le=UNITS)] = 1


def stated(terms: PriceTerms) -> Price:
    """The price that terms have."""
    network = network_name(terms.token.chain_id)
    price = Price(amount=str(terms.amount), currency=terms.token.symbol, network=network)
    if terms.flow != "tab":
        return price
    return msgspec.structs.replace(price, unit=terms.unit, unit_price=str(terms.unit_price), per=terms.per)


class Rate(NamedTuple):
    """What prices are compared by. What a byte costs is neither more nor less than what a second costs, so the unit
    comes before the amount; without one it is a call's. Those in different currencies are not compared by it alone."""

    unit: str
    each: Fraction


def rate(unit: str, amount: Fraction, per: int = 1) -> Rate:
    """Of a price at which `per` units, or a call, cost that amount."""
    return Rate(unit, amount / per)


def _rate(price: Price) -> Rate:
    """In the currency's smallest unit."""
    return rate(price.unit, Fraction(int(price.unit_price if price.unit else price.amount)), price.per)


def keeps(terms: PriceTerms, said: Iterable[Price]) -> bool:
    """Whether a demand costs no more than one of the prices that were stated, in the same token and unit. One that
    named no network meant any."""
    asked = stated(terms)
    unit, each = _rate(asked)
    return any(
        (price.currency, price.network or asked.network, price.unit) == (asked.currency, asked.network, unit)
        and int(asked.amount) <= int(price.amount)
        and each <= _rate(price).each
        for price in said
    )
