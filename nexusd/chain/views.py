"""What a chain says, as values; and why it says nothing."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final, Literal

from nexusd.chain.eip3009 import Log
from nexusd_protocols.payments import faults
from nexusd_protocols.payments.authorization import Authorization
from nexusd_protocols.payments.faults import PaymentFault

ChainCode = Literal[
    "unreachable",
    "deadline",
    "too_large",
    "bad_answer",
    "refused",
    "limited",
    "wrong_chain",
    "wrong_token",
]

_ANSWERS: Final[Mapping[ChainCode, str]] = {
    "unreachable": "the node cannot be reached",
    "deadline": "the node did not answer in time",
    "too_large": "the node's answer is too large",
    "bad_answer": "the node's answer makes no sense",
    "refused": "the node refused to answer",
    "limited": "the node wants to be asked less often",
    "wrong_chain": "the node is on another chain",
    "wrong_token": "the token's contract has another domain than we know: its name, version or address is wrong",
}


@dataclass(frozen=True, slots=True)
class ChainFault:
    """Nothing is known: treat it as a "no". `detail` never holds the node's address, which may hold a key."""

    code: ChainCode
    detail: str = ""

    def __str__(self) -> str:
        return f"{_ANSWERS[self.code]} ({self.detail})" if self.detail else _ANSWERS[self.code]


class ChainError(Exception):
    """How a fault leaves the depth of a call; the methods of a Chain return `fault`."""

    def __init__(self, code: ChainCode, detail: str = "") -> None:
        self.fault = ChainFault(code, detail)
        super().__init__(str(self.fault))


class LimitedError(ChainError):
    """The node wants to be asked less often: again in `after_s`, if it said so."""

    def __init__(self, detail: str, after_s: float | None = None) -> None:
        self.after_s = after_s
        super().__init__("limited", detail)


class WholeRefusedError(ChainError):
    """The node refused a batch, and none of its calls: it may take a smaller one."""

    def __init__(self, detail: str) -> None:
        super().__init__("refused", detail)


@dataclass(frozen=True, slots=True, kw_only=True)
class ChainView:
    """A payment as the chain sees it now. `simulated` is empty, or why the transfer would fail."""

    balance: int
    used: bool = False
    payer_has_code: bool = False
    simulated: str = ""

    def refusal(self, authorization: Authorization) -> PaymentFault | None:
        """Why this payment is not taken, if it is not."""
        if self.used:
            return PaymentFault(faults.TRANSACTION_STATE)
        if self.payer_has_code:
            return PaymentFault(faults.SIGNATURE, "the payer is a contract, for which its signature does not count")
        if self.balance < authorization.value:
            return PaymentFault(faults.INSUFFICIENT_FUNDS)
        if self.simulated:
            return PaymentFault(faults.UNEXPECTED_VERIFY, f"the chain would not do it: {self.simulated}")
        return None


# --- what became of an authorisation ----------------------------------------------------------------------------------
@dataclass(frozen=True, slots=True)
class Paid:
    """It was used, and brought its payee `amount`: 0 if it was used for another payee."""

    transaction: str
    block: int
    amount: int


@dataclass(frozen=True, slots=True)
class Canceled:
    """The payer took it back."""

    transaction: str
    block: int


@dataclass(frozen=True, slots=True)
class Unused:
    """Neither, up to the newest block, of `time_s`: what ended before that never can be used."""

    time_s: int


Evidence = Paid | Canceled | Unused


# --- what settlement looks at -----------------------------------------------------------------------------------------
@dataclass(frozen=True, slots=True)
class Head:
    """The newest block. `base_fee` is in wei for a unit of gas."""

    number: int
    time_s: int
    base_fee: int


@dataclass(frozen=True, slots=True)
class Receipt:
    """Of a transaction that is in a block."""

    block: int
    success: bool
    logs: tuple[Log, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Survey:
    """One look at a chain. `nonce` counts the account's transactions in blocks, `pending` those that the node holds
    too; both 0 without an account. `safe` is the newest block that is not undone but by a disaster; None: the node
    knows none. `batches`: the contract is there by which one transaction does several transfers. By ledger key: `used`;
    and of those that were to be simulated `failing`, why the transfer would fail (empty: it would not), and
    `contracts`, whose payers have code. `receipts` by hash; None: in no block."""

    head: Head
    safe: int | None
    tip: int
    nonce: int = 0
    pending: int = 0
    gas_balance: int = 0
    batches: bool = False
    used: Mapping[str, bool] = field(default_factory=dict)
    failing: Mapping[str, str] = field(default_factory=dict)
    contracts: frozenset[str] = frozenset()
    receipts: Mapping[str, Receipt | None] = field(default_factory=dict)


SendResult = Literal["sent", "known", "nonce_used", "taken", "fee_too_low", "no_gas_money", "rejected"]
"""What came of handing over a transaction. `sent` and `known`: the node has it. `nonce_used`: a transaction with this
number is in a block, this one or another. `taken`: the node holds another one with this number."""


@dataclass(frozen=True, slots=True)
class Sent:
    """`detail` is the node's own words."""

    result: SendResult
    detail: str = ""
