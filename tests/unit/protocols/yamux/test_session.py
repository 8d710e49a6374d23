"""A session and its streams: opening, talking, ending, in every state."""

from __future__ import annotations

import pytest

from nexusd_protocols.errors import LimitExceededError, LocalProtocolError
from nexusd_protocols.yamux.events import (
    Incoming,
    Openable,
    Readable,
    RoundTrip,
    Writable,
)
from tests.harness.yamux import (
    ACK,
    DATA,
    FIN,
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
    output,
    ping,
    session,
    window,
)


@pytest.fixture
def pair() -> Pair:
    return Pair()


def kinds(events) -> list[str]:
    return [type(event).__name__ for event in events]


# --- opening --------------------------------------------------------------------------------------------------------
def test_syn_and_ack_ride_on_the_first_data():
    alice = session(dialer=True)
    stream = alice.open(0.0)
    assert stream.id == 1
    assert not alice.has_output
    assert stream.write(b"hello") == 5
    assert output(alice) == [Frame(DATA, SYN, 1, 5, b"hello")]
    bob = session()
    assert bob.receive(data(1, b"hello", SYN), 0.0)[0] == Incoming()
    theirs = accepted(bob)
    assert not bob.has_output
    theirs.write(b"hi")
    assert output(bob) == [Frame(DATA, ACK, 1, 2, b"hi")]
    assert alice.receive(data(1, b"hi", ACK), 0.0) == [Readable(stream)]
    assert bob.accept() is None


def test_a_reader_that_waits_says_hello_first(pair):
    stream = pair.alice.open(0.0)
    assert stream.read(10, 0.0) == b""
    assert stream.read(10, 0.0) == b""
    assert [frame[:4] for frame in output(pair.alice)] == [(PING, SYN, 0, 0), (WINDOW, SYN, 1, 0)]
    stream.write(b"x")
    assert output(pair.alice) == [Frame(DATA, 0, 1, 1, b"x")]
    pair.bob.receive(window(1, 0, SYN), 0.0)
    theirs = accepted(pair.bob)
    theirs.read(10, 0.0)
    assert Frame(WINDOW, ACK, 1, 0) in output(pair.bob)


def test_hello_is_said_once_even_if_a_window_update_says_it(pair):
    pair.bob.receive(data(1, bytes(INITIAL), SYN), 0.0)
    stream = accepted(pair.bob)
    assert stream.read(INITIAL, 0.0)
    stream.read(1, 0.0)
    assert output(pair.bob) == [Frame(PING, SYN, 0, 0), Frame(WINDOW, ACK, 1, INITIAL)]


def test_streams_of_both_sides_do_not_collide(pair):
    ours = [pair.alice.open(0.0) for _ in range(3)]
    theirs = [pair.bob.open(0.0) for _ in range(3)]
    assert [stream.id for stream in ours] == [1, 3, 5]
    assert [stream.id for stream in theirs] == [2, 4, 6]
    for number, stream in enumerate(ours + theirs):
        stream.write(b"%d" % number)
    pair.exchange()
    assert [everything(accepted(pair.bob)) for _ in ours] == [b"0", b"1", b"2"]
    assert [everything(accepted(pair.alice)) for _ in theirs] == [b"3", b"4", b"5"]


def test_the_peer_may_open_with_a_larger_window():
    bob = session()
    bob.receive(window(1, INITIAL, SYN), 0.0)
    stream = accepted(bob)
    assert stream.send_window == 2 * INITIAL


def test_streams_that_the_peer_opens_are_bounded():
    bob = session(inbound_streams=2)
    for stream in (1, 3, 5):
        bob.receive(data(stream, b"hello", SYN), 0.0)
    assert output(bob) == [Frame(WINDOW, RST, 5, 0)]
    bob.receive(data(5, b"I had sent this before I heard of it"), 0.0)
    assert everything(accepted(bob)) == b"hello"
    bob.receive(window(1, 0, RST), 0.0)
    bob.receive(window(7, 0, SYN), 0.0)
    assert output(bob) == []
    assert bob.streams == bob.inbound == 2


def test_streams_that_nobody_accepts_are_bounded():
    bob = session(backlog=2)
    for stream in (1, 3, 5):
        bob.receive(window(stream, 0, SYN), 0.0)
    assert output(bob) == [Frame(WINDOW, RST, 5, 0)]
    accepted(bob)
    bob.receive(window(7, 0, SYN), 0.0)
    assert output(bob) == []


def test_streams_of_ours_are_bounded_and_openable_says_when_there_is_room():
    alice = session(dialer=True, outbound_streams=2)
    first = alice.open(0.0)
    alice.open(0.0)
    assert not alice.may_open
    with pytest.raises(LimitExceededError) as caught:
        alice.open(0.0)
    assert caught.value.limit == "streams"
    first.reset()
    assert kinds(alice.take_events()) == ["Readable", "Openable"]
    assert alice.open(0.0).id == 5


def test_streams_that_the_peer_has_not_acknowledged_are_bounded():
    alice = session(dialer=True, backlog=2)
    first, second = alice.open(0.0), alice.open(0.0)
    first.write(b"x")
    second.write(b"x")
    output(alice)
    assert not alice.may_open
    assert alice.receive(window(1, 0, ACK), 0.0) == [Openable()]
    assert alice.receive(window(1, 0, ACK), 0.0) == []
    third = alice.open(0.0)
    assert not alice.may_open
    third.reset()
    assert alice.may_open
    alice.take_events()
    assert alice.receive(window(3, 0, ACK | RST), 0.0) == [Readable(second)]


def test_an_acknowledgement_of_the_peers_own_stream_means_nothing():
    bob = session()
    bob.receive(data(1, b"x", SYN | ACK), 0.0)
    assert accepted(bob).id == 1


def test_stream_ids_run_out():
    alice = session(dialer=True)
    alice._roster._ids._next = 2**32 - 1
    assert alice.open(0.0).id == 2**32 - 1
    assert not alice.may_open


def test_a_stream_reset_before_the_peer_heard_of_it_leaves_no_trace(pair):
    stream = pair.alice.open(0.0)
    stream.write(b"never mind")
    stream.reset()
    pair.exchange()
    assert pair.alice.streams == pair.bob.streams == 0
    assert pair.take("bob") == [RoundTrip(0.0)]


# --- ending ---------------------------------------------------------------------------------------------------------
def test_each_direction_ends_by_itself(pair):
    ours, theirs = pair.joined()
    ours.write(b"question")
    ours.close_write()
    ours.close_write()
    with pytest.raises(LocalProtocolError):
        ours.write(b"more")
    assert ours.room == 0
    pair.exchange()
    assert not theirs.at_end
    assert everything(theirs) == b"question"
    assert theirs.at_end
    theirs.write(b"answer")
    pair.exchange()
    assert everything(ours) == b"answer"
    assert not ours.at_end
    theirs.close_write()
    pair.exchange()
    assert ours.at_end
    assert theirs.finished
    assert ours.finished
    assert pair.alice.streams == pair.bob.streams == 0
    assert ours.reset_by is theirs.reset_by is None


def test_a_stream_opened_and_closed_without_a_word(pair):
    stream = pair.alice.open(0.0)
    stream.close_write()
    pair.exchange()
    theirs = accepted(pair.bob)
    assert theirs.at_end
    theirs.close_write()
    pair.exchange()
    assert stream.at_end
    assert pair.alice.streams == pair.bob.streams == 0


def test_the_end_goes_in_a_frame_of_its_own():
    alice = session(dialer=True)
    stream = alice.open(0.0)
    stream.write(b"all")
    stream.close_write()
    assert output(alice) == [Frame(DATA, SYN, 1, 3, b"all"), Frame(WINDOW, FIN, 1, 0)]


def test_the_end_waits_for_the_data_before_it(pair):
    ours, theirs = pair.joined()
    assert ours.write(bytes(100_000)) == 100_000
    ours.close_write()
    pair.exchange()
    assert not theirs.ended or theirs.incoming.size == 100_000
    assert len(everything(theirs)) == 100_000
    assert theirs.at_end


def test_what_came_before_the_end_holds_the_stream_until_it_is_read(pair):
    ours, theirs = pair.joined()
    ours.write(b"last words")
    ours.close_write()
    theirs.close_write()
    pair.exchange()
    assert (pair.alice.streams, pair.bob.streams) == (0, 1)
    assert theirs.read(4, 0.0) == b"last"
    assert theirs.read(100, 0.0) == b" words"
    assert pair.bob.streams == 0


def test_an_end_that_comes_twice_is_one(pair):
    ours, theirs = pair.joined()
    pair.bob.receive(window(1, 0, FIN), 0.0)
    assert pair.bob.receive(window(1, 0, FIN), 0.0) == []
    assert theirs.at_end
    assert not ours.at_end


def test_data_and_end_in_one_frame_however_it_is_split(pair):
    _, theirs = pair.joined()
    frame = data(1, b"all of it", FIN)
    events = [event for octet in frame for event in pair.bob.receive(bytes([octet]), 0.0)]
    assert events == [Readable(theirs)]
    assert everything(theirs) == b"all of it"
    assert theirs.at_end


# --- resets ---------------------------------------------------------------------------------------------------------
def test_a_reset_is_never_an_end(pair):
    ours, theirs = pair.joined()
    ours.write(b"half a mess")
    pair.exchange()
    ours.write(b"unsent")
    ours.reset()
    ours.reset()
    pair.exchange()
    assert theirs.reset_by == "peer"
    assert everything(theirs) == b""
    assert not theirs.at_end
    assert theirs.write(b"x") == 0
    assert not theirs.held_back
    theirs.close_write()
    assert ours.reset_by == "local"
    assert not ours.at_end
    assert pair.alice.streams == pair.bob.streams == pair.root.held == 0


def test_a_reset_wakes_whoever_waits(pair):
    ours, theirs = pair.joined()
    theirs.write(bytes(10 * INITIAL))
    assert theirs.held_back
    pair.bob.take_output()
    pair.take("bob")
    ours.reset()
    events = pair.bob.receive(pair.alice.take_output(), 0.0)
    assert events == [Writable(theirs), Readable(theirs)]


def test_a_reset_behind_a_clean_end_spares_what_was_said(pair):
    ours, theirs = pair.joined()
    ours.write(b"answer")
    ours.close_write()
    pair.exchange()
    ours.reset()
    pair.exchange()
    assert theirs.reset_by == "peer"
    assert theirs.write(b"x") == 0
    assert pair.bob.streams == 1
    assert everything(theirs) == b"answer"
    assert theirs.at_end
    assert pair.bob.streams == 0


def test_unread_bytes_of_a_stream_that_both_sides_ended_can_be_dropped(pair):
    ours, theirs = pair.joined()
    ours.write(b"answer")
    ours.close_write()
    theirs.close_write()
    pair.exchange()
    theirs.reset()
    assert theirs.reset_by == "local"
    assert not theirs.at_end
    assert not pair.bob.has_output
    assert pair.bob.streams == pair.root.held == 0


def test_a_stream_that_the_peer_ended_can_be_reset(pair):
    ours, theirs = pair.joined()
    ours.write(b"question")
    ours.close_write()
    pair.exchange()
    theirs.reset()
    pair.exchange()
    assert not theirs.at_end
    assert ours.reset_by == "peer"
    assert pair.alice.streams == pair.bob.streams == pair.root.held == 0


def test_reset_changes_nothing_on_a_finished_stream(pair):
    ours, theirs = pair.joined()
    ours.close_write()
    theirs.close_write()
    pair.exchange()
    ours.reset()
    assert ours.at_end
    assert ours.reset_by is None
    assert not pair.alice.has_output


def test_a_stream_reset_while_its_frame_comes_in_takes_no_more(pair):
    _, theirs = pair.joined()
    frame = data(1, b"x" * 100, FIN)
    pair.bob.receive(frame[:50], 0.0)
    theirs.reset()
    assert pair.bob.receive(frame[50:] + ping(9), 0.0) == []
    assert pair.root.held == 0
    assert not theirs.ended


def test_a_stream_reset_in_the_backlog_is_not_accepted():
    bob = session()
    bob.receive(window(1, 0, SYN), 0.0)
    bob.receive(window(1, 0, RST), 0.0)
    assert bob.accept() is None
    assert bob.receive(window(3, 0, SYN | RST), 0.0) == []
    assert bob.streams == 0


def test_a_writer_that_is_held_back_hears_of_the_end_of_its_stream(pair):
    ours, _ = pair.joined()
    ours.write(bytes(10 * INITIAL))
    assert ours.held_back
    ours.reset()
    assert pair.alice.take_events() == [Writable(ours), Readable(ours)]
