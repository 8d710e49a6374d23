"""What waits to be written to one connection: bounded in bytes, written in order, and watched for stalling.

A line goes straight to the kernel while nothing waits; the writer task takes over when the kernel is full.
"""

from __future__ import annotations

import socket
from collections import deque
from collections.abc import Callable
from typing import Final

import trio

from nexusd_protocols import limits

_CHUNK: Final = 64 * limits.KIB


class StalledError(Exception):
    """The other end took nothing for too long, after it was told."""


class Outgoing:
    """The outgoing half of a connection. `send` is for whoever can wait, `put` for the few short lines that cannot."""

    def __init__(self, sock: socket.socket, *, limit: int = limits.RPC_OUTGOING_BYTES) -> None:
        self._sock = sock
        self._limit = limit
        self._lines: deque[bytes | memoryview] = deque()
        self._wake = trio.Event()
        self._room = trio.lowlevel.ParkingLot()
        self._empty = trio.lowlevel.ParkingLot()
        self._closed = False
        self.size = 0
        """Bytes that wait."""

    @property
    def full(self) -> bool:
        """Whether `send` would wait."""
        return self.size >= self._limit

    async def send(self, line: bytes) -> None:
        """Queue a line once there is room for it (a line of any size goes where there is any room at all). Once closed
        it is dropped: whoever sends is about to be cancelled."""
        await self.room()
        self.put(line)

    async def room(self) -> None:
        """Wait until `send` would not."""
        while self.full and not self._closed:
            await self._room.park()
        if self._closed:
            await trio.lowlevel.checkpoint()

    def put(self, line: bytes) -> None:
        """Queue a line now, over the limit if need be; nothing happens once closed."""
        if self._closed or not line:
            return
        rest: bytes | memoryview = line
        if not self._lines:
            try:
                sent = self._sock.send(line)
            except OSError:
                sent = 0  # full, or broken: the writer finds out which
            if sent == len(line):
                return
            rest = memoryview(line)[sent:] if sent else line
        self._lines.append(rest)
        self.size += len(rest)
        self._wake.set()

    async def flush(self) -> None:
        """Wait until nothing waits."""
        while self._lines and not self._closed:
            await self._empty.park()

    def close(self) -> None:
        """Drop what waits, and let nobody wait for it."""
        self._closed = True
        self._lines.clear()
        self.size = 0
        self._room.unpark_all()
        self._empty.unpark_all()

    async def write(self, stall_seconds: float, stalled: Callable[[int], bool]) -> None:
        """Write for as long as the connection lives. After each `stall_seconds` in which no byte was taken `stalled` is
        asked, with how many such spans it has been, whether to go on. Raises StalledError, OSError."""
        while True:
            await self._wake.wait()
            spans = 0
            while self._lines:
                chunk = self._next_chunk()
                try:
                    sent = self._sock.send(chunk)
                except BlockingIOError:
                    with trio.move_on_after(stall_seconds) as scope:
                        await trio.lowlevel.wait_writable(self._sock)
                    if scope.cancelled_caught:
                        spans += 1
                        if not stalled(spans):
                            raise StalledError from None
                    continue
                spans = 0
                self._sent(chunk, sent)
                await trio.lowlevel.checkpoint()
            self._wake = trio.Event()
            self._empty.unpark_all()

    def _next_chunk(self) -> bytes | memoryview:
        """The first line, with those behind it while they are small, so that one call writes many."""
        first = self._lines[0]
        if len(first) >= _CHUNK or len(self._lines) == 1:
            return first
        parts, size = [], 0
        while self._lines and size < _CHUNK:
            parts.append(self._lines.popleft())
            size += len(parts[-1])
        chunk = b"".join(parts)
        self._lines.appendleft(chunk)
        return chunk

    def _sent(self, chunk: bytes | memoryview, sent: int) -> None:
        if not self._lines:
            return  # closed meanwhile
        if sent == len(chunk):
            self._lines.popleft()
        else:
            self._lines[0] = memoryview(chunk)[sent:]
        self.size -= sent
        if not self.full:
            self._room.unpark_all()
