"""One message after its length, and what comes behind it: that belongs to the relayed connection."""

from __future__ import annotations

from nexusd_protocols import delimited, limits, varint


class OneFrame:
    """Reads a single frame. `rest` is what was read beyond it."""

    def __init__(self, max_bytes: int = limits.RELAY_MESSAGE_BYTES) -> None:
        self._max = max_bytes
        self._buffer = b""

    @property
    def rest(self) -> bytes:
        """What follows the frame, once there is one."""
        return self._buffer

    def receive(self, data: bytes) -> bytes | None:
        """The frame, once it is complete. Raises RemoteProtocolError: `bad_length`, `too_large`."""
        self._buffer += data
        bounds = delimited.bounds(self._buffer, 0, self._max)
        if bounds is None or bounds[1] > len(self._buffer):
            return None
        frame, self._buffer = self._buffer[slice(*bounds)], self._buffer[bounds[1] :]
        return frame


def framed(message: bytes) -> bytes:
    """A message with its length before it."""
    return varint.encode(len(message)) + message
