"""What a call of ours tells whoever pays for it, and its record what it cost."""

from __future__ import annotations

import dataclasses
from typing import Any

import trio
from msgspec.structs import replace

from nexusd.host.ports import Streams
from nexusd.services.capabilities.outgoing import CHANNEL, Pay, Reopen, dial
from nexusd.services.capabilities.ports import End
from nexusd.services.prices import own_price
from nexusd.services.trade import Payment, Purse, Wish
from nexusd_protocols.identity import AgentId, PeerId
from nexusd_protocols.ids import CapabilityName
from nexusd_protocols.invoke import commands, events
from nexusd_protocols.invoke.caller import Caller, frame_of
from nexusd_protocols.payments import binding, published
from nexusd_protocols.payments.faults import PaymentFault
from nexusd_protocols.payments.terms import Required, read_required
from nexusd_protocols.payments.tokens import Tokens
from nexusd_protocols.rpc.codes import Refusal
from nexusd_protocols.rpc.schema import InvokeParams, PriceView


def payer(purse: Purse, agent: AgentId, peer: PeerId, opening: commands.Open, params: InvokeParams) -> Pay:
    """How a demand of this call is answered. Where it may cost nothing, with what it would. What is not paid goes along
    with why it is not."""
    max_price = params.max_price
    tokens = purse.tokens
    if max_price is None:

        async def tell(demanded: events.PaymentDemanded) -> Refusal:
            await trio.lowlevel.checkpoint()
            prices = prices_of(demanded, tokens)
            return Refusal("payment_required", f"The provider asks for {_words(prices)}", {"prices": prices})

        return tell

    async def pay(demanded: events.PaymentDemanded) -> Payment | Refusal:
        request = binding.request_digest(
            request_id=opening.request_id, caller=agent, to_agent=opening.to_agent, content=frame_of(opening).content()
        )
        wish = Wish(
            id=opening.request_id,
            agent=agent,
            peer=peer,
            capability=CapabilityName(opening.capability),
            request=request,
            demanded=demanded,
            max_price=max_price,
            tab=params.tab,
        )
        answer = await purse.pay(wish)
        if isinstance(answer, Refusal):
            data = answer.data if isinstance(answer.data, dict) else {}
            return dataclasses.replace(answer, data={**data, "prices": prices_of(demanded, tokens)})
        return answer

    return pay


def prices_of(demanded: events.PaymentDemanded, tokens: Tokens) -> list[PriceView]:
    """What is asked for, any of these, as far as it is known here; it is the provider's word."""
    found = read_required(demanded.required, tokens) if demanded.required is not None else None
    if isinstance(found, Required) and found.offers:
        return [own_price(offer.terms) for offer in found.offers]
    if (asked := demanded.terms) is None:
        return []
    terms = published.read_terms(asked, tokens, "any")
    if isinstance(terms, PaymentFault):
        return [PriceView(amount=asked.amount, asset=asked.currency, network=asked.network or "", known=False)]
    return [own_price(terms)]


def _words(prices: list[PriceView]) -> str:
    return ", or ".join(map(str, prices)) or "payment, in what is not known here"


def reopener(
    streams: Streams, local: PeerId, peer: PeerId, opening: commands.Open, params: InvokeParams
) -> Reopen | None:
    """How the call is made again with what paid for it; None where its input is not at hand, or a tab is under way."""
    if params.max_price is None or params.tab or not params.final:
        return None

    async def reopen(payment: Any) -> tuple[CHANNEL, Caller]:
        channel, machine = await dial(streams, local, peer)
        try:
            await channel.send(replace(opening, payment=payment))
            await channel.send(commands.Chunk(params.input, params.final))
        except BaseException:
            await channel.reset()
            raise
        return channel, machine

    return reopen


def paid(payment: Payment | None, end: End) -> dict[str, Any]:
    """What a call cost, for its record."""
    if payment is None or end.payment is None or end.payment.state not in ("paid", "pending"):
        return {}
    units, unit = payment.used
    if end.payment.unit and end.payment.receipt.startswith("verified"):
        # what came; a tab may have been signed for more, since it begins with so much
        units = end.payment.units
    return {
        "payment": end.payment.id,
        "asset": payment.asset,
        "amount": payment.amount,
        "units": units,
        "unit": unit,
    }
