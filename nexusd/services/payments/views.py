"""Rows of the ledger as the doors show them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final

import msgspec

from nexusd.services.prices import unit_of
from nexusd.store.ledger.metering import Meter
from nexusd_protocols.payments import money, x402
from nexusd_protocols.payments.address import checksummed
from nexusd_protocols.payments.charge import LIVE, Charge, State, key_parts
from nexusd_protocols.payments.faults import PaymentFault
from nexusd_protocols.payments.purchase import UNANSWERED, PurchaseRow, PurchaseState, Signed, over_at
from nexusd_protocols.payments.tokens import Holdings, Token, Tokens, network_name, parse_network
from nexusd_protocols.payments.x402 import Settlement
from nexusd_protocols.rpc import schema

GAS_DECIMALS: Final = 18
"""Of the coins of all networks of this kind."""

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
    what = row.intent
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
        signed=amount_text(row.total, what.asset, tokens),
        counts=money.show(row.cost, money.LIMIT_DECIMALS),
        asset=asset_text(what.asset, tokens),
        network=network_text(what.asset),
        pay_to=checksummed(what.pay_to),
        note=what.note,
        outcome=row.outcome,
        transaction=transaction if isinstance(transaction, str) else "",
        receipt=bool(row.receipt),
        tabs=row.tabs + 1 if what.tab and row.signed is not None else 0,
        charged=_charged(row, response, tokens),
    )


def _charged(row: PurchaseRow, response: Any, tokens: Tokens) -> str:
    """Empty where nobody said it: a tab that was given up comes to what was signed, or less."""
    if row.state is not PurchaseState.SPENT or (response is None and row.intent.tab):
        return ""
    told = None if response is None else x402.read_settlement(response)
    exact = told.amount if isinstance(told, Settlement) else None
    return amount_text(row.total if exact is None else min(row.total, exact), row.intent.asset, tokens)


def tab_views(row: PurchaseRow, tabs: Iterable[Signed], tokens: Tokens) -> list[schema.TabView]:
    """The tabs of a call, in order; none of one without."""
    if not row.intent.tab:
        return []
    return [
        schema.TabView(
            key=each.key,
            amount=amount_text(each.authorization.value, row.intent.asset, tokens),
            valid_before=each.authorization.valid_before * 1000,
        )
        for each in tabs
    ]


def explanation(row: PurchaseRow, *, online: bool, now: int) -> str:
    """What its state means, and what happens next, where that is not plain. `online`: there is a node to ask."""
    signed = row.signed
    if row.state is PurchaseState.WAITING:
        id_ = row.intent.id
        return f"it waits for a person: `nexus pay approve {id_}` or `nexus pay reject {id_}`"
    if signed is None:
        return ""
    ended = now >= signed.authorization.valid_before * 1000
    over = now >= over_at(signed)
    if row.state is PurchaseState.SIGNED:
        return _of_signed(online=online, ended=ended, tab=row.intent.tab)
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


def _of_signed(*, online: bool, ended: bool, tab: bool) -> str:
    if not ended and tab:
        return "signed, and not answered for yet: at most this is charged. A call with tabs is not made again"
    if not ended:
        return "signed, and not answered for yet: the same call with --again and this id shows it once more"
    if online:
        return "its time is over, and nobody answered for it: the chain is being asked"
    soon = "it counts as spent for ten minutes more"
    return f"its time is over, and nobody answered for it: {soon}. What became of it, {_ASK}"


def response_of(row: PurchaseRow) -> Any:
    """The provider's SettlementResponse, as it came."""
    return msgspec.json.decode(row.response) if row.response else None


def charge_view(
    charge: Charge, tokens: Tokens, networks: Mapping[str, schema.NetworkState], waits: Mapping[str, str]
) -> schema.ChargeView:
    """A charge. `networks` by name; `waits`: why charges are not settled yet, as settlement has it, by key."""
    entry = charge.entry
    asset = key_parts(entry.key).asset_id
    paid = entry.authorization
    network = networks.get(network_text(asset))
    return schema.ChargeView(
        key=entry.key,
        cursor=charge.position,
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
        reason=_waits_for(charge, network, waits.get(entry.key, "")),
        unfunded=charge.state in LIVE and network is not None and not network.online,
        tab=entry.number + 1 if entry.tab else 0,
        request=f"0x{entry.request.hex()}",
    )


def _waits_for(charge: Charge, network: schema.NetworkState | None, settling: str) -> str:
    """What a charge waits for now; of one that has ended, why."""
    if charge.state not in LIVE:
        return charge.reason
    if charge.working and (charge.entry.tab or charge.state is State.RESERVED):
        return "its call is under way"
    if network is not None and not network.online:
        return f"waits for a node of {network.network} (rpc_urls)"
    if settling:
        return settling
    if network is not None and not network.settles:
        return f"{network.network} does not settle now"
    return charge.reason or ("is sent next" if charge.state is State.DUE else "")


def offence_view(charge: Charge, tokens: Tokens) -> schema.OffenceView:
    """A payment that was taken back."""
    entry = charge.entry
    asset = key_parts(entry.key).asset_id
    return schema.OffenceView(
        key=entry.key,
        at=charge.changed_at,
        peer=entry.peer,
        payer=checksummed(entry.authorization.from_),
        capability=entry.capability,
        amount=amount_text(entry.amount, asset, tokens),
        asset=asset_text(asset, tokens),
        network=network_text(asset),
        reason=charge.reason,
    )


def usage_view(meter: Meter, tokens: Tokens) -> schema.UsageView:
    """What was used."""
    paid = bool(meter.asset)
    return schema.UsageView(
        peer=meter.peer,
        capability=meter.capability,
        direction=meter.direction,
        calls=meter.calls,
        failed=meter.failed,
        not_begun=meter.not_begun,
        input_bytes=meter.input_bytes,
        output_bytes=meter.output_bytes,
        duration_ms=meter.duration_ms,
        units=meter.units,
        unit=unit_of(meter.unit) if meter.unit else "",
        amount=amount_text(meter.amount, meter.asset, tokens) if paid else "",
        asset=asset_text(meter.asset, tokens) if paid else "",
        network=network_text(meter.asset) if paid else "",
        last_at=meter.last_at,
    )


def balance_view(token: Token, found: Holdings | PaymentFault | None) -> schema.WalletBalance:
    """Of one token; None where there is nobody to ask."""
    network = network_name(token.chain_id)
    if found is None:
        return schema.WalletBalance(network=network, asset=token.symbol, online=False)
    if isinstance(found, PaymentFault):
        problem = found.detail or found.words
        return schema.WalletBalance(network=network, asset=token.symbol, online=True, problem=problem)
    amount = found.amounts.get(token)
    return schema.WalletBalance(
        network=network,
        asset=token.symbol,
        online=True,
        amount=None if amount is None else money.show(amount, token.decimals),
        gas=money.show(found.gas, GAS_DECIMALS),
        problem="the token's contract does not say" if amount is None else "",
    )
