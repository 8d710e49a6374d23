"""Receipts. Of a sale: ours, which is kept with the charge, and x402's own, made from it whenever it is told. Of a
purchase: whether what the provider signed is what happened."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from nexusd.services.trade import Counter, Ended, Wish
from nexusd_protocols.identity import Signer
from nexusd_protocols.invoke import events
from nexusd_protocols.payments import receipt
from nexusd_protocols.payments.address import checksummed
from nexusd_protocols.payments.authorization import Authorization
from nexusd_protocols.payments.charge import Charge, Result, key_parts
from nexusd_protocols.payments.faults import PaymentFault
from nexusd_protocols.payments.terms import PriceTerms, Unit, resource_url
from nexusd_protocols.payments.tokens import Token


def whole(
    charges: Sequence[Charge],
    token: Token,
    opened: events.Opened,
    counter: Counter,
    *,
    result: Result,
    output_bytes: int,
    units: int,
    unit: Unit,
    complete: bool,
    issued_at: int,
    signer: Signer,
) -> str:
    """What was delivered for what: `charges` are those of all tabs of a call, in order. `issued_at` is unix seconds."""
    first = charges[0].entry
    paid = first.authorization
    tabs = [
        receipt.Tab(nonce=_hex(charge.entry.authorization.nonce), amount=str(charge.entry.amount)) for charge in charges
    ]
    return receipt.sign(
        receipt.Receipt(
            provider=signer.peer_id,
            caller=opened.caller,
            capability=first.capability,
            request_id=opened.open.request_id,
            request=_hex(first.request),
            input=_hex(counter.input_digest),
            result=_hex(result.digest),
            complete=complete,
            usage=receipt.Usage(
                input_bytes=counter.input_bytes,
                output_bytes=output_bytes,
                duration_ms=counter.duration_ms,
                units=units,
                unit=msgspec.UNSET if unit == "request" else unit,
            ),
            network=token.network,
            asset=token.asset,
            payer=checksummed(paid.from_),
            pay_to=checksummed(paid.to),
            amount=str(sum(charge.entry.amount for charge in charges)),
            authorization=first.key,
            tabs=tuple(tabs) if len(tabs) > 1 else msgspec.UNSET,
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


def verdict(jws: str, wish: Wish, terms: PriceTerms, how: Ended, signed: Sequence[Authorization]) -> str:
    """Of a receipt that came with a result: `verified`, `none`, or what is bad about it. Whatever it says that this
    side knows too is held against that; the times and the transaction are the provider's word alone. `signed` is the
    newest authorisation under each nonce, in order."""
    if not jws:
        return "none"
    found = receipt.verify(jws)
    if isinstance(found, PaymentFault):
        return f"bad: {found}"
    usage, first = found.usage, signed[0]
    most = {_hex(paid.nonce): paid.value for paid in signed}
    part = usage.input_bytes < how.input_bytes  # work may end before it has taken all of its input
    same = {
        "provider": found.provider == wish.peer,
        "caller": found.caller == wish.agent,
        "call": (found.request_id, found.capability) == (wish.id, wish.capability),
        "request": found.request == _hex(wish.request),
        # what was signed last may have come too late to be taken
        "amount": _within(found.charges, most) if wish.tab else found.charges == most,
        "asset": (found.network, found.asset) == (terms.token.network, terms.token.asset),
        "payer": found.payer == checksummed(first.from_),
        "payee": found.pay_to == checksummed(first.to),
        "authorization": found.authorization == first.key(terms.token),
        "unit": (usage.unit or "request") == terms.unit,
        "input": part or (found.input, usage.input_bytes) == (_hex(how.input), how.input_bytes),
        "result": (found.result, usage.output_bytes) == (_hex(how.result), how.output_bytes),
        "end": found.complete is not bool(how.code),
    }
    wrong = [name for name, holds in same.items() if not holds]
    if wrong:
        return f"bad: another {', '.join(wrong)}"
    return f"verified, with {usage.input_bytes} of {how.input_bytes} bytes of the input" if part else "verified"


def _within(charged: dict[str, int], signed: dict[str, int]) -> bool:
    """Whether no more is charged than was signed, under each nonce, in the same order."""
    in_order = list(charged) == list(signed)[: len(charged)]
    return in_order and all(amount <= signed[nonce] for nonce, amount in charged.items())


def _hex(digest: bytes) -> str:
    return f"0x{digest.hex()}"
