"""Several connections to one peer, made when both sides dial at once: one is kept, the same on both sides.

Nothing is broken for it. New streams go over the connection that is kept; another one is closed when it has carried no
stream for a while, so whatever runs on it runs to its end.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final

import trio
from libp2p.rcmgr import Direction

from nexusd.host.closing import close_connection
from nexusd_protocols.identity import PeerId

TOGETHER_SECONDS: Final = 15.0
"""Connections made within this time of the newest were dialled at once: a dial takes no longer. An older one may well
be dead, and its peer have come back."""
QUIET_SECONDS: Final = 3.0
"""Without a stream, before a spare connection is closed: the peer may just be opening one on it."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """A connection: who dialled it, and when it stood, by the loop's clock."""

    dialler: PeerId
    since: float


def choose(candidates: Sequence[Candidate]) -> Candidate:
    """Which one is kept. Both sides come to the same: of those made together the one whose dialler has the lower peer
    id, and of several of one dialler its first."""
    newest = max(candidate.since for candidate in candidates)
    together = [candidate for candidate in candidates if newest - candidate.since <= TOGETHER_SECONDS]
    return min(together, key=lambda candidate: (candidate.dialler, candidate.since))


class Duplicates:
    """`spawn` is a nursery's `start_soon`, for the life of the host."""

    def __init__(self, own: PeerId, spawn: Callable[..., None]) -> None:
        self._own = own
        self._spawn = spawn
        self._watched: set[Any] = set()

    def settle(self, peer: PeerId, connections: Iterable[Any]) -> None:
        """The connections to a peer are others than before: say of each whether it is spare."""
        candidates = {connection: self._candidate(peer, connection) for connection in connections}
        if not candidates:
            return
        kept = choose(list(candidates.values()))
        for connection, candidate in candidates.items():
            connection.muxed_conn.spare = candidate is not kept
            # the listener may have seen two dials of one peer end in another order: it leaves the choice to the dialler
            sure = candidate.dialler != kept.dialler or candidate.dialler == self._own
            if candidate is not kept and sure and connection not in self._watched:
                self._watched.add(connection)
                self._spawn(self._retire, connection)

    def _candidate(self, peer: PeerId, connection: Any) -> Candidate:
        inbound = connection.direction is Direction.INBOUND
        return Candidate(peer if inbound else self._own, connection.muxed_conn.since)

    async def _retire(self, connection: Any) -> None:
        """Close a spare connection when nobody needs it any more."""
        muxed = connection.muxed_conn
        quiet = trio.current_time()
        try:
            while muxed.spare and not connection.is_closed:
                if muxed.session.streams:
                    quiet = trio.current_time()
                elif trio.current_time() - quiet >= QUIET_SECONDS:
                    await close_connection(connection)
                    return
                await trio.sleep(QUIET_SECONDS / 3)
        finally:
            self._watched.discard(connection)
