"""The receipts of a sale: ours, which is kept with the charge, and x402's own, made from it whenever it is told."""

from __future__ import annotations

from nexusd.services.trade import Counter
from nexusd_protocols.identity import Signer
from nexusd_protocols.invoke import events
from nexusd_protocols.payments import receipt
from nexusd_protocols.payments.address import checksummed
from nexusd_protocols.payments.charge import Charge, Result, key_parts
from nexusd_protocols.payments.terms import resource_url
from nexusd_protocols.payments.tokens import Token


def whole(
    charge: Charge,
    token: Token,
    opened: events.Opened,
    counter: Counter,
    *,
    result: Result,
    output_bytes: int,
    units: int,
    complete: bool,
    issued_at: int,
    signer: Signer,
) -> str:
    """What was delivered for what. `issued_at` is unix seconds."""
    paid = charge.entry.authorization
    return receipt.sign(
        receipt.Receipt(
            provider=signer.peer_id,
            caller=opened.caller,
            capability=charge.entry.capability,
            request_id=opened.open.request_id,
            request=f"0x{charge.entry.request.hex()}",
            input=f"0x{counter.input_digest.hex()}",
            result=f"0x{result.digest.hex()}",
            complete=complete,
            usage=receipt.Usage(
                input_bytes=counter.input_bytes,
                output_bytes=output_bytes,
                duration_ms=counter.duration_ms,
                units=units,
            ),
            network=token.network,
            asset=token.asset,
            payer=checksummed(paid.from_),
            pay_to=checksummed(paid.to),
            amount=str(paid.value),
            authorization=charge.entry.key,
            issued_at=issued_at,
        ),
        signer,
    )


def standard(charge: Charge, signer: Signer) -> str:
    """x402's own; empty where nothing was handed over whole."""
    if not charge.receipt:
        return ""
    return receipt.sign_standard(
        receipt.Standard(
            version=1,
            network=key_parts(charge.entry.key).network,
            resource_url=resource_url(signer.peer_id, charge.entry.capability),
            payer=checksummed(charge.entry.authorization.from_),
            issued_at=charge.created_at // 1000,
        ),
        signer,
    )
