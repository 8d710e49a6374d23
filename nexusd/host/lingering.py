"""Streams that this side has closed, and that their peers have not ended yet: Yamux frees a stream only then, or by a
reset. What still comes is dropped, within bounds."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import trio

from nexusd_protocols import limits
from nexusd_protocols.yamux.stream import Stream

LINGER_SECONDS: Final = 5.0
"""How long a peer may take to end its side of a stream that we have closed, before it is reset."""
LINGER_BYTES: Final = limits.MIB
"""What it may still send meanwhile."""


@dataclass(slots=True, eq=False)
class _Left:
    until: float
    gone: Callable[[], None]
    bytes: int = LINGER_BYTES


class Lingering:
    """Those of one connection. `turn` tells the connection that its session was touched."""

    def __init__(self, turn: Callable[[], None]) -> None:
        self._turn = turn
        self._streams: dict[Stream, _Left] = {}  # the first is reset first
        self._nursery: trio.Nursery | None = None
        self._sweeping = False
        self._over = False

    def __len__(self) -> int:
        return len(self._streams)

    def __contains__(self, stream: Stream) -> bool:
        return stream in self._streams

    def start(self, nursery: trio.Nursery) -> None:
        """Watch the clock in this nursery, while there is something to watch."""
        self._nursery = nursery

    def add(self, stream: Stream, gone: Callable[[], None]) -> None:
        """Nobody will read the stream any more. `gone` is called once, when nothing is left of it."""
        if stream.finished or self._over:
            gone()
            return
        self._streams[stream] = _Left(trio.current_time() + LINGER_SECONDS, gone)
        self.drop(stream)
        if self._streams and not self._sweeping and self._nursery is not None:
            self._sweeping = True
            self._nursery.start_soon(self._sweep)

    def drop(self, stream: Stream) -> None:
        """Something came, or the end did."""
        left = self._streams[stream]
        while data := stream.read(limits.MIB, trio.current_time()):
            left.bytes -= len(data)
        if stream.finished or stream.at_end:
            self._forget(stream)
        elif stream.reset_by is not None or left.bytes < 0:
            self._forget(stream)
            stream.reset()

    def end(self) -> None:
        """The connection is gone, and all its streams are."""
        self._over = True
        for stream in list(self._streams):
            self._forget(stream)

    def _forget(self, stream: Stream) -> None:
        self._streams.pop(stream).gone()

    async def _sweep(self) -> None:
        while self._streams:
            stream, left = next(iter(self._streams.items()))
            await trio.sleep_until(left.until)
            if self._streams.get(stream) is left:
                self._forget(stream)
                stream.reset()
                self._turn()
        self._sweeping = False
