"""How sure is sure enough, and how dear is too dear."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from nexusd.chain.views import Survey
from nexusd_protocols.payments.transaction import Fees

GWEI: Final = 10**9

MAX_FEE: Final = {1: 50 * GWEI, 8453: 5 * GWEI, 84532: 5 * GWEI, 137: 2000 * GWEI}
"""Wei for a unit of gas, by chain id: some ten times what is usual. It is the node that says what gas costs."""
OTHER_MAX_FEE: Final = 100 * GWEI

EMPTY_GAS: Final = 21_000
"""Of a transaction that moves nothing."""

MIN_TIP: Final = 1_000_000
"""Wei. Nodes that are told to want nothing still sort by it."""
BUMP: Final = 4
"""A replacement offers a quarter more: nodes want at least a tenth, some an eighth."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """Of one chain. Amounts are in a token's smallest unit. A payment below `large` is settled once it is `depth`
    blocks deep (1: it is in the newest); from `large` on, in a block that the chain calls safe, or `deep` deep where it
    calls none so. `in_flight`: transactions that wait at a time; nodes keep 16 of an account for sure. `gas` is what
    one payment may use: USDC's needs 96,000 where its payee had nothing.

    `batch_least` payments or more that wait share transactions, `batch_most` at most. Of the gas of payments that go
    alone five together need 0.67, ten 0.62, fifty 0.58 (measured, of as many payers); and the more there are, the more
    can one that is made to fail take with it.
    """

    large: int = 1_000_000
    depth: int = 1
    deep: int = 64
    max_fee: int = OTHER_MAX_FEE
    gas: int = 160_000
    in_flight: int = 16
    batch_least: int = 5
    batch_most: int = 10

    @classmethod
    def of(cls, chain_id: int) -> Policy:
        """The usual one of a chain."""
        return cls(max_fee=MAX_FEE.get(chain_id, OTHER_MAX_FEE))

    def settles(self, block: int, amount: int, survey: Survey) -> bool:
        """Whether what is in that block will stay."""
        return self.is_safe(block, survey) if amount >= self.large else survey.head.number - block + 1 >= self.depth

    def is_safe(self, block: int, survey: Survey) -> bool:
        """Whether nothing but a disaster undoes that block."""
        return block <= survey.safe if survey.safe is not None else survey.head.number - block + 1 >= self.deep

    def gas_of(self, payments: int) -> int:
        """What a transaction for so many may use. One for none only uses its nonce up."""
        return payments * self.gas or EMPTY_GAS

    def fees(self, survey: Survey, before: Fees | None = None) -> Fees | None:
        """What the next transaction offers, or the one that takes the place of one that offered `before`. None: more
        than `max_fee`."""
        base = survey.head.base_fee
        tip = max(survey.tip, MIN_TIP)
        if before is not None:
            tip = max(tip, before.tip + before.tip // BUMP + 1)
        if base + tip > self.max_fee:
            return None
        most = min(2 * base + tip, self.max_fee)
        if before is not None:
            least = before.most + before.most // BUMP + 1
            if least > self.max_fee:
                return None
            most = max(most, least)
        return Fees(most=most, tip=tip)
