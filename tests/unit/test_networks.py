"""The networks of a node, over chains that say what a test wants."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from nexusd.chain.views import Canceled, ChainFault, Paid, Unused
from nexusd.networks import GAS_S, REORGANISED_S, Networks
from nexusd.services.payments.ports import Fate
from nexusd_protocols.payments.address import checksummed
from nexusd_protocols.payments.tokens import USDC_BASE, USDC_POLYGON, Holdings, Tokens
from tests.harness.paying import PAYEE
from tests.harness.stores import opened
from tests.unit.protocols.payments.charges import UNTIL
from tests.unit.store.payments import intent, signed


class Chain:
    """Says `word` of every authorisation."""

    chain_id = 8453

    def __init__(self, word: Any) -> None:
        self.word = word

    async def evidence(self, token: Any, authorization: Any, *, since_s: int) -> Any:
        await trio.lowlevel.checkpoint()
        return self.word


@pytest.mark.parametrize(
    ("word", "fate"),
    [
        (Paid("0xaa", 7, 100), Fate("paid", "0xaa", 100)),
        (Canceled("0xbb", 7), Fate("canceled", "0xbb")),
        (Unused(UNTIL + REORGANISED_S), Fate("unused")),
        (Unused(UNTIL + REORGANISED_S - 1), None),  # by the chain's clock, not by ours
        (ChainFault("unreachable"), None),
    ],
)
async def test_what_became_of_an_authorisation_is_said_once_it_is_final(tmp_path: Path, word: Any, fate: Any) -> None:
    authorization = signed(intent()).authorization
    async with opened(tmp_path / "store.sqlite") as store:
        networks = Networks([(8453, "http://127.0.0.1:1")], Tokens(), store, lambda: 0)
        networks._chains[8453] = Chain(word)  # type: ignore[assignment]
        assert await networks.fate(USDC_BASE, authorization, 0) == fate
        assert await networks.fate(USDC_POLYGON, authorization, 0) is None


class GasChain(Chain):
    """On which the wallet has `gas`; `looks` times somebody asked."""

    def __init__(self) -> None:
        super().__init__(None)
        self.gas = 0
        self.looks = 0

    async def probe(self) -> None:
        await trio.lowlevel.checkpoint()

    async def holdings(self, holder: Any, tokens: Any, *, timeout: float) -> Holdings:
        await trio.lowlevel.checkpoint()
        self.looks += 1
        return Holdings(self.gas, {})

    def close(self) -> None:
        pass


async def test_what_could_not_be_settled_is_known_before_anybody_signs(
    tmp_path: Path, autojump_clock: MockClock
) -> None:
    async with opened(tmp_path / "store.sqlite") as store:
        networks = Networks([(8453, "http://127.0.0.1:1")], Tokens(), store, lambda: 0)
        chain = GasChain()
        networks._chains[8453] = chain  # type: ignore[assignment]
        assert networks.unable(137) == "", "without a node nothing is settled anyway"
        assert networks.unable(8453).startswith("the wallet that pays the gas is locked")
        networks.use(PAYEE)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(networks._watch_gas, 8453)
            await wait_all_tasks_blocked()
            assert networks.unable(8453).endswith(
                f"too little to pay for gas: send some to {checksummed(PAYEE.address)}"
            )
            chain.gas = 1
            await trio.sleep(GAS_S + 1)
            assert networks.unable(8453) == ""
            await trio.sleep(10 * GAS_S)
            assert chain.looks == 2, "from then on settlement knows"
            nursery.cancel_scope.cancel()


async def test_no_node_is_asked_for_gas_where_nothing_is_sold(tmp_path: Path, autojump_clock: MockClock) -> None:
    async with opened(tmp_path / "store.sqlite") as store:
        networks = Networks([(8453, "http://127.0.0.1:1")], Tokens(), store, lambda: 0)
        chain = GasChain()
        networks._chains[8453] = chain  # type: ignore[assignment]
        networks.use(PAYEE)
        with trio.move_on_after(10 * GAS_S):
            await networks._watch_gas(8453)
        assert chain.looks == 0
