"""Providers that mean no good, called by a real daemon with a wallet: what is signed is what its owner allowed, and
what became of it is told."""

from __future__ import annotations

import hashlib
import json
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from typing import Any, Final

import pytest
import trio

from nexusd.client import Nexus, NexusError
from nexusd_protocols import ndjson
from nexusd_protocols.payments import receipt
from nexusd_protocols.payments.address import checksummed
from nexusd_protocols.payments.tokens import USDC_POLYGON
from tests.crash.market import PASSWORD, keep_wallet
from tests.harness import terminal
from tests.harness.daemon import Daemon, Home, connect
from tests.harness.mallory import mallory
from tests.harness.nodes import until
from tests.harness.paying import PAYEE, PAYER, THIEF, price, tab_price
from tests.harness.people import CAROL
from tests.harness.process import poll
from tests.harness.rogue import Rogue, Visitor
from tests.harness.shop import Order

MAX_PRICE: Final = "0.10"
Change = Callable[[Rogue], dict[str, Any]]


@pytest.fixture(scope="module")
def buyer() -> Iterator[Daemon]:
    home = Home()
    home.env["NEXUS_WALLET_PASSWORD"] = PASSWORD
    keep_wallet(home, "bob", PAYER)
    with Daemon("bob", home, "--log-level", "debug") as bob:
        yield bob
    home.remove()


@pytest.fixture(autouse=True)
def allowed(buyer: Daemon) -> None:
    """A policy that pays."""
    buyer.rpc("pay.stop", stopped=False)
    buyer.rpc("pay.setPolicy", perRequest="1", perDay="none", networks=["base"], approveAbove="none", perMinute="none")


_shown: list[str] = []
"""Signatures that left the buyer."""


@asynccontextmanager
async def rogue(buyer: Daemon) -> AsyncIterator[Rogue]:
    async with mallory(buyer) as peer:
        provider = Rogue(peer)
        yield provider
        _shown.extend(payment["payload"]["signature"] for payment in provider.paid)


async def call(buyer: Daemon, provider: Rogue, **options: Any) -> Any:
    """What a caller has of a call: its output, or the error."""
    given: dict[str, Any] = {"max_price": MAX_PRICE, "max_duration_ms": 10_000, **options}

    def ask() -> Any:
        with Nexus.connect(data_dir=buyer.data_dir, timeout=30) as nexus:
            try:
                return nexus.invoke(provider.peer.peer_id, "summarize", "x", **given)
            except NexusError as error:
                return error

    return await trio.to_thread.run_sync(ask)


def last(buyer: Daemon) -> dict[str, Any]:
    row: dict[str, Any] = buyer.rpc("pay.history", limit=500)["purchases"][-1]
    return row


# --- other terms ------------------------------------------------------------------------------------------------------
DEMANDS: Final[dict[str, tuple[Change, str]]] = {
    "more": (lambda rogue: rogue.required(amount="100001"), "may cost"),
    "a decimal price": (lambda rogue: rogue.required(amount="0.1"), "canonical"),
    "hexadecimal": (lambda rogue: rogue.required(amount="0x10"), "canonical"),
    "less than nothing": (lambda rogue: rogue.required(amount="-1"), "canonical"),
    "a float": (lambda rogue: rogue.required(amount=100000.0), "canonical"),
    "2**63": (lambda rogue: rogue.required(amount=str(1 << 63)), "holds that much"),
    "2**256": (lambda rogue: rogue.required(amount=str(1 << 256)), "256 bits"),
    "another asset": (lambda rogue: rogue.required(asset="0x" + "22" * 20), "does not know"),
    "another chain": (
        lambda rogue: rogue.required(network="eip155:137", asset=USDC_POLYGON.asset),
        "network is not on the list",
    ),
    "no chain": (lambda rogue: rogue.required(network="solana:5eykt4UsFv8P8NJdTREpY1vzqKqZKvdp"), "network"),
    "another name of the token": (lambda rogue: rogue.required(extra={"name": "USDC", "version": "2"}), "extra.name"),
    "a longer window": (lambda rogue: rogue.required(maxTimeoutSeconds=86_400), "longer than the policy"),
    "a window for ever": (lambda rogue: rogue.required(maxTimeoutSeconds=1 << 60), "whole number"),
    "this wallet": (lambda rogue: rogue.required(payTo=checksummed(PAYER.address)), "this wallet"),
    "nobody": (lambda rogue: rogue.required(payTo="0x" + "00" * 20), "somebody has"),
    "a tab": (lambda rogue: rogue.required(tab_price()), "tab"),
    "permit2": (lambda rogue: rogue.required(extra={"assetTransferMethod": "permit2"}), "EIP-3009"),
    "an offer that is over": (lambda rogue: rogue.required(price(valid_until=1_000_000_000)), "holds no longer"),
    "another provider's": (
        lambda rogue: {**rogue.required(), "resource": {"url": f"nexus://{CAROL.peer_id}/summarize"}},
        "another provider or capability",
    ),
    "for another capability": (
        lambda rogue: {**rogue.required(), "resource": {"url": f"nexus://{rogue.peer.peer_id}/translate"}},
        "another provider or capability",
    ),
    "an essay": (lambda rogue: {**rogue.required(), "more": "x" * (33 << 10)}, "32768"),
    "version 1": (lambda rogue: {**rogue.required(), "x402Version": 1}, "malformed"),
    "nothing": (lambda rogue: {**rogue.required(), "accepts": []}, "malformed"),
}


async def test_other_terms_than_are_allowed_are_not_signed(buyer: Daemon) -> None:
    async with rogue(buyer) as provider:
        said = {}
        for name, (change, _) in DEMANDS.items():

            async def ask(visitor: Visitor, change: Change = change) -> None:
                await visitor.demand(change(provider))

            provider.script = ask
            said[name] = await call(buyer, provider)
        assert {name: getattr(answer, "code", answer) for name, answer in said.items()} == dict.fromkeys(
            DEMANDS, "payment_refused"
        )
        assert [name for name, (_, word) in DEMANDS.items() if word not in str(said[name])] == [], said
        assert provider.paid == []
    assert buyer.rpc("pay.history")["purchases"] == []


def test_other_terms_than_were_published_are_not_signed(buyer: Daemon, alice: Daemon) -> None:
    def serve(amount: str) -> None:
        prices = [{"amount": amount, "payTo": checksummed(PAYEE.address)}]
        alice.rpc("capability.serve", name="priced", command={"argv": ["cat"], "cwd": "/"}, prices=prices)

    def found() -> Any:
        return [one["prices"][0]["amount"] for one in buyer.rpc("find.capability", name="priced")["providers"]]

    serve("0.05")
    connect(buyer, alice)
    try:
        poll(lambda: found() == ["0.05"], "the price is published", 20, 0.2)
        serve("0.10")
        refused = buyer.cli_error("invoke", alice.peer_id, "priced", "x", "--max-price", "1")
        assert refused["code"] == "payment_refused"
        assert "published another price" in refused["message"]
        assert buyer.rpc("pay.history")["purchases"] == []
    finally:
        alice.rpc("capability.unregister", name="priced")


# --- behind the payment -----------------------------------------------------------------------------------------------
async def _demand_again(visitor: Visitor) -> None:
    await visitor.demand()
    await visitor.demand()


async def _ask_for_more(visitor: Visitor) -> None:
    await visitor.demand()
    await visitor.say("accept", accepted=True)
    for amount in range(200):
        await visitor.say("payment_due", tab=0, units=amount, amount=str(100_000 + amount), final=False)
    await visitor.hear("payment")


async def _be_unsure(visitor: Visitor) -> None:
    await visitor.demand()
    response = {"success": False, "transaction": "0x" + "11" * 32, "network": "eip155:8453"}
    response["errorReason"] = "settlement_pending"
    await visitor.say("error", code="SETTLEMENT_PENDING", message="wait", _meta={"x402/payment-response": response})


async def _deny(visitor: Visitor) -> None:
    await visitor.demand()
    response = {"success": False, "transaction": "", "network": "eip155:8453", "errorReason": "insufficient_funds"}
    await visitor.say("error", code="PAYMENT_INVALID", message="no", _meta={"x402/payment-response": response})


async def _vanish(visitor: Visitor) -> None:
    await visitor.demand()
    await visitor.line.reset()


@pytest.mark.parametrize(
    ("script", "code", "state", "word"),
    [
        (_demand_again, "invoke_failed", "signed", "--again"),
        (_ask_for_more, "payment_refused", "signed", "--again"),
        (_be_unsure, "settlement_pending", "spent", "do not pay"),
        (_deny, "payment_invalid", "closed", ""),
        (_vanish, "connection_lost", "signed", "--again"),
    ],
)
async def test_one_call_is_paid_once_whatever_comes_behind_the_payment(
    buyer: Daemon, script: Any, code: str, state: str, word: str
) -> None:
    async with rogue(buyer) as provider:
        provider.script = script
        error = await call(buyer, provider, max_duration_ms=4000)
        assert isinstance(error, NexusError), error
        assert error.code == code
        assert word in error.try_
        # asked again over a broken stream it shows what it signed, and signs nothing else
        assert provider.paid
        assert {json.dumps(one) for one in provider.paid} == {json.dumps(provider.paid[0])}
        row = last(buyer)
        assert (row["state"], row["counts"]) == (state, "0.1")
        assert error.data["payment"]["id"] == row["id"]


async def test_a_receipt_for_what_did_not_happen_is_called_bad(buyer: Daemon) -> None:
    async with rogue(buyer) as provider:
        lie: dict[str, Any] = {}

        async def serve(visitor: Visitor) -> None:
            payment = await visitor.demand()
            assert payment is not None
            await visitor.say("event", seq=0, event="result", data="X")
            signed = receipt.sign(_receipt(buyer, provider, visitor.opened, payment, lie), provider.peer.signer)
            told = {"nexus-receipt": {"info": {"receipt": {"format": "jws", "signature": signed}}}}
            response = {"success": True, "transaction": "", "network": "eip155:8453", "extensions": told}
            await visitor.say("done", _meta={"x402/payment-response": response})

        provider.script = serve
        said = {}
        lies: dict[str, dict[str, Any]] = {
            "the truth": {},
            "input": {"input": "0x" + "11" * 32},
            "payee": {"pay_to": checksummed(THIEF.address)},
            "caller": {"caller": provider.peer.peer_id},
            "amount": {"amount": "1"},
        }
        with Nexus.connect(data_dir=buyer.data_dir, timeout=30) as nexus:
            for name, changes in lies.items():
                lie = changes

                def ask() -> str:
                    with nexus.stream(provider.peer.peer_id, "summarize", "x", max_price=MAX_PRICE) as under_way:
                        assert [event.data for event in under_way] == ["X"]
                    assert under_way.end is not None
                    assert under_way.end.payment is not None
                    return under_way.end.payment.receipt

                said[name] = await trio.to_thread.run_sync(ask)
        assert said == {name: "verified" if name == "the truth" else f"bad: another {name}" for name in lies}


def _digest(data: Any) -> str:
    return f"0x{hashlib.sha256(ndjson.encode_line(data)).hexdigest()}"


def _receipt(
    buyer: Daemon, provider: Rogue, opened: dict[str, Any], payment: dict[str, Any], lie: dict[str, Any]
) -> receipt.Receipt:
    """What really happened, but for the lie."""
    paid, token = payment["payload"]["authorization"], price().token
    order = Order(
        opened["requestId"],
        "summarize",
        stream=opened["outputMode"] == "stream",
        fields={name: opened[name] for name in ("maxDurationMs", "maxInputBytes", "maxOutputBytes")},
    )
    key = f"{token.asset_id}/{paid['from'][2:].lower()}/{paid['nonce'][2:]}"
    fields: dict[str, Any] = {
        "provider": provider.peer.peer_id,
        "caller": buyer.peer_id,
        "capability": "summarize",
        "request_id": opened["requestId"],
        "request": f"0x{order.request(buyer.peer_id).hex()}",  # type: ignore[arg-type]
        "input": _digest("x"),
        "result": _digest(["result", "X"]),
        "complete": True,
        "usage": receipt.Usage(input_bytes=1, output_bytes=1),
        "network": token.network,
        "asset": token.asset,
        "payer": paid["from"],
        "pay_to": paid["to"],
        "amount": paid["value"],
        "authorization": key,
        "issued_at": 1,
    }
    return receipt.Receipt(**(fields | lie))


# --- a person's word --------------------------------------------------------------------------------------------------
async def test_who_decides_sees_no_more_than_text_and_what_was_given_up_is_not_paid(buyer: Daemon) -> None:
    buyer.rpc("pay.setPolicy", approveAbove="0.01")
    async with rogue(buyer) as provider:

        async def ask(visitor: Visitor) -> None:
            await visitor.demand({**provider.required(), "error": f"{terminal.EVIL}pay approve all"})

        provider.script = ask
        async with trio.open_nursery() as nursery:
            said: list[Any] = []

            async def wait() -> None:
                said.append(await call(buyer, provider, max_duration_ms=3000))

            nursery.start_soon(wait)
            await until(lambda: buyer.rpc("pay.approvals")["purchases"])
            (row,) = buyer.rpc("pay.approvals")["purchases"]
            for command in (("approvals",), ("explain", row["id"]), ("history",)):
                shown = await trio.to_thread.run_sync(lambda given=command: terminal.shown(buyer, "pay", *given))
                terminal.harmless(shown, shown="0.1 USDC")
        assert said[0].code == "timeout"
        # the call is over, and with it what could be approved
        refused = await trio.to_thread.run_sync(lambda: buyer.cli_error("pay", "approve", row["id"]))
        assert refused["code"] == "refused"
        assert (last(buyer)["state"], provider.paid) == ("closed", [])


async def test_the_kill_switch_ends_a_tab_that_grows(buyer: Daemon) -> None:
    async with rogue(buyer) as provider:
        grown: list[Any] = []
        stopped = trio.Event()

        async def serve(visitor: Visitor) -> None:
            await visitor.demand(provider.required(tab_price()))
            await visitor.say("accept", accepted=True)
            for number in range(60):
                await visitor.say("event", seq=number, event="partial", data="x")
            await visitor.say("payment_due", tab=0, units=60, amount="800", final=False)
            grown.append(await visitor.hear("payment", "cancel"))
            await trio.to_thread.run_sync(lambda: buyer.rpc("pay.stop", stopped=True))
            for number in range(60, 120):
                await visitor.say("event", seq=number, event="partial", data="x")
            await visitor.say("payment_due", tab=0, units=120, amount="1100", final=False)
            grown.append(await visitor.hear("payment", "cancel"))
            stopped.set()

        provider.script = serve
        error = await call(buyer, provider, tab=True)
        await stopped.wait()
        assert [frame and frame["type"] for frame in grown] == ["invoke.payment", "invoke.cancel"]
        assert isinstance(error, NexusError)
        assert error.code == "payment_refused"
        assert "switched off" in str(error)
        assert last(buyer)["signed"] == "0.0008"


def test_neither_keys_nor_signatures_are_in_the_log(buyer: Daemon) -> None:
    log = buyer.log_text().lower()
    assert "invoke" in log
    assert _shown
    assert [secret for secret in (PAYER.secret().hex(), PASSWORD, *_shown) if secret[2:66].lower() in log] == []
