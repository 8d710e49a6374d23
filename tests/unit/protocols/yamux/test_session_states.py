"""Every frame in every state of a session."""

from __future__ import annotations

import pytest

from nexusd_protocols.errors import RemoteProtocolError
from nexusd_protocols.yamux.budget import Budget
from nexusd_protocols.yamux.events import (
    Readable,
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
    for size in (len(octets), 13):
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
