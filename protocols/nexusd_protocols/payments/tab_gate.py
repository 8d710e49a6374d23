"""The gate of a call that is paid by a tab: each piece waits until what is signed, and committed, covers it.

    Produced ──> covered? ── yes ──> Send                    Raised ──> Grow ──> Committed
                    └─ no ──> AskMore                        Rolled ──> Check ──> Roll ──> Answered

One tab follows another within the call. What is committed as due of each covers pieces in order, and whatever was
signed is charged. The first tab's row keeps the result and the receipt of the call, which names them all: shown again,
it ends with all of them, too. If too much is owed to let the next tab begin, or this one grow, the call waits until
something was settled. (specs/payment-gate.md §3)
"""

from __future__ import annotations

from collections.abc import Callable

from nexusd_protocols import limits
from nexusd_protocols.errors import LocalProtocolError
from nexusd_protocols.payments import faults
from nexusd_protocols.payments.charge import OWED, Charge, Known, Refused, Reservation, Reserved, Result, State
from nexusd_protocols.payments.gate import Delivery, Gate, Phase
from nexusd_protocols.payments.gate_inputs import (
    Answered,
    Checked,
    Finished,
    Funded,
    Input,
    LookedUp,
    Lowered,
    Produced,
    Raised,
    Rolled,
    Room,
)
from nexusd_protocols.payments.gate_outputs import (
    AskMore,
    AwaitRoom,
    Check,
    End,
    Finish,
    Grow,
    LookUp,
    Lower,
    Output,
    Release,
    Roll,
    Send,
    StopWork,
)


class TabGate(Gate):
    """See `Gate`. `units` says how many units an amount under one tab buys."""

    tabs = True

    def __init__(
        self, entry: Reservation, units: Callable[[int], int], *, max_held: int = limits.PAYMENT_HELD_BYTES
    ) -> None:
        super().__init__(entry, Delivery.TAB, max_held=max_held)
        self._units = units
        self._past: list[Charge] = []
        """The rows of the tabs before, in order."""
        self._further: tuple[Charge, ...] = ()
        """Those that followed this one when the call was made, where it is shown again."""
        self._base = 0
        """Units that these pay for."""
        self._raised: dict[str, Raised] = {}
        """By key: what is signed and not committed yet."""
        self._lowered: Lowered | None = None
        """What is signed for what was delivered, and not committed yet."""
        self._growing: Raised | None = None
        self._balance: int | None = None
        """Of the payer, as it was last seen; None where there is no chain to ask."""
        self._rolled: Rolled | None = None
        """The tab that is to follow."""
        self._crowded = False
        """Waits until something is settled."""
        self._unused = False
        """Nothing went under the newest tab, and the call is over."""
        self._demanded = 0
        self._delivered = 0
        """Units that went."""

    @property
    def charges(self) -> tuple[Charge, ...]:
        """The rows of all tabs that are charged, in order, as they were last committed."""
        newest = () if self.charge is None or self._unused else (self.charge, *self._further)
        return (*self._past, *newest)

    def handle(self, input_: Input, now: int) -> list[Output]:
        """See `Gate`."""
        if self.phase is Phase.ENDED:
            return []
        match input_:
            case Raised() | Lowered() | Rolled() | Room() if self.phase is not Phase.WORKING or self._end is not None:
                return []
            case Raised():
                self._raised[input_.key] = input_
                return self._pass_on(now)
            case Lowered():
                self._lowered = input_
                return self._pass_on(now)
            case Rolled():
                return self._follow(input_, now)
            case Room(code):
                self._crowded = False
                return self._stop(code, by_caller=False) if code else self._pass_on(now)
            case Funded(balance):
                self._balance = balance
                return []
            case Checked(balance):
                self._balance = balance
                return super().handle(input_, now) if self._rolled is None else self._roll(self._rolled, balance)
            case LookedUp(_, further):
                self._further = further
                return super().handle(input_, now)
            case Answered(Known()) if self.phase is Phase.RESERVING and self._end is None:
                self.phase = Phase.LOOKING  # it was shown twice at once: what followed it is known by now
                return [LookUp(self.entry.key)]
            case Answered(Refused() as refused) if self._growing is not None:
                return self._not_grown(self._growing, refused)
            case Answered(answer) if self._rolled is not None:
                return self._rolled_over(self._rolled, answer, now)
            case _:
                return super().handle(input_, now)

    # --- pieces -------------------------------------------------------------------------------------------------------
    def _finish(self, finished: Finished, now: int) -> list[Output]:
        if self.phase is not Phase.WORKING or self._end is not None:
            return []
        self._finished = finished
        return self._pass_on(now)

    def _pass_on(self, now: int) -> list[Output]:
        """Hand over what is paid for; then commit what is to be, one thing at a time; then ask for what is not."""
        assert self.charge is not None
        outputs = self._flush()
        if self._asked:
            return outputs
        if self._lowered is not None and self._lowered.key == self.entry.key:
            return outputs + self._settle_up(self._lowered, now)
        if self._crowded:
            return outputs
        raised = self._raised.pop(self.entry.key, None)
        if raised is not None and raised.amount > self.charge.entry.amount:
            self._growing, self._asked = raised, True
            return [*outputs, Grow(raised.key, raised.amount, raised.signature, self._balance)]
        if self._finished is not None and not self._held and (self._rolled is None or self._delivered <= self._covered):
            return outputs + self._commit_result(now)
        if self._rolled is not None:
            self._asked = True
            return [*outputs, Check(self._rolled.entry.key)]
        if not self._held:
            return outputs
        if self._held[0].cost > self._covered:
            return outputs + self._ask_more()
        return outputs + self._mark_due(None, now)

    def _settle_up(self, last: Lowered, now: int) -> list[Output]:
        """The last that is signed takes the place of all before, also of what waited for room."""
        assert self.charge is not None
        self._lowered = None
        self._raised.pop(last.key, None)
        if last.amount < self.charge.entry.amount:
            self._asked = True
            return [Lower(last.key, last.amount, last.signature)]
        self._raised[last.key] = Raised(last.key, last.amount, last.signature)
        return self._pass_on(now)

    @property
    def unpaid(self) -> int:
        """Units that went, and that nobody signed for."""
        return 0 if self.charge is None else max(0, self._delivered - self._covered)

    @property
    def _covered(self) -> int:
        """Units that are paid for."""
        assert self.charge is not None
        return self._base + self._units(self.charge.entry.amount)

    def _flush(self) -> list[Output]:
        went = super()._flush()
        self._delivered += sum(piece.units for piece in went if isinstance(piece, Send))
        return went

    def _may_go(self, piece: Produced) -> bool:
        assert self.charge is not None
        return self.charge.state in OWED and piece.cost <= self._covered

    def _ask_more(self) -> list[Output]:
        """For each piece once."""
        if self._held[0].cost <= self._demanded:
            return []
        self._demanded = self._held[0].cost
        return [AskMore(self._demanded)]

    # --- growing ------------------------------------------------------------------------------------------------------
    def _follow(self, rolled: Rolled, now: int) -> list[Output]:
        assert self.charge is not None
        if self._rolled is not None or (self.charge.state is State.RESERVED and not self._asked):
            return self._stop(faults.TAB_FAULT, by_caller=False)  # nothing went yet under the one before
        self._rolled = rolled
        return self._pass_on(now)

    def _roll(self, rolled: Rolled, balance: int | None) -> list[Output]:
        if self._end is not None:  # given up meanwhile
            self._asked = False
            return self._give_up(self._end, by_caller=self._by_caller)
        return [Roll(self.entry.key, rolled.entry, balance)]

    def _rolled_over(self, rolled: Rolled, answer: Reserved | Known | Refused, now: int) -> list[Output]:
        assert self.charge is not None
        self._asked = False
        if isinstance(answer, Reserved):
            self._past.append(self.charge)
            self.entry, self.charge, self._base, self._rolled = rolled.entry, answer.charge, rolled.base, None
        if self._end is not None:
            return self._give_up(self._end, by_caller=self._by_caller)
        match answer:
            case Reserved():
                return self._pass_on(now)
            case Known():
                return self._stop(faults.USED, by_caller=False)
            case Refused():
                return self._wait_for_room(answer)

    def _not_grown(self, raised: Raised, refused: Refused) -> list[Output]:
        self._asked, self._growing = False, None
        if self._end is not None:
            return self._give_up(self._end, by_caller=self._by_caller)
        self._raised.setdefault(raised.key, raised)  # unless more was signed meanwhile
        return self._wait_for_room(refused)

    def _wait_for_room(self, refused: Refused) -> list[Output]:
        """Unless there will be none."""
        if not refused.passes:
            return self._stop(refused.code, by_caller=False)
        self._crowded = True
        return [AwaitRoom(refused.code)]

    # --- what is committed, and the end -------------------------------------------------------------------------------
    def _committed(self, charge: Charge, now: int) -> list[Output]:
        if not self._asked:
            raise LocalProtocolError("nothing was being committed")
        self._asked, self._growing = False, None
        if self._past and charge.entry.key == self._past[0].entry.key:
            self._past[0] = charge
        else:
            self.charge = charge
        if self.phase is Phase.ENDING:
            return self._over(self._end or (faults.LOST if charge.state is State.LOST else ""))
        if self._end is not None:
            return self._give_up(self._end, by_caller=self._by_caller)
        if charge.state is State.LOST:  # the payer took it back while we worked
            return [StopWork(), *self._over(faults.LOST)]
        return self._pass_on(now)

    def _commit_result(self, now: int) -> list[Output]:
        """The work is whole. What came to nothing costs nothing."""
        assert self._finished is not None
        assert self.charge is not None
        self.phase, self._asked = Phase.ENDING, True
        if self.charge.state is State.RESERVED:
            return [Release(self.entry.key, "nothing was delivered")]
        return self._close(self._finished.result)

    def _close(self, result: Result | None) -> list[Output]:
        first, *later = self.charges
        self._unused = bool(later) and self._delivered <= self._base
        return [Finish(first.entry.key, result, self.entry.key if later else "", self._unused)]

    def _leave(self) -> list[Output]:
        """What was handed over is paid for, and nobody takes the rest."""
        self._gone = True
        return self._stop("cancelled", by_caller=True)

    def _give_up(self, code: str, *, by_caller: bool) -> list[Output]:
        """Whatever was signed is charged, unless nothing was handed over."""
        assert self.charge is not None
        self._held.clear()
        self.held_bytes = 0
        self._end = code
        if self.charge.state not in (*OWED, State.RESERVED):
            return self._over(code)
        self.phase, self._asked = Phase.ENDING, True
        if self.charge.state is State.RESERVED:
            return [Release(self.entry.key, code)]
        return self._close(None)

    def _over(self, code: str) -> list[Output]:
        super()._over(code)
        charges = self.charges
        return [End(code, charges[0] if charges else None, charges[1:])]
