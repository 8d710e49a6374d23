"""Which messages were seen (gossipsub-v1.0 "Router State", `seen`; specs/gossipsub.md §4)."""

from __future__ import annotations

from collections.abc import Iterator

from nexusd_protocols.identity import PeerId

MessageKey = tuple[PeerId, bytes]
"""Author and wire id. Anybody can claim an id, so an id alone decides nothing."""


class Seen:
    """Keys, for a time and up to a number, the oldest forgotten first.

    A key that is *known* belongs to a message that we accepted: a peer that offers its wire id offers nothing new. One
    that was only seen (ignored) does not count there, or whoever has an id ignored would hide another's message.
    """

    __slots__ = ("_known", "_size", "_ttl", "_until")

    def __init__(self, ttl: float, size: int) -> None:
        self._ttl = ttl
        self._size = size
        self._until: dict[MessageKey, tuple[float, bool]] = {}
        self._known: dict[bytes, int] = {}

    def __contains__(self, key: MessageKey) -> bool:
        return key in self._until

    def __len__(self) -> int:
        return len(self._until)

    def __iter__(self) -> Iterator[MessageKey]:
        return iter(self._until)

    def add(self, key: MessageKey, now: float, *, known: bool) -> None:
        """Remember a key that is not remembered yet."""
        self._until[key] = (now + self._ttl, known)
        if known:
            wire_id = key[1]
            self._known[wire_id] = self._known.get(wire_id, 0) + 1
        if len(self._until) > self._size:
            self._forget(next(iter(self._until)))

    def known(self, wire_id: bytes) -> int:
        """How many accepted messages have this id."""
        return self._known.get(wire_id, 0)

    def expire(self, now: float) -> None:
        """Forget what is old."""
        expired = []
        for key, (until, _) in self._until.items():
            if until > now:
                break
            expired.append(key)
        for key in expired:
            self._forget(key)

    def _forget(self, key: MessageKey) -> None:
        _, known = self._until.pop(key)
        if known:
            wire_id = key[1]
            left = self._known[wire_id] - 1
            if left:
                self._known[wire_id] = left
            else:
                del self._known[wire_id]
