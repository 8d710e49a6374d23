"""What is said about money. The first byte picks the reader: a payment under some offers, a demand, a settlement, a
receipt, a text with keys in it."""

from __future__ import annotations

import json
from typing import Any

from nexusd_protocols.key_material import contains, find, redact
from nexusd_protocols.payments import faults
from nexusd_protocols.payments.binding import Context
from nexusd_protocols.payments.faults import PaymentFault
from nexusd_protocols.payments.receipt import verify as verify_receipt
from nexusd_protocols.payments.terms import Required, read_required, read_requirements
from nexusd_protocols.payments.tokens import USDC_POLYGON, Tokens
from nexusd_protocols.payments.verify import Presented, Verified, identify, read, verify
from nexusd_protocols.payments.x402 import Settlement, read_settlement
from tests.harness.paying import NOW, payment, price, tab_price
from tests.harness.people import BOB
from tests.harness.vectors import vectors

_DOC = vectors("payments")
_TOKENS = Tokens()
_OFFERS = [price(), price(amount=5), price(token=USDC_POLYGON, binding="required"), tab_price()]
_CONTEXT = Context(BOB.peer_id, bytes(32))
_SIGNED = [payment(terms, context=_CONTEXT) for terms in _OFFERS]
_KNOWN = [*_SIGNED, *(row["payment"] for row in _DOC["accepted"])]
_RECEIPTS = {row["jws"] for rows in _DOC["receipts"].values() for row in rows}


def _seed(reader: int, value: object) -> bytes:
    return bytes([reader]) + (value if isinstance(value, str) else json.dumps(value)).encode()


SEEDS = [
    *(_seed(0, value) for value in _SIGNED),
    *(_seed(0, row["payment"]) for row in (*_DOC["accepted"], *_DOC["refused"][::8])),
    *(_seed(1, row["demand"]) for row in _DOC["demands"]),
    _seed(2, Settlement(network="eip155:8453", transaction="0x" + "ab" * 32, receipt="a.b.c", amount=5).wire()),
    *(_seed(3, text) for text in sorted(_RECEIPTS)),
    *(_seed(4, row["text"]) for row in _DOC["keyMaterial"]),
]


def target(data: bytes) -> None:
    """Accept, or give a fault with one of the names."""
    if not data:
        return
    body = data[1:]
    match data[0] % 5:
        case 0:
            _payment(body)
        case 1:
            _demand(body)
        case 2:
            settlement = _told(read_settlement(read(body)))
            if isinstance(settlement, Settlement):
                assert read_settlement(settlement.wire()) == settlement
        case 3:
            _receipt(body.decode(errors="replace"))
        case 4:
            text = body.decode(errors="replace")
            assert contains(text) is bool(find(text))
            assert (redact(text) == text) is not contains(text)


def _nonce(paid: Any) -> str:
    return str(paid["payload"]["authorization"]["nonce"])[2:]


def _told(outcome: object) -> object:
    assert not isinstance(outcome, PaymentFault) or outcome.code in faults.CODES
    return outcome


def _payment(body: bytes) -> None:
    value = read(body)
    known = _told(identify(value, _TOKENS))
    for context in (_CONTEXT, None):
        verified = _told(verify(value, _OFFERS, now_s=NOW, context=context))
        if isinstance(verified, Verified):
            assert isinstance(known, Presented)
            assert verified.key == known.key
            # nobody here has the key to sign another
            assert verified.authorization.nonce.hex() in {_nonce(row) for row in _KNOWN}


def _demand(body: bytes) -> None:
    demand = _told(read_required(read(body), _TOKENS))
    if isinstance(demand, Required):
        for offer in demand.offers:
            assert read_requirements(offer.terms.requirements(), _TOKENS, demand.capability) == offer.terms


def _receipt(text: str) -> None:
    if not isinstance(_told(verify_receipt(text)), PaymentFault):
        assert text in _RECEIPTS
