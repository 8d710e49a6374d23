"""Prices for people: what is asked here, and what others state, in whole tokens."""

from __future__ import annotations

from nexusd_protocols.payments import money
from nexusd_protocols.payments.address import checksummed
from nexusd_protocols.payments.advertised import Price
from nexusd_protocols.payments.terms import PriceTerms
from nexusd_protocols.payments.tokens import Token, Tokens, network_name, parse_network
from nexusd_protocols.rpc.schema import PriceSpec, PriceView


def own_price(terms: PriceTerms) -> PriceView:
    """What is asked here."""
    tab = terms.flow == "tab"
    decimals = terms.token.decimals
    return PriceView(
        amount=money.show(terms.unit_price if tab else terms.amount, decimals),
        asset=terms.token.symbol,
        network=network_name(terms.token.chain_id),
        unit=terms.unit if tab else "call",
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

    def text(amount: str) -> str:
        return amount if token is None else money.show(int(amount), token.decimals)

    return PriceView(
        amount=text(price.unit_price if tab else price.amount),
        asset=price.currency,
        network=price.network,
        unit=price.unit if tab else "call",
        per=price.per,
        cap=text(price.amount) if tab else None,
        known=token is not None,
    )


def _token(price: Price, tokens: Tokens) -> Token | None:
    try:
        return tokens.named(parse_network(price.network), price.currency)
    except ValueError:
        return None
