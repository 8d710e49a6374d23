"""What an agent here pays: the rules by which a payment is wished for, signed and over, and how long it counts.

    waiting (for a person) ──> intended ──> signed ──> spent
           └───────────────────────┴───────────┴──> closed ──> spent (late word of it)

Its budget is taken before anything is signed. A signed authorisation is money out of hand: it counts as spent until it
cannot be used any more, whatever the provider says became of it. What then is closed without the chain's word may have
been used before; its cost is kept, and how much of that there may be in a day has a bound (`policy.decide`). Times are
unix milliseconds, except those of the authorisation. (specs/payment-gate.md §4)
"""

from __future__ import annotations

import enum
from dataclasses import dataclass, replace
from typing import Final

from nexusd_protocols import limits
from nexusd_protocols.errors import LocalProtocolError
from nexusd_protocols.identity import AgentId, PeerId
from nexusd_protocols.ids import CapabilityName
from nexusd_protocols.payments.address import Address
from nexusd_protocols.payments.authorization import Authorization

FOREVER: Final = (1 << 63) - 1
MINUTE_MS: Final = 60_000
HOUR_MS: Final = 3_600_000
DAY_MS: Final = 86_400_000

UNANSWERED: Final = "unanswered"
"""The outcome of what nobody accounts for, where there is no chain to ask."""


class PurchaseState(enum.StrEnum):
    """Of a purchase."""

    WAITING = "waiting"
    INTENDED = "intended"
    SIGNED = "signed"
    SPENT = "spent"
    CLOSED = "closed"


@dataclass(frozen=True, slots=True, kw_only=True)
class Intent:
    """What is to be paid. `id` is the caller's own, and names it for ever: who asks with it again gets what became of
    it. `asset` is `eip155:<chain>/<contract, lower hex>`; `amount`, in its smallest unit, is what may be signed at most
    (of a call with tabs: under all of them); `cost` the same as policies measure it, below 2^62."""

    id: str
    agent: AgentId
    peer: PeerId
    capability: CapabilityName
    request: bytes
    asset: str
    pay_to: Address
    amount: int
    cost: int
    tab: bool = False
    note: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Signed:
    """An authorisation that left our hands, and what is needed to show it again. `payload` is the payment object."""

    key: str
    authorization: Authorization
    signature: bytes
    salt: bytes = b""
    payload: bytes = b""


@dataclass(frozen=True, slots=True, kw_only=True)
class PurchaseRow:
    """A purchase, and what became of it. It counts as spent, with `cost`, before `until`; behind that `cost` is what
    may have been spent for all that is known. Of several tabs `signed` is the newest, and `before` is what was signed
    under the `tabs` that it followed."""

    intent: Intent
    state: PurchaseState
    cost: int
    until: int = FOREVER
    signed: Signed | None = None
    tabs: int = 0
    before: int = 0
    receipt: bytes = b""
    response: bytes = b""
    outcome: str = ""
    asked_at: int = 0
    changed_at: int = 0
    position: int = 0

    @property
    def total(self) -> int:
        """What is signed in all."""
        return self.before + (0 if self.signed is None else self.signed.authorization.value)

    @property
    def size(self) -> int:
        """What it counts against a page."""
        return len(self.receipt) + len(self.response) + len(self.intent.note)


class PurchaseStateError(LocalProtocolError):
    """This program asked for a step that the purchase's state does not allow."""


def signed(row: PurchaseRow, what: Signed, *, now: int) -> PurchaseRow:
    """It is signed, and about to be shown; a tab: signed for more. Raises PurchaseStateError."""
    amount = row.before + what.authorization.value
    if amount > row.intent.amount or what.authorization.to != row.intent.pay_to:
        raise PurchaseStateError("that is not what was intended")
    if row.state is PurchaseState.SIGNED:
        if row.signed == what:
            return row
        if not _grows(row, what):
            raise PurchaseStateError("it is signed already")
    elif row.state is not PurchaseState.INTENDED:
        raise PurchaseStateError(f"the purchase is {row.state}")
    return replace(row, state=PurchaseState.SIGNED, signed=what, changed_at=now)


def rolled(row: PurchaseRow, what: Signed, *, now: int) -> PurchaseRow:
    """The next tab of the call is signed, and about to be shown. Raises PurchaseStateError."""
    if row.state is not PurchaseState.SIGNED or row.signed is None or not row.intent.tab:
        raise PurchaseStateError(f"no tab follows what is {row.state}")
    if what.key == row.signed.key or what.authorization.to != row.intent.pay_to:
        raise PurchaseStateError("that is not another tab of the same call")
    if row.total + what.authorization.value > row.intent.amount:
        raise PurchaseStateError("more than the call may cost")
    return replace(row, signed=what, tabs=row.tabs + 1, before=row.total, changed_at=now)


def _grows(row: PurchaseRow, what: Signed) -> bool:
    before = row.signed
    if not row.intent.tab or before is None:
        return False
    more = what.authorization
    return more.value > before.authorization.value and replace(more, value=before.authorization.value) == (
        before.authorization
    )


def spent(row: PurchaseRow, *, receipt: bytes, response: bytes, now: int, amount: int | None = None) -> PurchaseRow:
    """The provider delivered, or the chain has it. Tabs cost what was signed, or `amount`, if the chain says that it
    was that. Raises PurchaseStateError."""
    if row.signed is None:
        raise PurchaseStateError("what was never signed is not spent")
    if row.state is PurchaseState.SPENT and not (receipt or response):
        return row
    return replace(
        row,
        state=PurchaseState.SPENT,
        cost=_cost(row, amount),
        until=FOREVER,
        receipt=receipt or row.receipt,
        response=response or row.response,
        outcome="",
        changed_at=now,
    )


def closed(row: PurchaseRow, outcome: str, *, now: int, unused: bool = False) -> PurchaseRow:
    """It came to nothing. What was signed counts until its window has closed, and `limits.PAYMENT_CLOCK_MS` more, for
    clocks differ; `unused`: it was shown to nobody, or the chain says that it never can be used, so that it counts no
    longer, and costs nothing. What is over already stays as it is for any other word: a late answer may come first."""
    if row.state in (PurchaseState.SPENT, PurchaseState.CLOSED) and not unused:
        return row
    until, cost = now, 0
    if row.signed is not None and not unused:
        until, cost = max(now, over_at(row.signed)), _cost(row)
    return replace(
        row, state=PurchaseState.CLOSED, cost=cost, until=min(until, row.until), outcome=outcome, changed_at=now
    )


def over_at(what: Signed) -> int:
    """When an authorisation cannot be used any more, by our clock and those of chains that differ from it."""
    return what.authorization.valid_before * 1000 + limits.PAYMENT_CLOCK_MS


def decided(row: PurchaseRow, approve: bool, *, now: int) -> PurchaseRow:
    """A person said so. Raises PurchaseStateError for what waits for nobody."""
    if row.state is not PurchaseState.WAITING:
        raise PurchaseStateError(f"the purchase is {row.state}")
    if approve:
        return replace(row, state=PurchaseState.INTENDED, changed_at=now)
    return closed(row, "rejected", now=now)


def recovered(row: PurchaseRow, *, now: int) -> PurchaseRow:
    """After a restart nobody waits for what was not signed; what was signed stays so."""
    if row.state in (PurchaseState.WAITING, PurchaseState.INTENDED):
        return closed(row, "restarted", now=now)
    return row


def _cost(row: PurchaseRow, amount: int | None = None) -> int:
    """What is signed of what was intended, or `amount` of it, rounded up; no more can be moved, whatever nodes say."""
    if row.signed is None or not row.intent.amount:
        return row.cost
    moved = row.total if amount is None else min(amount, row.total)
    return -(-row.intent.cost * moved // row.intent.amount)
