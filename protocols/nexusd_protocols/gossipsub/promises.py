"""Promises: who offered a message by IHAVE owes it (gossipsub-v1.1 "Spam Protection Measures")."""

from __future__ import annotations

from collections import deque

from nexusd_protocols.identity import PeerId


class Promises:
    """One id of each IHAVE that we answered by an IWANT. Bounded: beyond that no more are tracked."""

    __slots__ = ("_due", "_size", "_waiting")

    def __init__(self, size: int) -> None:
        self._size = size
        self._waiting: dict[bytes, dict[PeerId, float]] = {}
        # in order of time, because all promises are given the same time
        self._due: deque[tuple[float, bytes, PeerId, str]] = deque()

    def __len__(self) -> int:
        return len(self._due)

    def add(self, wire_id: bytes, peer: PeerId, due: float, topic: str) -> None:
        """The peer offered it in the topic, and is to send it until `due`. What it promised before stands."""
        promised = self._waiting.get(wire_id)
        if promised is None:
            if len(self._due) >= self._size:
                return
            promised = self._waiting[wire_id] = {}
        if peer not in promised and len(self._due) < self._size:
            promised[peer] = due
            self._due.append((due, wire_id, peer, topic))

    def fulfil(self, wire_id: bytes) -> None:
        """A message with this id came, "from any peer"."""
        self._waiting.pop(wire_id, None)

    def broken(self, now: float) -> list[tuple[PeerId, str]]:
        """Who kept a promise not in time, and in which topic, once for each. They are forgotten with this."""
        offences = []
        while self._due and self._due[0][0] <= now:
            due, wire_id, peer, topic = self._due.popleft()
            promised = self._waiting.get(wire_id)
            # the id may have come, and have been promised once more since
            if promised is not None and promised.get(peer) == due:
                offences.append((peer, topic))
                del promised[peer]
                if not promised:
                    del self._waiting[wire_id]
        return offences

    def forgive(self) -> None:
        """Forget all: we did not listen."""
        self._waiting.clear()
        self._due.clear()
