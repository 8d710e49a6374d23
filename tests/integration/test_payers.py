"""Payers that are not ours, mean no good, or have a wrong clock, at real daemons: over streams, settled on a chain."""

from __future__ import annotations

import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any, Final, Self

import pytest
import trio

from nexusd.chain import eip3009
from nexusd_protocols.identity import AgentId, PeerId
from nexusd_protocols.invoke.frames import OpenFrame
from nexusd_protocols.payments import binding, faults, terms, x402
from nexusd_protocols.payments.authorization import sign
from nexusd_protocols.payments.binding import Context
from nexusd_protocols.payments.tokens import Tokens
from tests.crash.market import PASSWORD, keep_wallet
from tests.harness import chains, official_x402
from tests.harness.daemon import Daemon, Home, connect
from tests.harness.localchain import ETHER, LocalChain
from tests.harness.mallory import INVOKE, Mallory, mallory
from tests.harness.paying import PAYEE, PAYER
from tests.harness.process import poll

START: Final = 10**9
PRICE: Final = 100_000
OFF_S: Final = 600
PAYERS: Final = 10

Make = Callable[[dict[str, Any]], dict[str, Any]]
"""A demand to what is shown for it."""


@pytest.fixture
def place() -> Iterator[Home]:
    home = Home()
    home.env["NEXUS_WALLET_PASSWORD"] = PASSWORD
    home.env["PYTHONPATH"] = str(Path(__file__).resolve().parents[2])
    yield home
    home.remove()


@pytest.fixture
def chain(tmp_path: Path) -> Iterator[LocalChain]:
    with chains.some(tmp_path) as process:
        process.fund(PAYEE.address, 100 * ETHER)
        process.mint(PAYER.address, START)
        yield process


class Shop:
    """A daemon with the payee's wallet that serves `upper`, and writes down what it works on."""

    def __init__(self, name: str, home: Home, chain: LocalChain, *flags: str, off_s: int = 0) -> None:
        keep_wallet(home, name, PAYEE)
        through = wrong(off_s)
        self.worked = home.directory / f"{name}.worked"
        self.worked.touch()
        self.daemon = Daemon(name, home, "--rpc-urls", f"base={chain.url}", *flags, through=through)

    def __enter__(self) -> Self:
        self.daemon.__enter__()
        script = f"tee -a {self.worked} | tr a-z A-Z"
        options = ("--price", "0.10", "--max-concurrent", "100")
        self.daemon.cli("capability", "serve", "upper", *options, "--", "sh", "-c", script)
        return self

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        self.daemon.__exit__(kind, error, trace)

    def charges(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self.daemon.rpc("pay.settlements")["charges"]
        return found

    def settled(self) -> list[dict[str, Any]]:
        """The charges, once nothing is on its way."""
        poll(lambda: all(row["state"] in ("settled", "released", "lost") for row in self.charges()), "settled")
        return self.charges()


def wrong(off_s: int) -> list[str]:
    return [sys.executable, "-m", "tests.harness.wrongclock", str(off_s)] if off_s else []


def opening(request_id: str, payment: Any = None) -> tuple[dict[str, Any], dict[str, Any]]:
    """The two frames of a call."""
    frame: dict[str, Any] = {
        "type": "invoke.open",
        "version": 1,
        "requestId": request_id,
        "capability": "upper",
        "inputFormat": "text/plain",
        "outputMode": "unary",
    }
    if payment is not None:
        frame["_meta"] = {"x402/payment": payment}
    chunk = {"type": "invoke.chunk", "version": 1, "requestId": request_id, "seq": 0, "isFinalInput": True, "data": "x"}
    return frame, chunk


async def demanded(payer: Mallory, shop: Shop, request_id: str) -> dict[str, Any]:
    """What a call costs; the call is given up then."""
    line = await payer.open(shop.daemon, INVOKE)
    await line.say(*opening(request_id))
    demand = await line.answer()
    await line.reset()
    assert demand["type"] == "invoke.payment_required", demand
    found: dict[str, Any] = demand["_meta"]["x402/payment-required"]
    return found


async def call(payer: Mallory, shop: Shop, request_id: str, make: Make) -> list[dict[str, Any]]:
    """A call that pays when it is asked to."""
    line = await payer.open(shop.daemon, INVOKE)
    await line.say(*opening(request_id))
    demand = await line.answer()
    assert demand["type"] == "invoke.payment_required", demand
    payment = make(demand["_meta"]["x402/payment-required"])
    shown = {"type": "invoke.payment_proof", "version": 1, "requestId": request_id, "_meta": {"x402/payment": payment}}
    await line.say(shown)
    return await line.answers()


async def show(payer: Mallory, shop: Shop, request_id: str, payment: dict[str, Any]) -> list[dict[str, Any]]:
    """A call that shows a payment from the start."""
    line = await payer.open(shop.daemon, INVOKE)
    await line.say(*opening(request_id, payment))
    return await line.answers()


def outcome(frames: list[dict[str, Any]]) -> str:
    """`done`, or the name of what was wrong."""
    last = frames[-1]
    if last["type"] == "invoke.done":
        assert [frame["data"] for frame in frames if frame["type"] == "invoke.event"] == ["X"]
        return "done"
    assert not any(frame["type"] == "invoke.event" for frame in frames), frames
    reason = last.get("_meta", {}).get("x402/payment-response", {}).get("errorReason")
    return str(reason or last.get("code"))


def bound(demand: dict[str, Any], payer: Mallory, provider: PeerId, request_id: str, *, off_s: int = 0) -> Any:
    """A payment as our own payers make it."""
    read = terms.read_required(demand, Tokens())
    assert isinstance(read, terms.Required)
    (offer,) = read.offers
    frame = OpenFrame(
        version=1, request_id=request_id, capability="upper", input_format="text/plain", output_mode="unary"
    )
    request = binding.request_digest(
        request_id=request_id, caller=AgentId(payer.peer_id), to_agent=None, content=frame.content()
    )
    salt = bytes(range(32))
    nonce = binding.nonce(Context(provider, request), binding.offer_digest(offer.raw), salt)
    authorization = x402.authorize(offer.terms, PAYER.address, nonce, int(time.time()) + off_s)
    return x402.payment(offer, read, authorization, sign(authorization, offer.terms.token, PAYER), salt)


def v1(demand: dict[str, Any]) -> dict[str, Any]:
    return official_x402.client_payment_v1(demand["accepts"][0], PAYER, "base")


def v2(demand: dict[str, Any]) -> dict[str, Any]:
    return official_x402.client_payment(demand["accepts"][0], PAYER)


async def test_the_official_client_pays_in_both_versions(place: Home, chain: LocalChain) -> None:
    with Shop("alice", place, chain, "--accept-unbound") as shop:
        async with mallory(shop.daemon) as payer:
            for number, make in enumerate((v2, v1), 1):
                paid: list[dict[str, Any]] = []

                def keep(demand: dict[str, Any], make: Make = make, paid: list[dict[str, Any]] = paid) -> Any:
                    paid.append(make(demand))
                    return paid[0]

                frames = await call(payer, shop, f"call-{number}", keep)
                assert outcome(frames) == "done"
                response = frames[-1]["_meta"]["x402/payment-response"]
                assert response["success"]
                # the same call again is the same purchase; another call is none
                assert outcome(await show(payer, shop, f"call-{number}", paid[0])) == "done"
                assert outcome(await show(payer, shop, "another", paid[0])) == faults.USED
                rows = await trio.to_thread.run_sync(shop.settled)
                assert [row["state"] for row in rows] == ["settled"] * number
                assert (chain.balance(PAYEE.address), chain.balance(PAYER.address)) == (
                    PRICE * number,
                    START - PRICE * number,
                )
                assert rows[-1]["transaction"] == chain.logs(eip3009.USED)[-1]["transactionHash"]
            assert shop.worked.read_text() == "xx"


async def test_a_hundred_at_once_show_one_payment(place: Home, chain: LocalChain) -> None:
    with Shop("alice", place, chain, "--accept-unbound") as shop:
        async with AsyncExitStack() as stack:
            # one peer alone may not have so many streams
            payers = [await stack.enter_async_context(mallory(shop.daemon, name=f"mallory-{n}")) for n in range(PAYERS)]
            payment = v2(await demanded(payers[0], shop, "one"))
            said: Counter[str] = Counter()

            async def one(payer: Mallory, request_id: str) -> None:
                said[outcome(await show(payer, shop, request_id, payment))] += 1

            async with trio.open_nursery() as nursery:
                for number in range(100):
                    # half of them say that it is one call, the others that each is its own
                    name = "one" if number % 2 else f"call-{number}"
                    nursery.start_soon(one, payers[number % PAYERS], name)
            assert said.total() == 100
            assert set(said) <= {"done", "BUSY", faults.IN_PROGRESS, faults.USED}, said
            assert said["done"] >= 1
            (row,) = await trio.to_thread.run_sync(shop.settled)
        assert row["state"] == "settled"
        assert shop.worked.read_text() == "x"
        assert len(chain.logs(eip3009.USED)) == 1
        assert chain.balance(PAYEE.address) == PRICE


async def test_one_payment_is_shown_to_several_providers_of_one_wallet(place: Home, chain: LocalChain) -> None:
    with (
        Shop("alice", place, chain) as alice,
        Shop("bob", place, chain) as bob,
        Shop("carol", place, chain) as carol,
    ):
        shops = (alice, bob, carol)
        async with mallory(*(shop.daemon for shop in shops)) as payer:
            payment = bound(await demanded(payer, bob, "one"), payer, PeerId(bob.daemon.peer_id), "one")
            said: dict[str, str] = {}

            async def one(shop: Shop) -> None:
                said[shop.daemon.name] = outcome(await show(payer, shop, "one", payment))

            async with trio.open_nursery() as nursery:
                for shop in shops:
                    nursery.start_soon(one, shop)
            wrong_one = faults.BINDING_MISMATCH
            assert said == {"alice": wrong_one, "bob": "done", "carol": wrong_one}
            # and what names no request is taken by none of them
            loose = v2(await demanded(payer, alice, "two"))
            for shop in shops:
                assert outcome(await show(payer, shop, "two", loose)) == faults.UNBOUND
            rows = await trio.to_thread.run_sync(bob.settled)
            assert [row["state"] for row in rows] == ["settled"]
            assert (alice.charges(), carol.charges()) == ([], [])
        assert [shop.worked.read_text() for shop in shops] == ["", "x", ""]
        assert chain.balance(PAYEE.address) == PRICE


async def test_two_daemons_settle_with_one_wallet(place: Home, chain: LocalChain) -> None:
    """They use the same account's numbers at once, and neither loses anything by it."""
    with Shop("alice", place, chain) as alice, Shop("carol", place, chain) as carol:
        async with mallory(alice.daemon, carol.daemon) as payer:

            async def buy(shop: Shop, number: int) -> None:
                name, provider = f"call-{number}", PeerId(shop.daemon.peer_id)
                frames = await call(payer, shop, name, lambda demand: bound(demand, payer, provider, name))
                assert outcome(frames) == "done"

            with trio.fail_after(100):
                async with trio.open_nursery() as nursery:
                    for number in range(6):
                        for shop in (alice, carol):
                            nursery.start_soon(buy, shop, number)
            for shop in (alice, carol):
                rows = await trio.to_thread.run_sync(shop.settled)
                assert [row["state"] for row in rows] == ["settled"] * 6
        assert len(chain.logs(eip3009.USED)) == 12
        assert chain.balance(PAYEE.address) == 12 * PRICE


@pytest.mark.parametrize("off_s", [-OFF_S, OFF_S])
@pytest.mark.parametrize("whose", ["provider", "payer"])
def test_a_clock_ten_minutes_wrong_costs_nothing(place: Home, chain: LocalChain, whose: str, off_s: int) -> None:
    """Such a payment would be over before it is settled, or hold for longer than was asked: nobody begins with it."""
    keep_wallet(place, "bob", PAYER)
    node = ("--rpc-urls", f"base={chain.url}")
    sells, buys = (off_s, 0) if whose == "provider" else (0, off_s)
    with (
        Shop("alice", place, chain, off_s=sells) as shop,
        Daemon("bob", place, *node, through=wrong(buys)) as bob,
    ):
        connect(bob, shop.daemon)
        bob.cli("pay", "policy", "set", "--per-request", "1", "--allow-network", "base", "--approve-above", "none")
        refused = bob.cli_error("invoke", shop.daemon.peer_id, "upper", "x", "--max-price", "0.10")
        assert refused["code"] == "payment_invalid"
        assert faults.VALID_BEFORE in refused["message"]
        assert refused["data"]["payment"]["state"] == "unused"
        assert shop.charges() == []
        # it is out of hand all the same
        (purchase,) = bob.cli("pay", "history")["purchases"]
        assert (purchase["state"], purchase["counts"]) == ("closed", "0.1")
    assert shop.worked.read_text() == ""
    assert (chain.balance(PAYEE.address), chain.balance(PAYER.address)) == (0, START)
