"""Payers that mean no good, at a real daemon that settles on a chain: nobody is charged twice, nothing is handed over
twice, and no more is lost than may be."""

from __future__ import annotations

import itertools
import json
import threading
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any, Final

import pytest
import trio

from nexusd.client import Nexus, NexusError
from nexusd_protocols.payments import faults
from nexusd_protocols.payments.authorization import Account, Authorization
from tests.crash.market import PASSWORD, keep_wallet
from tests.harness import chains
from tests.harness.daemon import Daemon, Home, connect
from tests.harness.localchain import ETHER, LocalChain
from tests.harness.mallory import INVOKE, Mallory, mallory, unharmed
from tests.harness.nodes import until
from tests.harness.paying import PAYEE, THIEF
from tests.harness.rpcnode import RpcNode
from tests.harness.shop import PRICE, Order, Shop, Tap, ask, begin, bound, buy, demanded, events, outcome, show

COUNT: Final = 'i=0; while [ $i -lt 30 ]; do i=$((i+1)); echo "\\"$i\\""; sleep 0.02; done'
"""Thirty pieces within a second."""
ANSWER: Final = 'read x; i=0; while [ $i -lt 100 ]; do i=$((i+1)); echo "\\"$x-$i\\""; sleep 0.05; done'
"""A hundred pieces that say what was asked, in five seconds."""

_numbers: Final = itertools.count(1)


class Market:
    """alice sells, what is asked of her chain goes through `tap`."""

    def __init__(self, shop: Shop, chain: LocalChain, tap: Tap) -> None:
        self.shop = shop
        self.chain = chain
        self.tap = tap
        self.places = shop.daemon.home.directory

    def stranger(self, amount: int = 100 * PRICE) -> Account:
        """Somebody who has never paid here."""
        account = Account(next(_numbers).to_bytes(32, "big"))
        self.chain.mint(account.address, amount)
        self.chain.fund(account.address)
        return account

    def row(self, payment: dict[str, Any]) -> dict[str, Any] | None:
        """What the shop's ledger says of a payment."""
        nonce = payment["payload"]["authorization"]["nonce"][2:]
        return next((row for row in self.shop.charges() if row["key"].endswith(nonce)), None)

    async def state(self, payment: dict[str, Any], *states: str) -> None:
        """Until the charge is in one of these states."""
        await until(lambda: (self.row(payment) or {}).get("state") in states)


@pytest.fixture(scope="module")
def market(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Market]:
    home = Home()
    home.env["NEXUS_WALLET_PASSWORD"] = PASSWORD
    with chains.some(tmp_path_factory.mktemp("chain")) as chain:
        chain.fund(PAYEE.address, 100 * ETHER)
        tap = Tap(chain)
        flags = ("--known-after", "1", "--exposure-payer", "0.5", "--log-level", "debug")
        with RpcNode(tap) as node, Shop("alice", home, chain, *flags, node=node.url) as shop:
            shop.serve("count", f"cat >> {shop.worked}; {COUNT}", "--jsonl")
            shop.serve("slow", f"cat >> {shop.worked}; touch {home.directory}/begun; sleep 1; echo done")
            yield Market(shop, chain, tap)
    home.remove()


@asynccontextmanager
async def somebody(market: Market) -> AsyncIterator[Mallory]:
    """Whom nobody knows here."""
    async with mallory(market.shop.daemon, name=f"mallory-{next(_numbers)}") as payer:
        yield payer


async def known(market: Market, payer: Mallory) -> Account:
    """Let it pay once, so that output does not wait for the chain; and its account."""
    account = market.stranger()
    assert outcome(await buy(payer, market.shop, Order(f"first-{next(_numbers)}"), account=account)) == "done"
    return account


def signed(payment: dict[str, Any]) -> tuple[Authorization, bytes]:
    """What a payment authorises, as the chain takes it."""
    fields = payment["payload"]["authorization"]
    authorization = Authorization(
        from_=bytes.fromhex(fields["from"][2:]),  # type: ignore[arg-type]
        to=bytes.fromhex(fields["to"][2:]),  # type: ignore[arg-type]
        value=int(fields["value"]),
        valid_after=int(fields["validAfter"]),
        valid_before=int(fields["validBefore"]),
        nonce=bytes.fromhex(fields["nonce"][2:]),
    )
    return authorization, bytes.fromhex(payment["payload"]["signature"][2:])


def worked(market: Market) -> int:
    return len(market.shop.worked.read_text())


# --- bad objects ------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("where", ["opening", "answer"])
async def test_a_payment_of_ten_megabytes(market: Market, where: str) -> None:
    async with somebody(market) as payer:
        order = Order("large")
        line, demand = await ask(payer, market.shop, order)
        payment = bound(demand, payer, market.shop.peer_id, order)
        payment["extensions"]["more"] = "x" * (10 << 20)
        with unharmed(market.shop.daemon):
            if where == "opening":
                line = await payer.open(market.shop.daemon, INVOKE)
                await line.say(*order.opening(payment))
            else:
                await line.say(order.proof(payment))
            frames = await line.answers()
        assert [frame["code"] for frame in frames] in ([], ["BAD_REQUEST"])
        assert market.row(payment) is None


async def test_a_payment_of_more_than_is_read(market: Market) -> None:
    async with somebody(market) as payer:
        order = Order("larger")
        payment = bound(await demanded(payer, market.shop, order), payer, market.shop.peer_id, order)
        payment["extensions"]["more"] = "x" * (33 << 10)
        assert outcome(await show(payer, market.shop, order, payment)) == faults.INVALID_PAYLOAD


# --- what the chain knows ---------------------------------------------------------------------------------------------
async def test_what_the_chain_speaks_against_buys_nothing(market: Market) -> None:
    async with somebody(market) as payer:
        before = worked(market)
        rich, poor = market.stranger(), market.stranger(PRICE - 1)
        cases = {"used": rich, "taken back": rich, "poor": poor}
        said = {}
        for name, account in cases.items():
            order = Order(name.replace(" ", "-"))
            demand = await demanded(payer, market.shop, order)
            payment = bound(demand, payer, market.shop.peer_id, order, account=account)
            if name == "used":
                market.chain.pay(*signed(payment))
            elif name == "taken back":
                market.chain.cancel(account, signed(payment)[0].nonce)
            said[name] = outcome(await show(payer, market.shop, order, payment))
            assert market.row(payment) is None
        assert said == {
            "used": faults.TRANSACTION_STATE,
            "taken back": faults.TRANSACTION_STATE,
            "poor": faults.INSUFFICIENT_FUNDS,
        }
        assert worked(market) == before


@pytest.mark.parametrize("how", ["taken back", "drained", "paid by others"])
async def test_what_happens_to_a_strangers_money_while_its_call_is_worked_on(market: Market, how: str) -> None:
    """The result stays here until the chain has said what became of it."""
    async with somebody(market) as payer:
        account, order = market.stranger(PRICE), Order(how.replace(" ", "-"), "slow", fields={"maxDurationMs": 2500})
        demand = await demanded(payer, market.shop, order)
        payment = bound(demand, payer, market.shop.peer_id, order, account=account)
        begun = market.places / "begun"
        begun.unlink(missing_ok=True)
        before, paid = worked(market), market.chain.balance(PAYEE.address)
        line = await begin(payer, market.shop, order, payment)
        await until(begun.exists)
        match how:
            case "taken back":
                market.chain.cancel(account, signed(payment)[0].nonce)
                market.chain.mine(80)  # so deep that it stays
            case "drained":
                market.chain.transact("transfer(address,uint256)", bytes(THIEF.address), PRICE, sender=account)
            case "paid by others":
                market.chain.pay(*signed(payment))
        frames = await line.answers()
        if how == "paid by others":
            assert (outcome(frames), events(frames)) == ("done", ["done\n"])
        elif how == "taken back":
            assert (outcome(frames), events(frames)) == (faults.LOST, [])
            assert outcome(await show(payer, market.shop, order, payment)) == faults.LOST
        else:
            assert (outcome(frames), events(frames)) == (faults.SETTLEMENT_PENDING, [])
            # it is not asked for again; once the money is back, it pays for what was made of it
            market.chain.mint(account.address, PRICE)
            await market.state(payment, "settled")
            frames = await show(payer, market.shop, order, payment)
            assert (outcome(frames), events(frames)) == ("done", ["done\n"])
        assert worked(market) == before + 1
        assert market.chain.balance(PAYEE.address) - paid == (0 if how == "taken back" else PRICE)


# --- who goes away ----------------------------------------------------------------------------------------------------
async def test_who_goes_away_at_any_moment_is_charged_for_what_came_and_once(market: Market) -> None:
    shop, chain = market.shop, market.chain
    async with somebody(market) as payer:
        account, before, paid = await known(market, payer), worked(market), chain.balance(PAYEE.address)

        async def offer(name: str, capability: str = "upper", **options: Any) -> tuple[Order, dict[str, Any]]:
            order = Order(name, capability, **options)
            demand = await demanded(payer, shop, order)
            return order, bound(demand, payer, shop.peer_id, order, account=account)

        # asked to pay
        await offer("asked")

        # while the chain is asked
        order, payment = await offer("checked")
        market.tap.checks.clear()
        market.tap.asked.clear()
        line = await begin(payer, shop, order, payment)
        await trio.to_thread.run_sync(market.tap.asked.wait, 20)
        await line.reset()
        market.tap.checks.set()
        await until(lambda: (market.row(payment) or {"state": "released"})["state"] == "released")

        # at work
        begun = market.places / "begun"
        begun.unlink(missing_ok=True)
        order, payment = await offer("working", "slow")
        line = await begin(payer, shop, order, payment)
        await until(begun.exists)
        await line.reset()
        await market.state(payment, "released")
        assert chain.balance(PAYEE.address) == paid
        # and asked for again it is worked on anew, and charged now
        assert events(await show(payer, shop, order, payment)) == ["done\n"]
        await market.state(payment, "settled")

        # within a stream: the work goes on, and is kept
        order, payment = await offer("within", "count", stream=True)
        line = await begin(payer, shop, order, payment)
        while (await line.answer())["type"] != "invoke.event":
            pass
        await line.reset()
        await until(lambda: (market.row(payment) or {}).get("state") in ("due", "submitted", "settled"))
        frames: list[dict[str, Any]] = []
        while not frames or outcome(frames) in ("BUSY", faults.IN_PROGRESS):
            await trio.sleep(0.05)
            frames = await show(payer, shop, order, payment)
        assert (outcome(frames), events(frames)) == ("done", [str(number) for number in range(1, 31)])

        # while it waits for the chain
        stranger = market.stranger()
        order = Order("waits", "slow")
        payment = bound(await demanded(payer, shop, order), payer, shop.peer_id, order, account=stranger)
        market.tap.settles = False
        line = await begin(payer, shop, order, payment)
        await market.state(payment, "due", "submitted")
        await line.reset()
        market.tap.settles = True
        await market.state(payment, "settled")
        assert events(await show(payer, shop, order, payment)) == ["done\n"]

        await trio.to_thread.run_sync(shop.settled)
        # at work twice, within a stream, and what waited: nothing else was worked on
        assert worked(market) - before in (4, 5)
        assert chain.balance(PAYEE.address) == paid + 3 * PRICE


# --- one payment, one answer ------------------------------------------------------------------------------------------
@pytest.mark.parametrize("bound_by", ["output", "time"])
async def test_one_payment_has_one_answer_however_its_caller_breaks_off(market: Market, bound_by: str) -> None:
    """Asked again with other questions, by somebody who sees to it that the work ends early."""
    limits = {"maxOutputBytes": 30} if bound_by == "output" else {"maxDurationMs": 1500}
    market.shop.serve("answer", ANSWER, "--jsonl")
    async with somebody(market) as payer:
        account = await known(market, payer)
        first = Order(f"asked-{bound_by}", "answer", "0", stream=True, fields=limits)
        payment = bound(await demanded(payer, market.shop, first), payer, market.shop.peer_id, first, account=account)
        came: set[str] = set()
        for number in range(4):
            order = replace(first, data=str(number))
            frames = await show(payer, market.shop, order, payment)
            came.update(piece.split("-")[0] for piece in events(frames))
            assert number or frames[-1]["type"] == "invoke.error", "the first breaks off"
        assert came == {"0"}
        row = market.row(payment)
        assert row is not None
        await market.state(payment, "settled")


async def test_who_reads_nothing_costs_no_memory(market: Market) -> None:
    """What it has paid for waits for it, within bounds, and nothing that it says meanwhile is kept."""
    market.shop.serve("much", "yes '\"" + "a" * 30_000 + "\"' | head -n 1000", "--jsonl")
    async with somebody(market) as payer:
        account = await known(market, payer)
        order = Order("stalls", "much", stream=True, fields={"maxOutputBytes": 1 << 27})
        payment = bound(await demanded(payer, market.shop, order), payer, market.shop.peer_id, order, account=account)
        with unharmed(market.shop.daemon, mebibytes=24):
            line = await begin(payer, market.shop, order, payment)
            while (await line.answer())["type"] != "invoke.event":
                pass
            answer = order.frame("payment", tab=0, amount="1", signature=f"0x{'11' * 65}")
            said = 0
            while said < 100_000 and await line.say(*[answer] * 100):
                said += 100
            assert said < 100_000, "what nobody asked for is refused"
        await until(lambda: (market.row(payment) or {}).get("state") in ("due", "submitted", "settled"))


# --- more than there is -----------------------------------------------------------------------------------------------
def test_two_daemons_buy_with_one_wallet(market: Market) -> None:
    """Each keeps to its own policy, and the shop sums what both have signed: one buys, the other is told why not."""
    account = market.stranger(PRICE + PRICE // 2)
    home, shop = market.shop.daemon.home, market.shop.daemon
    node = ("--rpc-urls", f"base={market.chain.url}")
    for name in ("bob", "carol"):
        keep_wallet(home, name, account)
    before, paid = worked(market), market.chain.balance(PAYEE.address)
    with Daemon("bob", home, *node) as bob, Daemon("carol", home, *node) as carol:
        said: dict[str, Any] = {}

        def buy_one(buyer: Daemon) -> None:
            with Nexus.connect(data_dir=buyer.data_dir, timeout=30) as nexus:
                try:
                    said[buyer.name] = nexus.invoke(shop.peer_id, "slow", "x", max_price="0.10")
                except NexusError as error:
                    said[buyer.name] = error

        for buyer in (bob, carol):
            connect(buyer, shop)
            buyer.rpc("pay.setPolicy", perRequest="0.1", perDay="0.1", networks=["base"], approveAbove="none")
        threads = [threading.Thread(target=buy_one, args=(buyer,)) for buyer in (bob, carol)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        done = [name for name, answer in said.items() if answer == "done\n"]
        (refused,) = [answer for answer in said.values() if isinstance(answer, NexusError)]
        assert len(done) == 1, said
        assert refused.code == "payment_invalid"
        assert refused.data["reason"] == faults.INSUFFICIENT_FUNDS
        assert refused.data["payment"]["state"] == "unused"
        # what was signed is out of hand at both, and neither pays more
        for buyer in (bob, carol):
            (row,) = buyer.rpc("pay.history")["purchases"]
            assert row["state"] == ("spent" if buyer.name in done else "closed")
            assert row["counts"] == "0.1"
    assert worked(market) == before + 1
    assert market.chain.balance(PAYEE.address) == paid + PRICE


async def test_no_more_is_lost_than_may_be_owed(market: Market) -> None:
    """A payer of good standing calls as often as it can while nothing is settled, and then its money is gone."""
    async with somebody(market) as payer:
        account, before = await known(market, payer), worked(market)
        await trio.to_thread.run_sync(market.shop.settled)
        market.tap.settles = False
        said: Counter[str] = Counter()

        async def one(number: int) -> None:
            said[outcome(await buy(payer, market.shop, Order(f"many-{number}"), account=account))] += 1

        async with trio.open_nursery() as nursery:
            for number in range(12):
                nursery.start_soon(one, number)
        assert said == {"done": 5, faults.EXPOSURE: 7}
        left = market.chain.balance(account.address)
        market.chain.transact("transfer(address,uint256)", bytes(THIEF.address), left, sender=account)
        market.tap.settles = True
        assert outcome(await buy(payer, market.shop, Order("poor"), account=account)) == faults.INSUFFICIENT_FUNDS
        assert worked(market) == before + 5


# --- what is written down ---------------------------------------------------------------------------------------------
async def test_neither_keys_nor_signatures_are_in_the_log(market: Market) -> None:
    async with somebody(market) as payer:
        account, order = market.stranger(), Order("logged")
        payment = bound(await demanded(payer, market.shop, order), payer, market.shop.peer_id, order, account=account)
        assert outcome(await show(payer, market.shop, order, payment)) == "done"
        broken = json.loads(json.dumps(payment))
        broken["payload"]["signature"] = broken["payload"]["signature"][:-2] + "ff"
        assert outcome(await show(payer, market.shop, Order("logged-2"), broken)) != "done"
        await market.state(payment, "settled")
    log = market.shop.daemon.log_text().lower()
    assert "call_answered" in log
    secrets = (PAYEE.secret().hex(), PASSWORD, payment["payload"]["signature"][2:66].lower())
    assert [secret for secret in secrets if secret in log] == []
