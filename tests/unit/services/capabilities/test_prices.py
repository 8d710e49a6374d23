"""What a provider asks for, as whoever does not pay yet is told it."""

from __future__ import annotations

from typing import Any

import pytest

from nexusd.services.capabilities.outgoing import price_of
from nexusd_protocols.invoke import events
from nexusd_protocols.invoke.frames import Terms
from nexusd_protocols.payments import terms
from nexusd_protocols.payments.address import Address
from nexusd_protocols.payments.tokens import USDC_POLYGON, Token, Tokens
from tests.harness.paying import price, tab_price
from tests.harness.people import BOB

EURC = Token(chain_id=8453, address=Address(b"\x60" * 20), symbol="EURC", name="EURC", version="2", decimals=2)
PAYEE = "0x" + "11" * 20


def published(**changes: Any) -> Terms:
    return Terms(**{"amount": "100000", "currency": "USDC", "recipient": PAYEE, "network": "base", **changes})


@pytest.mark.parametrize(
    ("demanded", "words"),
    [
        (
            {"required": terms.required([price(), price(token=USDC_POLYGON, amount=120_000)], BOB.peer_id)},
            "0.1 USDC on base, or 0.12 USDC on polygon",
        ),
        (
            {"required": terms.required([tab_price(per=1000)], BOB.peer_id)},
            "0.000005 USDC for 1000 pieces, by tabs of 0.25 USDC at most, on base",
        ),
        ({"required": terms.required([price(token=EURC, amount=250)], BOB.peer_id)}, "2.5 EURC on base"),
        ({"terms": published()}, "0.1 USDC on base"),
        ({"terms": published(network=None)}, "0.1 USDC on base"),
        ({"terms": published(currency="EURC", amount="250")}, "2.5 EURC on base"),
        ({"terms": published(currency="DOGE")}, "100000 smallest units of DOGE"),
        ({"required": {"x402Version": 2}}, "payment, in what is not known here"),
    ],
)
def test_a_price_is_told_in_whole_tokens_with_its_network(demanded, words):
    assert price_of(events.PaymentDemanded(**demanded), Tokens([EURC])) == words
