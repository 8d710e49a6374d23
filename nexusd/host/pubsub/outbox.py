"""What waits to be written to one peer: four classes, the urgent first, and only the least ever dropped.

Control and own messages are never dropped; who publishes waits instead (`wait_for_room`). Forwarded messages and gossip
are dropped where a peer takes them more slowly than they come: the peer hears of the former by gossip, and of the
latter at the next heartbeat. All outboxes together are bounded too.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import trio

from nexusd_protocols import limits, varint
from nexusd_protocols.gossipsub.outputs import Priority

PEER_BYTES: Final = 4 * limits.MIB
"""For one peer: sixteen of the largest messages, or two seconds of a busy room over 20 Mbit/s."""
TOTAL_BYTES: Final = 64 * limits.MIB
"""For all peers, counted as if none shared a message; in truth a message is in memory once, however many it goes to."""
OWN_BYTES: Final = 512 * limits.KIB
"""Own messages that wait for one peer before their publisher does."""
BATCH_BYTES: Final = 128 * limits.KIB
"""Written together: two Noise messages, as the muxer sends."""
PACKED_BYTES: Final = 64 * limits.KIB
"""Messages in one RPC: readers of other implementations parse it at once, and hold back what follows."""


@dataclass(slots=True)
class Backlog:
    """What all outboxes hold."""

    bytes: int = 0
    peers: int = 0


@dataclass(frozen=True, slots=True)
class Encoded:
    """An RPC as protobuf bytes. `plain`: it has messages and nothing else, so that several may be packed into one RPC
    (protobuf concatenates what is repeated)."""

    data: bytes
    plain: bool


class Outbox:
    """One peer's."""

    def __init__(self, backlog: Backlog, dropped: Callable[[Priority], None]) -> None:
        self._backlog = backlog
        self._backlog.peers += 1
        self._dropped = dropped
        self._queues: tuple[deque[Encoded], ...] = tuple(deque() for _ in Priority)
        self._sizes = [0 for _ in Priority]
        self._filled = trio.Event()
        self._nudged = False
        self._room = trio.Event()
        self.closed = False
        self.bytes = 0
        self.taken = 0
        """Bytes that went out since the start: a peer for which this stands still takes nothing."""

    def push(self, rpc: Encoded, priority: Priority) -> bool:
        """Add an RPC; False if there is no room, which never happens to control and own messages."""
        if self.closed:
            return False
        size = len(rpc.data)
        if priority >= Priority.FORWARDED and not self._fits(size, priority):
            self._dropped(priority)
            return False
        self._queues[priority].append(rpc)
        self._count(priority, size)
        self._filled.set()
        return True

    def _fits(self, size: int, priority: Priority) -> bool:
        if priority == Priority.FORWARDED:
            while self._queues[Priority.GOSSIP] and not self._has_room(size):
                gossip = self._queues[Priority.GOSSIP].pop()
                self._count(Priority.GOSSIP, -len(gossip.data))
                self._dropped(Priority.GOSSIP)
        return self._has_room(size)

    def _has_room(self, size: int) -> bool:
        if self.bytes + size > PEER_BYTES:
            return False
        # where all are short of room, each has its share
        return self._backlog.bytes + size <= TOTAL_BYTES or self.bytes + size <= TOTAL_BYTES // self._backlog.peers

    def _count(self, priority: Priority, size: int) -> None:
        self._sizes[priority] += size
        self.bytes += size
        self._backlog.bytes += size

    @property
    def crowded(self) -> bool:
        """Whether who publishes should wait."""
        return self._sizes[Priority.CONTROL] + self._sizes[Priority.OWN] > OWN_BYTES

    async def wait_for_room(self) -> None:
        """While it is crowded, and not closed."""
        while self.crowded and not self.closed:
            await self._wait_taken()

    async def wait_until_empty(self) -> None:
        """Until everything was taken out, or it is closed."""
        while self.bytes and not self.closed:
            await self._wait_taken()

    async def _wait_taken(self) -> None:
        if self._room.is_set():
            self._room = trio.Event()
        await self._room.wait()

    async def pop(self) -> bytes | None:
        """Frames that make one write, waiting for the first; none if it was nudged meanwhile; None once closed."""
        while not self.bytes:
            if self.closed:
                return None
            if self._nudged:
                self._nudged = False
                return b""
            self._filled = trio.Event()
            await self._filled.wait()
        if self.closed:
            return None
        batch = bytearray()
        for priority in Priority:
            queue = self._queues[priority]
            while queue and len(batch) < BATCH_BYTES:
                frame = self._packed(queue, priority)
                batch += varint.encode(len(frame))
                batch += frame
        self.taken += len(batch)
        self._room.set()
        return bytes(batch)

    def nudge(self) -> None:
        """Have whoever pops look about, when nothing waits."""
        self._nudged = True
        self._filled.set()

    def _packed(self, queue: deque[Encoded], priority: Priority) -> bytes:
        """The next RPC, with the messages of those behind it as far as they fit."""
        first = queue.popleft()
        parts = [first.data]
        size = len(first.data)
        while first.plain and queue and queue[0].plain and size + len(queue[0].data) <= PACKED_BYTES:
            parts.append(queue.popleft().data)
            size += len(parts[-1])
        self._count(priority, -size)
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def close(self) -> None:
        """Take nothing more: what waits is gone, and who waits goes on."""
        if not self.closed:
            self.closed = True
            self._backlog.bytes -= self.bytes
            self._backlog.peers -= 1
            self._filled.set()
            self._room.set()
