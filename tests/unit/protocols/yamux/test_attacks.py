"""What mallory tries: floods, lies about lengths, and memory."""

from __future__ import annotations

import gc
import tracemalloc

import pytest

from nexusd_protocols import limits
from nexusd_protocols.errors import FLOOD, RemoteProtocolError
from nexusd_protocols.yamux.budget import Budget
from nexusd_protocols.yamux.events import Overdrawn
from tests.harness.yamux import (
    ACK,
    FIN,
    INITIAL,
    RST,
    SYN,
    Frame,
    accepted,
    data,
    everything,
    go_away,
    output,
    ping,
    session,
    window,
)


def flood(bob, make, count: int, *, at=lambda number: 0.0, answer=True):
    """Send until refused; gives how many were taken, and the error."""
    for number in range(count):
        try:
            bob.receive(make(number), at(number))
        except RemoteProtocolError as error:
            return number, error
        if answer:
            bob.take_output()
    return count, None


def test_streams_opened_and_reset_are_counted():
    bob = session()
    taken, error = flood(bob, lambda n: data(2 * n + 1, b"x", SYN) + window(2 * n + 1, 0, RST), 100_000)
    assert taken == limits.YAMUX_RESETS
    assert error.code == "too_many_resets"
    assert error.penalty == FLOOD
    assert bob.streams == bob.budget.held == 0


@pytest.mark.slow
def test_a_hundred_thousand_streams_opened_and_reset_slowly_cost_no_memory():
    bob = session()

    def objects():
        gc.collect()
        return len(gc.get_objects())

    def cycle(number):
        return data(2 * number + 1, b"x", SYN) + window(2 * number + 1, 0, RST)

    flood(bob, cycle, 500, at=lambda number: number / 50)
    before = objects()
    taken, error = flood(bob, lambda number: cycle(number + 500), 100_000, at=lambda number: 10 + number / 50)
    assert (taken, error) == (100_000, None)
    assert objects() - before < 20
    assert bob.streams == bob.budget.held == 0
    assert not bob.has_output


def test_ten_thousand_streams_that_say_nothing():
    bob = session()
    taken, error = flood(bob, lambda n: window(2 * n + 1, 0, SYN), 10_000)
    assert taken == limits.YAMUX_INBOUND_STREAMS + limits.YAMUX_RESETS
    assert error.code == "too_many_resets"


def test_streams_that_provoke_our_own_resets():
    bob = session()

    def provoke():
        for number in range(100_000):
            bob.receive(data(2 * number + 1, b"garbage", SYN), 0.0)
            accepted(bob).reset()
            bob.take_output()

    with pytest.raises(RemoteProtocolError) as caught:
        provoke()
    assert caught.value.code == "too_many_resets"


@pytest.mark.parametrize("flags", [SYN, ACK])
def test_ping_floods(flags):
    taken, error = flood(session(), lambda n: ping(n + 1, flags), 100_000, at=lambda n: n / 1000)
    assert 100 <= taken <= 103
    assert error.code == "too_many_pings"


@pytest.mark.parametrize(
    "make",
    [
        lambda n: data(1),
        lambda n: window(1),
        lambda n: window(3, 5),
        lambda n: window(3, 0, FIN),
        lambda n: data(1, b"", ACK),
        lambda n: window(1, 0, FIN),
        lambda n: data(1, b"", FIN | ACK),
        lambda n: go_away(),
    ],
    ids=[
        "empty data",
        "empty update",
        "update of no stream",
        "end of no stream",
        "acknowledgement",
        "end again",
        "both",
        "goaway",
    ],
)
def test_floods_of_frames_that_change_nothing(make):
    bob = session()
    bob.receive(window(1, 0, SYN | FIN) + go_away(), 0.0)
    taken, error = flood(bob, make, 100_000)
    assert taken == limits.YAMUX_EMPTY_FRAMES
    assert error.code == "too_many_empty_frames"


def test_windows_opened_by_crumbs():
    bob = session()
    bob.receive(window(1, 0, SYN), 0.0)
    taken, error = flood(bob, lambda n: window(1, 1), 100_000)
    assert (taken, error.code) == (limits.YAMUX_EMPTY_FRAMES, "too_many_updates")


def test_an_answer_to_each_data_frame_is_no_flood():
    """As js-libp2p does it."""
    bob = session(dialer=True)
    stream = bob.open(0.0)
    for _ in range(2 * limits.YAMUX_EMPTY_FRAMES):
        stream.write(b"x")
        bob.take_output()
        bob.receive(window(1, 1), 0.0)


def test_data_by_the_octet():
    bob = session()
    bob.receive(window(1, 0, SYN), 0.0)
    stream = accepted(bob)

    def crumb(_number):
        stream.read(100, 0.0)
        return data(1, b"x")

    taken, error = flood(bob, crumb, 200_000)
    assert (taken, error.code) == (limits.YAMUX_TINY_FRAMES, "too_many_tiny_frames")


def test_frames_by_the_octet():
    """Each octet in a message of its own."""
    octets = window(1, 0, SYN) + data(1, bytes(200_000))
    taken, error = flood(session(), lambda n: octets[n : n + 1], 200_000)
    assert (taken, error.code) == (limits.YAMUX_TINY_FRAMES, "too_many_tiny_frames")


def test_whoever_sends_and_does_not_read_is_dropped():
    bob = session(inbound_streams=1)
    taken, error = flood(bob, lambda n: window(2 * n + 1, 0, SYN), 10_000, at=lambda n: n / 40, answer=False)
    assert error.code == "reads_nothing"
    assert taken <= limits.YAMUX_CONTROL_BYTES // 12 + 2


def test_payload_that_is_announced_is_not_awaited_in_memory():
    bob = session()
    tracemalloc.start()
    bob.receive(bytes(Frame(0, SYN, 1, INITIAL)), 0.0)
    grown, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert grown < 16 * 1024


@pytest.mark.slow
def test_a_window_of_one_byte_frames_costs_little_more_than_its_bytes():
    bob = session()
    bob.receive(window(1, 0, SYN), 0.0)
    burst = data(1, b"x") * 1000
    tracemalloc.start()
    for second in range(50):
        bob.receive(burst, float(second))
    grown, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert bob.budget.held == 50_000
    assert grown < 1.2 * 50_000 + 16 * 1024


def test_data_after_our_reset_is_bounded_by_the_window():
    bob = session()
    bob.receive(data(1, bytes(1000), SYN), 0.0)
    accepted(bob).reset()
    for _ in range(INITIAL // 1000 - 1):
        bob.receive(data(1, bytes(1000)), 0.0)
    with pytest.raises(RemoteProtocolError) as caught:
        bob.receive(data(1, bytes(1000)), 0.0)
    assert caught.value.code == "stray_data"


# --- memory ---------------------------------------------------------------------------------------------------------
def fill(bob, number: int, size: int = INITIAL):
    """The peer fills the window of a stream that nobody reads."""
    return bob.receive(data(number, bytes(size), SYN), 0.0)


def test_the_stream_that_holds_most_is_reset_when_memory_runs_out_and_then_the_peer_is_dropped():
    bob = session(budget=Budget().child(3 * INITIAL))
    fill(bob, 1, 1000)
    for number in (3, 5):
        fill(bob, number)
    small, big, _ = (accepted(bob) for _ in range(3))
    assert bob.budget.held == 2 * INITIAL + 1000
    fill(bob, 7)
    assert big.reset_by == "memory"
    assert everything(big) == b""
    assert not big.at_end
    assert small.reset_by is None
    assert Frame(1, RST, 3, 0) in output(bob)
    assert bob.budget.held <= bob.budget.limit
    for number in (9, 11, 13):
        fill(bob, number)
    assert not bob.over
    with pytest.raises(RemoteProtocolError) as caught:
        fill(bob, 15)
    assert (caught.value.code, caught.value.penalty, caught.value.reply) == ("memory_exhausted", 5, go_away(2))
    assert bob.budget.held == 0


def test_a_stream_that_ended_cleanly_is_broken_too_if_it_holds_most():
    bob = session(budget=Budget().child(INITIAL))
    bob.receive(data(1, bytes(INITIAL), SYN | FIN), 0.0)
    stream = accepted(bob)
    stream.close_write()
    output(bob)
    fill(bob, 3, 10)
    assert stream.reset_by == "memory"
    assert not stream.at_end
    assert stream.read(10, 0.0) == b""
    assert bob.streams == 1
    bob.receive(data(5, bytes(INITIAL), SYN | FIN), 0.0)
    assert bob.streams == 1


def test_memory_shared_by_connections_is_given_back_by_the_one_that_holds_most():
    root = Budget(4 * INITIAL)
    bob, carol = session(budget=root.child()), session(budget=root.child())
    for number in (1, 3, 5):
        fill(bob, number)
    fill(carol, 1)
    assert fill(carol, 3, 10)[-1] == Overdrawn(bob)
    events = carol.receive(data(3, b"x") + data(3, b"x"), 0.0)
    assert events == [Overdrawn(bob)]
    victim = accepted(bob)
    bob.take_events()
    assert bob.relieve(0.0) == []
    assert victim.reset_by == "memory"
    assert not root.overdrawn
    fill(carol, 5)
    assert carol.budget.held <= 2 * INITIAL + 12


def test_what_waits_in_a_reader_counts_like_what_is_unread():
    bob = session(budget=Budget(4 * INITIAL).child())
    for number in (1, 3):
        fill(bob, number, 1000)
    patient, greedy = accepted(bob), accepted(bob)
    assert len(everything(patient)) == len(everything(greedy)) == 1000
    assert bob.budget.held == 0
    patient.keep(1000)
    greedy.keep(3 * INITIAL)
    assert bob.budget.held == 1000 + 3 * INITIAL
    assert bob.take_events()[2:] == []
    greedy.keep(4 * INITIAL)
    assert bob.take_events() == [Overdrawn(bob)], "the reader is not the one to deal with it"
    bob.relieve(0.0)
    assert (patient.reset_by, greedy.reset_by) == (None, "memory")
    assert bob.budget.held == 1000
    greedy.keep(5)
    assert bob.budget.held == 1000, "a stream that has ended holds nothing"
    patient.keep(0)
    assert bob.budget.held == 0


@pytest.mark.parametrize("flags", [FIN, RST])
def test_nothing_waits_in_the_reader_of_a_stream_that_has_ended(flags):
    bob = session()
    bob.receive(data(1, b"half a messa", SYN), 0.0)
    stream = accepted(bob)
    stream.read(100, 0.0)
    stream.keep(12)
    stream.close_write()
    output(bob)
    assert bob.budget.held == 12
    bob.receive(window(1, 0, flags), 0.0)
    assert bob.budget.held == stream.kept == 0


def test_memory_that_a_reader_finds_spent_by_nobody():
    root = Budget(INITIAL)
    other = root.child()
    other.charge(2 * INITIAL)
    bob = session(budget=root.child())
    fill(bob, 1, 10)
    accepted(bob).keep(10)
    assert bob.take_events() == []


def test_relief_has_an_end():
    root = Budget()
    bob = session(budget=root.child())
    assert bob.relieve(0.0) == []
    for number in range(1, 11, 2):
        fill(bob, number)
        if number < 9:
            bob.relieve(0.0)
    with pytest.raises(RemoteProtocolError) as caught:
        bob.relieve(0.0)
    assert caught.value.code == "memory_exhausted"
    assert bob.over


def test_a_session_that_is_over_gives_back_what_it_still_holds():
    bob = session()
    bob.receive(data(1, b"complete", SYN | FIN), 0.0)
    stream = accepted(bob)
    bob.receive_eof()
    for _ in range(10):
        assert bob.relieve(0.0) == []
    assert stream.reset_by == "memory"
    assert bob.budget.held == 0


def test_memory_that_no_session_holds_is_nobodys_to_give_back():
    root = Budget(INITIAL)
    other = root.child()
    other.charge(2 * INITIAL)
    bob = session(budget=root.child())
    fill(bob, 1, 10)
    stream = accepted(bob)
    assert stream.reset_by is None


def test_memory_that_no_stream_holds_is_not_looked_for_without_end():
    bob = session(budget=Budget().child(INITIAL))
    bob.budget.charge(2 * INITIAL)
    fill(bob, 1, 10)
    assert Frame(1, RST, 1, 0) in output(bob)
    assert bob.streams == 0
    assert not bob.over
    assert bob.budget.held == 2 * INITIAL
