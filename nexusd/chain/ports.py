"""What services and settlement see of a chain, and what settlement needs of the ledger."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from nexusd.chain.views import ChainFault, ChainView, Evidence, Sent, Survey
from nexusd_protocols.payments.address import Address
from nexusd_protocols.payments.authorization import Authorization
from nexusd_protocols.payments.charge import Charge
from nexusd_protocols.payments.tokens import Holdings, Token
from nexusd_protocols.payments.transaction import Transaction
from nexusd_protocols.payments.verify import Presented

CHECK_S = 5.0
"""How long a payment's check may take, the first one's import of web3 included: its caller waits."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """An authorisation to look at in a survey. `key` is the ledger's; `simulate`: would it go through now?"""

    key: str
    token: Token
    authorization: Authorization
    signature: bytes
    simulate: bool = False


class Chain(Protocol):
    """One network. Nothing raises for what a node does: a ChainFault is returned, and means "no"."""

    @property
    def network(self) -> str:
        """CAIP-2."""
        ...

    async def probe(self, *, timeout: float = CHECK_S) -> ChainFault | None:
        """Ask what is asked at the start: is it the right chain, and are its tokens those that we know?"""
        ...

    async def check(self, payment: Presented, *, timeout: float = CHECK_S) -> ChainView | ChainFault:
        """A payment as the chain sees it now, in one batch. See `ChainView.refusal`."""
        ...

    async def holdings(self, holder: Address, tokens: Sequence[Token], *, timeout: float) -> Holdings | ChainFault:
        """What an account has, in one batch."""
        ...

    async def evidence(
        self, token: Token, authorization: Authorization, *, since_s: int, timeout: float = CHECK_S
    ) -> Evidence | ChainFault:
        """What became of an authorisation that was unused at `since_s` (unix seconds, as far as clocks agree)."""
        ...

    async def survey(
        self, account: Address | None, questions: Sequence[Question], transactions: Sequence[str], *, timeout: float
    ) -> Survey | ChainFault:
        """One look for settlement: the newest block, the account that pays gas, authorisations, receipts by hash."""
        ...

    async def send(self, transaction: Transaction, *, timeout: float) -> Sent | ChainFault:
        """Hand a signed transaction over. After a ChainFault the node may have it or not."""
        ...

    def close(self) -> None:
        """Let go of the connection."""
        ...


class SettlementLedger(Protocol):
    """Of `nexusd.store.ledger`. Each method returns after its commit. Steps raise LocalProtocolError for what the state
    of a charge does not allow (any more), and LookupError for a key that is not there."""

    async def next_due(self, now: int, limit: int, *, network: str | None = None) -> Sequence[Charge]:
        """What is due or submitted and not postponed, the first to end first; of more than `limit` what is submitted
        before the rest. No tab that may still grow."""
        ...

    async def postpone(self, key: str, until: int) -> None:
        """Leave it out of `next_due` until then."""
        ...

    async def submitted(
        self,
        keys: str | Sequence[str],
        transaction: Transaction,
        now: int,
        *,
        signatures: Sequence[bytes] | None = None,
    ) -> Sequence[Charge]:
        """Keep a transaction that is about to be sent, and what it settles, which may be nothing. A tab is closed by
        it, with what was signed until then. Nothing is kept where `signatures`, which it carries, are not the rows'."""
        ...

    async def transactions(self, key: str) -> Sequence[Transaction]:
        """Those that were made to settle a charge, the newest last."""
        ...

    async def account_transactions(
        self, network: str, account: str, from_nonce: int, limit: int
    ) -> Sequence[Transaction]:
        """Those of an account from a nonce on, by nonce and then by age, whatever became of their charges."""
        ...

    async def settled(self, key: str, transaction: str, block: int, now: int) -> object:
        """The chain has it."""
        ...

    async def lost(self, key: str, reason: str, now: int, *, by_payer: bool) -> object:
        """It will never be paid; `by_payer`: through its doing, which stands against it."""
        ...

    async def reopened(self, key: str, reason: str, now: int) -> object:
        """The chain took a settlement back."""
        ...

    async def unsure(self, network: str, limit: int) -> Sequence[Charge]:
        """What was settled and is not `sure` yet, the lowest block first."""
        ...

    async def sure(self, keys: Sequence[str]) -> object:
        """These were seen settled in blocks that nothing can undo."""
        ...
