"""Payers that are not ours, show what they paid more than once, or have a wrong clock, at real daemons: over streams,
settled on a chain."""

from __future__ import annotations

import copy
import os
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack, ExitStack
from pathlib import Path
from typing import Any, Final

import pytest
import trio

from nexusd.chain import eip3009
from nexusd_protocols.payments import faults
from nexusd_protocols.payments.authorization import N
from tests.crash.market import PASSWORD, keep_wallet
from tests.harness import chains, official_x402
from tests.harness.daemon import Daemon, Home, connect
from tests.harness.localchain import ETHER, LocalChain
from tests.harness.mallory import Mallory, mallory
from tests.harness.paying import PAYEE, PAYER
from tests.harness.shop import PRICE, Order, Shop, ask, bound, buy, demanded, events, outcome, response, show, wrong

START: Final = 10**9
OFF_S: Final = 600
PAYERS: Final = 10
PROVIDERS: Final = 10

Make = Callable[[dict[str, Any]], dict[str, Any]]
"""A demand to what is shown for it."""


@pytest.fixture
def place() -> Iterator[Home]:
    home = Home()
    home.env["NEXUS_WALLET_PASSWORD"] = PASSWORD
    root = str(Path(__file__).resolve().parents[2])  # for the wrong clock
    home.env["PYTHONPATH"] = os.pathsep.join(filter(None, (root, home.env.get("PYTHONPATH"))))
    yield home
    home.remove()


@pytest.fixture
def chain(tmp_path: Path) -> Iterator[LocalChain]:
    with chains.some(tmp_path) as process:
        process.fund(PAYEE.address, 100 * ETHER)
        process.mint(PAYER.address, START)
        yield process


def v1(demand: dict[str, Any]) -> dict[str, Any]:
    return official_x402.client_payment_v1(demand["accepts"][0], PAYER, "base")


def v2(demand: dict[str, Any]) -> dict[str, Any]:
    return official_x402.client_payment(demand["accepts"][0], PAYER)


async def test_the_official_client_pays_in_both_versions(place: Home, chain: LocalChain) -> None:
    with Shop("alice", place, chain, "--accept-unbound") as shop:
        async with mallory(shop.daemon) as payer:
            for number, make in enumerate((v2, v1), 1):
                order = Order(f"call-{number}")
                line, demand = await ask(payer, shop, order)
                paid = make(demand)
                await line.say(order.proof(paid))
                frames = await line.answers()
                assert (outcome(frames), events(frames)) == ("done", ["X"])
                assert response(frames)["success"]
                # the same call again is the same purchase, in whatever clothes; another call is none
                for again in (paid, *clothes(paid)):
                    frames = await show(payer, shop, order, again)
                    assert (outcome(frames), events(frames)) == ("done", ["X"])
                    assert outcome(await show(payer, shop, Order("another"), again)) == faults.USED
                assert outcome(await show(payer, shop, order, with_high_s(paid))) == faults.SIGNATURE
                rows = await trio.to_thread.run_sync(shop.settled)
                assert [row["state"] for row in rows] == ["settled"] * number
                assert (chain.balance(PAYEE.address), chain.balance(PAYER.address)) == (
                    PRICE * number,
                    START - PRICE * number,
                )
                assert rows[-1]["transaction"] == chain.logs(eip3009.USED)[-1]["transactionHash"]
            assert shop.worked.read_text() == "xx"


def clothes(paid: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """One authorisation in other forms: of version 1, with other letters, with another v."""
    yield {"x402Version": 1, "scheme": "exact", "network": "base", "payload": paid["payload"]}
    for change in (lambda text: f"0x{text[2:].upper()}", lambda text: f"{text[:-2]}{int(text[-2:], 16) - 27:02x}"):
        other = copy.deepcopy(paid)
        other["payload"]["signature"] = change(paid["payload"]["signature"])
        yield other


def with_high_s(paid: dict[str, Any]) -> dict[str, Any]:
    """The same authorisation under the other signature that the curve has for it."""
    other = copy.deepcopy(paid)
    text = paid["payload"]["signature"]
    s, v = N - int(text[66:130], 16), {"1b": "1c", "1c": "1b"}[text[130:]]
    other["payload"]["signature"] = f"{text[:66]}{s:064x}{v}"
    return other


async def test_a_hundred_at_once_show_one_payment(place: Home, chain: LocalChain) -> None:
    with Shop("alice", place, chain, "--accept-unbound") as shop:
        async with AsyncExitStack() as stack:
            # one peer alone may not have so many streams
            payers = [await stack.enter_async_context(mallory(shop.daemon, name=f"mallory-{n}")) for n in range(PAYERS)]
            payment = v2(await demanded(payers[0], shop, Order("one")))
            said: Counter[str] = Counter()

            async def one(payer: Mallory, request_id: str) -> None:
                frames = await show(payer, shop, Order(request_id), payment)
                said[outcome(frames)] += 1
                assert events(frames) == (["X"] if outcome(frames) == "done" else [])

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


async def test_one_payment_is_shown_to_ten_providers_of_one_wallet(place: Home, chain: LocalChain) -> None:
    with ExitStack() as stack, ThreadPoolExecutor(PROVIDERS) as at_once:

        def start(number: int) -> Shop:
            return stack.enter_context(Shop(f"alice-{number}", place, chain))

        shops = list(at_once.map(start, range(PROVIDERS)))
        async with mallory(*(shop.daemon for shop in shops)) as payer:
            chosen = shops[PROVIDERS // 2]
            payment = bound(await demanded(payer, chosen, Order("one")), payer, chosen.peer_id, Order("one"))
            said: dict[Shop, str] = {}

            async def one(shop: Shop) -> None:
                said[shop] = outcome(await show(payer, shop, Order("one"), payment))

            async with trio.open_nursery() as nursery:
                for shop in shops:
                    nursery.start_soon(one, shop)
            assert said == {shop: "done" if shop is chosen else faults.BINDING_MISMATCH for shop in shops}
            # and what names no request is taken by none of them
            loose = v2(await demanded(payer, shops[0], Order("two")))
            for shop in shops:
                assert outcome(await show(payer, shop, Order("two"), loose)) == faults.UNBOUND
            rows = await trio.to_thread.run_sync(chosen.settled)
            assert [row["state"] for row in rows] == ["settled"]
            assert all(shop.charges() == [] for shop in shops if shop is not chosen)
        assert [shop.worked.read_text() for shop in shops] == ["x" if shop is chosen else "" for shop in shops]
        assert chain.balance(PAYEE.address) == PRICE


async def test_two_daemons_settle_with_one_wallet(place: Home, chain: LocalChain) -> None:
    """They use the same account's numbers at once, and neither loses anything by it."""
    with Shop("alice", place, chain) as alice, Shop("carol", place, chain) as carol:
        async with mallory(alice.daemon, carol.daemon) as payer:

            async def one(shop: Shop, number: int) -> None:
                assert outcome(await buy(payer, shop, Order(f"call-{number}"))) == "done"

            with trio.fail_after(100):
                async with trio.open_nursery() as nursery:
                    for number in range(6):
                        for shop in (alice, carol):
                            nursery.start_soon(one, shop, number)
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
        assert refused["data"]["reason"] == faults.VALID_BEFORE
        assert faults.CODES[faults.VALID_BEFORE] in refused["message"]
        assert refused["data"]["payment"]["state"] == "unused"
        assert shop.charges() == []
        # it is out of hand all the same
        (purchase,) = bob.cli("pay", "history")["purchases"]
        assert (purchase["state"], purchase["counts"]) == ("closed", "0.1")
    assert shop.worked.read_text() == ""
    assert (chain.balance(PAYEE.address), chain.balance(PAYER.address)) == (0, START)
