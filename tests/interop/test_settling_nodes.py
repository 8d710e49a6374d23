"""Getting paid through nodes that lie, break, take little at a time and not often, and lose what they took."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from nexusd.chain import rpc
from nexusd.chain.settlement import settlement, slots
from nexusd_protocols.payments.charge import State
from tests.harness import chains
from tests.harness.localchain import LocalChain
from tests.harness.rpcnode import RpcNode, Visit
from tests.harness.settling import GAS, PAYEE, PRICE, owed_by, payer, provider, running

NUMBERS = itertools.count(1)
HOUR = 3600


@pytest.fixture(scope="module")
def chain_process(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalChain]:
    with chains.some(tmp_path_factory.mktemp("chain")) as process:
        yield process


@pytest.fixture
def process(chain_process: LocalChain) -> Iterator[LocalChain]:
    before = chain_process.snapshot()
    chain_process.fund(GAS.address)
    chain_process.mint(payer().address, 100 * PRICE)
    yield chain_process
    chain_process.revert(before)


def gas_spent(process: LocalChain) -> int:
    """Transactions of ours in blocks."""
    return process.nonce(GAS.address)


async def through(process: LocalChain, tmp_path: Path, script: Callable[[Visit], bool]) -> int:
    """Five payments are settled through a node that answers itself when it wants to (True). Returns how often it was
    asked."""

    def serve(visit: Visit) -> None:
        if not script(visit):
            visit.send(json.dumps(visit.forward(process.port)).encode())

    with RpcNode(serve) as node, process.connected(node.url) as chain:
        async with provider(tmp_path / "store", chain, token=process.token) as bob, running(bob):
            until = process.time + HOUR
            ones = [owed_by(payer(), next(NUMBERS), until=until, token=process.token) for _ in range(5)]
            keys = [await bob.owe(one) for one in ones]
            bob.settlement.wake()
            rows = await bob.until(keys=keys)
            assert {row.state for row in rows} == {State.SETTLED}
            assert process.balance(PAYEE) == 5 * PRICE
    return node.visits


async def test_a_node_that_breaks_in_all_ways_in_turn(process: LocalChain, tmp_path: Path, monkeypatch):
    monkeypatch.setattr(settlement, "FAULT_S", 0.1)
    monkeypatch.setattr(settlement, "SURVEY_S", 1.0)

    def script(visit: Visit) -> bool:
        match visit.number:
            case 0:
                visit.answer(["0x1"] + [None] * (len(visit.calls) - 1))  # another chain
            case 1:
                answers = visit.forward(process.port)
                visit.send(json.dumps(answers[: len(answers) // 2]).encode())
            case 2:
                visit.hang()
            case 3:
                visit.send(b" " * (10 << 20))
            case 4:
                visit.send(b"", "503 Service Unavailable")
            case _:
                return False
        return True

    assert await through(process, tmp_path, script) > 5


async def test_a_node_that_takes_few_calls_at_a_time_and_not_often(process: LocalChain, tmp_path: Path, monkeypatch):
    """As free ones are."""
    monkeypatch.setattr(rpc, "AGAIN_S", 0.01)
    sizes = []

    def script(visit: Visit) -> bool:
        if visit.number % 3 == 2:
            visit.send(b"", "429 Too Many Requests")
        elif len(visit.calls) > 3:
            error = {"code": -32014, "message": "maximum 3 calls in 1 batch"}
            visit.send(json.dumps({"jsonrpc": "2.0", "id": None, "error": error}).encode())
        else:
            sizes.append(len(visit.calls))
            return False
        return True

    await through(process, tmp_path, script)
    assert gas_spent(process) == 5
    assert 1 < max(sizes) <= 3


async def test_an_answer_to_a_transaction_that_is_lost_or_a_lie(process: LocalChain, tmp_path: Path):
    """The node has it, and says nothing, or that it has not."""
    lies = iter([b"", b"{}", json.dumps([{"id": 0, "error": {"code": -32000, "message": "nonce too low"}}]).encode()])

    def script(visit: Visit) -> bool:
        if visit.calls[0]["method"] != "eth_sendRawTransaction" or (lie := next(lies, None)) is None:
            return False
        visit.forward(process.port)
        visit.send(lie.replace(b'"id": 0', b'"id": %d' % visit.calls[0]["id"]))
        return True

    await through(process, tmp_path, script)
    assert gas_spent(process) == 5


async def test_a_node_that_takes_transactions_and_drops_them(process: LocalChain, tmp_path: Path, monkeypatch):
    monkeypatch.setattr(slots, "RESEND_MS", 100)
    dropped = []

    def script(visit: Visit) -> bool:
        if visit.calls[0]["method"] != "eth_sendRawTransaction" or len(dropped) >= 7:
            return False
        dropped.append(visit.calls[0]["params"][0])
        visit.answer(["0x" + "12" * 32])
        return True

    await through(process, tmp_path, script)
    assert gas_spent(process) == 5
