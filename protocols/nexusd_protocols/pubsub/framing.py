"""How RPCs follow one another on a stream: each with its length before it, an unsigned varint (libp2p specs,
pubsub/README.md "The RPC")."""

from __future__ import annotations

from typing import Final

from nexusd_protocols import limits
from nexusd_protocols.delimited import FrameCutter
from nexusd_protocols.errors import RemoteProtocolError

RPC_BYTES: Final = 4 * limits.MIB
"""What is read. Nobody sends a message of more than 1 MiB, the specification's maximum; but js-libp2p and py-libp2p
answer one IWANT with one RPC, however many messages that is, and we ask for hundreds."""
_HEADER_BYTES: Final = 4
"""Of the length: 2^28 and more is over any limit."""


class FrameBuffer(FrameCutter):
    """Cuts a byte stream into RPCs. Raises `rpc_too_large`, `bad_length`; lengths may be longer than they need be."""

    def __init__(self, max_frame: int = RPC_BYTES) -> None:
        super().__init__(max_frame)

    def _bounds(self, start: int) -> tuple[int, int] | None:
        length = 0
        for index in range(_HEADER_BYTES):
            if start + index >= len(self._buffer):
                return None
            byte = self._buffer[start + index]
            length |= (byte & 0x7F) << (7 * index)
            if length > self._max_frame:
                raise RemoteProtocolError("rpc_too_large", f"over {self._max_frame} bytes", penalty=10)
            if byte < 0x80:
                begin = start + index + 1
                return begin, begin + length
        raise RemoteProtocolError("bad_length", "a varint over four bytes", penalty=10)
