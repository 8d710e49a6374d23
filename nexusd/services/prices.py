"""Prices for people: what is asked here, and what others state, in whole tokens."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from nexusd_protocols.payments import money
from nexusd_protocols.payments.address import checksummed
from nexusd_protocols.payments.advertised import Price
from nexusd_protocols.payments.terms import PriceTerms
from nexusd_protocols.payments.terms import Unit as TermsUnit
from nexusd_protocols.payments.tokens import Token, Tokens, network_name, parse_network
from nexusd_protocols.rpc.schema import PriceSpec, PriceUnit, PriceView, Unit

_UNITS: Final[tuple[tuple[TermsUnit, Unit], ...]] = (
    ("request", "call"),
    ("chunk", "piece"),
    ("byte", "byte"),
    ("token_out", "token"),
    ("token_in", "token_in"),
    ("second", "second"),
)
"""What terms, receipts and ledgers call what is paid for, and what clients do."""
_FOR_CLIENTS: Final[Mapping[str, Unit]] = dict(_UNITS)
_OF_TERMS: Final[Mapping[Unit, TermsUnit]] = {unit: word for word, unit in _UNITS}


def unit_of(word: str) -> Unit:
    """For clients, of what terms, a receipt or a ledger says."""
    return _FOR_CLIENTS.get(word, "other")


def terms_unit(unit: PriceUnit) -> TermsUnit:
    """As terms name it."""
    return _OF_TERMS[unit]


def own_price(terms: PriceTerms) -> PriceView:
    """What is asked here."""
    tab = terms.flow == "tab"
    decimals = terms.token.decimals
    return PriceView(
        amount=money.show(terms.unit_price if tab else terms.amount, decimals),
        asset=terms.token.symbol,
        network=network_name(terms.token.chain_id),
        unit=unit_of(terms.unit),
        per=terms.per,
        cap=money.show(terms.amount, decimals) if tab else None,
        pay_to=checksummed(terms.pay_to),
    )


def nothing(spec: PriceSpec) -> PriceView:
    """A price of 0."""
    return PriceView(amount="0", asset=spec.asset, network=spec.network)


def stated_price(price: Price, tokens: Tokens) -> PriceView:
    """What another states: its own word. In whole tokens where the token is known here by that symbol."""
    token = _token(price, tokens)
    tab = bool(price.unit)
    unit = unit_of(price.unit) if tab else "call"
    if tab and unit == "call":
        unit = "other"  # calls are no unit of a tab

    def text(amount: str) -> str:
        return amount if token is None else money.show(int(amount), token.decimals)

    return PriceView(
        amount=text(price.unit_price if tab else price.amount),
        asset=price.currency,
        network=price.network,
        unit=unit,
        per=price.per,
        cap=text(price.amount) if tab else None,
        known=token is not None,
    )


def _token(price: Price, tokens: Tokens) -> Token | None:
    try:
        return tokens.named(parse_network(price.network), price.currency)
    except ValueError:
        return None
