"""Rows of the ledger as the doors show them."""

from __future__ import annotations

from typing import Any, Final

import msgspec

from nexusd_protocols.payments import money
from nexusd_protocols.payments.address import checksummed
from nexusd_protocols.payments.charge import Charge, key_parts
from nexusd_protocols.payments.purchase import UNANSWERED, PurchaseRow, PurchaseState, over_at
from nexusd_protocols.payments.tokens import Token, Tokens, network_name, parse_network
from nexusd_protocols.rpc import schema

_ASK: Final = "a node of the network would know (rpc_urls)"


def token_of(asset: str, tokens: Tokens) -> Token | None:
    """The token of `eip155:<chain>/<contract, lower hex>`, if it is still known."""
    network, _, contract = asset.partition("/")
    return tokens.find(network, f"0x{contract}")


def amount_text(amount: int, asset: str, tokens: Tokens) -> str:
    """An amount in whole tokens; of a token that is not known any more in smallest units."""
    token = token_of(asset, tokens)
    return str(amount) if token is None else money.show(amount, token.decimals)


def asset_text(asset: str, tokens: Tokens) -> str:
    """The symbol, else the contract."""
    token = token_of(asset, tokens)
    return f"0x{asset.partition('/')[2]}" if token is None else token.symbol


def network_text(asset: str) -> str:
    """The network's name."""
    return network_name(parse_network(asset.partition("/")[0]))


def purchase_view(row: PurchaseRow, tokens: Tokens) -> schema.PurchaseView:
    """A purchase."""
    what, signed = row.intent, row.signed
    response = response_of(row)
    transaction = response.get("transaction") if isinstance(response, dict) else ""
    return schema.PurchaseView(
        id=what.id,
        cursor=row.position,
        at=row.asked_at,
        state=row.state.value,
        peer=what.peer,
        capability=what.capability,
        amount=amount_text(what.amount, what.asset, tokens),
        signed=amount_text(signed.authorization.value if signed else 0, what.asset, tokens),
        counts=money.show(row.cost, 6),
        asset=asset_text(what.asset, tokens),
        network=network_text(what.asset),
        pay_to=checksummed(what.pay_to),
        note=what.note,
        outcome=row.outcome,
        transaction=transaction if isinstance(transaction, str) else "",
        receipt=bool(row.receipt),
    )


def explanation(row: PurchaseRow, *, online: bool, now: int) -> str:
    """What its state means, and what happens next, where that is not plain. `online`: there is a node to ask."""
    signed = row.signed
    if signed is None:
        return ""
    ended = now >= signed.authorization.valid_before * 1000
    over = now >= over_at(signed)
    if row.state is PurchaseState.SIGNED:
        return _of_signed(online=online, ended=ended)
    if row.state is not PurchaseState.CLOSED:
        return ""
    if row.cost == 0:
        return "the chain says that it was not used, and it never can be: it costs nothing"
    who = "nobody answered for it" if row.outcome == UNANSWERED else "the provider says that it came to nothing"
    if online:
        return f"{who}: the chain is asked whether it is so, once its time is over"
    if not over:
        return f"{who}; it counts as spent until it cannot be used any more"
    return f"{who}, and it cannot be used any more: it counts no longer. Whether it was used before, {_ASK}"


def _of_signed(*, online: bool, ended: bool) -> str:
    if not ended:
        return "signed, and not answered for yet: the same call with --again and this id shows it once more"
    if online:
        return "its time is over, and nobody answered for it: the chain is being asked"
    soon = "it counts as spent for ten minutes more"
    return f"its time is over, and nobody answered for it: {soon}. What became of it, {_ASK}"


def response_of(row: PurchaseRow) -> Any:
    """The provider's SettlementResponse, as it came."""
    return msgspec.json.decode(row.response) if row.response else None


def charge_view(charge: Charge, tokens: Tokens, *, unfunded: bool) -> schema.ChargeView:
    """A charge."""
    entry = charge.entry
    parts = key_parts(entry.key)
    asset = f"{parts.network}/{parts.asset}"
    paid = entry.authorization
    return schema.ChargeView(
        key=entry.key,
        at=charge.created_at,
        state=charge.state.value,
        peer=entry.peer,
        capability=entry.capability,
        amount=amount_text(entry.amount, asset, tokens),
        asset=asset_text(asset, tokens),
        network=network_text(asset),
        payer=checksummed(paid.from_),
        pay_to=checksummed(paid.to),
        valid_before=paid.valid_before * 1000,
        transaction=charge.transaction,
        block=charge.block,
        reason=charge.reason,
        unfunded=unfunded,
    )
