"""One stream of a session: two directions that end separately.

    reader                                     writer
    read -> bytes                              write -> how many bytes it took
    read -> b"", then look:                    less than given, then look:
      at_end   the peer has said all             reset_by  the stream is broken
      reset_by the stream is broken              else wait for Writable
      else wait for Readable                   close_write: all is said

An end is clean only if `at_end` says so: a reset never looks like one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from nexusd_protocols.errors import LocalProtocolError
from nexusd_protocols.yamux.byte_queue import ByteQueue
from nexusd_protocols.yamux.frames import ACK, FIN, RST, SYN
from nexusd_protocols.yamux.window import ReceiveWindow

if TYPE_CHECKING:
    from nexusd_protocols.yamux.session import Session

ResetBy = Literal["peer", "local", "memory", "connection"]
"""Who broke a stream: the peer, this program, this program for want of memory, or the loss of the connection."""


class Stream:
    """See above. Made by `Session.open` and `Session.accept`; not to be used after `reset`."""

    __slots__ = (
        "_session",
        "acknowledged",
        "closed",
        "closing",
        "ended",
        "held_back",
        "id",
        "incoming",
        "kept",
        "outbound",
        "outgoing",
        "owed",
        "queued",
        "reset_by",
        "send_window",
        "window",
    )

    def __init__(
        self, session: Session, stream_id: int, window: ReceiveWindow, *, send_window: int, outbound: bool
    ) -> None:
        self._session = session
        self.id = stream_id
        self.outbound = outbound
        """Whether this side opened it."""
        self.reset_by: ResetBy | None = None
        """Who broke the stream; what the peer had sent up to a clean end can still be read."""

        # What follows is kept here for the session and its outbox.
        self.incoming = ByteQueue()
        self.window = window
        self.kept = 0  # bytes that were read and wait in the reader
        self.ended = False  # the peer has sent FIN
        self.outgoing = ByteQueue()
        self.send_window = send_window
        self.owed = SYN if outbound else ACK  # flag that the next frame carries
        self.acknowledged = False
        self.closing = False  # FIN follows what is outgoing
        self.closed = False  # FIN is sent
        self.queued = False  # the outbox will come round to it
        self.held_back = False  # a writer waits for room

    @property
    def at_end(self) -> bool:
        """The peer has said all, and all of it was read."""
        return self.ended and not self.incoming.size

    @property
    def finished(self) -> bool:
        """Nothing more can come of the stream: all was said and read, or it is broken."""
        return not self.incoming.size and (self.reset_by is not None or (self.ended and self.closed))

    def news(self, flags: int) -> int:
        """Those flags of a frame that change something."""
        news = flags & (SYN | RST)
        if self.outbound and not self.acknowledged:
            news |= flags & ACK
        if not self.ended:
            news |= flags & FIN
        return news

    def read(self, limit: int, now: float) -> bytes:
        """What the peer sent, 1 to `limit` bytes of it; nothing if there is nothing now."""
        incoming = self.incoming
        session = self._session
        if not incoming.size:
            if self.owed and self.reset_by is None:
                session.outbox.queue(self)  # a reader who waits says hello first: perhaps the peer waits for that
            return b""
        data = incoming.take(limit)
        session.budget.release(len(data))
        if not self.ended:
            granted = self.window.read(len(data), now, session.round_trip)
            if granted:
                session.outbox.grant(self, granted)
        elif self.finished:
            session.forget(self)
        return data

    def keep(self, count: int) -> None:
        """Of what was read, so many bytes wait in the reader for more to come: memory all the same. They count as
        unread ones do, until the reader says otherwise or the stream is finished."""
        more = (0 if self.finished else count) - self.kept
        self.kept += more
        if more <= 0:
            self._session.budget.release(-more)
        elif (over := self._session.budget.charge(more)) is not None:
            self._session.shortage(over)

    @property
    def held(self) -> int:
        """Bytes of memory that the peer takes with this stream."""
        return self.incoming.size + self.kept

    @property
    def room(self) -> int:
        """Bytes that `write` takes now."""
        if self.closing or self.reset_by is not None:
            return 0
        return self._session.outbox.room(self)

    def write(self, data: bytes | bytearray | memoryview) -> int:
        """Take the beginning of `data`, as much as there is room for: all of it, some, or nothing. For the rest wait
        for `Writable` and come again. What is taken is sent in order and in one piece.

        Raises LocalProtocolError after `close_write`. On a broken stream nothing is taken.
        """
        if self.closing:
            raise LocalProtocolError("written to after the end")
        size = len(data)
        room = self.room
        if room < size:
            if self.reset_by is not None:
                return 0
            self.held_back = True
            size = room
        if size:
            self.outgoing.append(data if type(data) is bytes and size == len(data) else bytes(data[:size]))
            if not self.queued:
                self._session.outbox.queue(self)
        return size

    def close_write(self) -> None:
        """All is said: the peer reads a clean end behind what was written. Further calls change nothing."""
        if not self.closing and self.reset_by is None:
            self.closing = True
            self._session.outbox.queue(self)

    def end_sent(self) -> None:
        """For the outbox: FIN is on its way."""
        self.closed = True
        if self.finished:
            self._session.forget(self)

    def reset(self) -> None:
        """Break the stream, in both directions and at once: drop what is unread and unsent, tell the peer. A stream
        that is finished stays so; one whose ends are both said loses what is unread, and the peer learns nothing."""
        self._session.reset(self, "local")
