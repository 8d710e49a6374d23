"""A tab behind the gate: what leaves is signed and committed first, and what was signed is charged."""

from __future__ import annotations

from collections import deque
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nexusd_protocols.payments import charge as rules
from nexusd_protocols.payments import gate_inputs as told
from nexusd_protocols.payments import gate_outputs as wanted
from nexusd_protocols.payments import tab as tabs
from nexusd_protocols.payments.charge import Charge, Exposure, Owing, Reserved, State
from nexusd_protocols.payments.gate import Delivery, Gate, Phase
from tests.harness.paying import NOW, tab_price
from tests.unit.protocols.payments.charges import BOB, entry, result
from tests.unit.protocols.payments.test_tab import text, verified

WIDE = Exposure(payer=10**12, total=10**12)


class Shop:
    """What a service does: carries things between the gate, the tab, the ledger's rules and the payer."""

    def __init__(self, *, credit: int = 0, lag: int = 0, **changes: Any) -> None:
        self.terms = tab_price(**changes)
        opened = verified(self.terms)
        self.row: Charge | None = None
        self.tab = tabs.TabProvider(opened, credit=credit, rolls=False)
        self.payer = tabs.TabPayer(self.terms, opened.authorization, budget=10**9, now_s=NOW)
        self.entry = entry(
            tab=True, key=opened.key, authorization=opened.authorization, signature=opened.signature, peer=BOB
        )
        self.gate = Gate(self.entry, Delivery.TAB)
        self.lag = lag
        self.mail: deque[list[Any]] = deque()
        self.units: deque[int] = deque()
        self.sent = 0
        self.ended: str | None = None
        self.run(self.gate.open())

    def run(self, outputs: list[Any]) -> None:
        for output in outputs:
            self.gate_wants(output)

    def say(self, one: Any) -> None:
        self.run(self.gate.handle(one, NOW * 1000))

    def gate_wants(self, output: Any) -> None:
        now = NOW * 1000
        match output:
            case wanted.LookUp():
                self.say(told.LookedUp(None))
            case wanted.Check():
                self.say(told.Checked(None))
            case wanted.Reserve(one, balance):
                answer = rules.reserve(None, one, now=now, balance=balance, owing=Owing(), exposure=WIDE)
                assert isinstance(answer, Reserved)
                self.row = answer.charge
                self.say(told.Answered(answer))
            case wanted.MarkDue(_, amount, kept, receipt):
                self.commit(rules.due(self.row, amount=amount, result=kept, receipt=receipt, now=now))
            case wanted.Grow(_, amount, signature):
                grown = rules.grow(
                    self.row, amount=amount, signature=signature, now=now, balance=None, owing=Owing(), exposure=WIDE
                )
                assert isinstance(grown, Charge)
                self.commit(grown)
            case wanted.Finish(_, kept, receipt):
                self.commit(rules.finish(self.row, result=kept or rules.NO_RESULT, receipt=receipt, now=now))
            case wanted.Release(_, reason):
                self.commit(rules.release(self.row, reason=reason, now=now))
            case wanted.AskMore(amount):
                self.tab_says(self.tab.handle(tabs.Wanted(amount), NOW))
            case wanted.Send():
                units = self.units.popleft()
                self.sent += units
                # what leaves was committed before
                assert self.sent * self.terms.unit_price <= self.row.entry.amount + self.tab._credit
                for _ in range(units):
                    self.payer.handle(tabs.Received(1), NOW)
                self.tab_says(self.tab.handle(tabs.Sent(units), NOW))
            case wanted.End(code):
                self.ended = code

    def commit(self, charge: Charge) -> None:
        self.row = charge
        self.say(told.Committed(charge))

    def tab_says(self, outputs: list[Any]) -> None:
        for output in outputs:
            match output:
                case tabs.Ask(tab, units, amount, final):
                    self.mail.append(self.payer.handle(tabs.Asked(tab, units, amount, final), NOW))
                case tabs.Covered(_, amount, signature):
                    self.say(told.Raised(amount, signature))
                case tabs.Stop(fault):
                    self.say(told.Failed(fault.code))

    def arrive(self) -> None:
        while self.mail:
            for answer in self.mail.popleft():
                assert isinstance(answer, tabs.Authorise), answer
                grown = answer.authorization
                self.tab_says(self.tab.handle(tabs.Grown(answer.tab, grown.value, text(grown, self.terms)), NOW))

    def produce(self, units: int) -> None:
        (cost,) = self.tab.handle(tabs.Produced(units), NOW)
        self.units.append(units)
        self.say(told.Produced(b"x" * units, cost.amount))
        if len(self.mail) > self.lag or self.gate.held_bytes:
            self.arrive()


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(1, 50), max_size=40), st.sampled_from([0, 100, 500]), st.integers(0, 1))
def test_pieces_leave_in_order_and_are_charged(pieces, credit, lag):
    shop = Shop(credit=credit, lag=lag)
    for units in pieces:
        shop.produce(units)
    shop.arrive()
    shop.tab_says(shop.tab.handle(tabs.Finished(), NOW))
    shop.arrive()
    assert not shop.gate.held_bytes
    shop.say(told.Finished(result(), b"receipt"))
    assert shop.ended == ""
    assert shop.sent == sum(pieces)
    assert shop.row.state is State.DUE
    assert shop.sent * 5 <= shop.row.entry.amount <= shop.sent * 5 + 500
    assert shop.row.entry.amount == shop.payer.total


def test_a_caller_that_gives_up_has_paid_for_what_it_got():
    shop = Shop()
    for _ in range(200):
        shop.produce(1)
    shop.say(told.Cancelled())
    assert (shop.row.state, shop.gate.phase) == (State.DUE, Phase.ENDED)
    assert 200 * 5 <= shop.row.entry.amount <= 200 * 5 + 500


def test_nothing_left_and_nothing_is_charged():
    shop = Shop()
    shop.say(told.Failed("internal"))
    assert (shop.row.state, shop.sent) == (State.RELEASED, 0)


@pytest.mark.parametrize("cap", [500, 1000])
def test_the_call_ends_where_the_tab_is_full(cap):
    shop = Shop(amount=cap)
    while shop.ended is None:
        shop.produce(1)
    assert shop.ended == "nexus_tab_fault"
    assert shop.row.entry.amount == cap
    assert shop.sent * 5 == cap
