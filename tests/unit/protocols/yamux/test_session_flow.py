"""A session over time: back-pressure, pings, going away."""

from __future__ import annotations

import pytest

from nexusd_protocols.yamux.events import (
    Drained,
    GoneAway,
    Readable,
    RoundTrip,
    Unresponsive,
    Writable,
)
from tests.harness.yamux import (
    ACK,
    GO_AWAY,
    INITIAL,
    PING,
    RST,
    SYN,
    WINDOW,
    Frame,
    Pair,
    accepted,
    data,
    everything,
    go_away,
    output,
    ping,
    session,
)


@pytest.fixture
def pair() -> Pair:
    return Pair()


def kinds(events) -> list[str]:
    return [type(event).__name__ for event in events]


# --- flow control ---------------------------------------------------------------------------------------------------
def test_a_writer_is_held_back_and_told(pair):
    ours, theirs = pair.joined()
    whole = bytes(i % 251 for i in range(3 * INITIAL))
    view, got = memoryview(whole), bytearray()
    while view:
        taken = ours.write(view)
        view = view[taken:]
        pair.exchange()
        if not ours.room:
            assert ours.held_back
            pair.take("alice")
            got += everything(theirs)
            pair.exchange()
            assert Writable(ours) in pair.take("alice")
    got += everything(theirs)
    assert got == whole


def test_without_a_reader_no_more_than_the_window_is_taken(pair):
    ours, theirs = pair.joined()
    for _ in range(100):
        ours.write(bytes(60_000))
        pair.exchange()
    assert theirs.incoming.size + 5 == INITIAL
    assert ours.outgoing.size == 0
    assert pair.root.held == theirs.incoming.size


def test_data_as_large_as_the_window_in_one_frame():
    bob = session()
    frame = data(1, bytes(INITIAL), SYN)
    for start in range(0, len(frame), 65_519):
        bob.receive(frame[start : start + 65_519], 0.0)
    assert accepted(bob).incoming.size == INITIAL


def test_writable_data_of_any_kind_is_copied_unless_it_is_bytes(pair):
    ours, theirs = pair.joined()
    mutable = bytearray(b"before")
    ours.write(mutable)
    mutable[:] = b"after!"
    ours.write(memoryview(mutable)[:3])
    pair.exchange()
    assert everything(theirs) == b"beforeaft"
    assert ours.write(b"") == 0
    assert not pair.alice.has_output


# --- pings ----------------------------------------------------------------------------------------------------------
def test_pings_are_answered_and_measured():
    alice = session(dialer=True)
    assert alice.round_trip is None
    assert alice.receive(ping(0, ACK), 0.25) == [RoundTrip(0.25)]
    assert alice.round_trip == 0.25
    assert alice.receive(ping(77), 0.3) == []
    assert output(alice) == [Frame(PING, ACK, 0, 77)]
    assert alice.deadline(1.0) == 5.0
    assert alice.tick(4.9) == []
    assert not alice.has_output
    assert alice.tick(5.0) == []
    assert output(alice) == [Frame(PING, SYN, 0, 1)]


def test_a_busy_connection_pings_without_a_tick():
    alice = session(dialer=True)
    alice.receive(ping(0, ACK), 0.1)
    alice.receive(ping(5), 6.0)
    assert output(alice) == [Frame(PING, ACK, 0, 5), Frame(PING, SYN, 0, 1)]


def test_a_silent_peer_is_given_up():
    alice = session(dialer=True)
    stream = alice.open(0.0)
    stream.write(b"anybody?")
    assert alice.tick(7.9) == []
    assert alice.tick(8.0) == [Readable(stream), Unresponsive()]
    assert stream.reset_by == "connection"
    assert alice.over
    assert not alice.has_output
    assert alice.tick(9.0) == []
    assert alice.receive(ping(1), 9.0) == []


# --- going away -----------------------------------------------------------------------------------------------------
def test_streams_that_are_open_finish_after_goaway(pair):
    ours, theirs = pair.joined()
    pair.alice.go_away()
    pair.alice.go_away()
    assert not pair.alice.may_open
    pair.exchange()
    assert pair.take("bob") == [GoneAway(0)]
    assert not pair.bob.may_open
    theirs.write(b"still here")
    pair.exchange()
    assert everything(ours) == b"still here"
    ours.close_write()
    theirs.close_write()
    pair.exchange()
    assert pair.take("alice")[-1] == Drained()
    assert pair.take("bob")[-1] == Drained()
    assert not pair.alice.over


def test_whoever_goes_away_takes_no_more_streams():
    bob = session()
    bob.go_away()
    assert bob.take_events() == [Drained()]
    bob.receive(data(1, b"hello", SYN), 0.0)
    assert output(bob) == [Frame(GO_AWAY, 0, 0, 0), Frame(WINDOW, RST, 1, 0)]
    assert bob.receive(go_away(), 0.0) == [GoneAway(0)]
    assert bob.receive(go_away(), 0.0) == []


@pytest.mark.parametrize("code", [1, 2, 0x1005])
def test_any_other_goaway_ends_the_session(code):
    alice = session(dialer=True)
    stream = alice.open(0.0)
    stream.write(b"x")
    output(alice)
    assert alice.receive(go_away(code) + b"whatever comes", 0.0) == [GoneAway(code), Readable(stream)]
    assert stream.reset_by == "connection"
    assert alice.over
    assert not alice.may_open


def test_abort_breaks_everything_and_says_why(pair):
    ours, theirs = pair.joined()
    ours.write(b"unsent")
    pair.alice.abort(2)
    pair.alice.abort(1)
    assert ours.reset_by == "connection"
    assert output(pair.alice) == [Frame(GO_AWAY, 0, 0, 2)]
    pair.bob.go_away()
    pair.bob.abort()
    assert not pair.bob.has_output
    pair.bob.go_away()
    assert theirs.reset_by == "connection"


def test_what_a_lost_connection_had_brought_can_be_read(pair):
    first, theirs = pair.joined()
    first.write(b"complete")
    first.close_write()
    second = pair.alice.open(0.0)
    second.write(b"cut sho")
    third = pair.alice.open(0.0)
    third.write(b"complete, and nobody has taken it yet")
    third.close_write()
    pair.exchange()
    cut = accepted(pair.bob)
    assert kinds(pair.bob.receive_eof()) == []
    assert pair.bob.receive_eof() == []
    assert everything(theirs) == b"complete"
    assert theirs.at_end
    assert theirs.reset_by == "connection"
    assert cut.reset_by == "connection"
    assert not cut.at_end
    last = accepted(pair.bob)
    assert everything(last).startswith(b"complete")
    assert last.at_end
    assert pair.bob.streams == pair.root.held == 0
