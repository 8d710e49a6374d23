"""One side of a Yamux connection. (specs/yamux.md)

    connection -> receive(bytes, now) -> events          the shell wakes its tasks
    streams    -> read, write, close_write, reset        see stream.py
    take_output() -> one message -> connection           while has_output
    tick(now) at `deadline` -> events                    pings, dead peers

The shell hands bytes in as they come. After any call it sends what `take_output` gives, and deals with `take_events`
(what `receive`, `tick` and `relieve` return is taken already). Nothing here blocks, and nothing is lost when a task
that waits is cancelled. After a RemoteProtocolError: send its `reply`, close the connection.
"""

from __future__ import annotations

from typing import Final, NoReturn

from nexusd_protocols import limits
from nexusd_protocols.errors import LimitExceededError, RemoteProtocolError
from nexusd_protocols.yamux.bounds import Bounds
from nexusd_protocols.yamux.budget import Budget
from nexusd_protocols.yamux.events import (
    Drained,
    Event,
    GoneAway,
    Incoming,
    Openable,
    Overdrawn,
    Readable,
    RoundTrip,
    Unresponsive,
)
from nexusd_protocols.yamux.frames import (
    ACK,
    DATA,
    FIN,
    GO_AWAY,
    HEADER_BYTES,
    INTERNAL_ERROR,
    MAX,
    NORMAL,
    PING,
    PROTOCOL_ERROR,
    RST,
    SYN,
    WINDOW_UPDATE,
    check_header,
    pack_header,
    unpack_header,
)
from nexusd_protocols.yamux.heartbeat import Heartbeat
from nexusd_protocols.yamux.outbox import Outbox
from nexusd_protocols.yamux.roster import Roster
from nexusd_protocols.yamux.stream import ResetBy, Stream
from nexusd_protocols.yamux.tolerance import Tolerance
from nexusd_protocols.yamux.window import ReceiveWindow

_incoming: Final = Incoming()
_openable: Final = Openable()


class Session:
    """See above. `dialer` opened the connection; `budget` is the connection's, a child of the daemon's; times are
    seconds on a monotonic clock."""

    def __init__(self, *, dialer: bool, budget: Budget, now: float, bounds: Bounds | None = None) -> None:
        self.bounds = bounds = bounds or Bounds()
        self.budget = budget
        budget.debtor = self
        self._events: list[Event] = []
        self.outbox = Outbox(
            self._events,
            stream_bytes=bounds.send_bytes,
            share_bytes=bounds.share_bytes,
            all_bytes=bounds.output_bytes,
        )
        self._roster = Roster(bounds, dialer=dialer)
        self._streams = self._roster.streams
        self.over = False
        """The connection is lost, or the peer broke the protocol."""
        self.leaving = False
        """This side has gone away."""
        self.peer_left = False
        """The peer has gone away."""

        self._head = b""  # an incomplete header
        self._body: Stream | None = None  # whose payload comes
        self._body_left, self._body_ends = 0, False
        self._now = now
        self._heartbeat = Heartbeat(now, interval=bounds.ping_seconds, timeout=bounds.ping_timeout)
        self._tolerance = Tolerance(now)
        self._drained = False
        self._beat(now)

    # --- what the shell asks for ------------------------------------------------------------------------------------
    @property
    def streams(self) -> int:
        """Streams that are open, or have unread bytes."""
        return len(self._streams)

    @property
    def inbound(self) -> int:
        """Of these, those that the peer opened."""
        return self._roster.inbound

    @property
    def round_trip(self) -> float | None:
        """Seconds, smoothed; None before the first ping was answered."""
        return self._heartbeat.round_trip

    @property
    def has_output(self) -> bool:
        """Whether `take_output` has something to give."""
        return bool(self.outbox)

    def take_output(self, limit: int = limits.NOISE_TEXT_BYTES) -> bytes:
        """The next message to send, `limit` bytes at most; empty if there is none."""
        return self.outbox.take(limit)

    def take_events(self) -> list[Event]:
        """What happened since the last time."""
        events = self._events[:]
        self._events.clear()
        return events

    @property
    def may_open(self) -> bool:
        """Whether `open` succeeds. If not, `Openable` comes when it does, unless the connection ends."""
        return not (self.over or self.leaving or self.peer_left) and self._roster.room

    def open(self, now: float) -> Stream:
        """A new stream. The peer hears of it with the first frame: no round trip is spent on it.

        Raises LimitExceededError `streams` unless `may_open`.
        """
        if not self.may_open:
            raise LimitExceededError("streams", "no further stream may be opened on this connection now")
        return self._add(self._roster.next_id(), now, outbound=True)

    def accept(self) -> Stream | None:
        """The next stream that the peer opened; None if there is none. The peer hears that it is accepted with the
        first frame that goes the other way."""
        return self._roster.accept()

    def go_away(self) -> None:
        """Take no more streams, from either side, and let those that are open finish: `Drained` says when."""
        if not (self.leaving or self.over):
            self.leaving = True
            self.outbox.add_control(GO_AWAY, 0, 0, NORMAL)
            self._drain()

    def abort(self, code: int = NORMAL) -> None:
        """End at once: break all streams, leave only GOAWAY to be sent."""
        if not self.over:
            self._end("connection")
            if not self.leaving:
                self.outbox.add_control(GO_AWAY, 0, 0, code)
            self.leaving = True

    def deadline(self, now: float) -> float:
        """When `tick` is due. It never becomes earlier than what was said last."""
        return self._heartbeat.deadline(now)

    def tick(self, now: float) -> list[Event]:
        """Time has passed: ping, or find the peer gone."""
        if not self.over:
            self._now = now
            if self._heartbeat.dead(now):
                self._end("connection")
                self._events.append(Unresponsive())
            else:
                self._beat(now)
        return self.take_events()

    def relieve(self, now: float) -> list[Event]:
        """Memory ran out, and this connection holds most: reset the stream that holds most of it.

        Raises RemoteProtocolError `memory_exhausted` if that happened too often: drop the peer.
        """
        try:
            self._relieve(now)
        except RemoteProtocolError as error:
            self._fail(error)
        return self.take_events()

    def reset(self, stream: Stream, by: ResetBy) -> None:
        """For `Stream.reset`, and for want of memory."""
        if stream.reset_by is not None or (stream.closed and stream.ended):
            if stream.incoming.size:
                self._drop_unread(stream)
                stream.reset_by = by
                stream.ended = False
                self.forget(stream)
            return
        if not stream.owed & SYN:  # else the peer has never heard of it
            self.outbox.add_control(WINDOW_UPDATE, RST, stream.id, 0)
        if by == "local" and not stream.outbound:
            self._tolerance.own_reset(self._now)
        self._break(stream, by)

    def shortage(self, over: Budget) -> None:
        """For `Stream.keep`, and where another connection holds most: have who holds most asked for relief."""
        debtor = over.heaviest().debtor
        if debtor is not None and (event := Overdrawn(debtor)) not in self._events:
            self._events.append(event)

    # --- what the connection brings ---------------------------------------------------------------------------------
    def receive(self, data: bytes, now: float) -> list[Event]:
        """Bytes from the connection, split or merged anywhere.

        Raises RemoteProtocolError, once: `bad_version`, `bad_type`, `bad_flags`, `stream_id_zero`,
        `stream_id_not_zero`, `stream_id_parity`, `stream_id_reused`, `window_exceeded`, `window_overflow`,
        `data_after_end`, `stray_data`, `too_many_resets`, `too_many_pings`, `too_many_empty_frames`,
        `too_many_updates`, `too_many_tiny_frames`, `memory_exhausted`, `reads_nothing`. All streams are broken
        then; `take_events` has who must be woken.
        """
        if self.over:
            return []
        self._now = self._heartbeat.heard = now
        try:
            if len(data) < HEADER_BYTES:
                self._tolerance.tiny_frame(now)
            self._parse(self._head + data if self._head else data)
            if len(self.outbox.control) > self.bounds.control_bytes:
                raise RemoteProtocolError("reads_nothing", "answers pile up", penalty=10)
        except RemoteProtocolError as error:
            self._fail(error)
        if now >= self._heartbeat.due and not self.over:
            self._beat(now)
        return self.take_events()

    def receive_eof(self) -> list[Event]:
        """The connection is gone: streams that the peer had not ended are broken."""
        if not self.over:
            self._end("connection")
        return self.take_events()

    def _parse(self, data: bytes) -> None:
        size = len(data)
        position = 0
        if self._body_left:
            piece = data[: self._body_left]
            position = len(piece)
            self._body_left -= position
            self._payload(self._body, piece)
            if not self._body_left and self._body is not None:
                self._body_done(self._body)
        streams = self._streams
        while size - position >= HEADER_BYTES:
            kind, flags, stream_id, length = unpack_header(data, position)
            position += HEADER_BYTES
            stream = streams.get(stream_id)
            if kind or flags or stream is None:
                stream = self._frame(kind, flags, stream_id, length, stream)
                if kind != DATA:
                    if self.over:
                        return
                    continue
            if length == 0:
                if not flags:
                    self._tolerance.empty_frame(self._now)
            elif stream is None:
                self._tolerance.stray(length)
            else:
                self._expect(stream, length)
            end = position + length
            if end > size:
                piece = data[position:]
                self._body, self._body_left, self._body_ends = stream, end - size, bool(flags & FIN)
                if piece:
                    self._payload(stream, piece)
                self._head = b""
                return
            if length:
                self._payload(stream, data[position:end])
                position = end
            if flags & FIN and stream is not None:
                self._ended(stream)
        self._head = data[position:]

    def _frame(self, kind: int, flags: int, stream_id: int, length: int, stream: Stream | None) -> Stream | None:
        """All but plain data on an open stream. Gives the stream whose payload follows, None if it is nobody's."""
        check_header(kind, flags, stream_id)
        if kind == PING:
            self._ping(flags, length)
            return None
        if kind == GO_AWAY:
            self._gone(length)
            return None
        if flags & SYN:
            stream = self._opened(stream_id, flags)
        elif stream is None and (kind == WINDOW_UPDATE or flags):
            # it crossed a reset of ours, or answers the last data of a stream that has ended
            self._tolerance.empty_frame(self._now)
        if stream is None:
            return None
        if flags and not length and not stream.news(flags):
            self._tolerance.empty_frame(self._now)
        if flags & ACK:
            self._acknowledged(stream)
        if flags & RST:
            self._reset_by_peer(stream)
            return None
        if kind == WINDOW_UPDATE:
            if length:
                if stream.send_window + length > MAX:
                    raise RemoteProtocolError("window_overflow", f"stream {stream_id}: over 2^32 - 1", penalty=10)
                self._tolerance.update(self.outbox.data_frames, self._now)
                self.outbox.widen(stream, length)
            elif not flags:
                self._tolerance.empty_frame(self._now)
            if flags & FIN:
                self._ended(stream)
        return stream

    def _opened(self, stream_id: int, flags: int) -> Stream | None:
        """The peer opens a stream. None if it is refused."""
        self._roster.use_id(stream_id)
        if self._roster.full or self.leaving or flags & RST:
            self._tolerance.reset(self._now)
            if not flags & RST:
                self.outbox.add_control(WINDOW_UPDATE, RST, stream_id, 0)
                self._tolerance.allow_strays(limits.YAMUX_INITIAL_WINDOW)
            return None
        self._tolerance.opening(self._now)
        stream = self._add(stream_id, self._now, outbound=False)
        self._events.append(_incoming)
        return stream

    def _add(self, stream_id: int, now: float, *, outbound: bool) -> Stream:
        window = ReceiveWindow(self.budget, now, limit=self.bounds.window_bytes)
        stream = Stream(self, stream_id, window, send_window=limits.YAMUX_INITIAL_WINDOW, outbound=outbound)
        self._roster.add(stream)
        return stream

    def _expect(self, stream: Stream, length: int) -> None:
        """The header of a data frame: does its payload fit?"""
        window = stream.window
        if length < limits.YAMUX_TINY_BYTES:
            self._tolerance.tiny_frame(self._now)
        if stream.ended:
            raise RemoteProtocolError("data_after_end", f"stream {stream.id}", penalty=10)
        if length > window.available:
            detail = f"stream {stream.id}: {length} bytes, {window.available} allowed"
            raise RemoteProtocolError("window_exceeded", detail, penalty=10)
        window.available -= length

    def _payload(self, stream: Stream | None, data: bytes) -> None:
        if stream is None or stream.reset_by is not None:
            return
        incoming = stream.incoming
        if not incoming.size:
            self._events.append(Readable(stream))
        incoming.append(data)
        if (over := self.budget.charge(len(data))) is not None:
            self._overdrawn(over)

    def _body_done(self, stream: Stream) -> None:
        self._body = None
        if self._body_ends and stream.reset_by is None:
            self._ended(stream)

    def _ended(self, stream: Stream) -> None:
        """FIN came: the peer has said all."""
        if stream.ended:
            return
        stream.ended = True
        stream.window.close()
        if not stream.incoming.size:
            self._events.append(Readable(stream))
        if stream.finished:
            self.forget(stream)

    def _acknowledged(self, stream: Stream) -> None:
        if stream.outbound and not stream.acknowledged:
            could = self.may_open
            self._roster.acknowledge(stream)
            self._tell_openable(could)

    def _reset_by_peer(self, stream: Stream) -> None:
        if stream.reset_by is None:
            if not stream.outbound:
                self._tolerance.reset(self._now)
            self._break(stream, "peer")

    def _ping(self, flags: int, value: int) -> None:
        if flags & ACK and (seconds := self._heartbeat.answer(value, self._now)) is not None:
            self._events.append(RoundTrip(seconds))
            return
        self._tolerance.ping(self._now)
        if flags & SYN:
            self.outbox.add_control(PING, ACK, 0, value)

    def _gone(self, code: int) -> None:
        if self.peer_left and code == NORMAL:
            self._tolerance.empty_frame(self._now)
            return
        self.peer_left = True
        self._events.append(GoneAway(code))
        if code == NORMAL:
            self._drain()
        else:
            self._end("connection")

    # --- memory ------------------------------------------------------------------------------------------------------
    def _overdrawn(self, over: Budget) -> None:
        while over.overdrawn and over.heaviest() is self.budget:
            if not self._relieve(self._now):
                return
        if over.overdrawn:
            self.shortage(over)

    def _relieve(self, now: float) -> bool:
        """False if there is nothing to give back."""
        stream = max(self._streams.values(), key=lambda stream: stream.held, default=None)
        if stream is None or not stream.held:
            return False
        self.reset(stream, "memory")
        if not self.over:
            self._tolerance.memory_reset(now)
        return True

    # --- how things end ---------------------------------------------------------------------------------------------
    def _break(self, stream: Stream, by: ResetBy) -> None:
        """The stream is reset. What came before a clean end stays readable, unless this side wants none of it."""
        stream.reset_by = by
        self.outbox.drop(stream)
        if not stream.ended or by in ("local", "memory"):
            if not stream.ended:
                self._tolerance.allow_strays(stream.window.available)
                stream.window.close()
            stream.ended = False
            self._roster.withdraw(stream)
            if not self._drop_unread(stream):
                self._events.append(Readable(stream))
        if stream.finished:
            self.forget(stream)

    def _drop_unread(self, stream: Stream) -> int:
        dropped = stream.incoming.clear()
        self.budget.release(dropped + stream.kept)
        stream.kept = 0
        return dropped

    def forget(self, stream: Stream) -> None:
        """For `Stream`: it is finished."""
        could = self.may_open
        if not self._roster.remove(stream):
            return
        stream.keep(0)
        self.outbox.drop(stream)
        self._tell_openable(could)
        self._drain()

    def _tell_openable(self, could: bool) -> None:
        if not could and self.may_open:
            self._events.append(_openable)

    def _drain(self) -> None:
        if not (self._streams or self._drained or self.over) and (self.leaving or self.peer_left):
            self._drained = True
            self._events.append(Drained())

    def _end(self, by: ResetBy) -> None:
        self.over = True
        for stream in list(self._streams.values()):
            if stream.reset_by is None:
                self._break(stream, by)
        self.outbox.control.clear()
        self._head, self._body, self._body_left = b"", None, 0

    def _fail(self, error: RemoteProtocolError) -> NoReturn:
        self._end("connection")
        code = INTERNAL_ERROR if error.code == "memory_exhausted" else PROTOCOL_ERROR
        reply = pack_header(GO_AWAY, 0, 0, code)
        raise RemoteProtocolError(error.code, error.detail, reply=reply, penalty=error.penalty) from error

    def _beat(self, now: float) -> None:
        if (value := self._heartbeat.ping(now)) is not None:
            self.outbox.add_control(PING, SYN, 0, value)
