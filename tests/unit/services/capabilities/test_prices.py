"""What a provider asks for, as whoever does not pay yet is told it."""

from __future__ import annotations

from typing import Any

import pytest
import trio

from nexusd.services.capabilities.buying import payer
from nexusd_protocols.identity import AgentId
from nexusd_protocols.invoke import commands, events
from nexusd_protocols.invoke.frames import Terms
from nexusd_protocols.payments import terms
from nexusd_protocols.payments.address import Address
from nexusd_protocols.payments.tokens import USDC_POLYGON, Token, Tokens
from nexusd_protocols.rpc.codes import Refusal
from nexusd_protocols.rpc.schema import InvokeParams
from tests.harness.paying import price, tab_price
from tests.harness.people import ALICE, BOB

EURC = Token(chain_id=8453, address=Address(b"\x60" * 20), symbol="EURC", name="EURC", version="2", decimals=2)
PAYEE = "0x" + "11" * 20


def published(**changes: Any) -> Terms:
    return Terms(**{"amount": "100000", "currency": "USDC", "recipient": PAYEE, "network": "base", **changes})


class Refusing:
    """A purse that pays nothing."""

    tokens = Tokens([EURC])

    async def pay(self, wish: Any) -> Refusal:
        await trio.lowlevel.checkpoint()
        return Refusal("payment_refused", "no", {"reason": "over_what_the_call_allows"})


async def asked(demanded: dict[str, Any], max_price: str | None = None) -> Any:
    """What whoever made the call is told of that demand."""
    opening = commands.Open(
        request_id="1",
        capability="upper",
        input_format="text/plain",
        output_mode="unary",
        max_duration_ms=1000,
        max_input_bytes=10,
        max_output_bytes=10,
    )
    params = InvokeParams(peer=BOB.peer_id, capability="upper", max_price=max_price)
    pay = payer(Refusing(), AgentId(ALICE.peer_id), BOB.peer_id, opening, params)  # type: ignore[arg-type]
    return await pay(events.PaymentDemanded(**demanded))


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
        ({"terms": published(currency="DOGE")}, "100000 smallest units of DOGE on base"),
        ({"required": {"x402Version": 2}}, "payment, in what is not known here"),
    ],
)
async def test_a_price_is_told_in_whole_tokens_with_its_network(demanded, words):
    refused = await asked(demanded)
    assert (refused.code, refused.message) == ("payment_required", f"The provider asks for {words}")


@pytest.mark.parametrize("max_price", [None, "0.01"])
async def test_programs_are_told_the_price_apart_from_the_words(max_price):
    demanded = {"required": terms.required([price(), tab_price(per=1000)], BOB.peer_id)}
    refused = await asked(demanded, max_price)
    assert refused.code == ("payment_required" if max_price is None else "payment_refused")
    shown = [(each.amount, each.asset, each.network, each.unit, each.per) for each in refused.data["prices"]]
    assert shown == [("0.1", "USDC", "base", "call", 1), ("0.000005", "USDC", "base", "piece", 1000)]
    assert max_price is None or refused.data["reason"] == "over_what_the_call_allows"


async def test_a_price_in_what_is_not_known_here_is_told_as_it_came():
    (told,) = (await asked({"terms": published(currency="DOGE", network=None)})).data["prices"]
    assert (told.amount, told.asset, told.network, told.known) == ("100000", "DOGE", "", False)
