"""Whom to ask for what: one session, which wants blocks that belong together. (specs/bitswap.md §4)

Whoever had one block of a file is likely to have the next. So the first block is asked of one peer, and all others are
asked whether they have it; those that have share the blocks that follow, each as many at once as it delivers in a
second, so that the fast bring most and the slow hold up little. A block that is late is asked of another peer too. Who
delivers nothing is left out, and who promised to is charged.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final, Protocol

from nexusd_protocols import limits
from nexusd_protocols.bitswap.events import SessionId
from nexusd_protocols.bitswap.message import Kind
from nexusd_protocols.content.cid import Cid
from nexusd_protocols.errors import LocalProtocolError
from nexusd_protocols.identity import PeerId

WINDOW_SECONDS: Final = 1.0
"""Work that a peer has ahead of it: longer than any round trip, short enough that no block is long in coming."""
FIRST_WINDOW: Final = 2
"""Blocks asked of a peer that has delivered none yet, and of the slowest."""
UNKNOWN_GAP: Final = 0.05
"""Seconds between two blocks that a peer is trusted with before it has shown: 5 MB/s."""
FIRST_PATIENCE: Final = 1.5
PATIENCE: Final = (1.0, 10.0)
"""Seconds after which a block is late: three times what its peer should need, within these."""
COPIES: Final = 3
"""Peers that one block is asked of at once."""
STALL_SECONDS: Final = 15.0
"""A peer that owes blocks and sends none for so long is asked once more: two of 256 KiB need a link of 280 kbit/s."""
FAIR_STALLS: Final = 2
"""How often a peer may stall, for twice as long the second time, before it is charged."""
MOST_STALLS: Final = 4
"""It is asked once more after ever longer times, up to four minutes."""
FALSE_HAVES: Final = 3
"""Blocks that a peer had and then had not. One may have been thrown away meanwhile."""


class Desk(Protocol):
    """What a session has done for it."""

    def ask(self, session: SessionId, peer: PeerId, cid: Cid, kind: Kind) -> None: ...

    def repeat(self, peer: PeerId, digest: bytes) -> None: ...

    def release(self, session: SessionId, peer: PeerId, digest: bytes) -> None: ...

    def missing(self, session: SessionId, cid: Cid) -> None: ...

    def charge(self, peer: PeerId, code: str, points: int) -> None: ...


@dataclass(slots=True)
class _Peer:
    """`gap` is the time from one block to the next while it had some to send, in seconds; `heard` when the last came.
    `good`: it had something. `late`: it owes a block, and nothing came of it since. `stalls`: how often it was asked
    once more since, and `repeated` when."""

    id: PeerId
    asked: dict[bytes, float] = field(default_factory=dict)
    gap: float | None = None
    heard: float = -math.inf
    good: bool = False
    late: bool = False
    hits: int = 0
    misses: int = 0
    false_haves: int = 0
    stalls: int = 0
    repeated: float = -math.inf

    @property
    def free(self) -> bool:
        window = FIRST_WINDOW if self.gap is None else max(FIRST_WINDOW, int(WINDOW_SECONDS / self.gap))
        return len(self.asked) < window

    @property
    def needs(self) -> float:
        """Seconds until it would have sent one block more."""
        return (len(self.asked) + 1) * (UNKNOWN_GAP if self.gap is None else self.gap)

    @property
    def cost(self) -> float:
        """The same, more for one that often has not what is wanted."""
        return self.needs * (1 + self.misses / (self.hits + 1))

    def delivered(self, digest: bytes, now: float) -> None:
        since = self.asked.get(digest)
        if since is not None:  # and not a small one that came instead of the word that it is there
            gap = max(now - max(self.heard, since), 1e-4)
            self.gap = gap if self.gap is None else self.gap + (gap - self.gap) / 4
        self.hits += 1
        self.good = True
        self.alive(now)

    def alive(self, now: float) -> None:
        self.heard = now
        self.late = False
        self.stalls = 0

    def stalls_at(self) -> float:
        quiet_since = max(self.heard, self.repeated, min(self.asked.values(), default=math.inf))
        return quiet_since + STALL_SECONDS * (1 << min(self.stalls, MOST_STALLS))


@dataclass(slots=True)
class _Want:
    """`asks`: of whom the block is asked, and when each is late. `told`: who was asked whether it has it."""

    cid: Cid
    asks: dict[PeerId, float] = field(default_factory=dict)
    told: set[PeerId] = field(default_factory=set)
    haves: set[PeerId] = field(default_factory=set)
    lacks: set[PeerId] = field(default_factory=set)


class Session:
    """One. Its calls raise nothing for what a peer did."""

    def __init__(self, number: SessionId, desk: Desk, most: int = limits.BITSWAP_UNDER_WAY) -> None:
        self.id = number
        self._desk = desk
        self._most = most
        self._peers: dict[PeerId, _Peer] = {}
        self._wants: dict[bytes, _Want] = {}
        self._out: dict[PeerId, None] = {}
        """Who is left out for good. Bounded: each had a place."""

    def wants(self, digest: bytes) -> Cid | None:
        """The CID by which a block is wanted here."""
        want = self._wants.get(digest)
        return None if want is None else want.cid

    def deadline(self) -> float:
        """When `tick` has something to do."""
        late = (due for want in self._wants.values() for due in want.asks.values())
        stalled = (peer.stalls_at() for peer in self._peers.values() if peer.asked)
        return min(min(late, default=math.inf), min(stalled, default=math.inf))

    # --- what is wanted -------------------------------------------------------------------------------------------

    def need(self, cid: Cid, now: float) -> None:
        """Want a block. Wanting it again changes nothing. Raises LocalProtocolError for one too many."""
        if cid.digest in self._wants:
            return
        if len(self._wants) >= self._most:
            raise LocalProtocolError(f"a session asks for {self._most} blocks at once")
        self._wants[cid.digest] = _Want(cid)
        self._assign(now)

    def forget(self, digest: bytes, now: float) -> None:
        """Want it no more."""
        if (want := self._wants.pop(digest, None)) is not None:
            self._release(want)
            self._assign(now)

    def close(self) -> None:
        """Want nothing more."""
        for want in self._wants.values():
            self._release(want)
        self._wants.clear()

    # --- peers ----------------------------------------------------------------------------------------------------

    def add(self, peer: PeerId, now: float, *, most: int = limits.BITSWAP_SESSION_PEERS) -> None:
        """Ask a peer too, if there is room for it and it was not left out."""
        if peer not in self._peers and peer not in self._out and len(self._peers) < most:
            self._peers[peer] = _Peer(peer)
            self._assign(now)

    def gone(self, peer: PeerId, now: float) -> None:
        """It cannot be asked any more."""
        if self._peers.pop(peer, None) is not None:
            for want in self._wants.values():
                want.asks.pop(peer, None)
                for said in (want.told, want.haves, want.lacks):
                    said.discard(peer)
            self._assign(now)

    def drop(self, peer: PeerId, now: float) -> None:
        """Leave a peer out for good."""
        if peer not in self._peers:
            return
        if len(self._out) < limits.BITSWAP_SESSION_PEERS:
            self._out[peer] = None
        for digest, want in self._wants.items():
            if peer in want.asks or peer in want.told:
                self._desk.release(self.id, peer, digest)
        self.gone(peer, now)

    def alive(self, peer: PeerId, now: float) -> None:
        """A block came of it, though none that is wanted here."""
        if (known := self._peers.get(peer)) is not None:
            known.alive(now)

    # --- answers --------------------------------------------------------------------------------------------------

    def got(self, peer: PeerId, digest: bytes, now: float) -> None:
        """A block that is wanted came."""
        want = self._wants.pop(digest)
        known = self._peers.get(peer)
        if known is not None:
            known.delivered(digest, now)
        self._release(want)
        self._assign(now)

    def word(self, peer: PeerId, digest: bytes, have: bool, now: float) -> None:
        """A peer says whether it has a block."""
        want, known = self._wants.get(digest), self._peers.get(peer)
        if want is None or known is None:
            return
        if have:
            want.haves.add(peer)
            want.lacks.discard(peer)
            known.good = True
        else:
            self._lacks(want, known, now)
        self._assign(now)

    def _lacks(self, want: _Want, peer: _Peer, now: float) -> None:
        want.lacks.add(peer.id)
        want.asks.pop(peer.id, None)
        peer.asked.pop(want.cid.digest, None)
        peer.misses += 1
        if peer.id in want.haves:
            want.haves.discard(peer.id)
            peer.false_haves += 1
            if peer.false_haves >= FALSE_HAVES:
                self._desk.charge(peer.id, "false_have", 5)
                self.drop(peer.id, now)

    def tick(self, now: float) -> None:
        """What is late, and who does not deliver."""
        for want in list(self._wants.values()):
            late = [peer for peer, due in want.asks.items() if due <= now]
            for name in late:
                self._late(want, self._peers[name])
                want.asks[name] = now + PATIENCE[1]
            if late and len(want.asks) < COPIES:
                self._ask_somebody(want, now)
        for peer in list(self._peers.values()):
            if peer.asked and peer.stalls_at() <= now:
                self._stalled(peer, now)
        self._assign(now)

    def _late(self, want: _Want, peer: _Peer) -> None:
        if peer.late or peer.heard >= peer.asked[want.cid.digest]:
            return
        peer.late = True
        if peer.good and not peer.hits:
            self._desk.charge(peer.id, "late_block", 1)

    def _stalled(self, peer: _Peer, now: float) -> None:
        """It is late, so it is left out as long as there are others. What was said to it may have been lost."""
        peer.stalls += 1
        peer.repeated = now
        if peer.good and peer.stalls == FAIR_STALLS:
            self._desk.charge(peer.id, "no_block", 5)
        for digest in peer.asked:
            self._desk.repeat(peer.id, digest)

    # --- asking ---------------------------------------------------------------------------------------------------

    def _assign(self, now: float) -> None:
        """Ask for what is asked of nobody, the oldest want first; give up what nobody has."""
        for want in list(self._wants.values()):
            if want.asks:
                continue
            if not self._peers.keys() - want.lacks:
                del self._wants[want.cid.digest]
                self._release(want)
                self._desk.missing(self.id, want.cid)
            else:
                self._ask_somebody(want, now)

    def _ask_somebody(self, want: _Want, now: float) -> None:
        """Ask one peer more for the block; where none is known to be good for it, all whether they have it."""
        able = [peer for peer in self._able(want) if peer.good and not peer.late]
        if not able:
            self._explore(want)
            # and one of them for the block at once: if it has it, that is a round trip less
            able = [peer for peer in self._able(want) if not peer.late] or list(self._able(want))
        peer = min((peer for peer in able if peer.free), key=lambda peer: peer.cost, default=None)
        if peer is None:
            return
        patience = FIRST_PATIENCE if peer.gap is None else min(max(3 * peer.needs, PATIENCE[0]), PATIENCE[1])
        want.asks[peer.id] = now + patience
        peer.asked[want.cid.digest] = now
        self._desk.ask(self.id, peer.id, want.cid, Kind.BLOCK)

    def _able(self, want: _Want) -> Iterator[_Peer]:
        return (peer for peer in self._peers.values() if peer.id not in want.lacks and peer.id not in want.asks)

    def _explore(self, want: _Want) -> None:
        for peer in self._able(want):
            if peer.id not in want.told:
                want.told.add(peer.id)
                self._desk.ask(self.id, peer.id, want.cid, Kind.HAVE)

    def _release(self, want: _Want) -> None:
        for name in {**want.asks, **dict.fromkeys(want.told)}:
            self._desk.release(self.id, name, want.cid.digest)
        for peer in self._peers.values():
            peer.asked.pop(want.cid.digest, None)
