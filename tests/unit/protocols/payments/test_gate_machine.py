"""Gates of several calls over one ledger, in any order: callers that repeat, cancel and leave, work that fails, a disk
that fails, a daemon that dies, a chain on which payers take back what they signed.

Nobody is charged twice; nothing is handed over that is not due (and, where that was asked, settled, or signed for);
nothing is due that was not reserved; what is asked for again is given as it was, and costs nothing.
"""

from __future__ import annotations

from collections import Counter, deque
from dataclasses import dataclass, field

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from nexusd_protocols.identity import PeerId
from nexusd_protocols.payments import charge as rules
from nexusd_protocols.payments import faults
from nexusd_protocols.payments.charge import (
    LIVE,
    OWED,
    Charge,
    Delivered,
    Exposure,
    Known,
    Owing,
    Refused,
    Reserved,
    Result,
    State,
)
from nexusd_protocols.payments.gate import Delivery, Gate
from nexusd_protocols.payments.gate_inputs import (
    Answered,
    Cancelled,
    Checked,
    Committed,
    Failed,
    Finished,
    Gone,
    LookedUp,
    NotCommitted,
    Produced,
    Raised,
    Rolled,
    Room,
    Settled,
    Unsettled,
)
from nexusd_protocols.payments.gate_outputs import (
    AskMore,
    AwaitRoom,
    AwaitSettlement,
    Check,
    End,
    Finish,
    Grow,
    Interrupt,
    LookUp,
    MarkDue,
    Output,
    Release,
    Replay,
    Reserve,
    Roll,
    Send,
    Start,
    StopWork,
)
from nexusd_protocols.payments.tab_gate import TabGate
from tests.harness.examples import examples
from tests.unit.protocols.payments.charges import BOB, INPUT, MALLORY, NOW, UNTIL, WIDE, entry, tab_gate

EAGER = st.sampled_from([True, True, True, False])
BUYER = st.sampled_from([(BOB, b"one")] * 4 + [(BOB, b"another"), (MALLORY, b"one")])
BALANCE = 250
PRICE = 100
STEP = 10
TIGHT = Exposure(payer=10**6, total=220)


@dataclass
class Call:
    """A gate, and who drives it."""

    gate: Gate
    todo: deque[Output] = field(default_factory=deque)
    working: bool = False
    finished: bool = False
    ended: bool = False
    cost: int = 0
    sent: list[tuple[bytes, int]] = field(default_factory=list)
    waiting: bool = False
    base: int = 0
    tabs: int = 0
    crowded: bool = False

    def __post_init__(self) -> None:
        self.key = self.gate.entry.key
        """Of the charge that the call was opened with."""

    @property
    def newest(self) -> str:
        return self.gate.entry.key


class Gates(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.now = NOW
        self.rows: dict[str, Charge] = {}
        self.calls: list[Call] = []
        self.handed: Counter[str] = Counter()
        """Pieces handed over, by key."""
        self.paid: dict[str, int] = {}
        """What the chain moved, by key: a nonce moves once."""
        self.signed: dict[str, int] = {}
        self.dues: Counter[str] = Counter()
        self.bought: dict[str, tuple[str, bytes]] = {}
        """Whom each authorisation was reserved for, and for what."""
        self.nonces = 100

    # --- callers ------------------------------------------------------------------------------------------------------
    @rule(
        number=st.sampled_from([1, 1, 2, 3, 3, 3]),
        delivery=st.sampled_from([Delivery.DIRECT, Delivery.DIRECT, Delivery.HELD]),
        stream=st.booleans(),
        buyers=st.lists(BUYER, min_size=1, max_size=3),
        eager=EAGER,
    )
    def call(
        self, number: int, delivery: Delivery, stream: bool, buyers: list[tuple[PeerId, bytes]], eager: bool
    ) -> None:
        """Several at once. Number 3 is a tab. Anybody may show what bob signed, for any call: it is bound to none."""
        tab = number == 3
        for peer, request in buyers:
            one = entry(number, amount=STEP if tab else PRICE, tab=tab, peer=peer, request=request)
            call = Call(tab_gate(one, max_held=30) if tab else Gate(one, delivery, stream=stream, max_held=30))
            self.signed.setdefault(one.key, one.amount)
            call.todo += call.gate.open()
            self.calls.append(call)
        self._go_on(eager)

    def _go_on(self, eager: bool) -> None:
        """What is under way gets done, one of each in turn; or waits."""
        while eager and (doing := [call for call in self.calls if call.todo]):
            for call in doing:
                self._do(call, False)

    def _some(self, *, finished: bool | None = None) -> list[Call]:
        return [call for call in self.calls if call.working and finished in (None, call.finished)]

    def _pick(self, data: st.DataObject, calls: list[Call]) -> Call | None:
        return data.draw(st.sampled_from(calls)) if calls else None

    def _say(self, call: Call, given: object) -> None:
        call.todo += call.gate.handle(given, self.now)

    @precondition(lambda self: any(not call.ended for call in self.calls))
    @rule(data=st.data(), given=st.sampled_from([Cancelled(), Gone()]), eager=EAGER)
    def leave(self, data: st.DataObject, given: object, eager: bool) -> None:
        if call := self._pick(data, [call for call in self.calls if not call.ended]):
            self._say(call, given)
            self._go_on(eager)

    @precondition(lambda self: any(call.gate.delivery is Delivery.TAB for call in self._some()))
    @rule(data=st.data(), more=st.integers(1, 3), eager=EAGER)
    def sign_more(self, data: st.DataObject, more: int, eager: bool) -> None:
        tabs = [call for call in self.calls if call.gate.delivery is Delivery.TAB and call.working]
        if call := self._pick(data, tabs):
            key = call.newest
            self.signed[key] += more * STEP
            self._say(call, Raised(key, self.signed[key], b"signature"))
            self._go_on(eager)

    @precondition(lambda self: any(isinstance(call.gate, TabGate) and call.sent for call in self._some()))
    @rule(data=st.data(), eager=EAGER)
    def roll(self, data: st.DataObject, eager: bool) -> None:
        """Another tab, under another nonce; one at a time, as the tab's machine has it."""
        tabs = [call for call in self.calls if isinstance(call.gate, TabGate) and call.working and call.sent]
        if call := self._pick(data, [call for call in tabs if call.tabs == len(call.gate.charges) - 1]):
            before = call.gate.entry
            self.nonces += 1
            one = entry(self.nonces, amount=STEP, tab=True, peer=before.peer, request=before.request)
            self.signed[one.key] = STEP
            call.base += self.signed[before.key]
            call.tabs += 1
            self._say(call, Rolled(one, call.base))
            self._go_on(eager)

    @precondition(lambda self: any(call.crowded for call in self._some()))
    @rule(data=st.data(), code=st.sampled_from(["", "", faults.EXPOSURE]))
    def make_room(self, data: st.DataObject, code: str) -> None:
        if call := self._pick(data, [call for call in self.calls if call.working and call.crowded]):
            call.crowded = False
            self._say(call, Room(code))

    # --- work ---------------------------------------------------------------------------------------------------------
    @precondition(lambda self: self._some(finished=False))
    @rule(data=st.data(), eager=EAGER)
    def produce(self, data: st.DataObject, eager: bool) -> None:
        if call := self._pick(data, [c for c in self.calls if c.working and not c.finished and not c.gate.paused]):
            call.cost += STEP // 2
            self._say(call, Produced(b"piece", call.cost))
            self._go_on(eager)

    @precondition(lambda self: self._some(finished=False))
    @rule(data=st.data(), eager=EAGER)
    def finish(self, data: st.DataObject, eager: bool) -> None:
        if call := self._pick(data, [call for call in self.calls if call.working and not call.finished]):
            call.finished = True
            self._say(call, Finished(Result(digest=b"d" * 32, size=call.cost, data=b"result")))
            self._go_on(eager)

    @precondition(lambda self: self._some(finished=False))
    @rule(data=st.data(), by_caller=st.booleans(), eager=EAGER)
    def fail(self, data: st.DataObject, by_caller: bool, eager: bool) -> None:
        if call := self._pick(data, [call for call in self.calls if call.working and not call.finished]):
            self._say(call, Failed("handler_failed", by_caller))
            self._go_on(eager)

    # --- what gates ask for -------------------------------------------------------------------------------------------
    @precondition(lambda self: any(call.todo for call in self.calls))
    @rule(data=st.data(), fails=st.sampled_from([False, False, False, False, True]))
    def do(self, data: st.DataObject, fails: bool) -> None:
        self._do(self._pick(data, [call for call in self.calls if call.todo]), fails)

    def _do(self, call: Call | None, fails: bool) -> None:
        if call is None:
            return
        asked = call.todo.popleft()
        row = self.rows.get(call.key)
        match asked:
            case LookUp(key):
                self._say(call, LookedUp(self.rows.get(key)))
            case Check(key):
                taken = key in self.paid
                self._say(call, Answered(Refused(faults.TRANSACTION_STATE)) if taken else Checked(BALANCE))
            case Reserve(one, balance):
                if fails:
                    self._say(call, NotCommitted("storage_failed"))
                    return
                answer = rules.reserve(
                    row,
                    one,
                    now=self.now,
                    balance=balance,
                    owing=self._owing(),
                    exposure=TIGHT,
                )
                if isinstance(answer, Reserved):
                    assert not [other for other in self.calls if other.working and other.key == call.key]
                    self.rows[call.key] = answer.charge
                    buyer = one.peer, one.request
                    assert self.bought.setdefault(call.key, buyer) == buyer, "sold to two"
                elif isinstance(answer, Known):
                    assert answer.charge == row
                self._say(call, Answered(answer))
            case Start():
                call.working = True
            case StopWork():
                call.working = False
            case Roll(key, one, balance):
                if fails:
                    self._say(call, NotCommitted("storage_failed"))
                    return
                shut, rolled = rules.roll(
                    self.rows[key],
                    self.rows.get(one.key),
                    one,
                    now=self.now,
                    balance=balance,
                    owing=self._owing(),
                    exposure=TIGHT,
                )
                self.rows[key] = shut
                if isinstance(rolled, Reserved):
                    self.bought[one.key] = one.peer, one.request
                    self.dues[one.key] += 1
                    self.rows[one.key] = rolled.charge
                self._say(call, Answered(rolled))
            case AwaitRoom():
                call.crowded = True
            case MarkDue(key, amount, result):
                row = self.rows[key]
                assert key in self.bought, "due and never reserved"
                if not fails:
                    self.dues[key] += row.state is State.RESERVED
                whole = {"result": result, "receipt": b"receipt" if result else b"", "now": self.now}
                input_ = b"" if key == entry(2).key else INPUT  # of number 2 it is never whole in time
                self._commit(call, rules.due(row, amount=amount, input_=input_, **whole), fails)
            case Finish(key, result, last, unused):
                assert key == call.key, "the first charge of a call keeps what came of it"
                assert row is not None
                so_far = result or Result(size=call.cost)
                if last and not fails:
                    self.rows[last] = (rules.waive if unused else rules.shut)(self.rows[last], now=self.now)
                    self.dues[last] -= self.rows[last].state is State.RELEASED
                    self.dues[last] -= self.rows[last].state is State.RELEASED
                self._commit(call, rules.finish(row, result=so_far, receipt=b"receipt", now=self.now), fails)
            case Interrupt():
                assert row is not None
                self._commit(call, rules.interrupt(row, now=self.now), fails)
            case Release(_, reason):
                assert row is not None
                self._commit(call, rules.release(row, reason=reason, now=self.now), fails)
            case Grow(key, amount, signature, _):
                grown = rules.grow(
                    self.rows[key],
                    amount=amount,
                    signature=signature,
                    now=self.now,
                    balance=BALANCE,
                    owing=self._owing(),
                    exposure=WIDE,
                )
                if isinstance(grown, Refused):
                    self._say(call, Answered(grown))
                else:
                    self._commit(call, grown, fails)
            case Send(data):
                self._sent(call, data)
            case Replay(charge):
                assert charge.state in OWED, "given without being owed"
                assert charge == self.rows[call.key] or self.rows[call.key].state is not State.RELEASED
                buyer = call.gate.entry.peer, call.gate.entry.request
                assert self.bought[call.key] == buyer, "given to somebody else"
                assert call.gate.delivery is not Delivery.HELD or charge.state is State.SETTLED
                assert not call.sent
            case AwaitSettlement():
                call.waiting = True
            case AskMore(units):
                assert isinstance(call.gate, TabGate)
                assert units > sum(charge.entry.amount for charge in call.gate.charges)
            case End():
                call.ended = True
                call.working = False
                assert not call.todo, "something behind the end"

    def _commit(self, call: Call, row: Charge, fails: bool) -> None:
        if fails:
            self._say(call, NotCommitted("storage_failed"))
            return
        self.rows[row.entry.key] = row
        self._say(call, Committed(row))

    def _sent(self, call: Call, data: bytes) -> None:
        row = self.rows[call.key]
        assert row.state in OWED or row.state is State.LOST, f"handed over while {row.state}"
        if call.gate.delivery is Delivery.HELD:
            assert row.state is State.SETTLED, "a stranger got it before the chain had it"
        self.handed[call.key] += 1
        call.sent.append((data, call.cost))
        if isinstance(call.gate, TabGate):
            owed = sum(charge.entry.amount for charge in call.gate.charges if charge.state in OWED)
            assert len(call.sent) * STEP // 2 <= owed, "more than was signed for, and due"

    def _owing(self) -> Owing:
        live = [row.live for row in self.rows.values() if row.state in LIVE]
        return Owing(sum(live), len(live), sum(live))

    # --- the chain ----------------------------------------------------------------------------------------------------
    @precondition(lambda self: any(row.state in (State.DUE, State.SUBMITTED) for row in self.rows.values()))
    @rule(data=st.data(), fate=st.sampled_from(["submit", "settle", "settle", "cancel"]))
    def settle(self, data: st.DataObject, fate: str) -> None:
        due = [row for row in self.rows.values() if row.state in (State.DUE, State.SUBMITTED)]
        if not due:
            return
        row = data.draw(st.sampled_from(due))
        key = row.entry.key
        if fate == "submit":
            self.rows[key] = rules.submitted(row, transaction="0x1", now=self.now)
        elif fate == "cancel":
            self.rows[key] = rules.lost(row, reason="cancelled", now=self.now)
        else:
            assert key not in self.paid, "charged twice"
            self.paid[key] = row.entry.amount
            self.rows[key] = rules.settled(row, transaction="0x1", block=1, now=self.now)
        for call in self.calls:
            if call.key == key and call.waiting and not call.ended and fate != "submit":
                call.waiting = False
                settled = fate == "settle"
                self._say(call, Settled(self.rows[key]) if settled else Unsettled(self.rows[key], True))

    @precondition(lambda self: any(call.waiting and not call.ended for call in self.calls))
    @rule(data=st.data())
    def give_up_waiting(self, data: st.DataObject) -> None:
        if call := self._pick(data, [call for call in self.calls if call.waiting and not call.ended]):
            call.waiting = False
            self._say(call, Unsettled(self.rows[call.key], False))

    # --- the daemon ---------------------------------------------------------------------------------------------------
    @precondition(lambda self: self.calls)
    @rule()
    def crash(self) -> None:
        self.calls.clear()
        self.rows = {key: rules.recovered(row, now=self.now) for key, row in self.rows.items()}
        assert not [row for row in self.rows.values() if row.working or row.state is State.RESERVED]

    @rule(seconds=st.sampled_from([1, 1, 60, 299]))
    def wait(self, seconds: int) -> None:
        self.now += seconds * 1000
        if self.now > UNTIL * 1000:
            self.now = NOW  # a clock that is set back

    # --- what holds always --------------------------------------------------------------------------------------------
    @invariant()
    def what_was_handed_over_is_owed(self) -> None:
        for key, pieces in self.handed.items():
            row = self.rows[key]
            assert not pieces or row.state in OWED or row.state is State.LOST

    @invariant()
    def charges_come_from_reservations_and_once(self) -> None:
        for key, row in self.rows.items():
            assert self.dues[key] <= 1
            assert (row.state in OWED or row.state is State.LOST) == (self.dues[key] == 1)
            assert row.entry.amount <= self.signed[key]
            if row.state is State.SETTLED:
                assert self.paid[key] == row.entry.amount, "charged something else than what is written"

    @invariant()
    def the_balance_covers_what_is_owed(self) -> None:
        assert self._owing().payer <= BALANCE

    @invariant()
    def one_works_at_a_time(self) -> None:
        working = Counter(call.key for call in self.calls if call.working)
        assert not working or max(working.values()) == 1
        for key, row in self.rows.items():
            if not row.working and working[key] and not row.entry.tab:
                assert row.delivered is Delivered.ALL or row.state in (State.LOST, State.RELEASED)


TestGates = Gates.TestCase
TestGates.settings = settings(max_examples=examples(100), stateful_step_count=60, deadline=None)
