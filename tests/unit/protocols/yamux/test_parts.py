"""The parts of a session: headers, byte queues, budgets, windows, heartbeats, stream ids, rosters, tolerance."""

from __future__ import annotations

import gc

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nexusd_protocols.errors import FLOOD, RemoteProtocolError
from nexusd_protocols.yamux import stream_ids
from nexusd_protocols.yamux.bounds import Bounds
from nexusd_protocols.yamux.budget import Budget
from nexusd_protocols.yamux.byte_queue import ByteQueue
from nexusd_protocols.yamux.frames import check_header
from nexusd_protocols.yamux.heartbeat import Heartbeat
from nexusd_protocols.yamux.roster import Roster
from nexusd_protocols.yamux.stream_ids import StreamIds
from nexusd_protocols.yamux.tolerance import Tolerance
from nexusd_protocols.yamux.window import ReceiveWindow

KIB = 1024
INITIAL = 256 * KIB


def refused(call, *arguments) -> str:
    """The code of the error that a call must raise."""
    with pytest.raises(RemoteProtocolError) as caught:
        call(*arguments)
    return caught.value.code


# --- headers --------------------------------------------------------------------------------------------------------
@given(
    st.integers(0, 4) | st.integers(0, 0xFFFF),
    st.integers(0, 16) | st.integers(0, 0xFFFF),
    st.integers(0, 2) | st.integers(0, 2**32 - 1),
)
def test_a_header_is_sound_or_refused_for_a_reason(kind, flags, stream):
    sound = kind <= 3 and flags <= 15 and (stream == 0) == (kind >= 2)
    if sound and (kind < 2 or flags in ((1, 2) if kind == 2 else (0,))):
        check_header(kind, flags, stream)
    else:
        assert refused(check_header, kind, flags, stream) in {
            "bad_version",
            "bad_type",
            "bad_flags",
            "stream_id_zero",
            "stream_id_not_zero",
        }


# --- byte queue -----------------------------------------------------------------------------------------------------
@given(
    st.lists(
        st.tuples(st.booleans(), st.integers(0, 9000), st.booleans()),
        max_size=60,
    )
)
def test_bytes_leave_a_queue_in_the_order_in_which_they_came(steps):
    queue, model, fill = ByteQueue(), bytearray(), 0
    for add, size, move in steps:
        if add:
            piece = bytes((fill + i) % 251 for i in range(max(1, size)))
            fill += len(piece)
            queue.append(piece)
            model += piece
        elif move:
            parts = []
            assert queue.move(parts, size) == min(size, len(model))
            assert b"".join(parts) == model[:size]
            del model[:size]
        else:
            taken = queue.take(size)
            assert type(taken) is bytes
            assert taken == model[: len(taken)]
            assert min(size, len(model)) / 2 <= len(taken) <= size
            del model[: len(taken)]
        assert queue.size == len(model)
    assert queue.clear() == len(model)
    assert queue.take(10) == b""


def test_small_pieces_are_joined():
    queue = ByteQueue()
    for _ in range(100_000):
        queue.append(b"x")
    assert len(queue._pieces) <= 100_000 // 4096 + 1
    assert queue.take(100_000) == b"x" * 100_000


def test_a_piece_that_is_taken_whole_is_not_copied():
    queue, piece = ByteQueue(), bytes(65_507)
    queue.append(piece)
    queue.append(bytes(5000))
    assert queue.take(70_000) is piece
    assert queue.size == 5000


# --- budget ---------------------------------------------------------------------------------------------------------
def test_a_charge_counts_all_the_way_up_and_names_the_narrowest_overdrawn():
    root = Budget(100)
    alice, bob = root.child(60), root.child(60)
    assert alice.charge(60) is None
    assert not alice.overdrawn
    assert alice.charge(1) is alice
    assert bob.charge(40) is root
    assert root.held == 101
    assert root.overdrawn
    assert root.heaviest() is alice
    alice.release(61)
    assert (root.held, alice.held, bob.held) == (40, 0, 40)


def test_a_promise_is_made_only_from_what_is_free_everywhere():
    root = Budget(100)
    alice, bob = root.child(60), root.child(60)
    assert not alice.promise(61)
    assert alice.promise(50)
    assert not bob.promise(51)
    assert bob.promise(50)
    assert (root.promised, alice.promised, bob.promised) == (100, 50, 50)
    alice.withdraw(50)
    alice.charge(45)
    assert not alice.promise(20)
    assert not bob.promise(10)
    assert root.promised == 50


def test_a_budget_lives_as_long_as_somebody_has_it():
    root = Budget(100)
    child = root.child(50)
    assert root.heaviest() is child
    child.charge(30)
    assert child.promise(20)
    assert (root.held, root.promised) == (30, 20)
    del child
    gc.collect()
    assert root.heaviest() is root
    assert (root.held, root.promised) == (0, 0)


def test_a_budget_is_not_negative():
    with pytest.raises(ValueError, match="zero"):
        Budget(-1)


# --- window ---------------------------------------------------------------------------------------------------------
def receive(window: ReceiveWindow, count: int) -> None:
    """The peer sends."""
    assert count <= window.available
    window.available -= count


def test_a_window_is_granted_again_by_halves():
    window = ReceiveWindow(Budget(), 0.0)
    receive(window, INITIAL)
    assert window.read(INITIAL // 2 - 1, 0.0, None) == 0
    assert window.read(1, 0.0, None) == INITIAL // 2
    assert window.available == INITIAL // 2
    assert window.size == INITIAL


def test_a_window_grows_while_it_is_what_limits_the_peer():
    budget = Budget()
    window = ReceiveWindow(budget, 0.0)
    sizes = []
    for step in range(1, 7):
        receive(window, window.available)
        window.read(window.size // 2, step * 0.019, 0.010)
        window.read(window.size // 2, step * 0.019, 0.010)
        sizes.append(window.size // INITIAL)
    assert sizes[-1] == 16
    assert sizes == sorted(sizes)
    assert budget.promised == 15 * INITIAL
    window.close()
    assert budget.promised == 0


@pytest.mark.parametrize(
    ("took", "round_trip", "limit", "budget"),
    [
        (0.021, 0.010, 4 * INITIAL, 100 * INITIAL),
        (0.001, None, 4 * INITIAL, 100 * INITIAL),
        (0.001, 0.010, INITIAL, 100 * INITIAL),
        (0.001, 0.010, 4 * INITIAL, INITIAL - 1),
    ],
    ids=["reader is slow", "no round trip known", "at its bound", "no memory free"],
)
def test_a_window_stays(took, round_trip, limit, budget):
    window = ReceiveWindow(Budget(budget), 0.0, limit=limit)
    receive(window, INITIAL // 2)
    assert window.read(INITIAL // 2, took, round_trip) == INITIAL // 2
    assert window.size == INITIAL


def test_a_window_that_is_not_used_shrinks_and_never_promises_what_it_does_not_keep():
    budget = Budget()
    window = ReceiveWindow(budget, 0.0)
    receive(window, INITIAL // 2)
    assert window.read(INITIAL // 2, 0.001, 0.010) == INITIAL // 2 + INITIAL
    assert window.size == 2 * INITIAL
    assert budget.promised == INITIAL
    receive(window, 2 * INITIAL)
    assert window.read(INITIAL, 10.0, 0.010) == 0
    assert window.size == INITIAL
    assert window.available == 0  # the other INITIAL is unread
    assert budget.promised == 0
    assert window.read(INITIAL, 20.0, 0.010) == INITIAL
    assert window.size == INITIAL


@given(st.lists(st.tuples(st.integers(1, INITIAL), st.integers(1, INITIAL), st.floats(0, 3)), max_size=60))
def test_what_is_allowed_unread_and_not_granted_is_always_the_window(steps):
    window, unread, now, ungranted = ReceiveWindow(Budget(), 0.0), 0, 0.0, 0
    for send, read, passed in steps:
        now += passed
        send = min(send, window.available)
        receive(window, send)
        unread += send
        read = min(read, unread)
        if read:
            granted = window.read(read, now, 0.5)
            unread -= read
            ungranted = window.size - window.available - unread
            assert granted == 0 or ungranted == 0
        assert 0 <= ungranted < window.size
        assert ungranted * 2 < window.size
        assert window.available or unread, "the peer waits, and nobody will wake it"


# --- heartbeat ------------------------------------------------------------------------------------------------------
@given(st.floats(0, 30), st.floats(0, 0.5))
def test_a_peer_that_freezes_at_any_moment_is_noticed_in_time(frozen_at, round_trip):
    heart, now, answers = Heartbeat(0.0), 0.0, []
    while True:
        value = heart.ping(now)
        if value is not None and now + round_trip <= frozen_at:
            answers.append((now + round_trip, value))
        if heart.dead(now):
            break
        until = heart.deadline(now)
        assert until > now
        if answers and answers[0][0] <= until:
            now, value = answers.pop(0)
            heart.heard = now
            assert heart.answer(value, now) == pytest.approx(round_trip)
        else:
            now = until
    assert now - frozen_at <= 15.0
    assert heart.round_trip is None or heart.round_trip == pytest.approx(round_trip)


def test_whoever_sends_anything_is_alive():
    heart = Heartbeat(0.0)
    assert heart.ping(0.0) == 0
    heart.heard = 7.0
    assert not heart.dead(9.0)
    assert heart.deadline(9.0) == 15.0
    assert heart.dead(15.0)


def test_one_ping_is_under_way_at_a_time_and_only_its_answer_counts():
    heart = Heartbeat(0.0)
    assert heart.deadline(0.0) == 0.0
    assert heart.answer(0, 0.0) is None
    assert heart.ping(0.0) == 0
    assert heart.ping(6.0) is None
    assert heart.answer(1, 6.0) is None
    assert heart.answer(0, 1.0) == 1.0
    assert heart.answer(0, 1.0) is None
    assert heart.ping(4.9) is None
    assert heart.ping(5.0) == 1
    assert heart.answer(1, 5.5) == 0.5
    assert heart.round_trip == pytest.approx(0.9375)
    assert not heart.dead(100.0)


# --- stream ids -----------------------------------------------------------------------------------------------------
@given(st.lists(st.integers(0, 40), max_size=60))
def test_each_id_is_used_once_in_any_order(numbers):
    ids, used = StreamIds(1), set()
    for number in numbers:
        stream = 2 * number + 1
        if stream in used:
            assert refused(ids.use, stream) == "stream_id_reused"
        else:
            ids.use(stream)
            used.add(stream)


def test_ids_have_a_parity_and_an_end():
    assert refused(StreamIds(1).use, 2) == "stream_id_parity"
    assert refused(StreamIds(2).use, 7) == "stream_id_parity"
    ids = StreamIds(2**32 - 3)
    assert ids.take() == 2**32 - 3
    assert not ids.exhausted
    assert ids.take() == 2**32 - 1
    assert ids.exhausted


def test_an_id_out_of_all_order_costs_one_gap_and_gaps_are_bounded():
    ids = StreamIds(1)
    ids.use(2**32 - 1)
    assert len(ids._firsts) == 1
    for stream in range(5, 5 + 4 * 3000, 4):
        ids.use(stream)
    assert len(ids._firsts) == stream_ids._GAPS
    assert refused(ids.use, 3) == "stream_id_reused"
    ids = StreamIds(2)
    for stream in range(4, 4 + 4 * 3000, 4):
        ids.use(stream)
    assert len(ids._firsts) == stream_ids._GAPS


# --- rosters --------------------------------------------------------------------------------------------------------
class Listed:
    """As much of a stream as a roster knows."""

    def __init__(self, stream_id: int, *, outbound: bool) -> None:
        self.id = stream_id
        self.outbound = outbound
        self.acknowledged = False


def test_ours_wait_for_an_answer_and_the_peers_to_be_accepted():
    roster = Roster(Bounds(outbound_streams=3, inbound_streams=2, backlog=2), dialer=True)
    ours = [Listed(roster.next_id(), outbound=True) for _ in range(3)]
    assert [stream.id for stream in ours] == [1, 3, 5]
    roster.add(ours[0])
    roster.add(ours[1])
    assert not roster.room, "two without an answer"
    roster.acknowledge(ours[0])
    assert roster.room
    roster.add(ours[2])
    roster.remove(ours[1])
    assert roster.room
    assert not roster.remove(ours[1])
    theirs = [Listed(number, outbound=False) for number in (2, 4)]
    for stream in theirs:
        assert not roster.full
        roster.use_id(stream.id)
        roster.add(stream)
    assert (roster.full, roster.inbound) == (True, 2)
    assert refused(roster.use_id, 4) == "stream_id_reused"
    roster.withdraw(theirs[0])
    assert (roster.accept(), roster.accept()) == (theirs[1], None)
    assert roster.full, "as many as there may be, accepted or not"
    roster.remove(theirs[0])
    assert (roster.full, roster.inbound, list(roster.streams)) == (False, 1, [1, 5, 4])


# --- tolerance ------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("method", "burst", "code", "penalty"),
    [
        ("reset", 1000, "too_many_resets", FLOOD),
        ("ping", 100, "too_many_pings", FLOOD),
        ("empty_frame", 10_000, "too_many_empty_frames", FLOOD),
        ("tiny_frame", 20_000, "too_many_tiny_frames", FLOOD),
        ("memory_reset", 4, "memory_exhausted", 5),
    ],
)
def test_tolerance_ends_after_a_burst(method, burst, code, penalty):
    count = getattr(Tolerance(0.0), method)
    for _ in range(burst):
        count(0.0)
    with pytest.raises(RemoteProtocolError) as caught:
        count(0.0)
    assert (caught.value.code, caught.value.penalty) == (code, penalty)


def test_resets_of_ours_are_held_against_the_next_stream():
    tolerance = Tolerance(0.0)
    for _ in range(1000):
        tolerance.own_reset(0.0)
    tolerance.opening(0.0)
    tolerance.own_reset(0.0)
    assert refused(tolerance.opening, 0.0) == "too_many_resets"
    tolerance.opening(1.0)


def test_updates_are_empty_frames_beyond_one_for_each_data_frame_sent():
    tolerance = Tolerance(0.0)
    for sent in range(1, 20_001):
        tolerance.update(sent, 0.0)
    for _ in range(10_000):
        tolerance.update(20_000, 0.0)
    assert refused(tolerance.update, 20_000, 0.0) == "too_many_updates"
    tolerance.update(20_001, 0.0)


def test_strays_are_bounded_by_what_was_allowed():
    tolerance = Tolerance(0.0)
    tolerance.allow_strays(100)
    tolerance.stray(100)
    assert refused(tolerance.stray, 1) == "stray_data"
