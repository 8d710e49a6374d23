"""What waits to be written to one peer's GossipSub stream: frames, bounded by count and bytes."""

from __future__ import annotations

from collections import deque
from typing import Any, Final

import trio
from libp2p.pubsub.rpc_queue import DefaultMaxMessageSize, RpcQueue
from libp2p.utils.varint import encode_uvarint

FRAMES: Final = 4096
"""Five seconds of a busy room (800 messages a second is what one core forwards)."""
BYTES: Final = 8 << 20
"""Of frames. One is at most 1 MiB, so even the largest has company."""
BATCH_BYTES: Final = 64 * 1024
"""Frames written together: one Yamux frame instead of many."""


def frame(rpc: Any) -> bytes:
    """An RPC with its length before it, as it goes over the wire."""
    data: bytes = rpc.SerializeToString()
    return bytes(encode_uvarint(len(data))) + data


class OutboundQueue(RpcQueue):  # type: ignore[misc] # libp2p is not typed
    """In place of the stock queue of 32 RPCs, which drops in silence. Control frames go first."""

    def __init__(self, frames: int = FRAMES, max_bytes: int = BYTES) -> None:
        super().__init__(frames, DefaultMaxMessageSize)
        self._frames = frames
        self._max_bytes = max_bytes
        self._bytes = 0
        self._urgent: deque[bytes] = deque()
        self._normal: deque[bytes] = deque()
        self._room = trio.Event()

    def __len__(self) -> int:
        return len(self._urgent) + len(self._normal)

    def push(self, rpc: Any, priority: bool = False) -> bool:
        """Queue an RPC; False if there is no room. Called by stock code, for control and subscriptions."""
        return self.push_frame(frame(rpc), priority)

    def push_frame(self, data: bytes, priority: bool = False) -> bool:
        """Queue a frame; False if there is no room."""
        if self._closed or not self._fits(len(data)):
            return False
        (self._urgent if priority else self._normal).append(data)
        self._bytes += len(data)
        self._notify.set()
        return True

    def _fits(self, size: int) -> bool:
        return len(self) < self._frames and self._bytes + size <= self._max_bytes

    async def wait_for_room(self, size: int) -> None:
        """Until a frame of so many bytes fits, or the queue is closed."""
        while not self._closed and not self._fits(size):
            self._room = trio.Event() if self._room.is_set() else self._room
            await self._room.wait()

    async def wait_until_empty(self) -> None:
        """Until the last frame was taken out, or the queue is closed."""
        while not self._closed and len(self):
            self._room = trio.Event() if self._room.is_set() else self._room
            await self._room.wait()

    async def pop(self) -> bytes | None:
        """As many frames as make one write, waiting for the first; None once the queue is closed."""
        while not len(self):
            if self._closed:
                return None
            self._notify = trio.Event()
            await self._notify.wait()
        if self._closed:
            return None
        batch = bytearray()
        while len(self) and len(batch) < BATCH_BYTES:
            batch += (self._urgent or self._normal).popleft()
        self._bytes -= len(batch)
        self._room.set()
        return bytes(batch)

    def close(self) -> None:
        """No more frames: what waits is dropped, and so are those who wait."""
        self._closed = True
        self._notify.set()
        self._room.set()
