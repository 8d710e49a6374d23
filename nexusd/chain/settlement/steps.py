"""What the queue is shown, and what it wants done, in this order."""

from __future__ import annotations

from dataclasses import dataclass

from nexusd_protocols.payments.charge import Charge
from nexusd_protocols.payments.tokens import Token
from nexusd_protocols.payments.transaction import Fees, Transaction


@dataclass(frozen=True, slots=True)
class Owed:
    """A charge that is due or submitted, and what was made to settle it, the newest last."""

    charge: Charge
    token: Token
    transactions: tuple[Transaction, ...] = ()

    @property
    def key(self) -> str:
        return self.charge.entry.key

    @property
    def amount(self) -> int:
        return self.charge.entry.amount


@dataclass(frozen=True, slots=True)
class Settle:
    """The chain has it."""

    key: str
    transaction: str
    block: int


@dataclass(frozen=True, slots=True)
class Lose:
    """It will never be paid. `by_payer`: through its doing."""

    key: str
    reason: str
    by_payer: bool = False


@dataclass(frozen=True, slots=True)
class Reopen:
    """The chain took it back."""

    key: str
    reason: str


@dataclass(frozen=True, slots=True)
class Sure:
    """It is as it was, in a block that nothing can undo: it need not be looked at again."""

    key: str


@dataclass(frozen=True, slots=True)
class Inquire:
    """The authorisation is over, and not by a transaction of ours that succeeded: ask how, and tell `Queue.learn`."""

    key: str


@dataclass(frozen=True, slots=True)
class Postpone:
    """Look at it again then, in unix milliseconds."""

    key: str
    until: int


@dataclass(frozen=True, slots=True)
class Send:
    """Hand it over, the first time or again, and tell `Queue.sent`."""

    transaction: Transaction


@dataclass(frozen=True, slots=True)
class Make:
    """Sign a transaction with this nonce that settles these, commit it, send it. With no keys it moves nothing: it is
    only to use the nonce up, so that what waits behind it goes on."""

    keys: tuple[str, ...]
    nonce: int
    fees: Fees


Step = Settle | Lose | Reopen | Sure | Inquire | Postpone | Send | Make
