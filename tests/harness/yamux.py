"""Frames by hand, and two sessions joined by hand."""

from __future__ import annotations

import struct
from dataclasses import dataclass, field
from typing import NamedTuple

from nexusd_protocols.yamux.bounds import Bounds
from nexusd_protocols.yamux.budget import Budget
from nexusd_protocols.yamux.events import Event
from nexusd_protocols.yamux.session import Session
from nexusd_protocols.yamux.stream import Stream

DATA, WINDOW, PING, GO_AWAY = range(4)
SYN, ACK, FIN, RST = 1, 2, 4, 8
INITIAL = 256 * 1024

_header = struct.Struct("!BBHII")


class Frame(NamedTuple):
    """One frame; `length` is that of the payload unless given."""

    kind: int
    flags: int
    stream: int
    length: int = -1
    payload: bytes = b""
    version: int = 0

    def __bytes__(self) -> bytes:
        length = len(self.payload) if self.length < 0 else self.length
        return _header.pack(self.version, self.kind, self.flags, self.stream, length) + self.payload

    @classmethod
    def read(cls, octets: bytes, position: int = 0) -> Frame:
        """A header, without the payload behind it."""
        version, kind, flags, stream, length = _header.unpack_from(octets, position)
        return cls(kind, flags, stream, length, version=version)


def data(stream: int, payload: bytes = b"", flags: int = 0) -> bytes:
    """A data frame."""
    return bytes(Frame(DATA, flags, stream, payload=payload))


def window(stream: int, delta: int = 0, flags: int = 0) -> bytes:
    """A window update."""
    return bytes(Frame(WINDOW, flags, stream, delta))


def ping(value: int, flags: int = SYN) -> bytes:
    """A ping."""
    return bytes(Frame(PING, flags, 0, value))


def go_away(code: int = 0) -> bytes:
    """A GOAWAY."""
    return bytes(Frame(GO_AWAY, 0, 0, code))


def frames(octets: bytes) -> list[Frame]:
    """Whole frames out of bytes."""
    found = []
    position = 0
    while position < len(octets):
        frame = Frame.read(octets, position)
        position += 12
        if frame.kind == DATA:
            payload = octets[position : position + frame.length]
            assert len(payload) == frame.length, "a frame is cut"
            position += frame.length
            frame = frame._replace(payload=payload)
        found.append(frame)
    return found


def session(*, dialer: bool = False, budget: Budget | None = None, **bounds: float) -> Session:
    """One side, at time 0, whose first ping is already out of the way."""
    made = Session(dialer=dialer, budget=budget or Budget().child(), now=0.0, bounds=Bounds(**bounds))
    made.take_output()
    return made


def output(side: Session) -> list[Frame]:
    """Everything that waits, as frames."""
    found: list[Frame] = []
    while side.has_output:
        found += frames(side.take_output())
    return found


def accepted(side: Session) -> Stream:
    """The next stream of the peer, which must be there."""
    stream = side.accept()
    assert stream is not None
    return stream


@dataclass
class Pair:
    """Alice dialled Bob."""

    root: Budget = field(default_factory=Budget)
    now: float = 0.0
    bounds: Bounds = field(default_factory=Bounds)

    def __post_init__(self) -> None:
        self.alice = Session(dialer=True, budget=self.root.child(), now=self.now, bounds=self.bounds)
        self.bob = Session(dialer=False, budget=self.root.child(), now=self.now, bounds=self.bounds)
        self.events: dict[str, list[Event]] = {"alice": [], "bob": []}

    def exchange(self) -> None:
        """Carry everything over, both ways, until both are silent."""
        while self.alice.has_output or self.bob.has_output:
            self.events["bob"] += self.bob.receive(self.alice.take_output(), self.now)
            self.events["alice"] += self.alice.receive(self.bob.take_output(), self.now)
        self.events["alice"] += self.alice.take_events()
        self.events["bob"] += self.bob.take_events()

    def joined(self) -> tuple[Stream, Stream]:
        """A stream that Alice opened and Bob took."""
        ours = self.alice.open(self.now)
        ours.write(b"hello")
        self.exchange()
        theirs = accepted(self.bob)
        assert theirs.read(100, self.now) == b"hello"
        theirs.write(b"hello")
        self.exchange()
        assert ours.read(100, self.now) == b"hello"
        self.take("alice")
        self.take("bob")
        return ours, theirs

    def take(self, side: str) -> list[Event]:
        """What happened at one side."""
        events, self.events[side] = self.events[side], []
        return events


def everything(stream: Stream, now: float = 0.0) -> bytes:
    """All that can be read now."""
    pieces = []
    while piece := stream.read(65536, now):
        pieces.append(piece)
    return b"".join(pieces)
