"""What a session puts up with from its peer: honest peers do all of this now and then, none of them often."""

from __future__ import annotations

from nexusd_protocols import limits
from nexusd_protocols.errors import FLOOD, RemoteProtocolError
from nexusd_protocols.rate import Rate


class Tolerance:
    """Each method counts one more case, and raises RemoteProtocolError when it is one too many."""

    def __init__(self, now: float) -> None:
        self._resets = Rate(limits.YAMUX_RESETS, limits.YAMUX_RESETS_PER_SECOND, now)
        self._pings = Rate(limits.YAMUX_PINGS, limits.YAMUX_PINGS_PER_SECOND, now)
        self._empty_frames = Rate(limits.YAMUX_EMPTY_FRAMES, limits.YAMUX_EMPTY_FRAMES_PER_SECOND, now)
        self._tiny_frames = Rate(limits.YAMUX_TINY_FRAMES, limits.YAMUX_TINY_FRAMES_PER_SECOND, now)
        self._memory_resets = Rate(limits.YAMUX_MEMORY_RESETS, limits.YAMUX_MEMORY_RESETS_PER_SECOND, now)
        self._updates = 0  # those for which data of ours gave reason
        self._stray_left = 0
        self._flooded = False

    def opening(self, now: float) -> None:
        """A stream is opened, after resets of ours that exceeded the rate. Raises `too_many_resets`."""
        if self._flooded:
            self.reset(now)

    def reset(self, now: float) -> None:
        """A stream of the peer was reset by it, or refused. Raises `too_many_resets`."""
        if not self._resets.allows(now):
            raise RemoteProtocolError("too_many_resets", "streams opened to be reset", penalty=FLOOD)

    def own_reset(self, now: float) -> None:
        """A stream of the peer was reset by us, which the peer can provoke. It is held against the next stream that
        the peer opens: the caller here is not the one who deals with the peer."""
        self._flooded = not self._resets.allows(now)

    def ping(self, now: float) -> None:
        """A ping, or a pong that nobody asked for. Raises `too_many_pings`."""
        if not self._pings.allows(now):
            raise RemoteProtocolError("too_many_pings", "more than anybody needs", penalty=FLOOD)

    def empty_frame(self, now: float) -> None:
        """A frame that changes nothing. Raises `too_many_empty_frames`."""
        if not self._empty_frames.allows(now):
            raise RemoteProtocolError("too_many_empty_frames", "frames that change nothing", penalty=FLOOD)

    def update(self, data_frames: int, now: float) -> None:
        """A window update, when we have sent so many data frames. js-libp2p answers each with one, the others fewer;
        beyond that it is an empty frame. Raises `too_many_updates`."""
        if self._updates < data_frames:
            self._updates += 1
        elif not self._empty_frames.allows(now):
            raise RemoteProtocolError("too_many_updates", "windows opened by crumbs", penalty=FLOOD)

    def tiny_frame(self, now: float) -> None:
        """Data by the octet, in a frame or in a message of its own. Raises `too_many_tiny_frames`."""
        if not self._tiny_frames.allows(now):
            raise RemoteProtocolError("too_many_tiny_frames", "data by the octet", penalty=FLOOD)

    def memory_reset(self, now: float) -> None:
        """A stream was reset for want of memory. Raises `memory_exhausted`."""
        if not self._memory_resets.allows(now):
            raise RemoteProtocolError("memory_exhausted", "again sends more than is read", penalty=5)

    def allow_strays(self, count: int) -> None:
        """We broke a stream: the peer may have sent so many bytes for it before it heard of that."""
        self._stray_left += count

    def stray(self, length: int) -> None:
        """Payload for a stream that is not open. Raises `stray_data`."""
        self._stray_left -= length
        if self._stray_left < 0:
            raise RemoteProtocolError("stray_data", "data on a stream that is not open", penalty=10)
