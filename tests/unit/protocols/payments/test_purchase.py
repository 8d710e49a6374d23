"""The rules of a purchase: what each step allows, and how long money counts as spent."""

from dataclasses import replace

import pytest

from nexusd_protocols import limits
from nexusd_protocols.payments import purchase as rules
from nexusd_protocols.payments.purchase import FOREVER, PurchaseRow, PurchaseState, PurchaseStateError
from tests.unit.protocols.payments.charges import NOW, UNTIL
from tests.unit.store.payments import intent, signed

CLOSES = UNTIL * 1000 + limits.PAYMENT_CLOCK_MS


def row(state=PurchaseState.INTENDED, **fields):
    return PurchaseRow(intent=intent(**fields), state=state, cost=intent(**fields).cost, asked_at=NOW, changed_at=NOW)


def sign(one=None, **fields):
    one = one or row()
    return rules.signed(one, signed(one.intent, **fields), now=NOW)


def test_what_is_signed_counts_whatever_the_provider_says_until_nobody_can_use_it() -> None:
    one = sign()
    assert (one.state, one.until, one.cost) == (PurchaseState.SIGNED, FOREVER, 100)
    failed = rules.closed(one, "failed", now=NOW)
    assert (failed.state, failed.until, failed.outcome) == (PurchaseState.CLOSED, CLOSES, "failed")
    assert rules.closed(failed, "again", now=NOW + 5) == failed
    assert rules.closed(one, "failed", now=CLOSES + 5).until == CLOSES + 5


def test_what_the_chain_says_is_unused_counts_no_more() -> None:
    assert rules.closed(sign(), "cancelled", now=NOW, unused=True).until == NOW
    failed = rules.closed(sign(), "failed", now=NOW)
    assert rules.closed(failed, "ended", now=NOW + 9, unused=True).until == NOW + 9
    done = rules.spent(sign(), receipt=b"r", response=b"", now=NOW)
    assert rules.closed(done, "taken back", now=NOW, unused=True).until == NOW


def test_what_nobody_but_the_chain_can_say_keeps_its_cost() -> None:
    assert rules.closed(sign(), rules.UNANSWERED, now=CLOSES).cost == 100
    assert rules.closed(sign(), "unused", now=NOW, unused=True).cost == 0
    assert rules.over_at(sign().signed) == CLOSES


def test_what_the_chain_says_was_less_costs_less() -> None:
    late = rules.spent(rules.closed(sign(), "failed", now=NOW), receipt=b"", response=b"{}", now=CLOSES, amount=40)
    assert (late.state, late.cost, late.until) == (PurchaseState.SPENT, 40, FOREVER)


def test_nothing_costs_more_than_was_signed_whatever_a_node_says() -> None:
    told = rules.spent(sign(), receipt=b"", response=b"{}", now=CLOSES, amount=(1 << 256) - 1)
    assert told.cost == 100


def test_what_was_never_signed_is_free_again_at_once() -> None:
    closed = rules.closed(row(), "refused", now=NOW + 1)
    assert (closed.until, closed.cost) == (NOW + 1, 0)


def test_late_word_of_a_payment_counts() -> None:
    late = rules.spent(rules.closed(sign(), "timeout", now=NOW), receipt=b"r", response=b"s", now=NOW + 9)
    assert (late.state, late.until, late.receipt, late.response) == (PurchaseState.SPENT, FOREVER, b"r", b"s")
    more = rules.spent(late, receipt=b"", response=b"t", now=NOW + 10)
    assert (more.receipt, more.response) == (b"r", b"t")
    assert rules.spent(more, receipt=b"", response=b"", now=NOW + 11) == more


def test_the_same_is_signed_once_and_a_tab_for_more() -> None:
    one = sign()
    assert rules.signed(one, signed(one.intent), now=NOW + 1) == one
    with pytest.raises(PurchaseStateError, match="already"):
        rules.signed(one, replace(signed(one.intent), salt=b"other"), now=NOW)
    tab = sign(row(tab=True), amount=10)
    assert tab.cost == 100, "all of it may be signed yet"
    grown = rules.signed(tab, signed(tab.intent, amount=33), now=NOW)
    assert grown.signed.authorization.value == 33
    for wrong in (signed(tab.intent, amount=33), signed(tab.intent, amount=40, until=UNTIL + 1)):
        with pytest.raises(PurchaseStateError, match="already"):
            rules.signed(replace(grown, signed=replace(grown.signed, salt=b"other")), wrong, now=NOW)
    assert rules.spent(grown, receipt=b"", response=b"", now=NOW).cost == 33
    assert rules.closed(grown, "failed", now=NOW).cost == 33


def test_costs_are_rounded_up() -> None:
    tab = sign(replace(row(tab=True), intent=intent(tab=True, amount=1000, cost=10)), amount=101)
    assert rules.spent(tab, receipt=b"", response=b"", now=NOW).cost == 2


@pytest.mark.parametrize("wrong", [{"amount": 101}, {"pay_to": b"\x01" * 20}])
def test_nothing_else_is_signed_than_was_intended(wrong) -> None:
    other = intent(**({"amount": 100} | wrong))
    with pytest.raises(PurchaseStateError, match="not what"):
        rules.signed(row(), signed(other), now=NOW)


def test_a_person_decides() -> None:
    waiting = row(PurchaseState.WAITING)
    assert rules.decided(waiting, True, now=NOW).state is PurchaseState.INTENDED
    no = rules.decided(waiting, False, now=NOW)
    assert (no.state, no.until, no.outcome) == (PurchaseState.CLOSED, NOW, "rejected")
    with pytest.raises(PurchaseStateError):
        rules.decided(no, True, now=NOW)


def test_no_step_is_skipped() -> None:
    with pytest.raises(PurchaseStateError):
        rules.signed(row(PurchaseState.WAITING), signed(intent()), now=NOW)
    with pytest.raises(PurchaseStateError):
        rules.spent(row(), receipt=b"", response=b"", now=NOW)


def test_what_is_spent_stays_so_whatever_the_provider_says() -> None:
    spent = rules.spent(sign(), receipt=b"", response=b"", now=NOW)
    assert rules.closed(spent, "failed", now=NOW + 1) == spent


def test_a_restart_closes_what_nobody_waits_for() -> None:
    for state in (PurchaseState.WAITING, PurchaseState.INTENDED):
        assert rules.recovered(row(state), now=NOW).state is PurchaseState.CLOSED
    assert rules.recovered(sign(), now=NOW) == sign()
