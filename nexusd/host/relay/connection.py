"""A stream to a relay that has become a connection to a peer: what Noise reads and writes."""

from __future__ import annotations

from typing import Any, Final

import trio
from libp2p.io.abc import ReadWriteCloser
from libp2p.io.exceptions import ConnectionClosedError
from libp2p.network.stream.exceptions import StreamEOF, StreamError

from nexusd.host.stream_guard import reset_stream

CLOSE_SECONDS: Final = 0.5
"""For what was written last to get through before the stream is reset."""
LINGER_BYTES: Final = 64 * 1024


class RelayedConnection(ReadWriteCloser):  # type: ignore[misc] # libp2p is not typed
    """`rest` is what was read beyond the relay's message: it is read first."""

    def __init__(self, stream: Any, rest: bytes) -> None:
        self._stream = stream
        self._rest = rest
        self.closed = trio.Event()

    async def read(self, n: int | None = None) -> bytes:
        """1 to `n` bytes, or none at the end. Raises ConnectionClosedError."""
        if self._rest:
            cut = len(self._rest) if n is None or n < 0 else n
            ahead, self._rest = self._rest[:cut], self._rest[cut:]
            return ahead
        try:
            data: bytes = await self._stream.read(n)
        except StreamEOF:
            return b""
        except StreamError as error:
            raise ConnectionClosedError("the relay has cut the connection") from error
        return data

    async def write(self, data: bytes) -> None:
        """All of it. Raises ConnectionClosedError."""
        try:
            await self._stream.write(data)
        except StreamError as error:
            raise ConnectionClosedError("the relay has cut the connection") from error

    async def close(self) -> None:
        """End it: what was written goes first, if the relay takes it soon."""
        if self.closed.is_set():
            return
        self.closed.set()
        try:
            with trio.move_on_after(CLOSE_SECONDS):
                await self._stream.close_write()
                taken = 0
                while taken < LINGER_BYTES:
                    taken += len(await self._stream.read(LINGER_BYTES))
        except StreamEOF:
            await self._stream.close()
            return
        except StreamError:
            pass  # it is cut already
        await reset_stream(self._stream)

    def get_remote_address(self) -> tuple[str, int] | None:
        """Nobody knows where the peer is."""
        return None
