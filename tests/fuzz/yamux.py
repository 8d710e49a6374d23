"""Yamux: any bytes into a session whose user does as the input says, in pieces of two sizes, which change nothing.

The first byte says into what pieces the rest is cut for the second session. Users accept, read, answer and end streams
by the number of the stream, so that all states are reached.
"""

from __future__ import annotations

import struct

from nexusd_protocols import limits
from nexusd_protocols.errors import RemoteProtocolError
from nexusd_protocols.yamux.bounds import Bounds
from nexusd_protocols.yamux.budget import Budget
from nexusd_protocols.yamux.session import Session
from nexusd_protocols.yamux.stream import Stream

_CODES = {
    "bad_version", "bad_type", "bad_flags", "stream_id_zero", "stream_id_not_zero", "stream_id_parity",
    "stream_id_reused", "window_exceeded", "window_overflow", "data_after_end", "stray_data", "too_many_resets",
    "too_many_pings", "too_many_empty_frames", "memory_exhausted", "reads_nothing",
}  # fmt: skip
_BUDGET = 4096
_header = struct.Struct("!BBHII").pack


def _data(stream: int, payload: bytes, flags: int = 0) -> bytes:
    return _header(0, 0, flags, stream, len(payload)) + payload


SEEDS = [
    b"\x01" + _data(1, b"hello", 1) + _data(1, b"more") + _header(0, 1, 4, 1, 0),
    b"\x0c" + _header(0, 1, 1, 1, 0) + _data(1, b"x" * 100, 4) + _header(0, 2, 1, 0, 7) + _header(0, 3, 0, 0, 0),
    b"\x0d" + _data(3, b"a", 1) + _data(1, b"b", 1) + _header(0, 1, 8, 3, 0) + _data(3, b"late"),
    b"\x07" + b"".join(_data(number, b"x" * 900, 1) for number in (1, 3, 5, 7, 9)),
    b"\x40" + _header(0, 1, 2, 2, 4096) + _data(2, b"answer", 2) + _header(0, 1, 4, 2, 0),
    b"\x00" + _data(1, b"x" * 2000, 1) + _data(3, b"x" * 3000, 1) + _data(5, b"x" * 4000, 5),
    b"\x05" + _header(0, 2, 2, 0, 0) + _header(0, 1, 0, 1, 0xFFFFFFFF) + _header(0, 3, 0, 0, 2),
]


class _User:
    """Bob, who took part before the input begins: stream 2 is his, and open."""

    def __init__(self, *, budget: int = _BUDGET, backlog: int = 3) -> None:
        bounds = Bounds(inbound_streams=4, outbound_streams=4, backlog=backlog, control_bytes=600)
        self.budget = budget
        self.session = Session(dialer=False, budget=Budget().child(budget), now=0.0, bounds=bounds)
        self.streams: list[Stream] = [self.session.open(0.0)]
        self.streams[0].write(b"question")
        self.read: dict[int, bytearray] = {}
        self.code = ""

    def take(self, piece: bytes) -> None:
        try:
            self.session.receive(piece, 0.0)
        except RemoteProtocolError as error:
            self.check(error)
        assert self.session.budget.held <= self.budget
        while (stream := self.session.accept()) is not None:
            self.streams.append(stream)

    def check(self, error: RemoteProtocolError) -> None:
        assert error.code in _CODES
        assert len(error.reply) == 12
        assert self.session.over
        self.code = error.code

    def act(self) -> None:
        for stream in self.streams:
            if stream.id % 3 == 0 and not stream.closing:
                stream.write(b"answer")
            self.read.setdefault(stream.id, bytearray()).extend(stream.read(1 + stream.id * 50, 0.0))
            if stream.id % 5 == 0:
                stream.close_write()
            if stream.id % 7 == 0:
                stream.reset()
        while self.session.has_output:
            message = self.session.take_output(600)
            assert 0 < len(message) <= 600
        for stream in self.streams:
            assert stream.incoming.size == 0 or stream.reset_by is None or stream.ended

    def finish(self) -> tuple[dict[int, bytes], str]:
        self.session.receive_eof()
        for stream in self.streams:
            while piece := stream.read(1000, 0.0):
                self.read.setdefault(stream.id, bytearray()).extend(piece)
            assert stream.finished or stream.reset_by is not None
        assert self.session.streams == 0
        assert self.session.budget.held == 0
        return {number: bytes(read) for number, read in self.read.items()}, self.code


def target(data: bytes) -> None:
    """Accept, or raise once for a reason; never hold more than the budget; leave nothing behind."""
    if not data:
        return
    octets = data[1 : limits.KIB * 8]
    size = max(data[0] or 256, len(octets) // 64)
    acting = _User()
    for start in range(0, len(octets), size):
        acting.take(octets[start : start + size])
        acting.act()
    acting.finish()
    # A user who only looks at the end sees the same, however the bytes were cut. Not so where memory runs out, or where
    # streams wait to be accepted: there it matters what comes first.
    whole, cut = (_User(budget=limits.YAMUX_DAEMON_BYTES, backlog=4) for _ in range(2))
    whole.take(octets)
    for start in range(0, len(octets), size):
        cut.take(octets[start : start + size])
        if cut.code:
            break
    assert whole.finish() == cut.finish()
