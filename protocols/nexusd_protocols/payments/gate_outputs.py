"""What a gate wants done, in this order."""

from __future__ import annotations

from dataclasses import dataclass

from nexusd_protocols.payments.charge import OWED, Charge, Reservation, Result


@dataclass(frozen=True, slots=True)
class LookUp:
    """Read the row of this key."""

    key: str


@dataclass(frozen=True, slots=True)
class Check:
    """Ask the chain about the authorisation of this key, if there is a chain."""

    key: str


@dataclass(frozen=True, slots=True)
class Reserve:
    """Commit a reservation."""

    entry: Reservation
    balance: int | None


@dataclass(frozen=True, slots=True)
class Start:
    """Begin the work."""


@dataclass(frozen=True, slots=True)
class StopWork:
    """End the work: nothing of it is wanted any more."""


@dataclass(frozen=True, slots=True)
class MarkDue:
    """Commit the charge point; with a result, that and its receipt too."""

    key: str
    amount: int
    result: Result | None


@dataclass(frozen=True, slots=True)
class Finish:
    """Commit result and receipt of what is due already. `result` None: the call ended before it was whole; the result
    is then what was handed over until now, which the receipt names. `last` is the newest of several tabs, which is shut
    with it; `unused`: nothing was handed over under that one, and it is not charged."""

    key: str
    result: Result | None
    last: str = ""
    unused: bool = False


@dataclass(frozen=True, slots=True)
class Interrupt:
    """Commit that the work ended early, and stays owed."""

    key: str


@dataclass(frozen=True, slots=True)
class Release:
    """Commit that nothing is owed."""

    key: str
    reason: str


@dataclass(frozen=True, slots=True)
class Grow:
    """Commit that more is signed."""

    key: str
    amount: int
    signature: bytes
    balance: int | None


@dataclass(frozen=True, slots=True)
class Lower:
    """Commit that less is signed: what was delivered."""

    key: str
    amount: int
    signature: bytes


@dataclass(frozen=True, slots=True)
class Roll:
    """Commit that a tab is shut, and that the next one is due if there is room for it."""

    key: str
    entry: Reservation
    balance: int | None


@dataclass(frozen=True, slots=True)
class AwaitRoom:
    """Tell when this payer owes less, or that it does not."""

    code: str


@dataclass(frozen=True, slots=True)
class AskMore:
    """Ask the caller to pay for this many units in all."""

    units: int


@dataclass(frozen=True, slots=True)
class AwaitSettlement:
    """Tell when the charge is settled or lost."""

    key: str


@dataclass(frozen=True, slots=True)
class Send:
    """Hand a piece over, which counts `units`."""

    data: bytes
    units: int = 0


@dataclass(frozen=True, slots=True)
class Replay:
    """Hand over what is kept of a call that was paid: its result if that is kept, else the receipt alone, which names
    what was handed over."""

    charge: Charge


@dataclass(frozen=True, slots=True)
class End:
    """The call is over. `code` is '' if it went well. `further` are the tabs behind the first. `charged`: what is owed
    stays owed; a caller that is to pay again must never hear of a demand."""

    code: str = ""
    charge: Charge | None = None
    further: tuple[Charge, ...] = ()

    @property
    def charged(self) -> bool:
        return bool(self.charges)

    @property
    def charges(self) -> tuple[Charge, ...]:
        """Those that are owed, or paid, in order."""
        first = () if self.charge is None else (self.charge,)
        return tuple(charge for charge in (*first, *self.further) if charge.state in OWED)


Output = (
    LookUp
    | Check
    | Reserve
    | Start
    | StopWork
    | MarkDue
    | Finish
    | Interrupt
    | Release
    | Grow
    | Lower
    | Roll
    | AwaitRoom
    | AskMore
    | AwaitSettlement
    | Send
    | Replay
    | End
)
