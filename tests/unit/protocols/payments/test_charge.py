"""The rules of a charge: what each step allows, and what it changes."""

from dataclasses import replace

import pytest

from nexusd_protocols import limits
from nexusd_protocols.payments import charge as rules
from nexusd_protocols.payments import faults
from nexusd_protocols.payments.charge import (
    ChargeStateError,
    Delivered,
    Exposure,
    Known,
    Owing,
    Refused,
    Reserved,
    Result,
    State,
)
from tests.unit.protocols.payments.charges import INPUT, MALLORY, NOW, UNTIL, WIDE, entry, result

NOTHING = Owing()


def reserve(known=None, one=None, *, now=NOW, balance=None, owing=NOTHING, exposure=WIDE):
    return rules.reserve(known, one or entry(), now=now, balance=balance, owing=owing, exposure=exposure)


def reserved(**fields):
    return reserve(one=entry(**fields)).charge


def due(charge=None, whole=True, input_=INPUT):
    charge = charge or reserved()
    made = result() if whole else None
    return rules.due(charge, amount=charge.entry.amount, result=made, receipt=b"r", now=NOW + 1, input_=input_)


def code(answer):
    assert isinstance(answer, Refused)
    assert answer.code in faults.CODES
    return answer.code


def test_an_authorisation_is_reserved_once() -> None:
    first = reserve()
    assert isinstance(first, Reserved)
    assert first.charge.state is State.RESERVED
    assert reserve(first.charge) == Known(first.charge)


@pytest.mark.parametrize(
    "other", [{"request": b"other"}, {"peer": MALLORY}, {"capability": "other"}, {"agent": MALLORY}, {"tab": True}]
)
def test_one_authorisation_is_for_one_call_by_one_peer(other) -> None:
    assert code(reserve(reserved(), entry(**other))) == faults.USED
    assert code(reserve(due(), entry(**other))) == faults.USED


@pytest.mark.parametrize(
    ("balance", "owing", "expected"),
    [
        (300, Owing(200, 2, 200), None),
        (299, Owing(200, 2, 200), faults.INSUFFICIENT_FUNDS),
        (0, Owing(), faults.INSUFFICIENT_FUNDS),
        (None, Owing(900, 1, 900), None),
        (None, Owing(901, 1, 901), faults.EXPOSURE),
        (None, Owing(0, 0, 4901), faults.EXPOSURE),
        (300, Owing(200, 2, 200, 900), None),
        (300, Owing(200, 2, 200, 901), faults.EXPOSURE),
        (None, Owing(5, 5, 5), faults.BUSY),
    ],
)
def test_what_is_owed_already_counts(balance, owing, expected) -> None:
    answer = reserve(balance=balance, owing=owing, exposure=Exposure(payer=1000, total=5000, charges=5))
    assert expected is None if isinstance(answer, Reserved) else code(answer) == expected


def test_at_its_end_a_tab_is_lowered_once_it_is_due_and_not_on_its_way() -> None:
    lower = {"signature": b"l", "now": NOW + 1}
    tab = reserved(tab=True)
    assert rules.lower(tab, amount=7, **lower) == tab, "nothing was handed over"
    owed = rules.due(tab, amount=100, result=None, receipt=b"", now=NOW)
    less = rules.lower(owed, amount=7, **lower)
    assert (less.entry.amount, less.entry.signature, less.state, less.live) == (7, b"l", State.DUE, 7)
    for amount in (0, 100, 101):
        assert rules.lower(owed, amount=amount, **lower) == owed
    for other in (rules.shut(owed, now=NOW), rules.submitted(owed, transaction="0x1", now=NOW), due()):
        assert rules.lower(other, amount=7, **lower) == other


def test_a_tab_that_was_not_used_is_not_charged() -> None:
    owed = rules.due(reserved(tab=True), amount=100, result=None, receipt=b"", now=NOW)
    waived = rules.waive(owed, now=NOW + 1)
    assert (waived.state, waived.live, waived.working) == (State.RELEASED, 0, False)
    on_its_way = rules.submitted(owed, transaction="0x1", now=NOW)
    assert rules.waive(on_its_way, now=NOW + 1) == on_its_way
    lost = rules.lost(owed, reason="cancelled", now=NOW)
    assert rules.waive(lost, now=NOW + 1).state is State.LOST


@pytest.mark.parametrize(
    ("balance", "owing", "passes"),
    [
        (100, Owing(1, 1, 1), True),  # a settlement may have taken that of the balance already
        (99, Owing(0, 0, 0), False),
        (None, Owing(901, 1, 901), True),
        (None, Owing(5, 5, 5), True),
    ],
)
def test_what_is_in_the_way_of_a_payment_passes_unless_it_is_the_payment_itself(balance, owing, passes) -> None:
    answer = reserve(balance=balance, owing=owing, exposure=Exposure(payer=1000, total=5000, charges=5))
    assert isinstance(answer, Refused)
    assert answer.passes is passes


def test_an_authorisation_that_cannot_be_settled_in_time_is_refused() -> None:
    assert isinstance(reserve(now=(UNTIL - limits.PAYMENT_MARGIN_S) * 1000 - 1), Reserved)
    assert code(reserve(now=(UNTIL - limits.PAYMENT_MARGIN_S) * 1000)) == faults.VALID_BEFORE


def test_failed_work_is_tried_again_under_the_same_authorisation_but_not_for_ever() -> None:
    charge = reserved()
    for attempt in range(2, limits.PAYMENT_ATTEMPTS + 1):
        released = rules.release(charge, reason="failed", now=NOW)
        assert (released.live, released.reason) == (0, "failed")
        charge = reserve(released).charge
        assert (charge.state, charge.attempts, charge.reason) == (State.RESERVED, attempt, "")
    assert code(reserve(rules.release(charge, reason="failed", now=NOW))) == faults.ATTEMPTS


def test_due_keeps_the_result_and_says_so_again() -> None:
    charge = due()
    assert (charge.state, charge.delivered, charge.working) == (State.DUE, Delivered.ALL, False)
    assert (charge.result, charge.receipt) == (result(), b"r")
    assert rules.due(charge, amount=100, result=result("other"), receipt=b"s", now=NOW + 9) == charge
    assert reserve(charge) == Known(charge)


def test_what_is_due_is_what_was_signed() -> None:
    with pytest.raises(ChargeStateError):
        rules.due(reserved(), amount=99, result=result(), receipt=b"", now=NOW)


def test_a_large_result_is_kept_by_what_names_it() -> None:
    large = Result(digest=b"d" * 32, size=limits.PAYMENT_RESULT_BYTES + 1, data=bytes(limits.PAYMENT_RESULT_BYTES + 1))
    charge = rules.due(reserved(), amount=100, result=large, receipt=b"r", now=NOW)
    assert charge.result == replace(large, data=None)
    just = replace(large, size=limits.PAYMENT_RESULT_BYTES, data=bytes(limits.PAYMENT_RESULT_BYTES))
    assert rules.due(reserved(), amount=100, result=just, receipt=b"r", now=NOW).result == just


def test_a_stream_that_broke_off_is_done_again_without_another_charge() -> None:
    charge = due(whole=False)
    assert (charge.delivered, reserve(charge)) == (Delivered.PART, Known(charge))
    broken = rules.interrupt(charge, now=NOW)
    again = reserve(broken, balance=0)
    assert isinstance(again, Reserved)
    assert (again.charge.state, again.charge.attempts, again.charge.live) == (State.DUE, 2, 100)
    whole = rules.finish(again.charge, result=result(), receipt=b"r", now=NOW)
    assert reserve(whole) == Known(whole)


def test_a_stream_whose_input_was_not_whole_is_over_with_what_was_handed_over() -> None:
    charge = due(whole=False, input_=b"")
    for broken in (rules.interrupt(charge, now=NOW), rules.recovered(charge, now=NOW)):
        assert (broken.state, broken.delivered, rules.resumable(broken)) == (State.DUE, Delivered.ALL, False)
        assert reserve(broken) == Known(broken)
    # nor does the input that comes later change what was worked on
    again = reserve(rules.interrupt(due(whole=False), now=NOW)).charge
    assert due(again, whole=False, input_=b"other").input == INPUT


def test_a_tab_grows_and_is_closed() -> None:
    charge = reserved(tab=True, amount=10)
    grow = {"signature": b"more", "now": NOW, "balance": 200, "exposure": Exposure(payer=100, total=1000, charges=1)}
    grown = rules.grow(charge, amount=60, owing=Owing(50, 1, 50), **grow)
    assert (grown.entry.amount, grown.entry.signature) == (60, b"more")
    assert rules.grow(grown, amount=60, owing=Owing(60, 1, 60), **grow) == grown
    assert rules.grow(grown, amount=59, owing=Owing(60, 1, 60), **grow) == grown
    assert code(rules.grow(grown, amount=101, owing=Owing(60, 1, 60), **grow)) == faults.EXPOSURE
    grow["balance"] = 90
    assert code(rules.grow(grown, amount=91, owing=Owing(60, 1, 60), **grow)) == faults.INSUFFICIENT_FUNDS
    grow["now"] = UNTIL * 1000
    assert code(rules.grow(grown, amount=61, owing=Owing(60, 1, 60), **grow)) == faults.VALID_BEFORE
    open_ = due(grown, whole=False)
    assert open_.open_tab
    closed = rules.interrupt(open_, now=NOW)
    assert not closed.open_tab
    assert reserve(closed, closed.entry) == Known(closed)
    assert code(rules.grow(closed, amount=70, owing=Owing(), **grow)) == faults.TAB_FAULT
    for shut in (rules.submitted(open_, transaction="0x1", now=NOW), rules.shut(open_, now=NOW)):
        assert not shut.open_tab
        # what came of the call is kept with it all the same
        assert rules.finish(shut, result=result(), receipt=b"r", now=NOW).receipt == b"r"
        # and it buys no other call, nor this one again
        assert not rules.resumable(shut)
        assert reserve(shut, shut.entry) == Known(shut)
    assert rules.shut(closed, now=NOW + 1) == closed


def roll(before, known=None, **changes):
    second = entry(2, tab=True, amount=20, request=before.entry.request)
    options = {"now": NOW + 2, "balance": 200, "owing": Owing(10, 1, 10), "exposure": WIDE}
    return rules.roll(before, known, second, **(options | changes))


def test_a_tab_follows_another() -> None:
    first = due(reserved(tab=True, amount=10), whole=False)
    shut, answer = roll(first)
    assert (shut.state, shut.open_tab) == (State.DUE, False)
    assert isinstance(answer, Reserved)
    second = answer.charge
    assert (second.state, second.delivered, second.open_tab) == (State.DUE, Delivered.PART, True)
    assert roll(shut, second) == (shut, Known(second))


@pytest.mark.parametrize(
    ("changes", "fault"),
    [
        ({"exposure": Exposure(payer=29, total=100)}, faults.EXPOSURE),
        ({"exposure": Exposure(payer=100, total=100, charges=1)}, faults.BUSY),
        ({"balance": 29}, faults.INSUFFICIENT_FUNDS),
        ({"now": UNTIL * 1000}, faults.VALID_BEFORE),
    ],
)
def test_a_tab_without_room_for_the_next_is_shut_and_so_settled(changes, fault) -> None:
    shut, answer = roll(due(reserved(tab=True, amount=10), whole=False), **changes)
    assert code(answer) == fault
    assert not shut.open_tab


def test_nothing_follows_a_tab_that_is_lost_or_not_due() -> None:
    lost = rules.lost(due(reserved(tab=True), whole=False), reason="cancelled", now=NOW)
    assert code(roll(lost)[1]) == faults.LOST
    with pytest.raises(ChargeStateError):
        roll(reserved(tab=True))


def test_only_a_tab_grows() -> None:
    answer = rules.grow(reserved(), amount=200, signature=b"", now=NOW, balance=None, owing=Owing(), exposure=WIDE)
    assert code(answer) == faults.TAB_FAULT


def test_the_way_to_the_chain() -> None:
    sent = rules.submitted(due(), transaction="0x1", now=NOW)
    assert (sent.state, sent.live) == (State.SUBMITTED, 100)
    assert rules.submitted(sent, transaction="0x2", now=NOW).transaction == "0x2"
    done = rules.settled(sent, transaction="0x2", block=9, now=NOW)
    assert (done.state, done.transaction, done.block, done.live) == (State.SETTLED, "0x2", 9, 0)
    assert rules.settled(done, transaction="0x3", block=10, now=NOW) == done
    back = rules.reopened(done, reason="reorganised", now=NOW)
    assert (back.state, back.live, back.block) == (State.DUE, 100, 0)
    gone = rules.lost(back, reason="cancelled", now=NOW)
    assert (gone.state, gone.live) == (State.LOST, 0)
    assert rules.settled(gone, transaction="0x4", block=11, now=NOW).state is State.SETTLED
    assert reserve(gone) == Known(gone)


@pytest.mark.parametrize(
    ("step", "fields", "wrong"),
    [
        (rules.release, {"reason": ""}, due()),
        (rules.due, {"amount": 100, "result": None, "receipt": b""}, rules.release(reserved(), reason="", now=NOW)),
        (rules.finish, {"result": result(), "receipt": b""}, reserved()),
        (rules.interrupt, {}, reserved()),
        (rules.submitted, {"transaction": ""}, reserved()),
        (rules.settled, {"transaction": "", "block": 0}, reserved()),
        (rules.lost, {"reason": ""}, rules.settled(due(), transaction="", block=1, now=NOW)),
        (rules.reopened, {"reason": ""}, due()),
        (rules.reopened, {"reason": ""}, rules.lost(due(), reason="cancelled", now=NOW)),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_no_step_is_skipped(step, fields, wrong) -> None:
    with pytest.raises(ChargeStateError):
        step(wrong, **fields, now=NOW)


def test_what_nobody_was_asked_about_is_due_again_once_somebody_can_be() -> None:
    lost = rules.lost(due(), reason=rules.UNASKED, now=NOW)
    again = rules.reopened(lost, reason="", now=NOW + 1)
    assert (again.state, again.reason, again.working) == (State.DUE, "", False)


def test_a_restart_releases_what_was_not_handed_over_and_keeps_what_is_owed() -> None:
    assert rules.recovered(reserved(), now=NOW).state is State.RELEASED
    streaming = rules.recovered(due(whole=False), now=NOW)
    assert (streaming.state, streaming.working) == (State.DUE, False)
    assert rules.resumable(streaming)
    tab = rules.recovered(due(reserved(tab=True), whole=False), now=NOW)
    assert (tab.state, tab.delivered, rules.resumable(tab)) == (State.DUE, Delivered.ALL, False)
    for whole in (due(), rules.settled(due(), transaction="", block=1, now=NOW)):
        assert rules.recovered(whole, now=NOW) == whole


@pytest.mark.parametrize("text", ["", "a/b/c", "eip155:1/" + "0" * 40 + "/" + "0" * 40 + "/0", "a/b/c/d/e"])
def test_a_ledger_key_has_four_parts(text) -> None:
    with pytest.raises(ValueError, match="ledger key"):
        rules.key_parts(text)
