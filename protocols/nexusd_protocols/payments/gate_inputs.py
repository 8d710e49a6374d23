"""What a gate is told: by the ledger, the chain, the work, the caller."""

from __future__ import annotations

from dataclasses import dataclass

from nexusd_protocols.payments.charge import Charge, Known, Refused, Reservation, Reserved, Result


@dataclass(frozen=True, slots=True)
class LookedUp:
    """Answers LookUp: the row of the key, None if there is none. Of one that opened a call's tabs `further` are those
    that followed it, in order."""

    charge: Charge | None
    further: tuple[Charge, ...] = ()


@dataclass(frozen=True, slots=True)
class Checked:
    """Answers Check: the chain has nothing against it. `balance` is None where there is no chain to ask."""

    balance: int | None


@dataclass(frozen=True, slots=True)
class Answered:
    """Answers Reserve and Roll with what the ledger said; Check with Refused where the chain speaks against it, and
    Grow where the ledger does."""

    answer: Reserved | Known | Refused


@dataclass(frozen=True, slots=True)
class Produced:
    """A piece of output. Of a tab: it counts `units`, and leaves once `cost` units are paid for in all. It may be
    empty, where units come without output."""

    data: bytes
    cost: int = 0
    units: int = 0


@dataclass(frozen=True, slots=True)
class Finished:
    """The work ended well. `result` is all of it."""

    result: Result


@dataclass(frozen=True, slots=True)
class Failed:
    """The work ended badly, at `code`, or took too long. `by_caller`: at a bound that the caller had set, or because it
    did not take what was there for it."""

    code: str
    by_caller: bool = False


@dataclass(frozen=True, slots=True)
class Cancelled:
    """The caller gave the call up."""


@dataclass(frozen=True, slots=True)
class Gone:
    """The caller cannot be reached any more. What is owed is worked on, and kept for when it asks again."""


@dataclass(frozen=True, slots=True)
class Raised:
    """A tab: the caller signed more under the authorisation of that key, which was verified."""

    key: str
    amount: int
    signature: bytes


@dataclass(frozen=True, slots=True)
class Lowered:
    """A tab, at its end: the caller signed less under the authorisation of that key, for what was delivered."""

    key: str
    amount: int
    signature: bytes


@dataclass(frozen=True, slots=True)
class Rolled:
    """A tab: the caller opened the next one, which was verified. The tabs before have paid for `base` units."""

    entry: Reservation
    base: int


@dataclass(frozen=True, slots=True)
class Funded:
    """A tab: the chain was asked again, and has nothing against the newest one. `balance` of its payer."""

    balance: int


@dataclass(frozen=True, slots=True)
class Room:
    """Answers AwaitRoom: something was settled; or, with a `code`, nothing was in time."""

    code: str = ""


@dataclass(frozen=True, slots=True)
class Committed:
    """Answers MarkDue, Finish, Interrupt, Release, Grow and Lower: the row as it is on disk."""

    charge: Charge


@dataclass(frozen=True, slots=True)
class NotCommitted:
    """Answers the same, and Reserve and Roll: the disk failed, and nothing of it is stored."""

    code: str


@dataclass(frozen=True, slots=True)
class Settled:
    """Answers AwaitSettlement: the chain has it."""

    charge: Charge


@dataclass(frozen=True, slots=True)
class Unsettled:
    """Answers AwaitSettlement: lost, or (`lost` false) still under way when the call had to end. While there is work:
    the payer took the payment back."""

    charge: Charge
    lost: bool


Input = (
    LookedUp
    | Checked
    | Answered
    | Produced
    | Finished
    | Failed
    | Cancelled
    | Gone
    | Raised
    | Lowered
    | Rolled
    | Funded
    | Room
    | Committed
    | NotCommitted
    | Settled
    | Unsettled
)
