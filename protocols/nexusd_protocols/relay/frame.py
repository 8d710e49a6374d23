"""One message after its length, and what comes behind it: that belongs to the relayed connection."""

from __future__ import annotations

from nexusd_protocols import limits, varint
from nexusd_protocols.errors import RemoteProtocolError


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
        try:
            length, start = varint.read(self._buffer, 0)
        except varint.IncompleteError:
            return None
        except ValueError as error:
            raise RemoteProtocolError("bad_length", str(error), penalty=10) from error
        if length > self._max:
            raise RemoteProtocolError("too_large", f"over {self._max} bytes", penalty=10)
        if len(self._buffer) < start + length:
            return None
        frame, self._buffer = self._buffer[start : start + length], self._buffer[start + length :]
        return frame


def framed(message: bytes) -> bytes:
    """A message with its length before it."""
    return varint.encode(len(message)) + message
