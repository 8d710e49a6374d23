"""The gate of a tab: what it hands over, what it commits first, and how one tab follows another."""

from __future__ import annotations

from dataclasses import replace

import pytest

from nexusd_protocols.errors import LocalProtocolError
from nexusd_protocols.payments import charge as rules
from nexusd_protocols.payments import faults
from nexusd_protocols.payments.charge import Known, Owing, Refused, Reserved, State
from nexusd_protocols.payments.gate import Phase
from nexusd_protocols.payments.gate_inputs import (
    Answered,
    Cancelled,
    Checked,
    Committed,
    Failed,
    Finished,
    Funded,
    Gone,
    LookedUp,
    Lowered,
    NotCommitted,
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
    MarkDue,
    Release,
    Replay,
    Reserve,
    Roll,
    Send,
    Start,
    StopWork,
)
from nexusd_protocols.payments.tab_gate import TabGate
from tests.unit.protocols.payments.charges import BOB, NOW, WIDE, entry, result, tab_gate

DONE = Finished(result())
FIRST, SECOND, THIRD = (entry(number, tab=True, amount=10, request=b"r" * 32) for number in (1, 2, 3))
KEY = FIRST.key
RESERVED = rules.reserve(None, FIRST, now=NOW, balance=None, owing=Owing(), exposure=WIDE).charge
OPEN = rules.due(RESERVED, amount=10, result=None, receipt=b"", now=NOW)
WHOLE = rules.finish(OPEN, result=result(), receipt=b"receipt", now=NOW)
LOST = rules.lost(OPEN, reason="cancelled", now=NOW)


def due(one):
    return rules.due(replace(RESERVED, entry=one), amount=one.amount, result=None, receipt=b"", now=NOW)


def grown(amount, charge=OPEN):
    return rules.grow(charge, amount=amount, signature=b"s", now=NOW, balance=None, owing=Owing(), exposure=WIDE)


def say(one, *inputs, now=NOW):
    return [output for given in inputs for output in one.handle(given, now)]


def piece(data, cost):
    return Produced(data, cost, 10)


def working(**options) -> TabGate:
    """A gate whose work has begun. A unit costs 1."""
    one = tab_gate(FIRST, **options)
    assert one.open() == [LookUp(KEY)]
    assert say(one, LookedUp(None)) == [Check(KEY)]
    assert say(one, Checked(500)) == [Reserve(FIRST, 500)]
    assert say(one, Answered(Reserved(RESERVED))) == [Start()]
    return one


def begun() -> TabGate:
    """One whose first piece went; what is signed is used up."""
    one = working()
    assert say(one, piece(b"a", 10)) == [MarkDue(KEY, 10, None)]
    assert say(one, Committed(OPEN)) == [Send(b"a", 10)]
    return one


def rolled() -> TabGate:
    """One under its second tab, of which nothing is used yet."""
    one = begun()
    assert say(one, Rolled(SECOND, 10)) == [Check(SECOND.key)]
    assert say(one, Checked(490)) == [Roll(KEY, SECOND, 490)]
    assert say(one, Answered(Reserved(due(SECOND)))) == []
    return one


def test_it_hands_over_what_is_signed_and_committed() -> None:
    one = begun()
    assert say(one, piece(b"b", 20), piece(b"c", 20), piece(b"d", 30)) == [AskMore(20)]
    assert say(one, Raised(KEY, 20, b"s")) == [Grow(KEY, 20, b"s", 500)]
    assert say(one, Raised(KEY, 25, b"t")) == [], "one at a time"
    assert say(one, Committed(grown(20))) == [Send(b"b", 10), Send(b"c", 10), Grow(KEY, 25, b"t", 500)]
    assert say(one, Committed(grown(25))) == [AskMore(30)]
    assert say(one, Raised(KEY, 24, b"old")) == [], "what is lower is nothing"
    assert say(one, Raised(SECOND.key, 99, b"old")) == [], "and so is what is of no tab"
    assert say(one, DONE) == [], "the last piece is not signed yet"
    assert say(one, Raised(KEY, 30, b"u"), Committed(grown(30))) == [
        Grow(KEY, 30, b"u", 500),
        Send(b"d", 10),
        Finish(KEY, result()),
    ]
    assert say(one, Committed(WHOLE)) == [End("", WHOLE)]


def test_units_are_what_an_amount_buys() -> None:
    one = tab_gate(FIRST, price=5)
    one.open()
    say(one, LookedUp(None), Checked(None), Answered(Reserved(RESERVED)))
    assert say(one, piece(b"a", 2), Committed(OPEN)) == [MarkDue(KEY, 10, None), Send(b"a", 10)]
    assert say(one, piece(b"b", 3)) == [AskMore(3)]


def test_what_goes_on_credit_goes_behind_the_charge_point() -> None:
    one = working()
    assert say(one, piece(b"a", 0)) == [MarkDue(KEY, 10, None)]
    assert say(one, Committed(OPEN)) == [Send(b"a", 10)]


def test_of_which_nothing_was_signed_asks_first() -> None:
    one = working()
    assert say(one, piece(b"a", 11)) == [AskMore(11)]
    assert say(one, Raised(KEY, 11, b"s")) == [Grow(KEY, 11, b"s", 500)]
    assert say(one, Committed(grown(11, RESERVED))) == [MarkDue(KEY, 11, None)]


def test_what_came_to_nothing_costs_nothing() -> None:
    one = working()
    assert say(one, DONE) == [Release(KEY, "nothing was delivered")]
    released = rules.release(RESERVED, reason="", now=NOW)
    (end,) = say(one, Committed(released))
    assert end == End("", released)
    assert not end.charged


@pytest.mark.parametrize("given", [Failed("payment_stopped"), Cancelled(), Gone()])
def test_one_that_stops_is_shut_and_its_last_piece_is_not_handed_over(given) -> None:
    one = begun()
    say(one, piece(b"b", 20))
    assert say(one, given) == [StopWork(), Finish(KEY, None)]


def test_one_that_waits_for_room_grows_when_there_is_some() -> None:
    one = begun()
    say(one, piece(b"b", 20), Raised(KEY, 20, b"s"))
    assert say(one, Answered(Refused(faults.EXPOSURE, passes=True))) == [AwaitRoom(faults.EXPOSURE)]
    assert say(one, Raised(KEY, 20, b"s"), piece(b"c", 20)) == []
    # what was settled is gone from the balance, too
    assert say(one, Funded(80), Room()) == [Grow(KEY, 20, b"s", 80)]
    assert say(one, Answered(Refused(faults.INSUFFICIENT_FUNDS, passes=True))) == [AwaitRoom(faults.INSUFFICIENT_FUNDS)]
    assert say(one, Room(faults.INSUFFICIENT_FUNDS)) == [StopWork(), Finish(KEY, None)]
    assert say(one, Committed(OPEN)) == [End(faults.INSUFFICIENT_FUNDS, OPEN)]


def test_one_that_is_not_covered_any_more_ends_the_call() -> None:
    one = begun()
    assert say(one, Funded(19), piece(b"b", 20)) == [AskMore(20)]
    assert say(one, Raised(KEY, 20, b"s")) == [Grow(KEY, 20, b"s", 19)]
    assert say(one, Answered(Refused(faults.INSUFFICIENT_FUNDS))) == [StopWork(), Finish(KEY, None)]
    assert say(one, Committed(OPEN)) == [End(faults.INSUFFICIENT_FUNDS, OPEN)]


@pytest.mark.parametrize("passes", [True, False])
def test_one_that_was_given_up_while_it_grew(passes) -> None:
    one = begun()
    say(one, piece(b"b", 20), Raised(KEY, 20, b"s"))
    assert say(one, Cancelled()) == [StopWork()]
    assert say(one, Answered(Refused(faults.BUSY, passes=passes))) == [Finish(KEY, None)]
    assert say(one, Committed(OPEN)) == [End("cancelled", OPEN)]


def lowered(amount, charge=OPEN):
    return rules.lower(charge, amount=amount, signature=b"l", now=NOW)


def test_at_the_end_it_is_charged_for_what_was_delivered() -> None:
    one = begun()
    say(one, piece(b"b", 20), Raised(KEY, 90, b"s"), Committed(grown(90)))
    assert say(one, Lowered(KEY, 20, b"l")) == [Lower(KEY, 20, b"l")]
    less = lowered(20, grown(90))
    assert (less.entry.amount, less.entry.signature) == (20, b"l")
    assert say(one, DONE) == [], "one at a time"
    assert say(one, Committed(less)) == [Finish(KEY, result())]
    assert one.unpaid == 0


def test_what_is_signed_last_takes_the_place_of_what_waited_for_room() -> None:
    one = begun()
    say(one, piece(b"b", 0), Raised(KEY, 90, b"s"), Answered(Refused(faults.EXPOSURE, passes=True)))
    assert say(one, Lowered(KEY, 20, b"l")) == []
    assert say(one, Room()) == [Grow(KEY, 20, b"l", 500)]
    assert say(one, Committed(grown(20))) == []


def test_a_disk_that_fails_ends_it() -> None:
    one = begun()
    say(one, piece(b"b", 20), Raised(KEY, 20, b"s"))
    assert say(one, NotCommitted("storage_failed")) == [StopWork(), Finish(KEY, None)]


def test_one_that_settlement_shut_hands_over_what_it_covers() -> None:
    one = begun()
    say(one, piece(b"b", 20), Raised(KEY, 30, b"s"))
    shut = rules.submitted(grown(30), transaction="0x1", now=NOW)
    assert say(one, Committed(shut)) == [Send(b"b", 10)]
    assert say(one, piece(b"c", 30), DONE) == [Send(b"c", 10), Finish(KEY, result())]


def test_one_that_was_lost_while_it_grew_hands_over_nothing() -> None:
    one = begun()
    say(one, piece(b"b", 20), Raised(KEY, 30, b"s"))
    assert say(one, Committed(LOST)) == [StopWork(), End(faults.LOST, LOST)]


# --- one behind the other ---------------------------------------------------------------------------------------------
def test_the_next_one_covers_what_the_first_does_not() -> None:
    one = begun()
    assert say(one, piece(b"b", 20)) == [AskMore(20)]
    assert say(one, Rolled(SECOND, 10), Checked(490)) == [Check(SECOND.key), Roll(KEY, SECOND, 490)]
    assert say(one, piece(b"c", 30)) == []
    assert say(one, Answered(Reserved(due(SECOND)))) == [Send(b"b", 10), AskMore(30)]
    assert say(one, Raised(KEY, 20, b"s")) == []
    assert say(one, Raised(SECOND.key, 20, b"s")) == [Grow(SECOND.key, 20, b"s", 490)]
    second = grown(20, due(SECOND))
    assert say(one, Committed(second)) == [Send(b"c", 10)]
    assert one.charges == (OPEN, second)
    assert say(one, Rolled(THIRD, 30), Checked(None)) == [Check(THIRD.key), Roll(SECOND.key, THIRD, None)]
    assert say(one, Answered(Reserved(due(THIRD)))) == []
    # the first keeps what came of the call, the last is shut with it
    assert say(one, piece(b"d", 40), DONE) == [Send(b"d", 10), Finish(KEY, result(), THIRD.key)]
    (end,) = say(one, Committed(WHOLE))
    assert end == End("", WHOLE, (second, due(THIRD)))
    assert sum(charge.entry.amount for charge in end.charges) == 40


def test_what_is_signed_for_the_next_one_waits_until_that_is_due() -> None:
    one = begun()
    say(one, piece(b"b", 20), Rolled(SECOND, 10), Raised(SECOND.key, 20, b"s"))
    assert say(one, Checked(None), Answered(Reserved(due(SECOND)))) == [
        Roll(KEY, SECOND, None),
        Send(b"b", 10),
        Grow(SECOND.key, 20, b"s", None),
    ]


def test_what_is_covered_goes_while_the_next_one_is_checked() -> None:
    one = begun()
    say(one, piece(b"b", 20), Raised(KEY, 30, b"s"), Committed(grown(30)), Rolled(SECOND, 30))
    assert say(one, piece(b"c", 30)) == [Send(b"c", 10)]
    assert say(one, piece(b"d", 40)) == []
    assert say(one, Checked(None), Answered(Reserved(due(SECOND)))) == [Roll(KEY, SECOND, None), Send(b"d", 10)]


@pytest.mark.parametrize("code", [faults.EXPOSURE, faults.BUSY, faults.INSUFFICIENT_FUNDS])
def test_the_next_one_waits_until_there_is_room(code) -> None:
    one = begun()
    say(one, piece(b"b", 20), Rolled(SECOND, 10), Checked(490))
    assert say(one, Answered(Refused(code, passes=True))) == [AwaitRoom(code)]
    assert say(one, piece(b"c", 20)) == []
    assert say(one, Room()) == [Check(SECOND.key)]
    assert say(one, Checked(480), Answered(Reserved(due(SECOND)))) == [
        Roll(KEY, SECOND, 480),
        Send(b"b", 10),
        Send(b"c", 10),
    ]


@pytest.mark.parametrize(
    ("answer", "code"),
    [
        (Refused(faults.TRANSACTION_STATE), faults.TRANSACTION_STATE),
        (Refused(faults.INSUFFICIENT_FUNDS), faults.INSUFFICIENT_FUNDS),
        (Known(OPEN), faults.USED),
    ],
)
def test_what_speaks_against_the_next_one_ends_the_call(answer, code) -> None:
    one = begun()
    say(one, piece(b"b", 20), Rolled(SECOND, 10), Checked(490))
    assert say(one, Answered(answer)) == [StopWork(), Finish(KEY, None)]
    assert say(one, Committed(OPEN)) == [End(code, OPEN)]


def test_one_that_the_chain_speaks_against_is_not_reserved() -> None:
    one = begun()
    say(one, piece(b"b", 20), Rolled(SECOND, 10))
    assert say(one, Answered(Refused(faults.TRANSACTION_STATE))) == [StopWork(), Finish(KEY, None)]


def test_the_next_one_is_not_charged_where_nothing_is_left_to_go() -> None:
    one = begun()
    assert say(one, DONE) == [Finish(KEY, result())]
    assert say(one, Rolled(SECOND, 10)) == []
    one = begun()
    say(one, piece(b"b", 20), Raised(KEY, 20, b"s"))  # being committed
    assert say(one, Rolled(SECOND, 20), DONE, Committed(grown(20))) == [
        Send(b"b", 10),
        Finish(KEY, result()),
    ]


@pytest.mark.parametrize("given", [Failed("timeout"), Cancelled(), Gone()])
@pytest.mark.parametrize("stage", ["checking", "rolling", "waiting", "rolled"])
def test_a_call_that_ends_between_two_tabs(stage, given) -> None:
    one = begun()
    say(one, piece(b"b", 30), Rolled(SECOND, 10))
    if stage != "checking":
        say(one, Checked(490))
    if stage == "waiting":
        say(one, Answered(Refused(faults.EXPOSURE, passes=True)))
    if stage == "rolled":
        say(one, Answered(Reserved(due(SECOND))))
    outputs = say(one, given)
    assert outputs[0] == StopWork()
    if stage == "checking":
        outputs += say(one, Checked(490))
    if stage == "rolling":
        outputs += say(one, Answered(Reserved(due(SECOND))))
    last = SECOND.key if stage in ("rolling", "rolled") else ""
    # nothing went under the second
    assert outputs == [StopWork(), Finish(KEY, None, last, bool(last))]
    assert say(one, Room(), Raised(KEY, 40, b"s"), Rolled(THIRD, 20)) == []
    (end,) = say(one, Committed(WHOLE))
    assert end.charges == (WHOLE,)
    assert one.phase is Phase.ENDED
    assert say(one, Room(), Raised(KEY, 40, b"s")) == []


def test_a_first_one_that_was_lost_meanwhile_ends_the_call() -> None:
    one = rolled()
    say(one, piece(b"b", 20), DONE)
    (end,) = say(one, Committed(LOST))
    assert end == End(faults.LOST, LOST, (due(SECOND),))
    assert end.charges == (due(SECOND),)


def test_the_next_one_follows_what_went_and_one_at_a_time() -> None:
    one = working()
    assert say(one, Rolled(SECOND, 10)) == [StopWork(), Release(KEY, faults.TAB_FAULT)]
    one = begun()
    say(one, piece(b"b", 20), Rolled(SECOND, 10), Rolled(THIRD, 10))
    assert say(one, Checked(None)) == [Finish(KEY, None)]


# --- shown again ------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("charge", "code"),
    [
        (OPEN, faults.IN_PROGRESS),
        (rules.shut(OPEN, now=NOW), faults.TAB_FAULT),
        (rules.interrupt(OPEN, now=NOW), faults.TAB_FAULT),
        (LOST, faults.LOST),
    ],
)
def test_shown_again_it_buys_nothing_more(charge, code) -> None:
    one = tab_gate(FIRST)
    one.open()
    assert say(one, LookedUp(charge)) == [End(code, charge)]


def test_shown_again_it_is_given_again_and_ends_with_all_tabs_of_its_call() -> None:
    one = tab_gate(FIRST)
    one.open()
    further = due(SECOND), due(THIRD)
    assert say(one, LookedUp(WHOLE, further)) == [Replay(WHOLE), End("", WHOLE, further)]


def test_shown_twice_at_once_it_looks_again_once_the_other_is_whole() -> None:
    one = tab_gate(FIRST)
    one.open()
    assert say(one, LookedUp(None), Checked(None), Answered(Known(WHOLE))) == [
        Check(KEY),
        Reserve(FIRST, None),
        LookUp(KEY),
    ]
    assert say(one, LookedUp(WHOLE, (due(SECOND),))) == [Replay(WHOLE), End("", WHOLE, (due(SECOND),))]


def test_other_misuse() -> None:
    with pytest.raises(LocalProtocolError, match="tab"):
        tab_gate(entry(peer=BOB))
    with pytest.raises(LocalProtocolError):
        say(begun(), Committed(OPEN))
    assert OPEN.state is State.DUE
