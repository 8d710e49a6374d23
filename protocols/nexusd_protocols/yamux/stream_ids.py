"""Which stream ids the peer has used.

Ids need not come in order: go-libp2p opens streams in parallel, rust-libp2p announces a stream with its first data. So
a highest id alone would refuse honest peers, and a set of all ids would grow for ever. Kept are the gaps.
"""

from __future__ import annotations

from bisect import bisect_right
from typing import Final

from nexusd_protocols.errors import RemoteProtocolError
from nexusd_protocols.yamux.frames import MAX

_GAPS: Final = 1024
"""Runs of skipped ids remembered. Beyond, the lowest counts as used: a peer with 256 streams makes no more of them."""


class StreamIds:
    """Ids of one side: odd for the dialler, even for the listener."""

    def __init__(self, first: int) -> None:
        self._next = first
        # runs of unused ids below `_next`, in rising order: their first and their last ids
        self._firsts: list[int] = []
        self._lasts: list[int] = []

    def use(self, stream_id: int) -> None:
        """The peer opens a stream. Raises RemoteProtocolError `stream_id_parity`, `stream_id_reused`."""
        if (stream_id ^ self._next) & 1:
            raise RemoteProtocolError("stream_id_parity", f"stream {stream_id} is ours to open", penalty=10)
        if stream_id < self._next:
            self._fill(stream_id)
            return
        if stream_id > self._next:
            self._add_gap(len(self._firsts), self._next, stream_id - 2)
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
        place = bisect_right(self._firsts, stream_id) - 1
        if place < 0 or stream_id > self._lasts[place]:
            raise RemoteProtocolError("stream_id_reused", f"stream {stream_id} again", penalty=10)
        first, last = self._firsts.pop(place), self._lasts.pop(place)
        if stream_id < last:
            self._add_gap(place, stream_id + 2, last)
        if first < stream_id:
            self._add_gap(place, first, stream_id - 2)

    def _add_gap(self, place: int, first: int, last: int) -> None:
        self._firsts.insert(place, first)
        self._lasts.insert(place, last)
        if len(self._firsts) > _GAPS:
            del self._firsts[0], self._lasts[0]
