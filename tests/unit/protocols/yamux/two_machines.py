"""Two sessions, joined by a scheduler that splits, merges and delays as it likes, never disagree.

A model keeps what each side has written and read. Whatever the order of events: no side accuses the other of breaking
the protocol, no window is exceeded, every byte arrives once and in order, an end is seen only behind all data, a reset
is never taken for an end, memory is accounted for, and when all read, all is delivered.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from nexusd_protocols import limits
from nexusd_protocols.yamux.bounds import Bounds
from nexusd_protocols.yamux.budget import Budget
from nexusd_protocols.yamux.events import Readable, Writable
from nexusd_protocols.yamux.session import Session
from nexusd_protocols.yamux.stream import Stream

_PATTERN = bytes(range(251)) * 4000
SIDES = st.sampled_from(["alice", "bob"])
PICK = st.integers(0, 1000)


def content(stream: int, side: str, offset: int, size: int) -> bytes:
    """What a side writes at an offset of a stream."""
    start = (offset + stream * 7 + (side == "bob") * 101) % 251
    return _PATTERN[start : start + size]


@dataclass
class End:
    """One side of a stream, and what its user knows."""

    stream: Stream
    side: str
    written: int = 0
    read: int = 0
    done: bool = False  # the user wrote its last
    was_reset: bool = False  # by its user
    waits_to_read: bool = False
    waits_to_write: bool = False


@dataclass
class Side:
    """A session, the way from it to the other, and its streams."""

    session: Session
    name: str
    way: deque[bytes] = field(default_factory=deque)
    ends: dict[int, End] = field(default_factory=dict)

    def pick(self, number: int) -> End | None:
        live = [end for end in self.ends.values() if not end.was_reset]
        return live[number % len(live)] if live else None


class TwoMachines(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.now = 100.0
        self.root = Budget(limits.YAMUX_DAEMON_BYTES)
        bounds = Bounds(inbound_streams=6, outbound_streams=6, backlog=3, ping_timeout=1e9)
        self.sides = {
            name: Side(
                Session(dialer=name == "alice", budget=self.root.child(64 * limits.MIB), now=self.now, bounds=bounds),
                name,
            )
            for name in ("alice", "bob")
        }

    def other(self, name: str) -> Side:
        return self.sides["bob" if name == "alice" else "alice"]

    def heed(self, side: Side, events) -> None:
        for event in events:
            if isinstance(event, Readable) and event.stream.id in side.ends:
                side.ends[event.stream.id].waits_to_read = False
            if isinstance(event, Writable) and event.stream.id in side.ends:
                side.ends[event.stream.id].waits_to_write = False

    # --- what users do ----------------------------------------------------------------------------------------------
    @rule(name=SIDES)
    def open(self, name):
        side = self.sides[name]
        if side.session.may_open:
            stream = side.session.open(self.now)
            side.ends[stream.id] = End(stream, name)

    @rule(name=SIDES)
    def accept(self, name):
        side = self.sides[name]
        stream = side.session.accept()
        if stream is not None:
            assert stream.id not in side.ends
            side.ends[stream.id] = End(stream, name)

    @rule(name=SIDES, pick=PICK, size=st.sampled_from([1, 64, 5000, 65_507, 65_536, 300_000]))
    def write(self, name, pick, size):
        end = self.sides[name].pick(pick)
        if end is None or end.done or end.waits_to_write:
            return
        taken = end.stream.write(content(end.stream.id, name, end.written, size))
        assert 0 <= taken <= size
        end.written += taken
        end.waits_to_write = taken < size and end.stream.reset_by is None

    @rule(name=SIDES, pick=PICK)
    def write_until_held_back(self, name, pick):
        """As a bulk writer does: soon it waits for the peer's window."""
        for _ in range(10):
            self.write(name, pick, 300_000)
            self.send(name, limits.NOISE_TEXT_BYTES)
            self.send(name, limits.NOISE_TEXT_BYTES)

    @rule(name=SIDES, pick=PICK, size=st.sampled_from([1, 100, 4096, 65_536, 1_000_000]))
    def read(self, name, pick, size):
        end = self.sides[name].pick(pick)
        if end is not None and not end.waits_to_read:
            self.take(end, size)

    @rule(name=SIDES, pick=PICK, size=st.integers(0, 100_000))
    def keep(self, name, pick, size):
        """The reader waits for the rest of a message."""
        end = self.sides[name].pick(pick)
        if end is not None:
            end.stream.keep(size)
            assert end.stream.kept == (0 if end.stream.finished else size)

    def take(self, end: End, size: int) -> None:
        data = end.stream.read(size, self.now)
        writer = "bob" if end.side == "alice" else "alice"
        assert len(data) <= size
        assert data == content(end.stream.id, writer, end.read, len(data))
        end.read += len(data)
        if end.stream.at_end:
            peer = self.other(end.side).ends[end.stream.id]
            assert peer.done
            assert peer.written == end.read
        end.waits_to_read = not data and not end.stream.at_end and end.stream.reset_by is None

    @rule(name=SIDES, pick=PICK)
    def close_write(self, name, pick):
        end = self.sides[name].pick(pick)
        if end is not None and not end.waits_to_write:
            end.stream.close_write()
            end.done = end.done or end.stream.reset_by is None

    @rule(name=SIDES, pick=PICK)
    def reset(self, name, pick):
        end = self.sides[name].pick(pick)
        if end is not None:
            end.stream.reset()
            end.was_reset = True

    # --- what the network does --------------------------------------------------------------------------------------
    @rule(name=SIDES, limit=st.sampled_from([600, 10_000, limits.NOISE_TEXT_BYTES]))
    def send(self, name, limit):
        side = self.sides[name]
        message = side.session.take_output(limit)
        assert len(message) <= limit
        if message:
            side.way.append(message)
        self.heed(side, side.session.take_events())

    @precondition(lambda self: any(side.way for side in self.sides.values()))
    @rule(name=SIDES, size=st.sampled_from([1, 11, 12, 13, 700, 65_519, 1_000_000]))
    def deliver(self, name, size):
        """The next bytes on the way, in pieces or several messages at once."""
        way = self.sides[name].way
        if not way:
            return
        octets = b"".join(way)
        way.clear()
        if octets[size:]:
            way.append(octets[size:])
        side = self.other(name)
        self.heed(side, side.session.receive(octets[:size], self.now))

    @rule(passed=st.sampled_from([0.0001, 0.05, 2.0, 20.0]))
    def wait(self, passed):
        self.now += passed
        for side in self.sides.values():
            self.heed(side, side.session.tick(self.now))

    # --- what always holds ------------------------------------------------------------------------------------------
    @invariant()
    def windows_are_kept(self):
        for side in self.sides.values():
            for end in side.ends.values():
                stream = end.stream
                if stream.ended or stream.reset_by is not None:
                    continue
                window = stream.window
                assert 0 <= window.available <= window.size <= limits.YAMUX_WINDOW_BYTES
                assert window.available + stream.incoming.size <= window.size
                peer = self.other(side.name).ends.get(stream.id)
                if peer is not None and peer.stream.reset_by is None:
                    assert peer.stream.outgoing.size <= peer.stream.send_window <= window.available

    @invariant()
    def memory_is_accounted_for(self):
        for side in self.sides.values():
            held = sum(stream.held for stream in side.session._streams.values())
            grown = sum(stream.window.size - limits.YAMUX_INITIAL_WINDOW for stream in side.session._streams.values())
            assert side.session.budget.held == held
            assert side.session.budget.promised == grown
        assert self.root.held == sum(side.session.budget.held for side in self.sides.values())

    def teardown(self):
        """From any state: when everybody reads and the network carries, all is delivered; and when then everybody says
        that it was all, nothing is left."""
        self.settle()
        self.all_is_delivered()
        for side in self.sides.values():
            for end in side.ends.values():
                if not end.was_reset and end.stream.reset_by is None:
                    end.stream.close_write()
                    end.done = True
        self.settle()
        self.all_is_delivered()
        for side in self.sides.values():
            assert side.session.streams == 0
        assert self.root.held == self.root.promised == 0

    def settle(self):
        for _ in range(100_000):
            busy = False
            for side in self.sides.values():
                while (stream := side.session.accept()) is not None:
                    side.ends[stream.id] = End(stream, side.name)
                for end in side.ends.values():
                    end.stream.keep(0)
                    if not end.was_reset and not end.waits_to_read:
                        before = end.read
                        self.take(end, 100_000)
                        busy = busy or end.read > before
                if side.session.has_output or side.way:
                    busy = True
                    octets = b"".join([*side.way, side.session.take_output()])
                    side.way.clear()
                    self.heed(side, side.session.take_events())
                    other = self.other(side.name)
                    self.heed(other, other.session.receive(octets, self.now))
            if not busy:
                break
        else:
            raise AssertionError("they never come to rest")

    def all_is_delivered(self):
        for side in self.sides.values():
            for number, end in side.ends.items():
                assert end.stream.outgoing.size == 0
                if not end.was_reset:  # whoever waits, waits for something that has not happened
                    assert not end.waits_to_write
                    assert not end.waits_to_read or not (end.stream.at_end or end.stream.reset_by)
                peer = self.other(side.name).ends.get(number)
                if end.stream.reset_by is None and not end.was_reset:
                    # nobody broke it, so the other side has it too, unless it never heard of it
                    assert peer is not None or end.written == 0
                    if peer is not None and peer.stream.reset_by is None:
                        assert peer.read == end.written
                        assert peer.stream.at_end == end.done
                if end.was_reset and peer is not None and not peer.was_reset:
                    assert peer.stream.at_end or peer.stream.reset_by == "peer"
        assert self.root.held == 0
        self.windows_are_kept()
        self.memory_is_accounted_for()
