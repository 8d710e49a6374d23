"""The gate of one call: what goes out when, and what it costs."""

from dataclasses import replace

import pytest

from nexusd_protocols import limits
from nexusd_protocols.errors import LocalProtocolError
from nexusd_protocols.payments import charge as rules
from nexusd_protocols.payments import faults
from nexusd_protocols.payments.charge import Known, Owing, Refused, Reserved
from nexusd_protocols.payments.gate import Delivery
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
    AwaitSettlement,
    Check,
    End,
    Finish,
    Interrupt,
    LookUp,
    MarkDue,
    Release,
    Replay,
    Reserve,
    Send,
    Start,
    StopWork,
)
from tests.unit.protocols.payments.charges import INPUT, MALLORY, NOW, UNTIL, WIDE, entry, gate, result

DONE = Finished(result())
RESERVED = rules.reserve(None, entry(), now=NOW, balance=None, owing=Owing(), exposure=WIDE).charge
DUE = rules.due(RESERVED, amount=100, result=result(), receipt=b"receipt", now=NOW)
PART = rules.due(RESERVED, amount=100, result=None, receipt=b"", now=NOW, input_=INPUT)
RELEASED = rules.release(RESERVED, reason="failed", now=NOW)
SETTLED = rules.settled(DUE, transaction="0x1", block=1, now=NOW)
LOST = rules.lost(DUE, reason="cancelled", now=NOW)
KEY = entry().key


def working(delivery=Delivery.DIRECT, charge=None, **options):
    """A gate whose work has begun."""
    charge = charge or RESERVED
    one = gate(charge.entry, delivery, **options)
    assert one.open() == [LookUp(KEY)]
    assert one.handle(LookedUp(None), NOW) == [Check(KEY)]
    assert one.handle(Checked(500), NOW) == [Reserve(charge.entry, 500)]
    assert one.handle(Answered(Reserved(charge)), NOW) == [Start()]
    return one


def say(one, *inputs, now=NOW):
    return [output for given in inputs for output in one.handle(given, now)]


def end(one, outputs):
    """The code that it ended with."""
    assert isinstance(outputs[-1], End)
    assert say(one, Cancelled(), DONE, Committed(DUE)) == [], "it is over"
    return outputs[-1].code


# --- before the work --------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("charge", "code"),
    [
        (RESERVED, faults.IN_PROGRESS),
        (PART, faults.IN_PROGRESS),
        (LOST, faults.LOST),
        (replace(DUE, entry=entry(peer=MALLORY)), faults.USED),
        (replace(RELEASED, entry=entry(request=b"other")), faults.USED),
    ],
)
def test_a_call_that_is_known_is_not_done_again(charge, code) -> None:
    one = gate()
    one.open()
    assert end(one, say(one, LookedUp(charge))) == code


def test_what_was_paid_is_given_again_and_asks_for_nothing() -> None:
    one = gate()
    one.open()
    outputs = say(one, LookedUp(DUE))
    assert outputs == [Replay(DUE), End("", DUE)]
    assert outputs[-1].charged


def test_a_call_that_was_released_is_checked_and_reserved_anew() -> None:
    one = gate()
    one.open()
    assert say(one, LookedUp(RELEASED)) == [Check(KEY)]


def test_a_call_that_broke_off_is_done_again_without_a_look_at_the_balance() -> None:
    one = gate(stream=True)
    one.open()
    broken = rules.interrupt(PART, now=NOW)
    assert say(one, LookedUp(broken)) == [Reserve(entry(), None)]
    again = replace(broken, working=True, attempts=2)
    assert say(one, Answered(Reserved(again))) == [Start()]
    assert say(one, Produced(b"a")) == [Send(b"a")], "it is due already"


@pytest.mark.parametrize("answer", [Refused(faults.INSUFFICIENT_FUNDS), Known(RESERVED)])
def test_the_ledger_has_the_last_word(answer) -> None:
    one = gate()
    one.open()
    say(one, LookedUp(None), Checked(None))
    code = end(one, say(one, Answered(answer)))
    assert code == (faults.INSUFFICIENT_FUNDS if isinstance(answer, Refused) else faults.IN_PROGRESS)


def test_the_chain_may_speak_against_it() -> None:
    one = gate()
    one.open()
    say(one, LookedUp(None))
    assert end(one, say(one, Answered(Refused(faults.TRANSACTION_STATE)))) == faults.TRANSACTION_STATE


def test_nothing_is_begun_that_could_not_be_settled() -> None:
    one = gate()
    one.open()
    assert end(one, say(one, LookedUp(None), now=UNTIL * 1000)) == faults.VALID_BEFORE


def test_a_caller_that_cancels_while_it_is_reserved_is_released() -> None:
    one = gate()
    one.open()
    say(one, LookedUp(None), Checked(None))
    assert say(one, Cancelled()) == []
    assert say(one, Answered(Reserved(RESERVED))) == [Release(KEY, "cancelled")]
    assert end(one, say(one, Committed(RELEASED))) == "cancelled"


# --- whole results ----------------------------------------------------------------------------------------------------
def test_a_result_leaves_when_it_is_due_on_disk() -> None:
    one = working()
    assert say(one, Produced(b"a"), Produced(b"b")) == []
    assert say(one, DONE) == [MarkDue(KEY, 100, result())]
    assert say(one, Committed(DUE)) == [Send(b"a"), Send(b"b"), End("", DUE)]


@pytest.mark.parametrize("given", [Failed("handler_failed"), Cancelled(), Gone()])
def test_work_that_ends_before_it_is_due_costs_nothing(given) -> None:
    one = working()
    say(one, Produced(b"a"))
    code = given.code if isinstance(given, Failed) else "cancelled"
    assert say(one, given) == [StopWork(), Release(KEY, code)]
    outputs = say(one, Committed(RELEASED))
    assert not outputs[-1].charged
    assert end(one, outputs) == code


def test_nothing_leaves_on_the_word_of_a_disk_that_failed() -> None:
    one = working()
    say(one, Produced(b"a"), DONE)
    assert say(one, NotCommitted("storage_full")) == [StopWork(), Release(KEY, "storage_full")]
    assert end(one, say(one, NotCommitted("storage_failed"))) == "storage_full"


def test_a_caller_that_leaves_while_it_becomes_due_finds_it_again() -> None:
    one = working()
    say(one, Produced(b"a"), DONE)
    assert say(one, Cancelled()) == []
    assert say(one, Committed(DUE)) == [End("cancelled", DUE)]


def test_more_than_is_held_is_refused_and_costs_nothing() -> None:
    one = working(max_held=4)
    assert say(one, Produced(b"1234")) == []
    assert say(one, Produced(b"5")) == [StopWork(), Release(KEY, "output_too_large")]


def test_work_that_took_too_long_to_be_settled_is_not_handed_over() -> None:
    one = working()
    say(one, Produced(b"a"))
    assert say(one, DONE, now=UNTIL * 1000) == [Release(KEY, faults.VALID_BEFORE)]


# --- streams ----------------------------------------------------------------------------------------------------------
def test_a_stream_is_due_before_its_first_piece() -> None:
    one = working(stream=True)
    assert say(one, Produced(b"a"), Produced(b"b")) == [MarkDue(KEY, 100, None)]
    assert say(one, Committed(PART)) == [Send(b"a"), Send(b"b")]
    assert say(one, Produced(b"c"), DONE) == [Send(b"c"), Finish(KEY, result())]
    assert say(one, Committed(DUE)) == [End("", DUE)]


def test_a_stream_that_ends_while_it_becomes_due() -> None:
    one = working(stream=True)
    say(one, Produced(b"a"), DONE)
    assert say(one, Committed(PART)) == [Send(b"a"), Finish(KEY, result())]


def test_an_empty_stream_is_due_with_its_result() -> None:
    assert say(working(stream=True), DONE) == [MarkDue(KEY, 100, result())]


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (Failed("handler_failed"), Interrupt(KEY)),
        (Failed("OUTPUT_TOO_LARGE", by_caller=True), Finish(KEY, None)),
        (Cancelled(), Finish(KEY, None)),
    ],
)
def test_a_stream_that_broke_off_is_owed_and_done_again_only_if_we_failed(given, expected) -> None:
    one = working(stream=True)
    say(one, Produced(b"a"), Committed(PART))
    assert say(one, given) == [StopWork(), expected]


def test_a_stream_of_which_the_input_is_not_known_is_over_when_it_breaks_off() -> None:
    one = working(stream=True)
    say(one, Produced(b"a"), Committed(replace(PART, input=b"")))
    assert say(one, Failed("handler_failed")) == [StopWork(), Finish(KEY, None)]


def test_what_was_due_and_not_sent_can_be_asked_for_again() -> None:
    one = working(stream=True)
    say(one, Produced(b"a"))
    assert say(one, Cancelled()) == [StopWork()]
    assert say(one, Committed(PART)) == [Interrupt(KEY)]


def test_work_for_a_caller_that_is_gone_is_finished_and_kept() -> None:
    one = working(stream=True)
    say(one, Produced(b"a"), Committed(PART))
    assert say(one, Gone(), Produced(b"b")) == []
    assert say(one, DONE) == [Finish(KEY, result())]
    assert say(one, Committed(DUE)) == [End("", DUE)]


def test_a_payer_that_takes_it_back_gets_no_more() -> None:
    one = working(stream=True)
    say(one, Produced(b"a"), Committed(PART))
    outputs = say(one, Unsettled(LOST, True))
    assert outputs == [StopWork(), End(faults.LOST, LOST)]
    assert not outputs[-1].charged


def test_a_stream_waits_when_as_much_is_held_as_may_be() -> None:
    one = working(stream=True, max_held=4)
    say(one, Produced(b"1234"))
    assert one.paused
    with pytest.raises(LocalProtocolError, match="paused"):
        say(one, Produced(b"5"))
    say(one, Committed(PART))
    assert not one.paused


# --- held until settled -----------------------------------------------------------------------------------------------
def held():
    one = working(Delivery.HELD, stream=True)
    assert say(one, Produced(b"a"), DONE) == [MarkDue(KEY, 100, result())]
    assert say(one, Committed(DUE)) == [AwaitSettlement(KEY)]
    return one


def test_a_strangers_result_waits_for_the_chain() -> None:
    one = held()
    assert say(one, Settled(SETTLED)) == [Send(b"a"), End("", SETTLED)]


@pytest.mark.parametrize(
    ("given", "code", "charged"),
    [
        (Unsettled(LOST, True), faults.LOST, False),
        (Unsettled(DUE, False), faults.SETTLEMENT_PENDING, True),
        (Cancelled(), faults.SETTLEMENT_PENDING, True),
        (Gone(), faults.SETTLEMENT_PENDING, True),
    ],
)
def test_without_the_chain_it_gets_nothing_and_no_second_demand(given, code, charged) -> None:
    outputs = say(held(), given)
    assert outputs[-1].charged is charged
    assert [output.code for output in outputs] == [code]


def test_a_stranger_that_asks_again_waits_again() -> None:
    one = gate(delivery=Delivery.HELD)
    one.open()
    assert say(one, LookedUp(DUE)) == [AwaitSettlement(KEY)]
    assert say(one, Settled(SETTLED)) == [Replay(SETTLED), End("", SETTLED)]


# --- too late ---------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("given", [Cancelled(), Gone(), Failed("timeout")])
@pytest.mark.parametrize("before", [[], [LookedUp(None)]])
def test_a_call_that_ends_before_it_is_reserved_leaves_nothing(before, given) -> None:
    one = gate()
    one.open()
    say(one, *before)
    assert isinstance(say(one, given)[-1], End)
    assert say(one, LookedUp(None), Checked(None)) == []


def test_what_still_comes_of_work_that_was_stopped_is_dropped() -> None:
    one = working()
    say(one, Failed("timeout"))
    assert say(one, Produced(b"a"), DONE, Failed("again"), Cancelled()) == []
    assert end(one, say(one, Committed(RELEASED))) == "timeout"


def test_a_payment_that_was_lost_while_the_result_was_kept_gives_nothing() -> None:
    one = working(stream=True)
    say(one, Produced(b"a"), Committed(PART), DONE)
    assert say(one, Committed(LOST))[-1] == End(faults.LOST, LOST)


def test_a_call_whose_answer_comes_from_elsewhere_while_it_leaves() -> None:
    one = gate()
    one.open()
    say(one, LookedUp(None), Checked(None), Cancelled())
    assert end(one, say(one, Answered(Known(DUE)))) == "cancelled"


# --- misuse -----------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("given", [Checked(None), Answered(Known(DUE)), Settled(SETTLED), Committed(DUE)])
def test_answers_to_what_was_not_asked(given) -> None:
    one = gate()
    one.open()
    with pytest.raises(LocalProtocolError):
        say(one, given)


def test_other_misuse() -> None:
    for one, delivery in ((entry(), Delivery.TAB), (entry(tab=True), Delivery.TAB), (entry(tab=True), Delivery.DIRECT)):
        with pytest.raises(LocalProtocolError, match="tab"):
            gate(one, delivery)
    for given in (Raised(KEY, 200, b""), Rolled(entry(2), 0), Room()):
        with pytest.raises(LocalProtocolError, match="grows"):
            say(working(), given)
    one = working()
    say(one, DONE)
    with pytest.raises(LocalProtocolError, match="behind the end"):
        say(one, Produced(b"a"))
    with pytest.raises(LocalProtocolError):
        one.open()


def test_work_that_was_begun_too_often_is_refused_though_paid() -> None:
    one = gate()
    one.open()
    broken = replace(rules.interrupt(PART, now=NOW), attempts=limits.PAYMENT_ATTEMPTS)
    assert say(one, LookedUp(broken)) == [Reserve(entry(), None)]
    assert end(one, say(one, Answered(Refused(faults.ATTEMPTS)))) == faults.ATTEMPTS
