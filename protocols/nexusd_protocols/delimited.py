"""Frames that follow one another, each behind its length, an unsigned varint."""

from __future__ import annotations

from abc import ABC, abstractmethod

from nexusd_protocols import varint
from nexusd_protocols.errors import RemoteProtocolError


def bounds(buffer: bytes | bytearray, at: int, most: int) -> tuple[int, int] | None:
    """Where the frame begins whose length begins there, and where it ends, which need not be here yet; None if its
    length is not there yet. Raises RemoteProtocolError `bad_length`, `too_large`."""
    try:
        length, start = varint.read(buffer, at)
    except varint.IncompleteError:
        return None
    except ValueError as error:
        raise RemoteProtocolError("bad_length", str(error), penalty=10) from error
    if length > most:
        raise RemoteProtocolError("too_large", f"over {most} bytes", penalty=10)
    return start, start + length


class FrameCutter(ABC):
    """Cuts a byte stream into frames. Holds no more than one and what came behind it in the same read."""

    def __init__(self, max_frame: int) -> None:
        self._max_frame = max_frame
        self._buffer = bytearray()

    def __len__(self) -> int:
        """Bytes of a frame that is not complete."""
        return len(self._buffer)

    def feed(self, data: bytes) -> list[bytes]:
        """The frames that are now complete. Raises RemoteProtocolError as `_bounds` does."""
        self._buffer += data
        frames = []
        start = 0
        while (found := self._bounds(start)) is not None:
            begin, end = found
            if end > len(self._buffer):
                break
            frames.append(bytes(self._buffer[begin:end]))
            start = end
        del self._buffer[:start]
        return frames

    @abstractmethod
    def _bounds(self, start: int) -> tuple[int, int] | None:
        """As `bounds`, in the terms of one protocol."""
