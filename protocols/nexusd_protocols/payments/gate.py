"""The gate of one paid call, at the provider: between a verified payment and the work that it buys.

    offered ──> looked up ──> checked ──> reserved ──> working ──> due ──> handed over ──> ended
                   └── known: given again, done again, or refused

Whoever drives it does what it puts out and tells what came of it. A gate never hands over what the ledger has not
committed as due, never asks for due before the reservation is committed, and charges nothing for work that failed
before its first piece left. What survives a crash is the ledger's row (`charge`); a gate lives as long as its call.

How output goes is a matter of trust:
- DIRECT: due is committed before the first piece leaves. A call that is not streamed is held until it is whole, so that
  its result is committed together with due.
- HELD: all of it waits until the payment is settled.
- TAB: each piece waits until what is signed, and committed, covers it. Whatever was signed is charged. (tab_gate.py)

(specs/payment-gate.md)
"""

from __future__ import annotations

import enum
from collections import deque
from typing import ClassVar, Final

from nexusd_protocols import limits
from nexusd_protocols.errors import LocalProtocolError
from nexusd_protocols.payments import faults
from nexusd_protocols.payments.charge import (
    OWED,
    Charge,
    Delivered,
    Known,
    Refused,
    Reservation,
    Reserved,
    Result,
    State,
    expired,
    redoable,
    resumable,
    same_call,
)
from nexusd_protocols.payments.gate_inputs import (
    Answered,
    Cancelled,
    Checked,
    Committed,
    Failed,
    Finished,
    Funded,
    Gone,
    Input,
    LookedUp,
    Lowered,
    NotCommitted,
    Produced,
    Raised,
    Rolled,
    Room,
    Settled,
    Unsettled,
)
from nexusd_protocols.payments.gate_outputs import (
    AwaitSettlement,
    Check,
    End,
    Finish,
    Interrupt,
    LookUp,
    MarkDue,
    Output,
    Release,
    Replay,
    Reserve,
    Send,
    Start,
    StopWork,
)


class Delivery(enum.Enum):
    """When output may go."""

    DIRECT = enum.auto()
    HELD = enum.auto()
    TAB = enum.auto()


class Phase(enum.Enum):
    """Of a gate."""

    NEW = enum.auto()
    LOOKING = enum.auto()
    CHECKING = enum.auto()
    RESERVING = enum.auto()
    WORKING = enum.auto()
    SETTLING = enum.auto()
    ENDING = enum.auto()
    """Something is being committed, behind which the call ends."""
    ENDED = enum.auto()


class Gate:
    """The machine: `handle(input, now) -> outputs`, `now` in unix milliseconds. Begins with `open`. A call with a tab
    has a TabGate."""

    tabs: ClassVar[bool] = False

    def __init__(
        self,
        entry: Reservation,
        delivery: Delivery,
        *,
        stream: bool = False,
        max_held: int = limits.PAYMENT_HELD_BYTES,
    ) -> None:
        """`stream`: the caller takes output as it comes; else it is whole or not at all."""
        if (entry.tab, delivery is Delivery.TAB) != (self.tabs, self.tabs):
            raise LocalProtocolError("a tab is delivered as one")
        self.entry = entry
        self.delivery: Final = delivery
        self.phase = Phase.NEW
        self.charge: Charge | None = None
        """The row as it was last committed."""
        self._stream = delivery is Delivery.TAB or (stream and delivery is Delivery.DIRECT)
        self._max_held = max_held
        self._held: deque[Produced] = deque()
        self.held_bytes = 0
        self._asked = False
        """Something is being committed."""
        self._finished: Finished | None = None
        self._end: str | None = None
        """How the call ends once what is being committed is."""
        self._by_caller = False
        self._gone = False
        self._sent = False

    def open(self) -> list[Output]:
        """Begin."""
        self._expect(Phase.NEW)
        self.phase = Phase.LOOKING
        return [LookUp(self.entry.key)]

    def handle(self, input_: Input, now: int) -> list[Output]:
        """See the inputs. Raises LocalProtocolError for what its phase does not allow; behind the end, what comes late
        is ignored."""
        if self.phase is Phase.ENDED:
            return []
        match input_:
            case LookedUp(charge):
                return self._looked_up(charge, now)
            case Checked(balance):
                self._expect(Phase.CHECKING)
                return self._reserve(balance)
            case Answered(answer):
                return self._answered(answer)
            case Produced():
                return self._produced(input_, now)
            case Finished():
                return self._finish(input_, now)
            case Failed(code, by_caller):
                return self._stop(code, by_caller=by_caller)
            case Cancelled():
                return self._stop("cancelled", by_caller=True)
            case Gone():
                return self._leave()
            case Raised() | Lowered() | Rolled() | Funded() | Room():
                raise LocalProtocolError("only a tab grows")
            case Committed(charge):
                return self._committed(charge, now)
            case NotCommitted(code):
                return self._not_committed(code)
            case Settled(charge):
                self._expect(Phase.SETTLING)
                self.charge = charge
                handed: list[Output] = self._flush() if self._finished else [Replay(charge)]
                return [*handed, *self._over("")]
            case Unsettled(charge, lost):
                self._expect(Phase.SETTLING, Phase.WORKING, Phase.ENDING)
                self.charge = charge
                stop: list[Output] = [StopWork()] if self.phase is Phase.WORKING else []
                return stop + self._over(faults.LOST if lost else faults.SETTLEMENT_PENDING)

    # --- before the work ----------------------------------------------------------------------------------------------
    def _looked_up(self, charge: Charge | None, now: int) -> list[Output]:
        self._expect(Phase.LOOKING)
        if charge is not None and not same_call(charge.entry, self.entry):
            return self._over(faults.USED)
        if charge is not None and resumable(charge):
            return self._reserve(None)
        if charge is not None and charge.state is not State.RELEASED:
            return self._known(charge)
        if expired(self.entry, now):
            return self._over(faults.VALID_BEFORE)
        self.phase = Phase.CHECKING
        return [Check(self.entry.key)]

    def _reserve(self, balance: int | None) -> list[Output]:
        self.phase = Phase.RESERVING
        return [Reserve(self.entry, balance)]

    def _answered(self, answer: Reserved | Known | Refused) -> list[Output]:
        if isinstance(answer, Refused):
            self._expect(Phase.CHECKING, Phase.RESERVING)
            return self._over(answer.code)
        self._expect(Phase.RESERVING)
        if isinstance(answer, Known):
            return self._known(answer.charge) if self._end is None else self._over(self._end)
        self.charge = answer.charge
        self.phase = Phase.WORKING
        if self._end is not None:  # cancelled meanwhile
            return self._give_up(self._end, by_caller=True)
        return [Start()]

    def _known(self, charge: Charge) -> list[Output]:
        """The call was here before: what it paid for is given again, and never charged again."""
        self.charge = charge
        if charge.state is State.LOST:
            return self._over(faults.LOST)
        if charge.working or charge.state not in OWED:
            return self._over(faults.IN_PROGRESS)
        if charge.delivered is not Delivered.ALL or (self.tabs and not charge.receipt):
            return self._over(faults.TAB_FAULT)  # of a tab, that was shut or broke off: it buys no other call
        if self.delivery is Delivery.HELD and charge.state is not State.SETTLED:
            self.phase = Phase.SETTLING
            return [AwaitSettlement(self.entry.key)]
        return [Replay(charge), *self._over("")]

    # --- the work -----------------------------------------------------------------------------------------------------
    @property
    def holds(self) -> bool:
        """Whether a piece waits here."""
        return bool(self._held)

    @property
    def streams(self) -> bool:
        """Whether output goes as it comes, and not as a whole."""
        return self._stream

    @property
    def paused(self) -> bool:
        """Whether the work should wait: as much is held as may be."""
        return self.held_bytes >= self._max_held

    def _produced(self, piece: Produced, now: int) -> list[Output]:
        if self.phase is not Phase.WORKING or self._end is not None:
            return []  # it was stopped, and did not know yet
        if self._finished is not None:
            raise LocalProtocolError("output behind the end")
        if self._stream and self.paused:
            raise LocalProtocolError("output while paused")
        self._held.append(piece)
        self.held_bytes += len(piece.data)
        if not self._stream:
            return self._stop("output_too_large", by_caller=False) if self.held_bytes > self._max_held else []
        return self._pass_on(now)

    def _finish(self, finished: Finished, now: int) -> list[Output]:
        if self.phase is not Phase.WORKING or self._end is not None:
            return []
        self._finished = finished
        if self._stream and (self._held or self._asked):
            return self._pass_on(now)
        return self._commit_result(now)

    def _pass_on(self, now: int) -> list[Output]:
        """Of a stream: hand over what is committed as due, and ask for what is not."""
        if self._asked:
            return []
        assert self.charge is not None
        if self.charge.state is State.RESERVED:
            return self._mark_due(None, now)
        outputs = self._flush()
        return outputs if self._finished is None else outputs + self._commit_result(now)

    def _flush(self) -> list[Output]:
        outputs: list[Output] = []
        while self._held and self._may_go(self._held[0]):
            piece = self._held.popleft()
            self.held_bytes -= len(piece.data)
            if not self._gone:
                outputs.append(Send(piece.data, piece.units))
                self._sent = True
        return outputs

    def _may_go(self, _piece: Produced) -> bool:
        """Whether a piece is covered by what is committed."""
        return True

    # --- what is committed --------------------------------------------------------------------------------------------
    def _mark_due(self, result: Result | None, now: int) -> list[Output]:
        assert self.charge is not None
        if self.charge.state is State.RESERVED and expired(self.charge.entry, now):
            return self._stop(faults.VALID_BEFORE, by_caller=False)
        self._asked = True
        return [MarkDue(self.entry.key, self.charge.entry.amount, result)]

    def _commit_result(self, now: int) -> list[Output]:
        """The work is whole: due with its result, or its result behind what is due already."""
        assert self._finished is not None
        assert self.charge is not None
        finished = self._finished
        if self.charge.state is State.RESERVED:
            return self._mark_due(finished.result, now)
        self._asked = True
        return [Finish(self.entry.key, finished.result)]

    def _committed(self, charge: Charge, now: int) -> list[Output]:
        if not self._asked:
            raise LocalProtocolError("nothing was being committed")
        self._asked = False
        self.charge = charge
        if self.phase is Phase.ENDING:
            return self._over(self._end or "")
        if self._end is not None:
            return self._give_up(self._end, by_caller=self._by_caller)
        if charge.state not in OWED:
            if charge.state is State.LOST:  # the payer took it back while we worked
                return [StopWork(), *self._over(faults.LOST)]
            return self._pass_on(now)
        return self._whole(charge) if charge.delivered is Delivered.ALL else self._pass_on(now)

    def _whole(self, charge: Charge) -> list[Output]:
        """Result and receipt are on disk."""
        if self.delivery is Delivery.HELD and charge.state is not State.SETTLED:
            self.phase = Phase.SETTLING
            return [AwaitSettlement(self.entry.key)]
        return [*self._flush(), *self._over("")]

    def _not_committed(self, code: str) -> list[Output]:
        """Nothing is handed over on the word of a disk that failed. The restart finds what is stored."""
        self._asked = False
        if self.phase in (Phase.LOOKING, Phase.CHECKING, Phase.RESERVING, Phase.ENDING):
            return self._over(self._end or code)
        return [StopWork(), *self._give_up(code, by_caller=False)]

    # --- ending -------------------------------------------------------------------------------------------------------
    def _stop(self, code: str, *, by_caller: bool) -> list[Output]:
        if self.phase is Phase.SETTLING:
            return self._over(faults.SETTLEMENT_PENDING if by_caller else code)
        if self.phase in (Phase.LOOKING, Phase.CHECKING):
            return self._over(code)
        if self.phase is Phase.RESERVING:
            self._end = code
            return []
        if self.phase is not Phase.WORKING or self._end is not None:
            return []
        stop: list[Output] = [StopWork()] if self._finished is None else []
        if self._asked:
            self._end, self._by_caller = code, by_caller  # what is under way decides whether it is owed
            return stop
        return stop + self._give_up(code, by_caller=by_caller)

    def _leave(self) -> list[Output]:
        """The caller is gone. Before the charge point that is as if it had cancelled."""
        self._gone = True
        owed = self.charge is not None and self.charge.state in OWED
        if self.phase is Phase.WORKING and self.delivery is Delivery.DIRECT and (owed or self._asked):
            return []
        return self._stop("cancelled", by_caller=True)

    def _give_up(self, code: str, *, by_caller: bool) -> list[Output]:
        """End a call that is reserved or owed. Before the charge point it costs nothing. Behind it a caller that gave
        up what it was being given has had what it paid for; otherwise it may ask again, if that can be done again."""
        assert self.charge is not None
        self._held.clear()
        self.held_bytes = 0
        self._end = code
        if self.charge.state is State.RESERVED:
            self.phase, self._asked = Phase.ENDING, True
            return [Release(self.entry.key, code)]
        if self.charge.state not in OWED or self.charge.delivered is Delivered.ALL:
            return self._over(code)
        self.phase, self._asked = Phase.ENDING, True
        if (by_caller and self._sent) or not redoable(self.charge):
            return [Finish(self.entry.key, None)]
        return [Interrupt(self.entry.key)]

    def _over(self, code: str) -> list[Output]:
        self.phase = Phase.ENDED
        self._held.clear()
        self.held_bytes = 0
        return [End(code, self.charge)]

    def _expect(self, *phases: Phase) -> None:
        if self.phase not in phases:
            raise LocalProtocolError(f"not in phase {self.phase.name.lower()}")
