"""What payments are handed by the composition root."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, Protocol

from nexusd_protocols.payments.address import Address
from nexusd_protocols.payments.authorization import Authorization
from nexusd_protocols.payments.faults import PaymentFault
from nexusd_protocols.payments.tokens import Holdings, Token
from nexusd_protocols.payments.verify import Presented, Verified


@dataclass(frozen=True, slots=True)
class Funds:
    """The chain has nothing against a payment. `balance` of its payer, in the token's smallest unit; None where there
    is no chain to ask."""

    balance: int | None


@dataclass(frozen=True, slots=True)
class Fate:
    """What became of an authorisation, for good. `transaction` is the one that used it up; empty of one that ended
    unused. `amount` is what its payee got, in the token's smallest unit."""

    state: Literal["paid", "canceled", "unused"]
    transaction: str = ""
    amount: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Health:
    """A network as this node sees it: see `schema.NetworkState`. `waits`: why charges are not settled yet, by key."""

    chain_id: int
    online: bool
    settles: bool
    problem: str = ""
    waits: Mapping[str, str] = field(default_factory=dict)


class Chains(Protocol):
    """The networks of this node: those with a node configured, and the others, where nobody is asked."""

    def online(self, chain_id: int) -> bool:
        """Whether there is a node to ask."""
        ...

    def health(self) -> list[Health]:
        """Those with a node."""
        ...

    def unable(self, chain_id: int) -> str:
        """Why nothing that is paid there could be settled, as far as is known and for people here: nobody pays the gas.
        Empty where it could, and where there is no node."""
        ...

    async def check(self, payment: Verified) -> Funds | PaymentFault:
        """Ask the chain about a payment: the payer's balance, that the authorisation is unused, that it would go
        through. A chain that does not answer is a fault: fail closed."""
        ...

    async def watch(self, payment: Presented) -> Funds | PaymentFault:
        """What the chain says by now of a payment that was good: used, cancelled, not covered any more. A chain that
        does not answer says nothing, of the balance neither."""
        ...

    async def fate(self, token: Token, authorization: Authorization, since_s: int) -> Fate | None:
        """What became of an authorisation that was made at `since_s` (unix seconds); None while it is not known, or
        may still be used."""
        ...

    async def holdings(self, chain_id: int, holder: Address, tokens: Sequence[Token]) -> Holdings | PaymentFault:
        """What an account has."""
        ...

    def wake(self, chain_id: int) -> None:
        """Something is due there."""
        ...

    async def changed(self, key: str) -> None:
        """Wait until something became of the charge of that key; it may be nothing of interest."""
        ...
