"""Whole calls with tabs: both machines, the gate and the ledger's rules, whatever comes between.

What leaves is signed and committed first; what was signed is charged, and never more; the provider gives no more than
it said it would, whoever stops, and wherever either side dies.
"""

from __future__ import annotations

from collections import deque
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nexusd_protocols.payments import charge as rules
from nexusd_protocols.payments import faults
from nexusd_protocols.payments import gate_inputs as told
from nexusd_protocols.payments import gate_outputs as wanted
from nexusd_protocols.payments import tab as tabs
from nexusd_protocols.payments.charge import LIVE, OWED, Charge, Exposure, Owing, Refused, Reserved, State
from nexusd_protocols.payments.tab_gate import TabGate
from nexusd_protocols.payments.tab_payer import TabPayer
from nexusd_protocols.payments.tab_provider import TabProvider
from nexusd_protocols.payments.terms import PriceTerms
from tests.harness.examples import examples
from tests.harness.paying import NOW, tab_price
from tests.unit.protocols.payments.charges import BOB, entry, result
from tests.unit.protocols.payments.tabs import fits, text, verified

WIDE = Exposure(payer=10**12, total=10**12)


class Died(Exception):  # noqa: N818 - that is the point
    """The provider's daemon was killed."""


class Call:
    """What services do: carry things between the gate, the tab, the ledger's rules and the payer."""

    def __init__(
        self,
        terms: PriceTerms,
        *,
        lag: int = 0,
        budget: int = 10**9,
        exposure: Exposure = WIDE,
        dies_at: int | None = None,
    ) -> None:
        """`lag`: answers of the payer that may be on their way. `dies_at`: the provider's commit before which it is
        killed."""
        self.terms, self.lag, self.exposure = terms, lag, exposure
        self.now_s = NOW
        opened = verified(terms)
        self.rows: dict[str, Charge] = {}
        self.signed = {opened.key: opened.authorization.value}
        """By key, the highest that the payer signed."""
        self.tab = TabProvider(opened)
        self.payer = TabPayer(terms, opened.authorization, budget=budget, now_s=NOW)
        self.gate = TabGate(self._entry(opened), terms.units)
        self.lives = dies_at
        self.mail: deque[list[Any]] = deque()
        self.got = 0
        """Units that the payer has."""
        self.told_off = ""
        self.end: wanted.End | None = None
        self.work = True

    def begin(self) -> Call:
        self.run(self.gate.open())
        return self

    def _entry(self, opened: Any) -> rules.Reservation:
        return entry(
            tab=True,
            key=opened.key,
            authorization=opened.authorization,
            signature=opened.signature,
            peer=BOB,
            request=b"r" * 32,
        )

    # --- the gate -----------------------------------------------------------------------------------------------------
    def run(self, outputs: list[Any]) -> None:
        for output in outputs:
            self.gate_wants(output)

    def say(self, one: Any) -> None:
        self.run(self.gate.handle(one, self.now_s * 1000))

    def gate_wants(self, output: Any) -> None:
        now = self.now_s * 1000
        options: dict[str, Any] = {"now": now, "balance": None, "owing": self.owing(), "exposure": self.exposure}
        match output:
            case wanted.LookUp():
                self.say(told.LookedUp(None))
            case wanted.Check():
                self.say(told.Checked(None))
            case wanted.Reserve(one, _):
                answer = rules.reserve(None, one, **options)
                assert isinstance(answer, Reserved)
                self.keep(answer.charge)
                self.say(told.Answered(answer))
            case wanted.MarkDue(key, amount, kept):
                self.commit(
                    rules.due(self.rows[key], amount=amount, result=kept, receipt=b"receipt" if kept else b"", now=now)
                )
            case wanted.Grow(key, amount, signature, _):
                grown = rules.grow(self.rows[key], amount=amount, signature=signature, **options)
                if isinstance(grown, Refused):
                    self.say(told.Answered(grown))
                else:
                    self.commit(grown)
            case wanted.Lower(key, amount, signature):
                self.commit(rules.lower(self.rows[key], amount=amount, signature=signature, now=now))
            case wanted.Roll(key, one, _):
                shut, rolled = rules.roll(self.rows[key], self.rows.get(one.key), one, **options)
                self.keep(shut, *([rolled.charge] if isinstance(rolled, Reserved) else []))
                self.say(told.Answered(rolled))
            case wanted.AwaitRoom(code):
                self.make_room(code)
            case wanted.Finish(key, kept, last, unused):
                if last:
                    self.keep((rules.waive if unused else rules.shut)(self.rows[last], now=now))
                self.commit(
                    rules.finish(
                        self.rows[key], result=kept or rules.NO_RESULT, receipt=b"receipt" if kept else b"", now=now
                    )
                )
            case wanted.Release(key, reason):
                self.commit(rules.release(self.rows[key], reason=reason, now=now))
            case wanted.AskMore(units):
                self.tab_says(self.tab.handle(tabs.Wanted(units), self.now_s))
            case wanted.Send(data, units):
                self.hand_over(data, units)
            case wanted.StopWork():
                self.work = False
            case wanted.End():
                self.end = output

    def hand_over(self, data: bytes, units: int) -> None:
        self.got += units
        # what leaves was committed before, as due
        owed = [row for row in self.rows.values() if row.state in OWED]
        covered = sum(self.terms.units(row.entry.amount) for row in owed)
        assert self.got <= covered + self.terms.units(self.terms.credit)
        assert all(row.state is not State.RESERVED for row in self.rows.values())
        for _ in range(units if self.terms.unit == "chunk" else 1):
            self.payer_says(self.payer.handle(tabs.Received(len(data) if self.terms.unit == "byte" else 1), self.now_s))
        self.tab_says(self.tab.handle(tabs.Sent(units), self.now_s))

    def make_room(self, code: str) -> None:
        """What is shut gets settled, if anything is."""
        due = [row for row in self.rows.values() if row.state is State.DUE and not row.open_tab]
        for row in due:
            self.rows[row.entry.key] = rules.settled(row, transaction="0x1", block=1, now=self.now_s * 1000)
        self.say(told.Room("" if due else code))

    def owing(self) -> Owing:
        live = [row.live for row in self.rows.values() if row.state in LIVE]
        return Owing(sum(live), len(live), sum(live))

    def keep(self, *rows: Charge) -> None:
        """One transaction."""
        if self.lives is not None:
            self.lives -= 1
            if self.lives < 0:
                raise Died
        for row in rows:
            self.rows[row.entry.key] = row

    def commit(self, charge: Charge) -> None:
        self.keep(charge)
        self.say(told.Committed(charge))

    # --- the tab ------------------------------------------------------------------------------------------------------
    def tab_says(self, outputs: list[Any]) -> None:
        for output in outputs:
            match output:
                case tabs.Ask(tab, units, amount, final):
                    self.mail.append(self.payer.handle(tabs.Asked(tab, units, amount, final), self.now_s))
                case tabs.Covered(key, amount, signature):
                    self.say(told.Raised(key, amount, signature))
                case tabs.Lowered(key, amount, signature):
                    self.say(told.Lowered(key, amount, signature))
                case tabs.Rolled(_, payment, base):
                    self.say(told.Rolled(self._entry(payment), base))
                case tabs.Stop(fault):
                    self.say(told.Failed(fault.code))

    def payer_says(self, outputs: list[Any]) -> None:
        """What the payer has signed is out of its hands, whether it arrives or not."""
        for answer in outputs:
            match answer:
                case tabs.Authorise(tab, grown, final):
                    key = grown.key(self.terms.token)
                    self.signed[key] = max(self.signed[key], grown.value)
                    more = tabs.Grown(tab, grown.value, text(grown, self.terms), final)
                    self.tab_says(self.tab.handle(more, self.now_s))
                case tabs.OpenTab(tab, amount, final):
                    opened = verified(self.terms, number=tab, value=amount, now_s=self.now_s)
                    self.payer.opened(opened.authorization)
                    self.signed[opened.key] = amount
                    self.tab_says(self.tab.handle(tabs.Opened(tab, opened, final), self.now_s))
                case tabs.Exhausted():
                    self.tab_says(self.tab.handle(answer, self.now_s))
                case tabs.Stop(fault):
                    self.told_off = fault.detail
                    self.say(told.Cancelled())

    def arrive(self) -> None:
        while self.mail:
            self.payer_says(self.mail.popleft())

    # --- the work -----------------------------------------------------------------------------------------------------
    def produce(self, units: int) -> None:
        if not self.work:
            return
        for cost in self.tab.handle(tabs.Produced(units), self.now_s):
            assert isinstance(cost, tabs.Cost)
            self.say(told.Produced(b"x" * units, cost.units, units))
        if len(self.mail) > self.lag or self.gate.held_bytes:
            self.arrive()

    def finish(self) -> None:
        """What was given on credit is signed for first."""
        self.arrive()
        if self.work:
            self.tab_says(self.tab.handle(tabs.Finished(), self.now_s))
            self.arrive()
            self.say(told.Finished(result()))

    @property
    def charged(self) -> int:
        return sum(row.entry.amount for row in self.rows.values() if row.state in OWED)

    def never_more_than_signed(self) -> None:
        for key, row in self.rows.items():
            assert row.entry.amount <= self.signed[key]
            assert row.entry.amount <= self.terms.amount


TERMS = st.builds(
    tab_price,
    unit=st.sampled_from(["chunk", "byte"]),
    unit_price=st.integers(1, 9),
    per=st.sampled_from([1, 3]),
    ahead=st.integers(1, 200),
    credit=st.integers(0, 200),
    amount=st.integers(200, 900),
)
PIECES = st.lists(st.integers(1, 30), max_size=50)


@settings(max_examples=examples(60), deadline=None)
@given(TERMS, PIECES, st.integers(0, 1))
def test_pieces_leave_in_order_and_are_charged(terms, pieces, lag):
    call = Call(terms, lag=lag).begin()
    pieces = [units for units in pieces if fits(terms, units)]
    for units in pieces:
        call.produce(units)
    call.finish()
    assert (call.told_off, call.gate.held_bytes) == ("", 0)
    assert call.end is not None
    assert call.end.code == ""
    assert call.got == sum(pieces)
    call.never_more_than_signed()
    owed, each = terms.cost(call.got), terms.cost(1)
    if not pieces:
        assert call.charged == 0
        return
    assert owed <= call.charged + len(call.rows) * each
    assert call.charged <= owed + len(call.rows) * each, "to the unit, but for what is below one in each tab"
    assert call.charged == sum(charge.entry.amount for charge in call.end.charges) <= call.payer.total
    first, *others = call.end.charges
    assert (first.receipt, first.result) == (b"receipt", result())
    assert not any(row.open_tab for row in call.rows.values())
    assert [row.receipt for row in others] == [b""] * len(others)


@settings(max_examples=examples(60), deadline=None)
@given(TERMS, PIECES, st.integers(0, 2000))
def test_a_call_goes_on_to_what_it_may_cost(terms, pieces, more):
    budget = terms.ahead + more
    call = Call(terms, budget=budget).begin()
    for units in pieces:
        if fits(terms, units):
            call.produce(units)
    call.finish()
    assert call.told_off == ""
    assert call.end is not None
    assert call.end.code in ("", faults.PRICE_REACHED)
    call.never_more_than_signed()
    assert call.charged <= budget
    if call.end.code:
        assert call.charged <= terms.cost(call.got) + len(call.rows) * terms.cost(1)
        assert terms.units(budget - call.charged) < max(pieces) + len(call.rows) + 1


@settings(max_examples=examples(40), deadline=None)
@given(TERMS, st.lists(st.integers(1, 30), min_size=30, max_size=60), st.integers(0, 60), st.integers(0, 1))
def test_a_provider_may_die_before_any_commit(terms, pieces, dies_at, lag):
    call = Call(terms, lag=lag, dies_at=dies_at)
    with suppress(Died):
        call.begin()
        for units in pieces:
            if fits(terms, units):
                call.produce(units)
        call.finish()
    rows = {key: rules.recovered(row, now=NOW * 1000) for key, row in call.rows.items()}
    call.rows = rows
    call.never_more_than_signed()
    # what was handed over is owed, up to what goes on credit
    owed = sum(terms.units(row.entry.amount) for row in rows.values() if row.state in OWED)
    assert call.got <= owed + terms.units(terms.credit)
    assert not any(row.open_tab or row.state is State.RESERVED for row in rows.values())
    if not call.got:
        assert call.charged in (0, call.signed[next(iter(call.signed))])


@settings(max_examples=examples(40), deadline=None)
@given(TERMS, st.lists(st.integers(1, 30), min_size=1, max_size=40), st.integers(0, 40))
def test_a_caller_may_give_up_at_any_piece(terms, pieces, after):
    call = Call(terms).begin()
    for number, units in enumerate(pieces):
        if number == after:
            call.say(told.Cancelled())
        if fits(terms, units):
            call.produce(units)
    call.say(told.Cancelled())
    assert call.end is not None
    call.never_more_than_signed()
    assert terms.cost(call.got) <= call.charged + terms.credit + (len(call.rows) + 1) * terms.cost(1)
    if not call.got:
        assert call.charged == 0


def test_what_one_payer_may_owe_bounds_a_call_of_any_length():
    terms = tab_price(ahead=100, amount=500)
    call = Call(terms, exposure=Exposure(payer=1100, total=10**9)).begin()
    for _ in range(1000):
        call.produce(1)
        assert call.owing().payer <= 1100
    call.finish()
    assert call.end is not None
    assert (call.end.code, call.got) == ("", 1000)
    assert len(call.rows) >= 10


def test_without_a_chain_a_call_ends_at_what_may_be_owed():
    terms = tab_price(ahead=100, amount=500)
    call = Call(terms, exposure=Exposure(payer=1100, total=10**9)).begin()
    call.make_room = lambda code: call.say(told.Room(code))  # type: ignore[method-assign]
    while call.end is None:
        call.produce(1)
    assert call.end.code == faults.EXPOSURE
    assert 1000 <= call.charged <= 1100
    assert call.got * 5 <= call.charged


def test_a_caller_that_gives_up_has_paid_for_what_it_got():
    call = Call(tab_price()).begin()
    for _ in range(200):
        call.produce(1)
    call.say(told.Cancelled())
    assert 200 * 5 <= call.charged <= 200 * 5 + 500


def test_nothing_left_and_nothing_is_charged():
    call = Call(tab_price()).begin()
    call.say(told.Failed("internal"))
    assert (call.charged, call.got) == (0, 0)


@pytest.mark.parametrize("ahead", [5, 500])
def test_credit_makes_it_exact(ahead):
    call = Call(tab_price(ahead=ahead, credit=500 - ahead, amount=1000)).begin()
    for _ in range(777):
        call.produce(1)
    call.finish()
    assert call.end is not None
    assert call.charged == (777 * 5 if ahead == 5 else call.payer.total)
    assert 777 * 5 <= call.charged <= 777 * 5 + 2 * ahead
