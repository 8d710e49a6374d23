"""Pings: they measure the round trip and find out that the peer is gone.

1. The first ping goes with the first output; the next `interval` after the last one, if that was answered.
2. One ping is under way at most.
3. A peer from which nothing came, neither the answer nor anything else, for `timeout` since the ping is gone. Frozen at
   any moment, it is noticed in `interval + timeout` at most.
"""

from __future__ import annotations

from nexusd_protocols import limits
from nexusd_protocols.yamux.frames import MAX


class Heartbeat:
    """Times in seconds on one monotonic clock."""

    def __init__(
        self,
        now: float,
        *,
        interval: float = limits.YAMUX_PING_SECONDS,
        timeout: float = limits.YAMUX_PING_TIMEOUT,
    ) -> None:
        self.heard = now
        """When the peer last sent anything. The session sets it."""
        self.round_trip: float | None = None
        """Smoothed, None before the first answer."""
        self.due = now
        """When the next ping goes, if the last one is answered."""
        self._interval = interval
        self._timeout = timeout
        self._value = 0
        self._sent: float | None = None

    def deadline(self, now: float) -> float:
        """When `ping` or `dead` may next have something to say. It never becomes earlier than what was said last."""
        if self._sent is None or now < self.due:
            return self.due
        return self._gone_at(self._sent)

    def ping(self, now: float) -> int | None:
        """The value of the ping to send now, None if none is due."""
        if self._sent is not None or now < self.due:
            return None
        self._sent = now
        self.due = now + self._interval
        return self._value

    def answer(self, value: int, now: float) -> float | None:
        """A pong came. Gives the round trip, None if nobody asked for it."""
        if self._sent is None or value != self._value:
            return None
        sample = max(0.0, now - self._sent)
        self._sent = None
        self._value = (self._value + 1) & MAX
        # the weight of RFC 6298 §2.3
        self.round_trip = sample if self.round_trip is None else self.round_trip * 0.875 + sample * 0.125
        return sample

    def dead(self, now: float) -> bool:
        """Whether the peer is gone."""
        return self._sent is not None and now >= self._gone_at(self._sent)

    def _gone_at(self, sent: float) -> float:
        return max(sent, self.heard) + self._timeout
