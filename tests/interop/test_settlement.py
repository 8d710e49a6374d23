"""Getting paid on real chains: front-run, cancelled, drained, undone, dropped, outbid; and by two daemons at once. On
anvil and on py-evm, but for what needs a pool of transactions that wait."""

from __future__ import annotations

import itertools
import json
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import trio

from nexusd.chain import eip3009
from nexusd.chain.evm import EvmChain
from nexusd.chain.settlement import Policy, queue, slots
from nexusd_protocols.payments.authorization import Account
from nexusd_protocols.payments.charge import State
from nexusd_protocols.payments.transaction import Fees, sign
from tests.harness.localchain import TOKEN, LocalChain
from tests.harness.rpcnode import RpcNode, Visit
from tests.harness.settling import GAS, PAYEE, PRICE, WIDE, Provider, owed_by, payer, provider, raised, running
from tests.interop.conftest import on_anvil

NUMBERS = itertools.count(1)
HOUR = 3600


@pytest.fixture
def process(chain_process: LocalChain) -> Iterator[LocalChain]:
    before = chain_process.snapshot()
    chain_process.fund(GAS.address)
    chain_process.mint(payer().address, 100 * PRICE)
    yield chain_process
    if chain_process.pools:
        chain_process.mining(True)
    chain_process.revert(before)


@pytest.fixture
def chain(process: LocalChain) -> Iterator[EvmChain]:
    with process.connected() as chain:
        yield chain


def call(process: LocalChain, seconds: int = HOUR, account: Account | None = None, **options):
    until = process.time + seconds
    return owed_by(account or payer(), next(NUMBERS), until=until, token=process.token, **options)


def used(process: LocalChain) -> int:
    """How many authorisations the chain ever took."""
    return len(process.logs(eip3009.USED))


def gas_spent(process: LocalChain) -> int:
    """Transactions of ours in blocks."""
    return process.nonce(GAS.address)


async def test_what_is_due_is_settled_once(process: LocalChain, chain: EvmChain, tmp_path: Path):
    before = used(process)
    async with provider(tmp_path / "store", chain, token=process.token) as bob, running(bob):
        keys = [await bob.owe(call(process)) for _ in range(20)]
        bob.settlement.wake()
        rows = await bob.until(keys=keys)
    assert {row.state for row in rows} == {State.SETTLED}
    assert process.balance(PAYEE) == 20 * PRICE
    assert used(process) - before == 20
    assert gas_spent(process) == 20
    assert {row.transaction for row in rows} == {
        each["transactionHash"] for each in process.logs(eip3009.USED)[before:]
    }
    assert sorted(bob.told) == sorted((key, State.SETTLED) for key in keys)
    assert bob.settlement.status().reasons == {}


@on_anvil
async def test_the_transaction_is_on_disk_before_it_is_sent(process: LocalChain, tmp_path: Path):
    seen = []

    def script(visit: Visit) -> None:
        if visit.calls[0]["method"] == "eth_sendRawTransaction":
            raw = bytes.fromhex(visit.calls[0]["params"][0][2:])
            kept = trio.from_thread.run(bob.ledger.transactions, key, trio_token=token)
            seen.append(raw in [each.raw for each in kept])
        visit.send(json.dumps(visit.forward(process.port)).encode())

    token = trio.lowlevel.current_trio_token()
    with RpcNode(script) as node, process.connected(node.url) as chain:
        async with provider(tmp_path / "store", chain, token=process.token) as bob:
            key = await bob.owe(call(process))
            async with running(bob):
                await bob.until(keys=[key])
    assert seen == [True]


@on_anvil
async def test_somebody_else_shows_it_first(process: LocalChain, chain: EvmChain, tmp_path: Path):
    """Between our look and our transaction: ours reverts, and we are paid."""
    process.mining(False)
    async with provider(tmp_path / "store", chain, token=process.token) as bob:
        one = call(process)
        key = await bob.owe(one)
        await bob.settlement.look()
        assert (await bob.row(key)).state is State.SUBMITTED
        theirs = process.call(
            "eth_sendTransaction",
            {
                "from": process.minter,
                "to": TOKEN.asset,
                "data": "0x" + eip3009.transfer_with_authorization(one.authorization, one.signature).hex(),
                "gas": hex(300_000),
                "maxFeePerGas": hex(10**11),
                "maxPriorityFeePerGas": hex(5 * 10**10),
            },
        )
        process.mine()
        process.mining(True)
        async with running(bob):
            (row,) = await bob.until(keys=[key])
    assert row.state is State.SETTLED
    assert row.transaction == theirs
    assert process.balance(PAYEE) == PRICE


async def test_settled_by_somebody_else_before_we_looked(process: LocalChain, chain: EvmChain, tmp_path: Path):
    async with provider(tmp_path / "store", chain, token=process.token) as bob:
        one = call(process)
        key = await bob.owe(one)
        theirs = process.pay(one.authorization, one.signature)
        async with running(bob):
            (row,) = await bob.until(keys=[key])
        assert (row.state, row.transaction, row.block) == (State.SETTLED, theirs, process.number)
        assert gas_spent(process) == 0


async def test_cancelled_between_the_check_and_settlement(process: LocalChain, chain: EvmChain, tmp_path: Path):
    async with provider(tmp_path / "store", chain, token=process.token) as bob:
        one = call(process)
        key = await bob.owe(one)
        process.cancel(payer(), one.authorization.nonce)
        await bob.settlement.look()
        assert "may be undone" in bob.settlement.status().reasons[key]
        process.mine(100)
        async with running(bob):
            (row,) = await bob.until(keys=[key])
    assert (row.state, row.reason) == (State.LOST, "cancelled by the payer")
    assert gas_spent(process) == 0


async def test_drained_between_the_check_and_settlement(process: LocalChain, chain: EvmChain, tmp_path: Path):
    """No gas is spent on what would fail; if the money comes back in time, it is settled."""
    mallory = payer(66)
    process.mint(mallory.address, PRICE)
    process.fund(mallory.address)
    async with provider(tmp_path / "store", chain, token=process.token) as bob:
        ones = [call(process, seconds, mallory) for seconds in (HOUR, 40)]
        keys = [await bob.owe(one) for one in ones]
        process.transact("transfer(address,uint256)", bytes(19) + b"m", PRICE, sender=mallory)
        await bob.settlement.look()
        assert "exceeds balance" in bob.settlement.status().reasons[keys[0]]
        assert gas_spent(process) == 0
        process.forward(40 + queue.LOST_AFTER_S + 1)
        process.mint(mallory.address, PRICE)
        async with running(bob):
            settled, lost = await bob.until(keys=keys)
    assert settled.state is State.SETTLED
    assert lost.state is State.LOST
    assert "not settled in time" in lost.reason
    assert process.balance(PAYEE) == PRICE


async def test_used_for_less(process: LocalChain, chain: EvmChain, tmp_path: Path):
    """The payer of a tab shows an older, lower signature itself."""
    async with provider(tmp_path / "store", chain, token=process.token) as bob:
        low = call(process, amount=PRICE, tab=True)
        high = raised(low, 3 * PRICE, payer(), process.token)
        key = await bob.owe(high)
        process.pay(low.authorization, low.signature)
        process.mine(100)
        async with running(bob):
            (row,) = await bob.until(keys=[key])
    assert (row.state, row.reason) == (State.LOST, f"the payer had {PRICE} of {3 * PRICE} moved")


async def test_a_tab_that_grows_while_its_transaction_is_made(process: LocalChain, chain: EvmChain, tmp_path: Path):
    """What was signed last is what is sent."""
    async with provider(tmp_path / "store", chain, token=process.token) as bob:
        low = owed_by(
            payer(), next(NUMBERS), until=int(time.time()) + 50, tab=True, token=process.token
        )  # so near its end that it is due
        high = raised(low, 2 * PRICE, payer(), process.token)
        await bob.owe(low, due=False)
        await bob.ledger.due(low.key, amount=PRICE, now=bob.now())
        due = bob.ledger.next_due

        async def slow(*args, **options):
            rows = await due(*args, **options)
            if rows and rows[0].entry.amount == PRICE:
                await bob.ledger.grow(low.key, 2 * PRICE, high.signature, bob.now(), balance=None, exposure=WIDE)
            return rows

        bob.ledger.next_due = slow
        async with running(bob):
            (row,) = await bob.until(keys=[low.key])
    assert row.state is State.SETTLED
    assert process.balance(PAYEE) == 2 * PRICE


async def test_too_late_by_the_time_of_the_chain(process: LocalChain, chain: EvmChain, tmp_path: Path):
    async with provider(tmp_path / "store", chain, token=process.token) as bob:
        key = await bob.owe(call(process, seconds=2))
        process.forward(10)
        await bob.settlement.look()
        assert (await bob.row(key)).state is State.DUE  # a reorganisation could still bring it in time
        process.forward(queue.LOST_AFTER_S)
        async with running(bob):
            (row,) = await bob.until(keys=[key])
    assert row.state is State.LOST
    assert gas_spent(process) == 0


@pytest.mark.parametrize("off_s", [-600, 600])
async def test_a_clock_ten_minutes_wrong_loses_nothing(
    process: LocalChain, chain: EvmChain, tmp_path: Path, off_s: int
):
    async with provider(tmp_path / "store", chain, token=process.token) as bob:
        bob.clock_off_ms = off_s * 1000
        key = await bob.owe(call(process, seconds=120))
        front_run = call(process, seconds=120)
        keys = [key, await bob.owe(front_run)]
        process.pay(front_run.authorization, front_run.signature)
        async with running(bob):
            rows = await bob.until(keys=keys)
    assert [row.state for row in rows] == [State.SETTLED, State.SETTLED]


async def test_a_reorganisation_takes_it_back_and_it_is_settled_again(
    process: LocalChain, chain: EvmChain, tmp_path: Path
):
    async with provider(tmp_path / "store", chain, token=process.token) as bob, running(bob):
        key = await bob.owe(call(process))
        before = process.snapshot()
        bob.settlement.wake()
        await bob.until(keys=[key])
        process.revert(before)
        process.mine(2)
        assert process.balance(PAYEE) == 0
        bob.settlement.wake()
        await bob.until(lambda: bob.told[-2:] == [(key, State.DUE), (key, State.SETTLED)], [key])
    assert process.balance(PAYEE) == PRICE
    assert [state for _, state in bob.told] == [State.SETTLED, State.DUE, State.SETTLED]


async def test_a_reorganisation_while_the_provider_is_away_is_found_however_long_that_is(
    process: LocalChain, chain: EvmChain, tmp_path: Path
):
    async with provider(tmp_path / "store", chain, token=process.token) as bob:
        before = process.snapshot()
        key = await bob.owe(call(process))
        async with running(bob):
            await bob.until(keys=[key])
    process.revert(before)
    process.mine(100)
    async with provider(tmp_path / "store", chain, token=process.token) as bob, running(bob):
        await bob.until(lambda: bob.told[-2:] == [(key, State.DUE), (key, State.SETTLED)], [key])
        assert process.balance(PAYEE) == PRICE
        process.mine(100)
        bob.settlement.wake()
        with trio.fail_after(20):
            while await bob.ledger.unsure(process.token.network, 1):  # seen where nothing can undo it
                await trio.sleep(0.05)


@on_anvil
async def test_a_large_payment_waits_until_its_block_is_safe(process: LocalChain, chain: EvmChain, tmp_path: Path):
    policy = Policy(large=PRICE, max_fee=10**11)
    async with provider(tmp_path / "store", chain, policy=policy, token=process.token) as bob:
        small, large = call(process, amount=PRICE - 1), call(process)
        keys = [await bob.owe(small), await bob.owe(large)]
        async with running(bob):
            await bob.until(keys=keys[:1])
            await bob.until(lambda: "may be undone" in bob.settlement.status().reasons.get(keys[1], ""))
            assert (await bob.row(keys[1])).state is State.SUBMITTED
            process.mine(100)
            await bob.until(keys=keys)
    assert process.balance(PAYEE) == 2 * PRICE - 1


@on_anvil
async def test_the_node_forgets_what_waits(process: LocalChain, chain: EvmChain, tmp_path: Path, monkeypatch):
    """The same bytes are sent again."""
    monkeypatch.setattr(slots, "RESEND_MS", 100)
    process.mining(False)
    async with provider(tmp_path / "store", chain, token=process.token) as bob:
        key = await bob.owe(call(process))
        await bob.settlement.look()
        (transaction,) = await bob.ledger.transactions(key)
        process.drop(transaction.hash)
        async with running(bob):
            await bob.until(lambda: process.nonce(GAS.address, "pending") == 1)
            process.mine()
            (row,) = await bob.until(keys=[key])
        assert (await bob.ledger.transactions(key)) == [transaction]
    assert row.transaction == transaction.hash
    process.mining(True)


@on_anvil
async def test_what_offers_too_little_offers_more(process: LocalChain, chain: EvmChain, tmp_path: Path, monkeypatch):
    monkeypatch.setattr(slots, "BUMP_MS", 200)
    process.mining(False)
    async with provider(tmp_path / "store", chain, token=process.token) as bob:
        key = await bob.owe(call(process))
        await bob.settlement.look()
        (first,) = await bob.ledger.transactions(key)
        base = 4 * first.fees.most
        async with running(bob):
            with trio.fail_after(30):
                while len(made := await bob.ledger.transactions(key)) < 2 or made[-1].fees.most < base:
                    process.call("anvil_setNextBlockBaseFeePerGas", hex(base))
                    process.mine()
                    await trio.sleep(0.1)
            assert {each.account_nonce for each in made} == {first.account_nonce}
            assert all(later.fees.most * 4 >= earlier.fees.most * 5 for earlier, later in itertools.pairwise(made))
            process.mining(True)
            process.mine()
            (row,) = await bob.until(keys=[key])
    assert row.state is State.SETTLED
    assert (gas_spent(process), process.balance(PAYEE)) == (1, PRICE)


async def test_no_money_for_gas_and_gas_that_is_too_dear(process: LocalChain, chain: EvmChain, tmp_path: Path):
    process.fund(GAS.address, 10**6)
    async with provider(tmp_path / "store", chain, token=process.token) as bob:
        key = await bob.owe(call(process))
        await bob.settlement.look()
        assert bob.settlement.status().reasons[key] == "the account has too little to pay for gas"
        assert await bob.ledger.transactions(key) == []
    cheap = Policy(max_fee=1000)
    process.fund(GAS.address)
    async with provider(tmp_path / "store", chain, policy=cheap, token=process.token) as bob:
        await bob.settlement.look()
        assert bob.settlement.status().reasons[key] == "gas costs more than is allowed"
    async with provider(tmp_path / "store", chain, account=None, token=process.token) as bob:
        await bob.settlement.look()
        assert bob.settlement.status().reasons[key] == "there is no account to pay for gas"
        bob.settlement.use(GAS)
        async with running(bob):
            await bob.until(keys=[key])
    assert process.balance(PAYEE) == PRICE


@on_anvil
async def test_the_account_is_used_by_somebody_else_too(process: LocalChain, chain: EvmChain, tmp_path: Path):
    """A transaction that takes our number: ours is made anew with another."""
    process.mining(False)
    async with provider(tmp_path / "store", chain, token=process.token) as bob:
        key = await bob.owe(call(process))
        await bob.settlement.look()
        other = sign(
            GAS, chain_id=TOKEN.chain_id, nonce=0, fees=Fees(10**11, 10**10), gas=21_000, to=PAYEE, data=b"", value=1
        )
        assert (await chain.send(other, timeout=20)).result == "sent"
        process.mine()
        process.mining(True)
        async with running(bob):
            (row,) = await bob.until(keys=[key])
        assert [each.account_nonce for each in await bob.ledger.transactions(key)] == [0, 1]
    assert row.state is State.SETTLED
    assert process.balance(PAYEE) == PRICE


@on_anvil
async def test_a_number_that_nobody_uses_in_front_of_ours(
    process: LocalChain, chain: EvmChain, tmp_path: Path, monkeypatch
):
    """Another daemon's transaction was before ours, and was dropped."""
    monkeypatch.setattr(slots, "GAP_MS", 200)
    monkeypatch.setattr(slots, "RESEND_MS", 200)
    process.mining(False)
    other = sign(
        GAS, chain_id=TOKEN.chain_id, nonce=0, fees=Fees(10**10, 10**9), gas=21_000, to=PAYEE, data=b"", value=1
    )
    assert (await chain.send(other, timeout=20)).result == "sent"
    async with provider(tmp_path / "store", chain, token=process.token) as bob:
        key = await bob.owe(call(process))
        await bob.settlement.look()
        assert [each.account_nonce for each in await bob.ledger.transactions(key)] == [1]
        process.drop(other.hash)
        process.mining(True)
        async with running(bob):
            (row,) = await bob.until(keys=[key])
    assert row.state is State.SETTLED
    assert gas_spent(process) == 2


@on_anvil
async def test_two_daemons_with_one_account(process: LocalChain, chain: EvmChain, tmp_path: Path):
    """Each takes numbers that the other takes too. All is settled, once."""
    before = used(process)
    with process.connected() as second:
        async with (
            provider(tmp_path / "one", chain, token=process.token) as bob,
            provider(tmp_path / "two", second, token=process.token) as carol,
            running(bob),
            running(carol),
        ):
            keys: dict[Provider, list[str]] = {bob: [], carol: []}
            for _ in range(15):
                for one, mine in keys.items():
                    mine.append(await one.owe(call(process)))
                    one.settlement.wake()
            rows = [row for one, mine in keys.items() for row in await one.until(keys=mine)]
    assert {row.state for row in rows} == {State.SETTLED}
    assert used(process) - before == 30
    assert process.balance(PAYEE) == 30 * PRICE
