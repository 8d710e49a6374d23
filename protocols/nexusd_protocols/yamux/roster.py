"""The streams of a session, and how many more there may be.

A stream of ours counts as unacknowledged until the peer answers it; one of the peer's waits in the backlog until it is
accepted.
"""

from __future__ import annotations

from nexusd_protocols.yamux.bounds import Bounds
from nexusd_protocols.yamux.stream import Stream
from nexusd_protocols.yamux.stream_ids import StreamIds


class Roster:
    """See above. `dialer` opened the connection."""

    def __init__(self, bounds: Bounds, *, dialer: bool) -> None:
        self._bounds = bounds
        self._ids = StreamIds(1 if dialer else 2)
        self._peer_ids = StreamIds(2 if dialer else 1)
        self.streams: dict[int, Stream] = {}
        """By id: those that are open, or have unread bytes."""
        self.inbound = 0
        """Of these, the peer's."""
        self._outbound = self._unacknowledged = 0
        self._backlog: dict[int, Stream] = {}

    @property
    def room(self) -> bool:
        """Whether there is room for one more of ours."""
        return not (
            self._outbound >= self._bounds.outbound_streams
            or self._unacknowledged >= self._bounds.backlog
            or self._ids.exhausted
        )

    @property
    def full(self) -> bool:
        """Whether there is no room for one more of the peer's."""
        return self.inbound >= self._bounds.inbound_streams or len(self._backlog) >= self._bounds.backlog

    def next_id(self) -> int:
        """For a stream of ours."""
        return self._ids.take()

    def use_id(self, stream_id: int) -> None:
        """The peer opens a stream, which need not be taken. Raises RemoteProtocolError as `StreamIds.use` does."""
        self._peer_ids.use(stream_id)

    def add(self, stream: Stream) -> None:
        """A new stream."""
        self.streams[stream.id] = stream
        if stream.outbound:
            self._outbound += 1
            self._unacknowledged += 1
        else:
            self.inbound += 1
            self._backlog[stream.id] = stream

    def acknowledge(self, stream: Stream) -> None:
        """The peer has answered a stream of ours for the first time."""
        stream.acknowledged = True
        self._unacknowledged -= 1

    def accept(self) -> Stream | None:
        """The next stream that the peer opened; None if there is none."""
        if not self._backlog:
            return None
        return self._backlog.pop(next(iter(self._backlog)))

    def withdraw(self, stream: Stream) -> None:
        """It is broken: if it was not accepted yet, it will not be."""
        self._backlog.pop(stream.id, None)

    def remove(self, stream: Stream) -> bool:
        """It is finished. False if that was known."""
        if self.streams.pop(stream.id, None) is None:
            return False
        if stream.outbound:
            self._outbound -= 1
            self._unacknowledged -= not stream.acknowledged
        else:
            self.inbound -= 1
        return True
