"""A tab: both machines together, whatever comes."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nexusd_protocols import limits
from nexusd_protocols.payments import faults
from nexusd_protocols.payments.authorization import Authorization
from nexusd_protocols.payments.tab import (
    Ask,
    Asked,
    Authorise,
    Cost,
    Covered,
    Exhausted,
    Finished,
    Grown,
    Lowered,
    Opened,
    OpenTab,
    Produced,
    Received,
    Rolled,
    Sent,
    Stop,
    Wanted,
    least_window_s,
)
from nexusd_protocols.payments.tab_payer import TabPayer
from nexusd_protocols.payments.tab_provider import TabProvider
from nexusd_protocols.payments.terms import PriceTerms, read_requirements
from nexusd_protocols.payments.tokens import Tokens
from tests.harness.examples import examples
from tests.harness.paying import NOW, PAYER, tab_price
from tests.harness.vectors import vectors
from tests.unit.protocols.payments.tabs import fits, text, verified

SIGNATURES = vectors("payments")["tab"]["growth"]


class Call:
    """Both ends of a call with a tab, over a stream that keeps the order and loses nothing."""

    def __init__(self, terms: PriceTerms, *, budget: int = 10**9, now_s: int = NOW, slow: bool = False) -> None:
        """`slow`: answers are on their way until the provider waits for them."""
        self.terms, self.now_s, self.slow = terms, now_s, slow
        self.answers: list[object] = []
        opened = verified(terms, now_s=now_s)
        self.provider = TabProvider(opened)
        self.payer = TabPayer(terms, opened.authorization, budget=budget, now_s=now_s)
        self.committed = {0: opened.authorization.value}
        """What the provider could settle for each tab."""
        self.asks: list[Ask] = []
        self.waiting: list[tuple[int, int]] = []
        self.delivered = 0
        self.stop: Stop | None = None

    def produce(self, units: int) -> None:
        for output in self.provider.handle(Produced(units), self.now_s):
            if isinstance(output, Cost):
                self.waiting.append((units, output.units))
            else:
                self._provider(output)
        self.deliver()

    def deliver(self) -> None:
        """Hand over what is covered; ask for the rest, as a gate does."""
        while self.waiting and self.stop is None:
            units, cost = self.waiting[0]
            if cost > self.covered:
                before = self.covered
                self._all(self.provider.handle(Wanted(cost), self.now_s))
                self._arrive()
                if self.covered == before:
                    return
                continue
            del self.waiting[0]
            for _ in range(units if self.terms.unit == "chunk" else 1):
                came = self.payer.handle(Received(1 if self.terms.unit == "chunk" else units), self.now_s)
                assert came == [], came
            self.delivered += units
            self._all(self.provider.handle(Sent(units), self.now_s))

    def finish(self) -> None:
        self._all(self.provider.handle(Finished(), self.now_s))
        while self.answers:
            self._arrive()

    def _arrive(self) -> None:
        answers, self.answers = self.answers, []
        for answer in answers:
            self._payer(answer)

    @property
    def covered(self) -> int:
        return self.provider.covered

    def _all(self, outputs):
        for output in outputs:
            self._provider(output)

    def _provider(self, output):
        match output:
            case Ask(tab, units, amount, final):
                self.asks.append(output)
                self.answers += self.payer.handle(Asked(tab, units, amount, final), self.now_s)
                if not self.slow:
                    self._arrive()
            case Covered(key, amount):
                tab = max(self.committed)
                assert key == self.payer._authorization.key(self.terms.token) or self.slow
                assert amount > self.committed[tab]
                self.committed[tab] = amount
            case Lowered(key, amount):
                tab = max(self.committed)
                assert 0 < amount < self.committed[tab]
                self.committed[tab] = amount
            case Rolled(tab, opened, base):
                assert base == sum(map(self.terms.units, self.committed.values()))
                self.committed[tab] = opened.authorization.value
            case Stop():
                self.stop = output

    def _payer(self, output):
        match output:
            case Authorise(tab, authorization, final):
                grown = Grown(tab, authorization.value, text(authorization, self.terms), final)
                self._all(self.provider.handle(grown, self.now_s))
            case OpenTab(tab, amount, final):
                opened = verified(self.terms, number=tab, value=amount, now_s=self.now_s)
                self.payer.opened(opened.authorization)
                self._all(self.provider.handle(Opened(tab, opened, final), self.now_s))
            case Exhausted():
                self._all(self.provider.handle(output, self.now_s))
            case Stop():
                self.stop = output


TERMS = st.builds(
    tab_price,
    unit=st.sampled_from(["chunk", "byte", "token_out"]),
    unit_price=st.integers(1, 9),
    per=st.sampled_from([1, 1, 2, 7, 1000]),
    ahead=st.integers(1, 400),
    credit=st.integers(0, 400),
    amount=st.integers(400, 3000),
)
PIECES = st.lists(st.integers(1, 20), max_size=60)


@settings(max_examples=examples(100), deadline=None)
@given(TERMS, PIECES, st.lists(st.sampled_from([0, 0, 1, 200, 500, 700]), min_size=60, max_size=60), st.booleans())
def test_what_is_delivered_is_paid_and_no_more_than_was_agreed(terms, pieces, pauses, slow):
    """However the pieces come, and however often the time of a tab is over before the next one."""
    call = Call(terms, slow=slow)
    for units, pause in zip(pieces, pauses, strict=False):
        call.now_s += pause
        if not fits(terms, units):
            continue
        call.produce(units)
        assert call.stop is None, call.stop
        assert not call.waiting
        owed, total = terms.cost(call.delivered), sum(call.committed.values())
        assert call.delivered <= call.covered + terms.units(terms.credit)
        # a change of tabs leaves what is below a unit in the old one
        assert total <= owed + 2 * terms.ahead + (call.provider.tab + 1) * terms.cost(1)
        assert total == call.payer.total or (slow and total < call.payer.total)
    call.finish()
    assert call.stop is None, call.stop
    assert all(amount <= terms.amount for amount in call.committed.values())
    assert sum(call.committed.values()) == call.payer.total
    if call.delivered:
        # to the unit, but for what is below one in each tab
        assert call.covered >= call.delivered
        assert call.payer.total <= terms.cost(call.delivered) + (call.provider.tab + 1) * terms.cost(1)


@settings(max_examples=examples(100), deadline=None)
@given(TERMS, PIECES, st.integers(0, 2000), st.booleans())
def test_a_call_goes_on_to_what_it_may_cost_and_no_further(terms, pieces, more, slow):
    budget = terms.ahead + more
    call = Call(terms, budget=budget, slow=slow)
    for units in pieces:
        if fits(terms, units):
            call.produce(units)
        assert call.payer.total <= budget
    if call.stop is None:
        call.finish()
    assert call.stop is None or call.stop.fault.code == faults.PRICE_REACHED
    if call.stop is not None:
        # what was delivered is what is signed, but for what is below a unit in each tab
        assert call.payer.total <= terms.cost(call.delivered) + (call.provider.tab + 1) * terms.cost(1)
        # and what is left does not buy the piece that waits
        left = budget - call.payer.total
        assert terms.units(left) < call.waiting[0][0] + call.provider.tab + 1


def test_a_long_tab():
    call = Call(tab_price())
    for _ in range(2000):
        call.produce(1)
    call.finish()
    assert call.stop is None
    assert call.delivered == 2000
    assert call.delivered == call.covered
    # far fewer signatures than pieces: one for half of what is ahead
    assert len(call.asks) <= 2000 * 5 / 250 + 2
    assert call.provider.tab == 0


def test_tabs_follow_one_another_at_the_cap():
    call = Call(tab_price(amount=1000))
    for _ in range(500):
        call.produce(1)
    call.finish()
    assert call.stop is None
    assert call.provider.tab == call.payer.tab >= 2
    assert set(call.committed) == set(range(call.provider.tab + 1))
    assert all(amount == 1000 for tab, amount in call.committed.items() if tab != call.provider.tab)
    assert call.payer.total == 2500


def test_on_credit_what_was_delivered_is_charged_to_the_unit():
    call = Call(tab_price(ahead=5, credit=500, amount=1000))
    for _ in range(437):
        call.produce(1)
    call.finish()
    assert call.stop is None
    assert call.payer.total == 437 * 5
    assert call.asks[-1].final
    assert call.provider.tab == 2


def test_a_call_has_so_many_tabs():
    call = Call(tab_price(ahead=500, amount=500))
    for _ in range(100 * limits.PAYMENT_TABS):
        call.produce(1)
        assert call.stop is None
    call.produce(1)
    assert isinstance(call.stop, Stop)
    assert "tabs of one call" in call.stop.fault.detail
    assert call.delivered == 100 * limits.PAYMENT_TABS
    assert call.payer.total == 500 * limits.PAYMENT_TABS


def test_a_tab_follows_before_the_time_is_over():
    call = Call(tab_price(max_timeout_s=300))
    for second in range(0, 600, 2):
        call.now_s = NOW + second
        for _ in range(10):
            call.produce(1)
    assert call.stop is None
    assert call.delivered == 3000
    # each is left within the last two minutes of its time, when what was signed is used up
    assert call.provider.tab == 2


def test_a_tab_whose_time_is_over_has_paid_for_what_is_still_to_come():
    call = Call(tab_price())
    call.produce(1)
    call.now_s += 10_000
    for _ in range(99):
        call.produce(1)
    assert (call.provider.tab, call.asks) == (0, [])
    call.produce(1)
    assert (call.provider.tab, call.asks[-1]) == (1, Ask(1, 0, 500, False))
    assert call.payer.total == 1000
    call.finish()
    assert (call.asks[-1], call.payer.total) == (Ask(1, 1, 5, True), 505)


@pytest.mark.parametrize("row", SIGNATURES, ids=[row["amount"] for row in SIGNATURES])
def test_the_vectors(row):
    doc = vectors("payments")["tab"]
    terms = read_requirements(doc["terms"], Tokens(), "summarize")
    told = doc["authorization"]
    authorization = Authorization(
        from_=PAYER.address,
        to=terms.pay_to,
        value=int(row["amount"]),
        valid_after=int(told["validAfter"]),
        valid_before=int(told["validBefore"]),
        nonce=bytes.fromhex(told["nonce"][2:]),
    )
    assert text(authorization, terms) == row["signature"]


def test_the_window_of_a_tab_leaves_time_for_the_next() -> None:
    assert least_window_s(tab_price(max_timeout_s=600)) == 150
    assert least_window_s(tab_price(max_timeout_s=60)) == 30
