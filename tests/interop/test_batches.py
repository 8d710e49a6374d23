"""Many payments in one transaction, on a real chain with Multicall3's own code: all are paid, for less gas, and one
that goes wrong takes none along."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path

import pytest
import trio

from nexusd.chain import eip3009, multicall3
from nexusd.chain.evm import EvmChain
from nexusd.chain.settlement import Policy, slots
from nexusd_protocols.payments.charge import State
from tests.harness import chains
from tests.harness.anvil import Anvil
from tests.harness.localchain import ETHER, GWEI
from tests.harness.settling import GAS, PAYEE, PRICE, Provider, owed_by, payer, provider, running

NUMBERS = itertools.count(1)
PAYERS = 10
POLICY = Policy(max_fee=100 * GWEI)
LOOP = bytes.fromhex("5b600056")
"""Code that uses up all gas it is given."""


@pytest.fixture(scope="module")
def chain_process(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Anvil]:
    chains.require("anvil")
    with Anvil(tmp_path_factory.mktemp("anvil")) as process:
        process.put_multicall3()
        for number in range(PAYERS):
            process.mint(payer(number).address, 100 * PRICE)
        process.mint(PAYEE, 1)  # as one that was paid before
        yield process


@pytest.fixture
def process(chain_process: Anvil) -> Iterator[Anvil]:
    before = chain_process.snapshot()
    chain_process.fund(GAS.address, 10 * ETHER)
    yield chain_process
    chain_process.mining(True)
    chain_process.revert(before)


@pytest.fixture
def chain(process: Anvil) -> Iterator[EvmChain]:
    with process.connected() as chain:
        yield chain


def call(process: Anvil, number: int):
    return owed_by(payer(number), next(NUMBERS), until=process.time + 3600)


def gas_used(process: Anvil, transactions) -> int:
    receipts = [process.call("eth_getTransactionReceipt", each) for each in transactions]
    return sum(int(each["gasUsed"], 16) for each in receipts)


async def settle(process: Anvil, chain: EvmChain, directory: Path, count: int, policy: Policy = POLICY) -> set[str]:
    """So many, each by another payer. Returns the transactions."""
    async with provider(directory, chain, policy=policy) as bob:
        keys = [await bob.owe(call(process, number)) for number in range(count)]
        async with running(bob):
            rows = await bob.until(keys=keys)
    assert {row.state for row in rows} == {State.SETTLED}
    return {row.transaction for row in rows}


async def test_ten_payments_are_one_transaction_for_less_than_two_thirds_of_the_gas(
    process: Anvil, chain: EvmChain, tmp_path: Path
):
    alone = await settle(process, chain, tmp_path / "alone", PAYERS, Policy(max_fee=100 * GWEI, batch_least=99))
    together = await settle(process, chain, tmp_path / "together", PAYERS)
    assert (len(alone), len(together)) == (PAYERS, 1)
    assert process.balance(PAYEE) == 1 + 2 * PAYERS * PRICE
    assert len(process.logs(eip3009.USED)) == 2 * PAYERS
    before, after = gas_used(process, alone), gas_used(process, together)
    print(f"gas for a payment: {before // PAYERS} alone, {after // PAYERS} of {PAYERS} together: {after / before:.2f}")
    assert after < 0.65 * before


async def test_without_the_contract_each_goes_alone(process: Anvil, chain: EvmChain, tmp_path: Path):
    process.set_code(multicall3.ADDRESS, b"\x00")  # another one's
    assert len(await settle(process, chain, tmp_path / "store", 6)) == 6


async def sent_together(bob: Provider, process: Anvil, ones) -> list[str]:
    """All are in one transaction, which waits."""
    process.mining(False)
    keys = [await bob.owe(one) for one in ones]
    await bob.settlement.look()
    kept = [await bob.ledger.transactions(key) for key in keys]
    assert len({each.hash for made in kept for each in made}) == 1
    assert {(await bob.row(key)).state for key in keys} == {State.SUBMITTED}
    return keys


async def test_one_that_was_cancelled_meanwhile_costs_the_others_nothing(
    process: Anvil, chain: EvmChain, tmp_path: Path, monkeypatch
):
    monkeypatch.setattr(slots, "RESEND_MS", 100)
    async with provider(tmp_path / "store", chain, policy=POLICY) as bob:
        ones = [call(process, number) for number in range(6)]
        keys = await sent_together(bob, process, ones)
        (sent,) = await bob.ledger.transactions(keys[0])
        process.drop(sent.hash)  # so that what comes now is before it
        process.cancel(payer(2), ones[2].authorization.nonce)
        process.mining(True)
        async with running(bob):
            rows = await bob.until(keys=keys[:2] + keys[3:])
            process.mine(100)
            (lost,) = await bob.until(keys=[keys[2]])
    assert {(row.state, row.transaction) for row in rows} == {(State.SETTLED, sent.hash)}
    assert (lost.state, lost.reason) == (State.LOST, "cancelled by the payer")
    assert process.balance(PAYEE) == 1 + 5 * PRICE
    assert process.nonce(GAS.address) == 1


async def test_one_that_was_shown_by_somebody_else_is_paid_by_that(process: Anvil, chain: EvmChain, tmp_path: Path):
    """Between our look and our transaction."""
    async with provider(tmp_path / "store", chain, policy=POLICY) as bob:
        ones = [call(process, number) for number in range(6)]
        keys = [await bob.owe(one) for one in ones]
        survey, theirs = chain.survey, []

        async def slow(account, questions, transactions, *, timeout):
            found = await survey(account, questions, transactions, timeout=timeout)
            if questions and not theirs:
                theirs.append(process.pay(ones[4].authorization, ones[4].signature))
            return found

        chain.survey = slow
        async with running(bob):
            rows = await bob.until(keys=keys)
    assert {row.state for row in rows} == {State.SETTLED}
    assert rows[4].transaction == theirs[0]
    assert len({row.transaction for row in rows}) == 2
    assert process.balance(PAYEE) == 1 + 6 * PRICE


async def test_a_payer_that_becomes_a_contract_burns_one_transaction_and_no_payment(
    process: Anvil, chain: EvmChain, tmp_path: Path
):
    """It is asked whether the signature is its own (EIP-1271), and uses up what gas there is. The others go alone."""
    async with provider(tmp_path / "store", chain, policy=POLICY) as bob:
        keys = await sent_together(bob, process, [call(process, number) for number in range(6)])
        process.set_code(payer(0).address, LOOP)
        process.mine()
        process.mining(True)
        (burnt,) = await bob.ledger.transactions(keys[1])
        receipt = process.call("eth_getTransactionReceipt", burnt.hash)
        assert int(receipt["gasUsed"], 16) > 0.9 * POLICY.gas_of(6)
        assert receipt["logs"] == []
        async with running(bob):
            rows = await bob.until(keys=keys[1:])
            await bob.until(lambda: "would fail" in bob.settlement.status().reasons.get(keys[0], ""))
            others = [await bob.owe(call(process, number)) for number in range(5)]
            bob.settlement.wake()
            more = await bob.until(keys=others[1:])
    assert {row.state for row in (*rows, *more)} == {State.SETTLED}
    assert len({row.transaction for row in rows}) == 5
    assert process.balance(PAYEE) == 1 + 9 * PRICE


async def test_a_transaction_of_many_that_a_reorganisation_undoes_is_sent_again(
    process: Anvil, chain: EvmChain, tmp_path: Path
):
    async with provider(tmp_path / "store", chain, policy=POLICY) as bob, running(bob):
        before = process.snapshot()
        keys = [await bob.owe(call(process, number)) for number in range(7)]
        bob.settlement.wake()
        await bob.until(keys=keys)
        process.revert(before)
        process.fund(GAS.address, 10 * ETHER)
        process.mine(2)
        assert process.balance(PAYEE) == 1
        bob.settlement.wake()
        await bob.until(lambda: len(bob.told) == 21, keys)
    assert process.balance(PAYEE) == 1 + 7 * PRICE
    assert [state for _, state in bob.told].count(State.DUE) == 7


async def test_a_chain_of_the_same_height_without_it_takes_it_back(process: Anvil, chain: EvmChain, tmp_path: Path):
    """Settled in the newest block, then in none: the same bytes settle it again, once."""
    async with provider(tmp_path / "store", chain, policy=POLICY) as bob:
        keys = [await bob.owe(call(process, number)) for number in range(6)]
        async with running(bob):
            (first, *_) = await bob.until(keys=keys)
        height = process.number
        process.call("anvil_reorg", 1, [])
        assert (process.number, process.balance(PAYEE), process.nonce(GAS.address)) == (height, 1, 0)
        async with running(bob):
            rows = await bob.until(lambda: len(bob.told) == 18, keys)
    assert {(row.state, row.transaction) for row in rows} == {(State.SETTLED, first.transaction)}
    assert process.balance(PAYEE) == 1 + 6 * PRICE
    assert process.nonce(GAS.address) == 1


async def test_one_that_fails_from_the_beginning_is_left_out(process: Anvil, chain: EvmChain, tmp_path: Path):
    poor = payer(99)
    async with provider(tmp_path / "store", chain, policy=POLICY) as bob:
        keys = [await bob.owe(call(process, number)) for number in range(5)]
        bad = await bob.owe(owed_by(poor, next(NUMBERS), until=process.time + 3600))
        async with running(bob):
            rows = await bob.until(keys=keys)
            with trio.fail_after(20):
                while "exceeds balance" not in bob.settlement.status().reasons.get(bad, ""):
                    await trio.sleep(0.02)
    assert len({row.transaction for row in rows}) == 1
    assert process.nonce(GAS.address) == 1
