"""Bans: a refusal for a time, longer each time that a peer earns another one.

Times are unix milliseconds, handed in: a ban holds over restarts. A clock that is set back by more than a ban's length
ends the ban; were it otherwise, a wrong clock could keep somebody out for years.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable
from typing import Final

from nexusd.store.bans import Ban
from nexusd_protocols.identity import PeerId

MINUTE: Final = 60_000
HOUR: Final = 60 * MINUTE
DAY: Final = 24 * HOUR

LENGTHS: Final = (10 * MINUTE, HOUR, DAY)
"""Of a peer's first ban, its second, and each one after that: an honest peer with a bug loses ten minutes, and whoever
does not stop is heard four seconds a day."""
REMEMBERED: Final = 7 * DAY
"""How long an ended ban makes the next one longer."""
BANS: Final = 4096
"""Bans kept, those that have ended included: about 1 MiB. Each costs its peer four seconds of abuse on a connection."""
REASON_CHARS: Final = 200
"""Of a reason: a line to read, not a file."""


class BanTable:
    """One ban a peer, the oldest first."""

    def __init__(self, bans: Iterable[Ban] = (), *, size: int = BANS) -> None:
        self._size = size
        self._bans: OrderedDict[PeerId, Ban] = OrderedDict()
        self._running: set[PeerId] = set()
        for ban in sorted(bans, key=lambda ban: ban.since):
            self._bans[ban.peer] = ban
            self._running.add(ban.peer)

    def __len__(self) -> int:
        return len(self._bans)

    def sentence(self, peer: PeerId, reason: str, now: int, *, length: int | None = None, by_hand: bool = False) -> Ban:
        """The ban that a peer gets from now on, for `length` or as long as its history says. It holds once it is
        added."""
        before = self._bans.get(peer)
        times = 1 if before is None else before.times + 1
        length = LENGTHS[min(times, len(LENGTHS)) - 1] if length is None else length
        return Ban(peer=peer, reason=reason[:REASON_CHARS], since=now, until=now + length, times=times, by_hand=by_hand)

    def add(self, ban: Ban) -> list[PeerId]:
        """Put a ban in force, in place of the peer's last one. Returns whose bans were forgotten for want of room: the
        oldest goes first, and a person's own decision last, since strangers can earn bans without end."""
        self._bans[ban.peer] = ban
        self._bans.move_to_end(ban.peer)
        self._running.add(ban.peer)
        over = len(self._bans) - self._size
        if over <= 0:
            return []
        crowd = sorted(self._bans.values(), key=lambda each: (each.by_hand, each.since))
        return self._forget([each.peer for each in crowd[:over]])

    def find(self, peer: PeerId, now: int) -> Ban | None:
        """The ban that keeps a peer out now."""
        ban = self._bans.get(peer)
        return ban if ban is not None and _holds(ban, now) else None

    def last(self, peer: PeerId) -> Ban | None:
        """The peer's last ban, whether it holds or has ended."""
        return self._bans.get(peer)

    def lift(self, peer: PeerId) -> Ban | None:
        """Forget a peer's ban, and that there was one."""
        self._running.discard(peer)
        return self._bans.pop(peer, None)

    def holding(self, now: int) -> list[Ban]:
        """The bans that hold now, the oldest first."""
        return [ban for ban in self._bans.values() if _holds(ban, now)]

    def ended(self, now: int) -> list[Ban]:
        """The bans that have ended since this was asked last."""
        over = [ban for peer in sorted(self._running) if not _holds(ban := self._bans[peer], now)]
        self._running.difference_update(ban.peer for ban in over)
        return over

    def forget_old(self, now: int) -> list[PeerId]:
        """Forget the bans that ended long ago, and say whose these were."""
        return self._forget([ban.peer for ban in self._bans.values() if now - ban.until >= REMEMBERED])

    def _forget(self, peers: list[PeerId]) -> list[PeerId]:
        for peer in peers:
            self.lift(peer)
        return peers


def _holds(ban: Ban, now: int) -> bool:
    return 2 * ban.since - ban.until <= now < ban.until
