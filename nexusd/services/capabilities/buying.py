"""What a call of ours tells whoever pays for it, and its record what it cost."""

from __future__ import annotations

from typing import Any

import trio
from msgspec.structs import replace

from nexusd.host.ports import Streams
from nexusd.services.capabilities.outgoing import CHANNEL, Pay, Reopen, dial, price_of
from nexusd.services.capabilities.ports import End
from nexusd.services.trade import Payment, Purse, Wish
from nexusd_protocols.identity import AgentId, PeerId
from nexusd_protocols.ids import CapabilityName
from nexusd_protocols.invoke import commands, events
from nexusd_protocols.invoke.caller import Caller, frame_of
from nexusd_protocols.payments import binding
from nexusd_protocols.rpc.codes import Refusal
from nexusd_protocols.rpc.schema import InvokeParams


def payer(purse: Purse, agent: AgentId, peer: PeerId, opening: commands.Open, params: InvokeParams) -> Pay:
    """How a demand of this call is answered. Where it may cost nothing, with what it would."""
    max_price = params.max_price
    if max_price is None:
        tokens = purse.tokens

        async def tell(demanded: events.PaymentDemanded) -> Refusal:
            await trio.lowlevel.checkpoint()
            return Refusal("payment_required", f"The provider asks for {price_of(demanded, tokens)}")

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
        return await purse.pay(wish)

    return pay


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
        units, unit = end.payment.units, end.payment.unit
    return {
        "payment": end.payment.id,
        "asset": payment.asset,
        "amount": payment.amount,
        "units": units,
        "unit": unit,
    }
