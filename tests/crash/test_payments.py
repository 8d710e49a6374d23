"""kill -9 of either side of paid calls at random: every charge exactly once, and ledger = chain = the payer's books."""

from __future__ import annotations

import random
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
import trio

from nexusd.app import STORE_FILE
from nexusd.chain import eip3009
from nexusd.client import NexusError
from nexusd.store.store import Store
from nexusd_protocols.identity import AgentId
from nexusd_protocols.payments.charge import Charge, State
from nexusd_protocols.payments.purchase import PurchaseRow, PurchaseState
from tests.crash import market
from tests.crash.market import PRICE, Load, keep_wallet, serve
from tests.harness import chains
from tests.harness.daemon import Daemon, Home
from tests.harness.localchain import ETHER, LocalChain
from tests.harness.paying import PAYEE, PAYER
from tests.harness.process import poll
from tests.harness.soundness import faults

START = 10**9


@pytest.fixture
def home() -> Iterator[Home]:
    place = Home()
    place.env["NEXUS_WALLET_PASSWORD"] = market.PASSWORD
    keep_wallet(place, "alice", PAYEE)
    keep_wallet(place, "bob", PAYER)
    yield place
    place.remove()


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize(
    ("calls", "kills"), [(20, 4), pytest.param(300, 60, marks=pytest.mark.soak)], ids=["few", "many"]
)
def test_each_call_is_charged_once_however_often_either_side_dies(
    tmp_path: Path, home: Home, calls: int, kills: int
) -> None:
    seed = random.SystemRandom().randrange(1 << 32)
    print(f"seed {seed}")
    choose = random.Random(seed)
    worked = tmp_path / "worked"
    with chains.some(tmp_path) as chain:
        chain.fund(PAYEE.address, 100 * ETHER)
        chain.mint(PAYER.address, START)
        node = ("--rpc-urls", f"base={chain.url}", "--log-level", "warning")
        with Daemon("alice", home, *node) as alice, Daemon("bob", home, *node) as bob:
            serve(alice, worked)
            bob.rpc("pay.setPolicy", perRequest="1", networks=["base"], approveAbove="none", perMinute="none")
            _meet(bob, alice)
            load = Load(alice, bob, calls, choose)
            deaths: Counter[str] = Counter()
            with load.running():
                for kill in range(kills):
                    load.wait_done(kill * (calls - market.BUYERS) // kills)
                    time.sleep(choose.uniform(0, 0.15))
                    _kill(choose, load, alice, bob, deaths)
            _settled(alice)
            _ask_again(load, choose, worked, chain)
            provider, payer = alice.peer_id, bob.peer_id
        print(dict(deaths), dict(sum((Counter(task.broken) for task in load.tasks), Counter())))
        trio.run(_check, home, load, chain, AgentId(provider), AgentId(payer))
        again = sum(task.tries > 1 for task in load.tasks)
        print(f"{calls} calls, {again} of them asked for again; worked {len(worked.read_text().split())} times")


def _meet(bob: Daemon, alice: Daemon) -> None:
    def connected() -> bool:
        try:
            bob.rpc("peers.connect", address=alice.tcp)
        except NexusError:
            return False
        return True

    poll(connected, "bob reaches alice")


def _kill(choose: random.Random, load: Load, alice: Daemon, bob: Daemon, deaths: Counter[str]) -> None:
    victims = choose.choice([[alice], [alice], [bob], [bob], [alice, bob]])
    if bob in victims:
        load.up.clear()
    for victim in victims:
        victim.kill9()
        deaths[victim.name] += 1
    for victim in victims:
        victim.start()
    _meet(bob, alice)
    load.up.set()


def _settled(alice: Daemon) -> None:
    def nothing_open() -> bool:
        totals = alice.rpc("pay.settlements")["totals"]
        assert not any(total["state"] == "lost" for total in totals), totals
        return all(total["state"] in ("settled", "released") for total in totals)

    poll(nothing_open, "everything settled", timeout=120, every=0.2)


def _ask_again(load: Load, choose: random.Random, worked: Path, chain: LocalChain) -> None:
    """What was paid for is given again, to the letter, and nobody works or pays for it."""
    before = worked.read_text(), chain.balance(PAYEE.address)
    done = [task for task in load.tasks if task.result is not None]
    for task in choose.sample(done, min(5, len(done))):
        assert load.ask(task) == task.result
    assert (worked.read_text(), chain.balance(PAYEE.address)) == before


async def _check(home: Home, load: Load, chain: LocalChain, provider: AgentId, payer: AgentId) -> None:
    delivered = {task.id for task in load.tasks if task.result is not None}
    assert {task.number for task in load.tasks if task.failed} == {task.number for task in load.tasks if task.fails}
    results = [piece for task in load.tasks for piece in (task.result or ())[-1:]]
    assert len(set(results)) == len(results) == len(delivered)  # each has a result of its own
    async with Store.open(home.data_dir("alice") / STORE_FILE) as store:
        assert await faults(store) == []
        charges = await _charges(store, provider)
        income = sum(meter.amount for meter in await store.metering.sums(provider) if meter.direction == "in")
    async with Store.open(home.data_dir("bob") / STORE_FILE) as store:
        assert await faults(store) == []
        purchases = await _purchases(store, payer)
        spent = sum(meter.amount for meter in await store.metering.sums(payer) if meter.direction == "out")
    settled = {charge.entry.key: charge for charge in charges if charge.state is State.SETTLED}
    assert {charge.state for charge in charges} <= {State.SETTLED, State.RELEASED}
    # the chain's word
    logs = {each["topics"][2]: each["transactionHash"] for each in chain.logs(eip3009.USED)}
    assert logs == {f"0x{c.entry.authorization.nonce.hex()}": c.transaction for c in settled.values()}
    total = PRICE * len(delivered)
    assert (chain.balance(PAYEE.address), chain.balance(PAYER.address)) == (total, START - total)
    # the payer's
    bought = {row.signed.key: row for row in purchases if row.signed is not None}
    assert {row.intent.id for row in purchases if row.state is PurchaseState.SPENT} == delivered
    assert {bought[key].intent.id for key in settled} == delivered
    assert all(bought[key].state is PurchaseState.SPENT for key in settled)
    assert {charge.entry.key for charge in charges} <= bought.keys()
    # a meter lacks what a crash took, and counts nothing twice
    assert income <= total
    assert spent <= total


async def _charges(store: Store, agent: AgentId) -> list[Charge]:
    found: list[Charge] = []
    while True:
        page = await store.ledger.list(agent, after=found[-1].position if found else 0, limit=100)
        found += page.rows
        if not page.more:
            return found


async def _purchases(store: Store, agent: AgentId) -> list[PurchaseRow]:
    found: list[PurchaseRow] = []
    while True:
        page = await store.purchases.list(agent, after=found[-1].position if found else 0, limit=100)
        found += page.rows
        if not page.more:
            return found
