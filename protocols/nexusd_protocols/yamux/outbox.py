"""What waits to be sent, and in which order it goes.

Each call of `take` fills one message (for Noise: one that is encrypted in one go):

1. answers and session frames, in order: refusals, resets, pongs, pings, going away;
2. window updates, since peers wait for them;
3. data, round robin by stream: a stream gives one frame, as large as fits, then the next has its turn. So a message of
   a chatty stream waits for one frame of each bulk stream at most, and small frames share a message.

SYN or ACK goes with the first frame of a stream, FIN in a frame of its own behind the data: go-libp2p and js-libp2p act
upon the flags of a frame before its payload.
"""

from __future__ import annotations

from collections import deque
from typing import Final

from nexusd_protocols.yamux.events import Event, Writable
from nexusd_protocols.yamux.frames import DATA, FIN, HEADER_BYTES, WINDOW_UPDATE, pack_header
from nexusd_protocols.yamux.stream import Stream

_LEAST_PAYLOAD: Final = 512
"""A smaller rest of a message is left empty rather than filled with a piece of a longer write."""


class Outbox:
    """Frames in the order of their urgency. `events` is the session's list, to which it adds `Writable`.

    A stream holds `stream_bytes` at most, less when many have something to say: `all_bytes` are shared among those,
    `share_bytes` are the least. So a slow connection does not fill memory, and no stream is shut out by others.
    """

    def __init__(self, events: list[Event], *, stream_bytes: int, share_bytes: int, all_bytes: int) -> None:
        self.control = bytearray()
        self.data_frames = 0
        """Sent so far."""
        self._events = events
        self._stream_bytes = stream_bytes
        self._share_bytes = share_bytes
        self._all_bytes = all_bytes
        self._grants: dict[Stream, int] = {}
        self._ready: deque[Stream] = deque()

    def __bool__(self) -> bool:
        """Whether `take` has something to give."""
        return bool(self.control or self._grants or self._ready)

    def add_control(self, kind: int, flags: int, stream_id: int, value: int) -> None:
        """A frame without payload, before all data."""
        self.control += pack_header(kind, flags, stream_id, value)

    def grant(self, stream: Stream, count: int) -> None:
        """The peer may send so many bytes more."""
        self._grants[stream] = self._grants.get(stream, 0) + count

    def queue(self, stream: Stream) -> None:
        """The stream has something to say: data, its end, or that it is there."""
        if not stream.queued:
            stream.queued = True
            self._ready.append(stream)

    def room(self, stream: Stream) -> int:
        """How many bytes the stream may add: never more than its window lets through."""
        return max(0, min(self._bound(), stream.send_window) - stream.outgoing.size)

    def widen(self, stream: Stream, count: int) -> None:
        """The peer granted `count` bytes."""
        stream.send_window += count
        self._let_go(stream)

    def drop(self, stream: Stream) -> None:
        """The stream is broken: forget what it wanted to say, and tell a writer."""
        stream.outgoing.clear()
        self._grants.pop(stream, None)
        if stream.queued:
            stream.queued = False
            self._ready.remove(stream)
        if stream.held_back:
            stream.held_back = False
            self._events.append(Writable(stream))

    def take(self, limit: int) -> bytes:
        """The next message: whole frames, of `limit` bytes together at most; empty if nothing waits."""
        parts: list[bytes | bytearray | memoryview] = []
        space = limit
        if self.control:
            size = min(len(self.control), space - space % HEADER_BYTES)
            parts.append(self.control[:size])
            del self.control[:size]
            space -= size
        grants = self._grants
        while grants and space >= HEADER_BYTES:
            stream = next(iter(grants))
            parts.append(pack_header(WINDOW_UPDATE, stream.owed, stream.id, grants.pop(stream)))
            stream.owed = 0
            space -= HEADER_BYTES
        ready = self._ready
        while ready and space >= HEADER_BYTES:
            stream = ready[0]
            size = stream.outgoing.size
            if size:
                if space < HEADER_BYTES + min(size, _LEAST_PAYLOAD):
                    break
                space = self._data(stream, size, parts, space)
            else:
                space = self._rest(stream, parts, space)
        return b"".join(parts)

    def _data(self, stream: Stream, size: int, parts: list[bytes | bytearray | memoryview], space: int) -> int:
        """One frame of the first stream. Gives the space that is left."""
        if size > space - HEADER_BYTES:
            size = space - HEADER_BYTES
        parts.append(pack_header(DATA, stream.owed, stream.id, size))
        stream.outgoing.move(parts, size)
        self.data_frames += 1
        stream.owed = 0
        stream.send_window -= size
        if stream.outgoing.size:
            self._ready.rotate(-1)
        elif not stream.closing:
            self._ready.popleft()
            stream.queued = False
        self._let_go(stream)
        return space - HEADER_BYTES - size

    def _rest(self, stream: Stream, parts: list[bytes | bytearray | memoryview], space: int) -> int:
        """What the first stream says without data. Gives the space that is left."""
        self._ready.popleft()
        stream.queued = False
        flags = stream.owed
        if stream.closing and not stream.closed:
            flags |= FIN
        if not flags:
            return space  # a window update has said hello already
        parts.append(pack_header(WINDOW_UPDATE, flags, stream.id, 0))
        stream.owed = 0
        if flags & FIN:
            stream.end_sent()
        return space - HEADER_BYTES

    def _bound(self) -> int:
        """What one stream may hold now."""
        shared = self._all_bytes // (len(self._ready) or 1)
        return min(self._stream_bytes, max(shared, self._share_bytes))

    def _let_go(self, stream: Stream) -> None:
        """Tell a writer that was held back, once half of what its stream may hold is free."""
        if stream.held_back and stream.outgoing.size * 2 <= self._bound() and self.room(stream):
            stream.held_back = False
            self._events.append(Writable(stream))
