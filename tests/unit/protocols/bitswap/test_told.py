from __future__ import annotations

from nexusd_protocols import limits
from nexusd_protocols.bitswap.events import SessionId
from nexusd_protocols.bitswap.message import Kind, Message, Want
from nexusd_protocols.bitswap.told import Told
from tests.harness.bitswap import cid_of

ONE, TWO = SessionId(1), SessionId(2)
CID = cid_of(1)


def want(kind: Kind = Kind.BLOCK) -> Message:
    return Message(wants=(Want(CID, kind),))


def cancel() -> Message:
    return Message(cancels=(CID,))


def test_two_sessions_want_it_once():
    told = Told()
    told.ask(ONE, CID, Kind.HAVE)
    assert told.news() == [want(Kind.HAVE)]
    told.ask(TWO, CID, Kind.HAVE)
    assert told.news() == []
    told.ask(TWO, CID, Kind.BLOCK)
    assert told.news() == [want()]
    told.release(ONE, CID.digest)
    assert told.news() == []
    told.release(TWO, CID.digest)
    assert told.news() == [cancel()]


def test_a_block_that_came_is_not_cancelled():
    told = Told()
    told.ask(ONE, CID, Kind.BLOCK)
    told.news()
    told.delivered(CID.digest)
    told.release(ONE, CID.digest)
    assert told.news() == []


def test_wanted_again_is_cancelled_first_in_a_message_of_its_own():
    told = Told()
    told.ask(ONE, CID, Kind.BLOCK)
    told.news()
    told.delivered(CID.digest)
    told.ask(ONE, CID, Kind.BLOCK)
    assert told.news() == [cancel(), want()]
    told.repeat(CID.digest)
    assert told.news() == [cancel(), want()]
    told.repeat(cid_of(2).digest)
    assert told.news() == []


def test_more_is_wanted_of_what_is_wanted_again():
    told = Told()
    told.ask(ONE, CID, Kind.BLOCK)
    told.delivered(CID.digest)
    told.ask(ONE, CID, Kind.HAVE)
    told.ask(ONE, CID, Kind.BLOCK)
    assert told.news() == [cancel(), want()]


def test_what_may_come():
    told = Told()
    assert not told.expects(CID.digest)
    told.ask(ONE, CID, Kind.HAVE)
    assert told.expects(CID.digest)
    told.release(ONE, CID.digest)
    for _ in range(2):
        assert told.expects(CID.digest), "it may have been on its way"
        told.delivered(CID.digest)
    assert not told.expects(CID.digest)


def test_what_may_come_is_bounded():
    told = Told()
    for number in range(limits.BITSWAP_REMEMBERED + 1):
        told.ask(ONE, cid_of(number), Kind.BLOCK)
        told.release(ONE, cid_of(number).digest)
    assert not told.expects(cid_of(0).digest)
    assert told.expects(cid_of(1).digest)


def test_everything_for_a_peer_that_may_have_missed_something():
    told = Told()
    assert told.everything() is None
    told.ask(ONE, CID, Kind.HAVE)
    told.ask(ONE, cid_of(2), Kind.BLOCK)
    told.release(ONE, cid_of(2).digest)
    assert told.everything() == Message(wants=(Want(CID, Kind.HAVE),), full=True)
    assert told.news() == [], "all was said"
