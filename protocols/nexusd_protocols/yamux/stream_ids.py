"""Which stream ids the peer has used.

Ids need not come in order: go-libp2p opens streams in parallel, rust-libp2p announces a stream with its first data. So
a highest id alone would refuse honest peers, and a set of all ids would grow for ever. Kept are the gaps.
"""

from __future__ import annotations

from typing import Final

from nexusd_protocols.errors import RemoteProtocolError
from nexusd_protocols.yamux.frames import MAX

_GAPS: Final = 1024
"""Runs of skipped ids remembered. Beyond, the lowest counts as used: a peer with 256 streams makes no more of them."""


class StreamIds:
    """Ids of one side: odd for the dialler, even for the listener."""

    def __init__(self, first: int) -> None:
        self._next = first
        self._gaps: dict[int, int] = {}  # first and last id of a run of unused ids below `_next`, in rising order

    def use(self, stream_id: int) -> None:
        """The peer opens a stream. Raises RemoteProtocolError `stream_id_parity`, `stream_id_reused`."""
        if (stream_id ^ self._next) & 1:
            raise RemoteProtocolError("stream_id_parity", f"stream {stream_id} is ours to open", penalty=10)
        if stream_id < self._next:
            self._fill(stream_id)
            return
        if stream_id > self._next:
            self._gaps[self._next] = stream_id - 2
            self._bound()
        self._next = stream_id + 2

    @property
    def exhausted(self) -> bool:
        """Whether no id is left to `take`."""
        return self._next > MAX

    def take(self) -> int:
        """The next id of our own side."""
        stream_id = self._next
        self._next += 2
        return stream_id

    def _fill(self, stream_id: int) -> None:
        for first, last in self._gaps.items():
            if first <= stream_id <= last:
                break
        else:
            raise RemoteProtocolError("stream_id_reused", f"stream {stream_id} again", penalty=10)
        gaps: dict[int, int] = {}
        for low, high in self._gaps.items():
            if low != first:
                gaps[low] = high
                continue
            if low < stream_id:
                gaps[low] = stream_id - 2
            if stream_id < high:
                gaps[stream_id + 2] = high
        self._gaps = gaps
        self._bound()

    def _bound(self) -> None:
        if len(self._gaps) > _GAPS:
            del self._gaps[next(iter(self._gaps))]
