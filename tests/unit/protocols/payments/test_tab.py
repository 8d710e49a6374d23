"""A tab: both machines together, whatever comes, and each alone against a side that cheats."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nexusd_protocols import limits
from nexusd_protocols.payments import faults
from nexusd_protocols.payments.authorization import Authorization, sign
from nexusd_protocols.payments.tab import (
    Ask,
    Asked,
    Authorise,
    Cost,
    Covered,
    Exhausted,
    Finished,
    Grown,
    Opened,
    OpenTab,
    Produced,
    Received,
    Rolled,
    Sent,
    Stop,
    Supplied,
    Tick,
    Wanted,
)
from nexusd_protocols.payments.tab_payer import TabPayer
from nexusd_protocols.payments.tab_provider import TabProvider
from nexusd_protocols.payments.terms import PriceTerms, read_requirements
from nexusd_protocols.payments.tokens import Tokens
from nexusd_protocols.payments.verify import Verified, verify
from tests.harness.examples import examples
from tests.harness.paying import NOW, PAYER, THIEF, payment, signed, tab_price
from tests.harness.vectors import vectors

SIGNATURES = vectors("payments")["tab"]["growth"]


def verified(terms: PriceTerms, *, number: int = 0, value: int | None = None, now_s: int = NOW) -> Verified:
    paid = payment(terms, nonce=bytes([number]) * 32, value=value, now_s=now_s)
    shown = verify(paid, [terms], now_s=now_s, further=number > 0)
    assert isinstance(shown, Verified), shown
    return shown


def text(authorization: Authorization, terms: PriceTerms) -> str:
    return f"0x{sign(authorization, terms.token, PAYER).hex()}"


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


def fits(terms: PriceTerms, units: int) -> bool:
    """Such a piece is cut before it is given to the tab."""
    return terms.cost(units) <= terms.step


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
    assert call.covered >= call.delivered
    assert all(amount <= terms.amount for amount in call.committed.values())
    assert sum(call.committed.values()) == call.payer.total


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
        # what was signed was delivered, but for less than the piece that did not fit
        assert call.covered - call.delivered < call.waiting[0][0]
        # and so was all that the call may cost, but for what is below a unit in each tab
        assert budget - call.payer.total <= terms.cost(1)
        assert terms.cost(call.covered) + (call.provider.tab + 1) * terms.cost(1) >= call.payer.total


def test_a_long_tab():
    call = Call(tab_price())
    for _ in range(2000):
        call.produce(1)
    call.finish()
    assert call.stop is None
    assert call.delivered == 2000
    assert call.delivered <= call.covered <= call.delivered + 100
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
    assert 2500 <= call.payer.total <= 2500 + 500 * 2


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


def test_new_tabs_are_not_signed_for_nothing():
    terms = tab_price(max_timeout_s=60)  # so short that a new tab is always in order
    payer = TabPayer(terms, signed(terms)[0], budget=10**6, now_s=NOW)
    (first,) = payer.handle(Asked(1, 0, 500, False), NOW)
    assert first == OpenTab(1, 500)
    payer.opened(signed(terms, nonce=bytes(32))[0])
    (stop,) = payer.handle(Asked(2, 0, 500, False), NOW)
    assert isinstance(stop, Stop)
    assert payer.total == 1000


def test_a_tab_follows_before_the_time_is_over():
    call = Call(tab_price(max_timeout_s=300))
    for second in range(0, 600, 2):
        call.now_s = NOW + second
        for _ in range(10):
            call.produce(1)
    assert call.stop is None
    assert call.delivered == 3000
    # each is left two minutes before its end, when half of what is ahead is used up
    assert call.provider.tab == 3


def test_a_tab_whose_time_is_over_has_paid_for_what_is_still_to_come():
    call = Call(tab_price())
    call.produce(1)
    call.now_s += 10_000
    for _ in range(49):
        call.produce(1)
    assert (call.provider.tab, call.asks[-1]) == (1, Ask(1, 0, 500, False))
    assert call.payer.total == 1000


@pytest.mark.parametrize("unit", ["token_in", "second"])
def test_units_that_the_payer_cannot_count_are_bounded(unit):
    terms = tab_price(unit=unit, ahead=0)
    payer = TabPayer(terms, signed(terms)[0], budget=10**6, now_s=NOW)
    payer.handle(Supplied(100), NOW)
    most = 100 + limits.PAYMENT_PROMPT_TOKENS if unit == "token_in" else 7 + limits.PAYMENT_SECONDS_SLACK
    (answer,) = payer.handle(Asked(0, most, most * 5, False), NOW + 7)
    assert isinstance(answer, Authorise)
    (answer,) = payer.handle(Asked(0, most + 1, most * 5 + 5, False), NOW + 7)
    assert isinstance(answer, Stop)


# --- a provider that cheats ----------------------------------------------------------------------------------------
@pytest.fixture
def payer():
    terms = tab_price(credit=500)
    machine = TabPayer(terms, signed(terms)[0], budget=5000, now_s=NOW)
    for _ in range(200):
        assert machine.handle(Received(10), NOW) == []
    return machine


@pytest.mark.parametrize(
    ("ask", "detail"),
    [
        (Asked(0, 201, 1000, False), "201 units were not delivered"),
        (Asked(0, 100, 1001, False), "more than the terms allow"),
        (Asked(0, 200, 500, False), "does not grow"),
        (Asked(0, 200, 499, False), "does not grow"),
        (Asked(0, 200, 600, False), "steps too small"),
        (Asked(1, 50, 700, False), "while the old one is good"),
        (Asked(2, 100, 1000, False), "out of its turn"),
        (Asked(0, 10**9, 10**12, False), "not delivered"),
    ],
)
def test_a_payer_stops_at_the_first_thing_that_was_not_agreed(payer, ask, detail):
    (stop,) = payer.handle(ask, NOW)
    assert isinstance(stop, Stop)
    assert stop.fault.code == faults.TAB_FAULT
    assert detail in stop.fault.detail
    assert payer.total == 500
    assert payer.handle(Asked(0, 100, 1000, False), NOW) == []


def test_a_payer_signs_what_is_left_of_its_budget_and_then_nothing(payer):
    for _ in range(800):
        assert payer.handle(Received(10), NOW) == [] or payer.stopped
    assert payer.stopped  # so much is not given without asking
    terms = tab_price(ahead=499)
    payer = TabPayer(terms, signed(terms)[0], budget=1002, now_s=NOW)
    for _ in range(50):
        payer.handle(Received(10), NOW)
    assert payer.handle(Asked(0, 50, 749, False), NOW) == [Authorise(0, replace(signed(terms)[0], value=749))]
    for _ in range(90):
        payer.handle(Received(10), NOW)
    (answer,) = payer.handle(Asked(0, 140, 1199, False), NOW)
    assert answer == Authorise(0, replace(signed(terms)[0], value=1000), final=True)
    assert (payer.total, payer.exhausted) == (1000, True)
    (stop,) = payer.handle(Asked(0, 150, 1249, False), NOW)
    assert isinstance(stop, Stop)
    assert "out of its turn" in stop.fault.detail


def test_a_payer_that_has_nothing_left_says_so():
    terms = tab_price()
    payer = TabPayer(terms, signed(terms)[0], budget=503, now_s=NOW)
    for _ in range(50):
        payer.handle(Received(10), NOW)
    assert payer.handle(Asked(0, 50, 750, False), NOW) == [Exhausted(0)]
    assert payer.total == 500


def test_the_last_tab_holds_what_is_left():
    terms = tab_price(amount=500)
    payer = TabPayer(terms, signed(terms)[0], budget=512, now_s=NOW)
    for _ in range(50):
        payer.handle(Received(10), NOW)
    assert payer.handle(Asked(1, 0, 500, False), NOW) == [OpenTab(1, 10, final=True)]


@pytest.mark.parametrize("unit", ["chunk", "byte"])
def test_a_provider_that_never_asks_is_left(unit):
    terms = tab_price(unit=unit, credit=50)
    payer = TabPayer(terms, signed(terms)[0], budget=5000, now_s=NOW)
    assert all(payer.handle(Received(1), NOW) == [] for _ in range(110))
    (stop,) = payer.handle(Received(1), NOW)
    assert isinstance(stop, Stop)
    assert "nothing was asked" in stop.fault.detail


def test_units_do_not_shrink_and_nothing_follows_the_last(payer):
    (answer,) = payer.handle(Asked(0, 150, 1250, False), NOW)
    assert isinstance(answer, Authorise)
    assert answer.authorization.value == payer.signed == 1250
    last, *_ = payer.handle(Asked(0, 160, 1300, True), NOW)
    assert isinstance(last, Authorise)
    (stop,) = payer.handle(Asked(0, 170, 1350, False), NOW)
    assert isinstance(stop, Stop)


def test_an_older_count_is_refused(payer):
    payer.handle(Asked(0, 150, 1250, False), NOW)
    (stop,) = payer.handle(Asked(0, 149, 1245, True), NOW)
    assert isinstance(stop, Stop)


def test_a_tab_begins_within_the_budget():
    terms = tab_price()
    with pytest.raises(ValueError, match="more than the call may cost"):
        TabPayer(terms, signed(terms)[0], budget=499, now_s=NOW)


def test_only_the_tab_that_was_asked_for_is_opened(payer):
    with pytest.raises(ValueError, match="no such tab"):
        payer.opened(signed(tab_price())[0])


# --- a payer that cheats -------------------------------------------------------------------------------------------
def asking(**changes) -> tuple[TabProvider, Ask, Authorization]:
    """A provider that waits for an answer, and the tab's authorisation."""
    terms = tab_price(**changes)
    opened = verified(terms)
    provider = TabProvider(opened)
    for _ in range(50):
        provider.handle(Produced(1), NOW)
        outputs = provider.handle(Sent(1), NOW)
    (ask,) = outputs
    assert isinstance(ask, Ask)
    return provider, ask, opened.authorization


def test_the_answer_that_was_asked_for():
    provider, ask, authorization = asking()
    assert ask == Ask(0, 50, 750, False)
    grown = replace(authorization, value=750)
    assert provider.handle(Tick(), NOW + limits.PAYMENT_PATIENCE_S) == []
    (covered,) = provider.handle(Grown(0, 750, text(grown, tab_price())), NOW)
    token = tab_price().token
    assert covered == Covered(grown.key(token), 750, sign(grown, token, PAYER))
    assert (provider.signed, provider.covered) == (750, 150)


@pytest.mark.parametrize("amount", [500, 499, 749, 751, 0])
def test_another_amount_is_refused(amount):
    provider, _, authorization = asking()
    grown = Grown(0, amount, text(replace(authorization, value=amount), tab_price()))
    (stop,) = provider.handle(grown, NOW)
    assert isinstance(stop, Stop)
    assert provider.signed == 500
    assert provider.handle(Produced(1), NOW) == []


@pytest.mark.parametrize("amount", [500, 499, 751, 0])
def test_what_a_payer_has_left_is_more_than_before_and_no_more_than_was_asked_for(amount):
    provider, _, authorization = asking()
    grown = Grown(0, amount, text(replace(authorization, value=amount), tab_price()), final=True)
    (stop,) = provider.handle(grown, NOW)
    assert isinstance(stop, Stop)


def test_a_payer_that_signs_no_more_gets_what_it_signed_for():
    provider, _, authorization = asking()
    grown = replace(authorization, value=600)
    (covered,) = provider.handle(Grown(0, 600, text(grown, tab_price()), final=True), NOW)
    assert isinstance(covered, Covered)
    assert all(provider.handle(Sent(1), NOW) == [] for _ in range(70))
    assert provider.handle(Wanted(120), NOW) == []
    (stop,) = provider.handle(Wanted(121), NOW)
    assert isinstance(stop, Stop)
    assert stop.fault.code == faults.PRICE_REACHED
    # the same where a piece waits already when it says so
    provider, *_ = asking()
    assert provider.handle(Wanted(101), NOW) == []
    (stop,) = provider.handle(Exhausted(0), NOW)
    assert isinstance(stop, Stop)
    assert stop.fault.code == faults.PRICE_REACHED


def test_a_payer_that_signs_no_more_gets_nothing_more_on_credit():
    terms = tab_price(ahead=5, credit=495)
    provider = TabProvider(verified(terms))
    assert provider.handle(Produced(50), NOW) == [Cost(0)]
    (ask,) = provider.handle(Sent(50), NOW)
    assert isinstance(ask, Ask)
    assert provider.handle(Exhausted(0), NOW) == []
    assert provider.handle(Produced(1), NOW) == [Cost(51)]


def test_a_signature_that_is_not_the_payers():
    wrong = {
        "of another amount": lambda grown: text(replace(grown, value=751), tab_price()),
        "of another window": lambda grown: text(replace(grown, valid_before=grown.valid_before + 1), tab_price()),
        "for another payee": lambda grown: text(replace(grown, to=THIEF.address), tab_price()),
        "under another nonce": lambda grown: text(replace(grown, nonce=b"n" * 32), tab_price()),
        "of a thief": lambda grown: "0x" + THIEF.sign_digest(grown.digest(tab_price().token)).hex(),
        "of nobody": lambda _: "0x" + "11" * 65,
        "short": lambda _: "0x11",
    }
    for name, make in wrong.items():
        provider, ask, authorization = asking()
        (stop,) = provider.handle(Grown(0, 750, make(replace(authorization, value=ask.amount))), NOW)
        assert isinstance(stop, Stop), name
        assert provider.signed == 500
        if "another" in name:
            assert "window, payee or nonce" in stop.fault.detail


@pytest.mark.parametrize("tab", [0, 1])
def test_an_answer_without_a_question_and_one_that_is_late(tab):
    for answer in (Grown(tab, 750, "0x"), Exhausted(tab)):
        provider = TabProvider(verified(tab_price()))
        (stop,) = provider.handle(answer, NOW)
        assert isinstance(stop, Stop)
    provider, *_ = asking()
    (stop,) = provider.handle(Tick(), NOW + limits.PAYMENT_PATIENCE_S + 1)
    assert isinstance(stop, Stop)
    assert "in time" in stop.fault.detail


def full() -> TabProvider:
    """A provider that waits for the second tab: the first was full from the beginning."""
    provider = TabProvider(verified(tab_price(amount=500)))
    for _ in range(50):
        provider.handle(Produced(1), NOW)
        outputs = provider.handle(Sent(1), NOW)
    assert outputs == [Ask(1, 0, 500, False)]
    return provider


def test_the_tab_that_was_asked_for():
    provider, opened = full(), verified(tab_price(amount=500), number=1)
    assert provider.handle(Opened(1, opened), NOW) == [Rolled(1, opened, 100)]
    assert (provider.tab, provider.covered) == (1, 200)


@pytest.mark.parametrize(
    ("tab", "changes", "detail"),
    [
        (1, {"value": 501}, "another amount"),
        (1, {"value": 499}, "another amount"),
        (1, {"number": 0}, "a nonce that was there before"),
        (2, {}, "not asked for"),
        (0, {}, "not asked for"),
        (1, {"now_s": NOW - 1}, "ends before"),
    ],
    ids=["more", "less", "same nonce", "later", "now", "shorter"],
)
def test_a_new_tab_is_the_one_that_was_asked_for(tab, changes, detail):
    fields = {"number": 1, "value": 500, "now_s": NOW} | changes
    terms = tab_price(amount=501 if fields["value"] > 500 else 500, ahead=min(500, fields["value"]))
    (stop,) = full().handle(Opened(tab, verified(terms, **fields)), NOW)
    assert isinstance(stop, Stop)
    assert detail in stop.fault.detail


@pytest.mark.parametrize("changes", [{"unit_price": 4}, {"pay_to": THIEF.address}, {"max_timeout_s": 900}])
def test_a_new_tab_is_on_the_same_terms(changes):
    (stop,) = full().handle(Opened(1, verified(tab_price(amount=500, **changes), number=1)), NOW)
    assert isinstance(stop, Stop)
    assert "on other terms" in stop.fault.detail


def test_a_new_tab_is_of_the_same_payer():
    opened = verified(tab_price(amount=500), number=1)
    stranger = replace(opened, authorization=replace(opened.authorization, from_=THIEF.address))
    (stop,) = full().handle(Opened(1, stranger), NOW)
    assert isinstance(stop, Stop)
    assert "another payer" in stop.fault.detail


def test_a_nonce_of_any_tab_before_is_refused():
    provider = full()
    for number in (1, 2):
        provider.handle(Opened(number, verified(tab_price(amount=500), number=number)), NOW)
        for _ in range(100):
            outputs = provider.handle(Sent(1), NOW)
    assert outputs == [Ask(3, 0, 500, False)]
    (stop,) = provider.handle(Opened(3, verified(tab_price(amount=500), number=0)), NOW)
    assert isinstance(stop, Stop)


def test_a_piece_is_no_larger_than_half_of_what_both_risk():
    provider = TabProvider(verified(tab_price(credit=100)))
    assert provider.handle(Produced(60), NOW) == [Cost(40)]
    (stop,) = provider.handle(Produced(61), NOW)
    assert isinstance(stop, Stop)
    assert provider.largest == 60


def test_a_last_tab_for_what_is_paid_already_is_not_opened():
    provider = TabProvider(verified(tab_price(amount=500, credit=100)))
    for _ in range(100):
        provider.handle(Sent(1), NOW)
    assert provider.owed == provider.covered
    assert provider.handle(Finished(), NOW) == []


def test_nothing_delivered_nothing_asked():
    provider = TabProvider(verified(tab_price()))
    assert provider.handle(Finished(), NOW) == []
    assert provider.owed == 0


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
