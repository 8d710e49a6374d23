"""How RPCs follow one another on a stream: each with its length before it, an unsigned varint (libp2p specs,
pubsub/README.md "The RPC")."""

from __future__ import annotations

from typing import Final

from nexusd_protocols import limits
from nexusd_protocols.errors import RemoteProtocolError

RPC_BYTES: Final = 4 * limits.MIB
"""What is read. Nobody sends a message of more than 1 MiB, the specification's maximum; but js-libp2p and py-libp2p
answer one IWANT with one RPC, however many messages that is, and we ask for hundreds."""
_HEADER_BYTES: Final = 4
"""Of the length: 2^28 and more is over any limit."""


def length_prefix(length: int) -> bytes:
    """The varint that goes before so many bytes."""
    head = bytearray()
    while length > 0x7F:
        head.append(length & 0x7F | 0x80)
        length >>= 7
    head.append(length)
    return bytes(head)


class FrameBuffer:
    """Cuts a byte stream into frames."""

    def __init__(self, max_frame: int = RPC_BYTES) -> None:
        self._max_frame = max_frame
        self._buffer = bytearray()

    def __len__(self) -> int:
        """Bytes of a frame that is not complete."""
        return len(self._buffer)

    def feed(self, data: bytes) -> list[bytes]:
        """The frames that are now complete. Raises RemoteProtocolError `rpc_too_large`, `bad_length`."""
        self._buffer += data
        frames = []
        start = 0
        while (header := self._header(start)) is not None:
            begin, length = header
            if len(self._buffer) - begin < length:
                break
            frames.append(bytes(self._buffer[begin : begin + length]))
            start = begin + length
        del self._buffer[:start]
        return frames

    def _header(self, start: int) -> tuple[int, int] | None:
        length = 0
        for index in range(_HEADER_BYTES):
            if start + index >= len(self._buffer):
                return None
            byte = self._buffer[start + index]
            length |= (byte & 0x7F) << (7 * index)
            if length > self._max_frame:
                raise RemoteProtocolError("rpc_too_large", f"over {self._max_frame} bytes", penalty=10)
            if byte < 0x80:
                return start + index + 1, length
        raise RemoteProtocolError("bad_length", "a varint over four bytes", penalty=10)
