"""What goes out: full messages, small frames together, one frame a stream in turn."""

from __future__ import annotations

import pytest

from nexusd_protocols import limits
from nexusd_protocols.yamux.events import Writable
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
    accepted,
    data,
    frames,
    output,
    session,
    window,
)
from tests.harness.yamux import ping as ping_frame

FULL = limits.NOISE_TEXT_BYTES


def streams(side, count: int):
    """Streams of which the peer knows."""
    opened = [side.open(0.0) for _ in range(count)]
    for stream in opened:
        stream.read(1, 0.0)
    output(side)
    return opened


@pytest.fixture
def alice():
    return session(dialer=True)


def test_a_frame_of_bulk_fills_a_message(alice):
    (bulk,) = streams(alice, 1)
    assert bulk.write(bytes(1_000_000)) == limits.YAMUX_SEND_BYTES
    sizes = []
    while alice.has_output:
        message = alice.take_output()
        sizes.append(len(message))
        assert len(frames(message)) == 1
    assert sizes[0] == FULL
    assert sizes == [FULL, FULL, limits.YAMUX_SEND_BYTES - 2 * (FULL - 12) + 12]
    assert alice.take_output() == b""


def test_small_writes_of_a_stream_share_a_frame_and_small_frames_a_message(alice):
    opened = streams(alice, 50)
    for stream in opened:
        stream.write(b"one ")
        stream.write(b"two")
    assert frames(alice.take_output()) == [Frame(DATA, 0, stream.id, 7, b"one two") for stream in opened]


def test_a_chatty_stream_waits_for_one_frame_of_each_bulk_stream(alice):
    *bulk, chatty = streams(alice, 3)
    for stream in bulk:
        stream.write(bytes(limits.YAMUX_SEND_BYTES))
    assert chatty.write(b"hello") == 5
    order = [frame.stream for _ in range(3) for frame in frames(alice.take_output())]
    assert order == [bulk[0].id, bulk[1].id, chatty.id, bulk[0].id]


def test_bulk_streams_get_equal_shares(alice):
    opened = streams(alice, 5)
    sent = dict.fromkeys((stream.id for stream in opened), 0)
    for _ in range(200):
        for stream in opened:
            stream.write(bytes(limits.YAMUX_SEND_BYTES))
        for frame in frames(alice.take_output()):
            sent[frame.stream] += len(frame.payload)
            alice.receive(window(frame.stream, len(frame.payload)), 0.0)
    assert max(sent.values()) - min(sent.values()) <= 2 * FULL


def test_a_stream_is_not_shut_out_when_others_have_filled_the_connection(alice):
    opened = streams(alice, 200)
    for stream in opened:
        stream.write(bytes(1_000_000))
    held = sum(stream.outgoing.size for stream in opened)
    assert held <= 8 * limits.YAMUX_OUTPUT_BYTES
    assert min(stream.outgoing.size for stream in opened) >= limits.YAMUX_SHARE_BYTES


def test_a_writer_that_was_held_back_is_told_once_when_half_is_free(alice):
    (bulk,) = streams(alice, 1)
    bulk.write(bytes(1_000_000))
    assert bulk.write(b"more") == 0
    assert alice.take_events() == []
    alice.take_output()
    assert alice.take_events() == []  # 131,072 - 65,507 is still more than half
    alice.take_output()
    assert alice.take_events() == [Writable(bulk)]
    alice.take_output()
    assert alice.take_events() == []
    assert bulk.write(bytes(1_000_000)) == limits.YAMUX_SEND_BYTES


def test_a_writer_that_has_used_up_the_window_is_told_when_there_is_more(alice):
    (bulk,) = streams(alice, 1)
    total = 0
    while taken := bulk.write(bytes(100_000)):
        total += taken
        output(alice)
    assert total == INITIAL
    assert bulk.room == 0
    alice.take_events()
    assert alice.receive(window(bulk.id, 1), 0.0) == [Writable(bulk)]
    assert bulk.write(b"ab") == 1
    assert output(alice) == [Frame(DATA, 0, bulk.id, 1, b"a")]


def test_answers_and_window_updates_go_before_data():
    bob = session()
    bob.receive(data(1, bytes(INITIAL), SYN), 0.0)
    stream = accepted(bob)
    stream.write(b"data")
    stream.read(INITIAL, 0.0)
    bob.receive(ping_frame(7), 0.0)
    assert [frame[:4] for frame in output(bob)] == [(PING, ACK, 0, 7), (WINDOW, ACK, 1, INITIAL), (DATA, 0, 1, 4)]


def test_window_updates_of_a_stream_become_one():
    bob = session()
    bob.receive(data(1, bytes(INITIAL), SYN), 0.0)
    stream = accepted(bob)
    stream.read(INITIAL // 2, 0.0)
    stream.read(INITIAL // 2, 0.0)
    assert output(bob) == [Frame(WINDOW, ACK, 1, INITIAL)]


def test_a_rest_too_small_for_a_longer_write_is_left_empty(alice):
    first, second = streams(alice, 2)
    first.write(bytes(FULL - 12 - 12 - 511))
    second.write(bytes(1000))
    assert [frame.stream for frame in frames(alice.take_output())] == [first.id]
    assert [frame[:4] for frame in frames(alice.take_output())] == [(DATA, 0, second.id, 1000)]
    first.write(bytes(FULL - 12 - 12 - 512))
    second.write(bytes(1000))
    assert [frame.length for frame in frames(alice.take_output())] == [FULL - 12 - 12 - 512, 512]


@pytest.mark.parametrize("limit", [12, 13, 23, 24, 30, 100])
def test_small_messages_hold_whole_frames(alice, limit):
    opened = streams(alice, 4)
    for stream in opened:
        stream.write(b"x")
        stream.close_write()
    alice.receive(b"".join(ping_frame(value) for value in range(5)), 0.0)
    found = []
    for _ in range(100):
        message = alice.take_output(limit)
        assert len(message) <= limit
        found += frames(message)
    assert [frame.length for frame in found[:5]] == [0, 1, 2, 3, 4]
    if limit == 12:  # no room for a byte of data: it waits
        assert alice.has_output
        found += frames(alice.take_output())
    assert not alice.has_output
    for stream in opened:
        assert [frame[:4] for frame in found if frame.stream == stream.id] == [
            (DATA, 0, stream.id, 1),
            (WINDOW, FIN, stream.id, 0),
        ]


def test_window_updates_that_do_not_fit_wait():
    bob = session()
    for number in (1, 3, 5):
        bob.receive(data(number, bytes(INITIAL), SYN), 0.0)
        accepted(bob).read(INITIAL, 0.0)
    assert [frame.stream for frame in frames(bob.take_output(30))] == [1, 3]
    assert [frame.stream for frame in frames(bob.take_output(30))] == [5]


def test_a_broken_stream_says_nothing_but_that():
    bob = session()
    bob.receive(data(1, bytes(INITIAL), SYN), 0.0)
    stream = accepted(bob)
    stream.read(INITIAL, 0.0)
    stream.write(bytes(1000))
    stream.reset()
    assert output(bob) == [Frame(WINDOW, RST, 1, 0)]
