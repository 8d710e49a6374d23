"""The chain of a network for which no node is configured: nobody is asked, and that is said everywhere."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from nexusd.chain.ports import CHECK_S, Question
from nexusd.chain.views import UNFUNDED, ChainFault, ChainView
from nexusd_protocols.payments.address import Address
from nexusd_protocols.payments.authorization import Authorization
from nexusd_protocols.payments.tokens import Token
from nexusd_protocols.payments.transaction import Transaction
from nexusd_protocols.payments.verify import Presented

_OFFLINE: Final = ChainFault("offline")


class OfflineChain:
    """Takes a payment by its structure and signature alone: the view is not `funded`, and exposure has to be small.
    What is due waits for a node."""

    online: Final = False

    def __init__(self, network: str) -> None:
        self.network: Final = network

    async def probe(self, *, timeout: float = CHECK_S) -> ChainFault | None:
        """Nothing to ask."""
        return _OFFLINE

    async def check(self, payment: Presented, *, timeout: float = CHECK_S) -> ChainView | ChainFault:
        """Whatever is signed is taken."""
        return UNFUNDED if payment.token.network == self.network else ChainFault("wrong_chain")

    async def evidence(
        self, token: Token, authorization: Authorization, *, since_s: int, timeout: float = CHECK_S
    ) -> ChainFault:
        """Unknown."""
        return _OFFLINE

    async def survey(
        self, account: Address | None, questions: Sequence[Question], transactions: Sequence[str], *, timeout: float
    ) -> ChainFault:
        """Unknown."""
        return _OFFLINE

    async def send(self, transaction: Transaction, *, timeout: float) -> ChainFault:
        """Nobody to send it to."""
        return _OFFLINE

    def close(self) -> None:
        """Nothing is open."""
