"""What `pay.verify` answers. A receipt needs no daemon to be verified, so that whoever asks may do it alone."""

from __future__ import annotations

import msgspec

from nexusd_protocols.payments import money, receipt
from nexusd_protocols.payments.faults import PaymentFault
from nexusd_protocols.payments.tokens import Tokens, network_name
from nexusd_protocols.rpc.schema import PayVerified


def verified(text: str, tokens: Tokens) -> PayVerified:
    """Whether `text` is a receipt, and what it says; amounts in whole tokens where the token is among `tokens`."""
    found = receipt.verify(text.strip())
    if isinstance(found, PaymentFault):
        return PayVerified(valid=False, problem=found.detail or found.words)
    token = tokens.find(found.network, found.asset)
    return PayVerified(
        valid=True,
        amount=found.amount if token is None else money.show(int(found.amount), token.decimals),
        asset=found.asset if token is None else token.symbol,
        network=found.network if token is None else network_name(token.chain_id),
        receipt=msgspec.to_builtins(found),
    )
