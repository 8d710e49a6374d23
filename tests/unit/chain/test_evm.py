"""What a node in front of a chain may answer without harm."""

from __future__ import annotations

import threading

import pytest
import trio
from trio.testing import MockClock

from nexusd.chain import eip3009, rpc
from nexusd.chain.evm import EvmChain
from nexusd.chain.ports import CHECK_S
from nexusd.chain.views import ChainFault
from nexusd_protocols.payments.tokens import USDC_BASE
from tests.harness.rpcnode import RpcNode, Visit
from tests.harness.settling import owed_by, payer

TIME = 1_800_000_000


async def test_logs_that_contradict_one_another_are_a_fault_of_the_node() -> None:
    authorization = owed_by(payer(), 1, until=TIME).authorization
    ends = [eip3009.address_word(authorization.from_), authorization.nonce]

    def log(topic: bytes, index: int) -> dict[str, object]:
        topics = [f"0x{each.hex()}" for each in (topic, *ends)]
        place = {"transactionHash": f"0x{'ab' * 32}", "blockNumber": "0x9", "logIndex": hex(index)}
        return {"address": USDC_BASE.asset, "topics": topics, "data": "0x", **place}

    def answer(visit: Visit) -> None:
        found = []
        for call in visit.calls:
            match call["method"], call["params"]:
                case "eth_chainId", _:
                    found.append("0x2105")
                case "eth_call", _:
                    found.append(f"0x{1:064x}")
                case "eth_getBlockByNumber", _:
                    found.append({"number": "0xa", "timestamp": hex(TIME), "baseFeePerGas": "0x1"})
                case "eth_getLogs", [{"fromBlock": "0x9"}]:
                    found.append([log(eip3009.CANCELED, 0)])
                case "eth_getLogs", _:
                    found.append([log(eip3009.USED, 1)])
        visit.answer(found)

    with RpcNode(answer) as node:
        chain = EvmChain(8453, node.url, [USDC_BASE])
        found = await chain.evidence(USDC_BASE, authorization, since_s=TIME)
        chain.close()
    assert isinstance(found, ChainFault)
    assert found.code == "bad_answer"


async def test_what_our_own_import_takes_is_no_fault_of_the_node(
    monkeypatch: pytest.MonkeyPatch, mock_clock: MockClock
) -> None:
    begun, go = threading.Event(), threading.Event()
    encoder = rpc._encoder

    def slowly() -> object:
        begun.set()
        assert go.wait(60)
        return encoder()

    monkeypatch.setattr(rpc, "_encoder", slowly)
    found = []
    with RpcNode(lambda visit: visit.answer(["0x2105", f"0x{USDC_BASE.domain_separator.hex()}"])) as node:
        chain = EvmChain(8453, node.url, [USDC_BASE])

        async def probe() -> None:
            found.append(await chain.probe())

        async with trio.open_nursery() as nursery:
            nursery.start_soon(probe)
            await trio.to_thread.run_sync(begun.wait)
            mock_clock.jump(CHECK_S + 1)
            await trio.testing.wait_all_tasks_blocked()
            go.set()
        chain.close()
    assert found == [None]
