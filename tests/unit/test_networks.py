"""The networks of a node, over chains that say what a test wants."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import trio

from nexusd.chain.views import Canceled, ChainFault, Paid, Unused
from nexusd.networks import REORGANISED_S, Networks
from nexusd.services.payments.ports import Fate
from nexusd_protocols.payments.tokens import USDC_BASE, USDC_POLYGON, Tokens
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
