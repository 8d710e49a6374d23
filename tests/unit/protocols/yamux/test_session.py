"""A session and its streams: opening, talking, ending, in every state."""

from __future__ import annotations

import pytest

from nexusd_protocols.errors import LimitExceededError, LocalProtocolError, RemoteProtocolError
from nexusd_protocols.yamux.budget import Budget
from nexusd_protocols.yamux.events import (
    Drained,
    GoneAway,
    Incoming,
    Openable,
    Readable,
    RoundTrip,
    Unresponsive,
    Writable,
)
from tests.harness.yamux import (
    ACK,
    DATA,
    FIN,
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
    assert bob.streams == 2


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
    alice._ids._next = 2**32 - 1
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


# --- every frame in every state -------------------------------------------------------------------------------------
def state(name: str):
    """Bob's session, in which stream 1 is in the state named, and the stream."""
    bob = session(budget=Budget().child())
    if name == "never opened":
        return bob, None
    bob.receive(data(1, b"hello", SYN), 0.0)
    stream = accepted(bob)
    everything(stream)
    if name in ("they ended", "they ended, we ended"):
        bob.receive(window(1, 0, FIN), 0.0)
    if name in ("we ended", "they ended, we ended"):
        stream.close_write()
    if name == "we reset":
        stream.reset()
    if name == "they reset":
        bob.receive(window(1, 0, RST), 0.0)
    if name == "they ended, unread, then reset":
        bob.receive(data(1, b"rest", FIN) + window(1, 0, RST), 0.0)
    output(bob)
    bob.take_events()
    return bob, stream


STATES = [
    "never opened",
    "open",
    "they ended",
    "we ended",
    "they ended, we ended",
    "we reset",
    "they reset",
    "they ended, unread, then reset",
]
FRAMES = {
    "data": data(1, b"x"),
    "data, end": data(1, b"x", FIN),
    "data, acknowledged": data(1, b"x", ACK),
    "data, opening": data(1, b"x", SYN),
    "data, reset": data(1, b"x", RST),
    "no data": data(1),
    "no data, end": data(1, b"", FIN),
    "no data, reset": data(1, b"", RST),
    "window": window(1, 10),
    "window, end": window(1, 0, FIN),
    "window, reset": window(1, 0, RST),
    "window, end and reset": window(1, 0, FIN | RST),
    "window, opening": window(1, 0, SYN),
    "window, acknowledged": window(1, 0, ACK),
    "no window": window(1, 0),
    "ping": ping(1),
    "pong": ping(1, ACK),
    "goaway": go_away(),
}
STRAY, AFTER, AGAIN = "stray_data", "data_after_end", "stream_id_reused"
SEEN = "Readable"
#                        never       open   they    we     both   we     they   they ended,
#                        opened             ended   ended  ended  reset  reset  unread, reset
EXPECTED = {
    "data":                  [STRAY, SEEN, AFTER, SEEN, STRAY, "", "", AFTER],
    "data, end":             [STRAY, SEEN, AFTER, SEEN, STRAY, "", "", AFTER],
    "data, acknowledged":    [STRAY, SEEN, AFTER, SEEN, STRAY, "", "", AFTER],
    "data, opening":         ["Incoming Readable", AGAIN, AGAIN, AGAIN, AGAIN, AGAIN, AGAIN, AGAIN],
    "data, reset":           [STRAY, SEEN, STRAY, SEEN, STRAY, "", "", STRAY],
    "no data":               ["", "", "", "", "", "", "", ""],
    "no data, end":          ["", SEEN, "", SEEN, "", "", "", ""],
    "no data, reset":        ["", SEEN, "", SEEN, "", "", "", ""],
    "window":                ["", "", "", "", "", "", "", ""],
    "window, end":           ["", SEEN, "", SEEN, "", "", "", ""],
    "window, reset":         ["", SEEN, "", SEEN, "", "", "", ""],
    "window, end and reset": ["", SEEN, "", SEEN, "", "", "", ""],
    "window, opening":       ["Incoming", AGAIN, AGAIN, AGAIN, AGAIN, AGAIN, AGAIN, AGAIN],
    "window, acknowledged":  ["", "", "", "", "", "", "", ""],
    "no window":             ["", "", "", "", "", "", "", ""],
    "ping":                  ["", "", "", "", "", "", "", ""],
    "pong":                  ["", "", "", "", "", "", "", ""],
    "goaway":                ["GoneAway Drained", "GoneAway", "GoneAway", "GoneAway", "GoneAway Drained",
                              "GoneAway Drained", "GoneAway Drained", "GoneAway"],
}  # fmt: skip


def feed(side, pieces):
    return [event for piece in pieces for event in side.receive(piece, 0.0)]


@pytest.mark.parametrize("split", [False, True], ids=["whole", "octet by octet"])
@pytest.mark.parametrize("column", range(len(STATES)), ids=STATES)
@pytest.mark.parametrize("row", FRAMES)
def test_every_frame_in_every_state(row, column, split):
    bob, stream = state(STATES[column])
    octets = FRAMES[row]
    pieces = [bytes([octet]) for octet in octets] if split else [octets]
    expected = EXPECTED[row][column]
    if "_" in expected:
        with pytest.raises(RemoteProtocolError) as caught:
            feed(bob, pieces)
        assert caught.value.code == expected
        assert caught.value.penalty == 10
        assert caught.value.reply == go_away(1)
        assert bob.over
        assert not bob.has_output
        assert bob.receive(octets, 0.0) == []
        return
    events = feed(bob, pieces)
    assert " ".join(kinds(events)) == expected
    assert not bob.over
    if column in (1, 3) and "reset" in row:
        assert stream.reset_by == "peer"
        assert not stream.at_end
    if column in (1, 3) and row.endswith("end"):
        everything(stream)
        assert stream.at_end


@pytest.mark.parametrize(
    ("octets", "code"),
    [
        (bytes(Frame(DATA, 0, 1, 0, version=1)), "bad_version"),
        (bytes(Frame(4, 0, 1, 0)), "bad_type"),
        (bytes(Frame(DATA, 16, 1, 0)), "bad_flags"),
        (bytes(Frame(WINDOW, 0x8000, 1, 0)), "bad_flags"),
        (ping(1, 0), "bad_flags"),
        (ping(1, SYN | ACK), "bad_flags"),
        (bytes(Frame(GO_AWAY, SYN, 0, 0)), "bad_flags"),
        (data(0, b"x"), "stream_id_zero"),
        (window(0, 1, SYN), "stream_id_zero"),
        (bytes(Frame(PING, SYN, 1, 0)), "stream_id_not_zero"),
        (bytes(Frame(GO_AWAY, 0, 1, 0)), "stream_id_not_zero"),
        (window(2, 0, SYN), "stream_id_parity"),
        (data(1, bytes(INITIAL + 1), SYN), "window_exceeded"),
        (data(1, bytes(INITIAL), SYN) + data(1, b"x"), "window_exceeded"),
        (bytes(Frame(DATA, SYN, 1, 2**32 - 1)), "window_exceeded"),
        (window(1, 2**32 - 1, SYN), "window_overflow"),
        (window(1, 2**31, SYN) + window(1, 2**31 - INITIAL), "window_overflow"),
        (bytes(Frame(DATA, 0, 9, 5)), "stray_data"),
    ],
)
def test_what_no_honest_peer_sends(octets, code):
    for size in (len(octets), 7):
        bob = session()
        with pytest.raises(RemoteProtocolError) as caught:
            feed(bob, [octets[start : start + size] for start in range(0, len(octets), size)])
        assert caught.value.code == code
        assert caught.value.penalty == 10
        assert bob.over


def test_a_fault_breaks_all_streams_and_wakes_all_tasks(pair):
    _, theirs = pair.joined()
    theirs.write(bytes(10 * INITIAL))
    with pytest.raises(RemoteProtocolError):
        pair.bob.receive(data(1, b"x") + b"\xff" * 12, 0.0)
    assert pair.bob.take_events() == [Readable(theirs), Writable(theirs)]
    assert theirs.reset_by == "connection"
    assert pair.bob.budget.held == 0
