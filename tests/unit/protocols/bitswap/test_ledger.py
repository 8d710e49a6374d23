from __future__ import annotations

from nexusd_protocols import limits
from nexusd_protocols.bitswap.ledger import LACKING_SECONDS, Ledger
from nexusd_protocols.bitswap.message import Kind, Message, Want
from tests.harness.bitswap import cid_of, wants

MOST = limits.BITSWAP_PEER_WANTS


def ledger_of(*numbers: int) -> Ledger:
    ledger = Ledger()
    ledger.update(wants(*map(cid_of, numbers)), MOST, 0.0)
    return ledger


def lacking(*numbers: int) -> Ledger:
    ledger = ledger_of(*numbers)
    for wanted in ledger.take(len(numbers)):
        ledger.lack(wanted, 0.0)
    return ledger


def test_the_most_urgent_first_and_then_the_oldest():
    ledger = Ledger()
    for number, priority in ((1, 5), (2, 7), (3, 5), (4, -1)):
        ledger.update(wants(cid_of(number), priority=priority), MOST, 0.0)
    assert [wanted.cid for wanted in ledger.take(9)] == [cid_of(2), cid_of(1), cid_of(3), cid_of(4)]
    assert not ledger.waiting
    assert len(ledger) == 4, "they are wanted until they are answered"


def test_wanted_again_is_wanted_once_and_the_block_is_more_than_word_of_it():
    ledger = Ledger()
    ledger.update(wants(cid_of(1), kind=Kind.HAVE, answer=False), MOST, 0.0)
    ledger.update(wants(cid_of(1)), MOST, 0.0)
    ledger.update(wants(cid_of(1), kind=Kind.HAVE, answer=False), MOST, 0.0)
    (wanted,) = ledger.take(9)
    assert (wanted.kind, wanted.answer) == (Kind.BLOCK, True)


def test_cancelled():
    ledger = ledger_of(1, 2)
    ledger.update(Message(cancels=(cid_of(1), cid_of(9))), MOST, 0.0)
    assert [wanted.cid for wanted in ledger.take(9)] == [cid_of(2)]


def test_cancelled_while_it_is_looked_up():
    ledger = ledger_of(1)
    (wanted,) = ledger.take(1)
    ledger.update(Message(cancels=(cid_of(1),)), MOST, 0.0)
    assert not wanted.live
    ledger.back(wanted)
    ledger.lack(wanted, 0.0)
    assert not ledger.waiting
    assert len(ledger) == 0


def test_a_full_list_takes_the_place_of_the_other():
    ledger = lacking(1)
    ledger.update(wants(cid_of(2), cid_of(3)), MOST, 0.0)
    ledger.update(Message(wants=(Want(cid_of(3)), Want(cid_of(4))), full=True), MOST, 0.0)
    assert [wanted.cid for wanted in ledger.take(9)] == [cid_of(3), cid_of(4)]
    assert not ledger.arrived(cid_of(1), 0.0)


def test_what_comes_is_told_to_who_waits_for_it():
    ledger = lacking(1)
    assert not ledger.waiting
    assert not ledger.arrived(cid_of(2), 1.0)
    assert ledger.arrived(cid_of(1), 1.0)
    assert [wanted.cid for wanted in ledger.take(9)] == [cid_of(1)]


def test_what_comes_too_late_is_no_news():
    assert not lacking(1).arrived(cid_of(1), LACKING_SECONDS + 1)


def test_wanted_again_is_looked_up_again():
    ledger = lacking(1)
    ledger.update(wants(cid_of(1)), MOST, 0.0)
    assert [wanted.cid for wanted in ledger.take(9)] == [cid_of(1)]


def test_what_is_waited_for_is_bounded():
    ledger = lacking(*range(limits.BITSWAP_PEER_LACKING + 1))
    assert len(ledger) == limits.BITSWAP_PEER_LACKING
    assert not ledger.arrived(cid_of(0), 0.0), "the oldest made room"
    assert ledger.arrived(cid_of(1), 0.0)


def test_one_too_many_is_answered_as_not_here():
    ledger = Ledger()
    ledger.update(wants(*map(cid_of, range(12))), 10, 0.0)
    assert len(ledger) == 10
    assert ledger.refused(99) == (cid_of(10).encode(), cid_of(11).encode())
    ledger.update(wants(cid_of(99), answer=False), 10, 0.0)
    assert ledger.refused(99) == ()


def test_a_want_displaces_what_is_merely_waited_for():
    ledger = lacking(1, 2)
    ledger.update(wants(cid_of(3)), 2, 0.0)
    assert ledger.refused(9) == ()
    assert len(ledger) == 2
    assert not ledger.arrived(cid_of(1), 0.0)
    assert ledger.arrived(cid_of(2), 0.0)


def test_refusals_are_bounded():
    ledger = Ledger()
    ledger.update(Message(foreign=tuple(b"%d" % number for number in range(5000))), MOST, 0.0)
    assert ledger.waiting
    assert len(ledger.refused(9999)) == limits.BITSWAP_PEER_WANTS
    assert not ledger.waiting


def test_a_storm_of_wants_and_cancels_leaves_nothing():
    ledger = ledger_of(0)
    for number in range(20_000):
        ledger.update(wants(cid_of(number % 50 + 1)), MOST, 0.0)
        ledger.update(Message(cancels=(cid_of(number % 50 + 1),)), MOST, 0.0)
    assert len(ledger) == 1
    assert len(ledger._queue) < 200
