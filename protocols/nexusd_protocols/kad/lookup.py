"""Finding the peers closest to a key (specs/kad.md §5).

    Lookup(target, seeds).begin() -> [peers to ask]
    handle(Answered | Failed | Slow) -> [peers to ask]      until `finished`; then `closest()`

Peers are asked who is closer, and those whom they name are asked in turn, until nobody names anybody closer. Whoever
answers can lie, so the search first goes separate ways (S/Kademlia, §4.4): each begins with other peers and follows
only what those say, so that one liar leads one way astray. Then the ways are joined.
"""

from __future__ import annotations

from bisect import insort
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from enum import Enum, auto
from itertools import islice
from typing import Final

import msgspec

from nexusd_protocols import limits
from nexusd_protocols.identity import PeerId
from nexusd_protocols.kad.contact import Contact, place_of_peer, subnet
from nexusd_protocols.kad.routing_table import K

ALPHA: Final = 3
"""Peers asked at once (Kademlia, §2.3)."""
WAYS: Final = 3
"""Separate ways. One honest way is enough."""
ASKED: Final = 100
"""Peers asked in all. A network of a million takes about 40; more are made up."""
HEARD: Final = 64
"""Peers remembered on a way, the closest: three times what can be of use."""
PER_SUBNET: Final = 3
"""Peers of one /24 or /48 on a way: made-up peers are many, networks are not."""
SURE: Final = 3
"""The closest of each way that are part of the result, however close those are that the other ways found."""


class Answered(msgspec.Struct, frozen=True):
    """A peer answered; `closer` is whom it named."""

    peer: PeerId
    closer: Sequence[Contact] = ()


class Failed(msgspec.Struct, frozen=True):
    """A peer cannot be reached, refused, or did not answer in the time it had."""

    peer: PeerId


class Slow(msgspec.Struct, frozen=True):
    """A peer takes its time. Another is asked meanwhile; its answer still counts while the search lasts."""

    peer: PeerId


class _State(Enum):
    HEARD = auto()
    ASKED = auto()
    SLOW = auto()
    ANSWERED = auto()
    FAILED = auto()


@dataclass(slots=True)
class _Candidate:
    contact: Contact
    distance: int
    way: int
    state: _State = _State.HEARD


@dataclass(slots=True)
class _Way:
    """The closest first."""

    candidates: list[_Candidate] = field(default_factory=list)
    subnets: Counter[str] = field(default_factory=Counter)


def _distance(candidate: _Candidate) -> int:
    return candidate.distance


class Lookup:
    """One search. `own` is never asked; `usable` sees each contact that is heard of, and gives what is to be kept of
    its addresses."""

    def __init__(
        self,
        target: int,
        seeds: Sequence[Contact],
        *,
        own: PeerId,
        usable: Callable[[PeerId, Contact], Contact | None] = lambda _teller, contact: contact,
        width: int = K,
    ) -> None:
        self._target = target
        self._own = own
        self._usable = usable
        self._width = width
        self._share = -(-width // WAYS)
        self._known: dict[PeerId, _Candidate] = {}
        self._ways = [_Way() for _ in range(WAYS)]
        self._asked = 0
        nearest = sorted(seeds, key=lambda contact: contact.place ^ target)
        for number, contact in enumerate(nearest[: 2 * width]):
            self._hear(contact, number % WAYS, trusted=True)

    def begin(self) -> list[Contact]:
        """Whom to ask first."""
        return self._ask()

    def handle(self, event: Answered | Failed | Slow) -> list[Contact]:
        """Take in what became of a question; whom to ask now."""
        candidate = self._known.get(event.peer)
        if candidate is None or candidate.state not in (_State.ASKED, _State.SLOW):
            return []
        match event:
            case Answered(_, closer):
                candidate.state = _State.ANSWERED
                for contact in islice(closer, K):
                    kept = self._usable(event.peer, contact)
                    if kept is not None:
                        self._hear(kept, candidate.way, trusted=False)
            case Failed():
                candidate.state = _State.FAILED
            case Slow():
                candidate.state = _State.SLOW
        return self._ask()

    @property
    def finished(self) -> bool:
        """Nobody is left to wait for. Whoever is slow is not waited for."""
        return not self._waiting() and (self._asked >= ASKED or self._next() is None)

    def closest(self) -> list[Contact]:
        """Those that answered, the closest first: the `width` closest, and the SURE closest of each way."""
        answered = sorted((c for c in self._known.values() if c.state is _State.ANSWERED), key=_distance)
        sure = {
            c.contact.peer for number in range(WAYS) for c in islice((c for c in answered if c.way == number), SURE)
        }
        return [c.contact for at, c in enumerate(answered) if at < self._width or c.contact.peer in sure]

    def _ask(self) -> list[Contact]:
        asked = []
        while self._waiting() < ALPHA and self._asked < ASKED and (candidate := self._next()) is not None:
            candidate.state = _State.ASKED
            self._asked += 1
            asked.append(candidate.contact)
        return asked

    def _waiting(self) -> int:
        return sum(c.state is _State.ASKED for c in self._known.values())

    def _next(self) -> _Candidate | None:
        """The way that waits for the fewest goes on; once none can, all of them together."""
        best: tuple[int, _Candidate] | None = None
        for way in self._ways:
            candidate = _first_unasked(way.candidates, self._share)
            waiting = sum(c.state is _State.ASKED for c in way.candidates)
            if candidate is not None and (best is None or waiting < best[0]):
                best = waiting, candidate
        if best is not None:
            return best[1]
        return _first_unasked(sorted(self._known.values(), key=_distance), self._width)

    def _hear(self, contact: Contact, number: int, *, trusted: bool) -> None:
        if contact.peer == self._own:
            return
        known = self._known.get(contact.peer)
        if known is not None:
            # whoever named it first may have given wrong addresses
            merged = dict.fromkeys([*known.contact.addresses, *contact.addresses])
            known.contact = Contact(contact.peer, tuple(merged)[: limits.KAD_ADDRESSES])
            return
        way = self._ways[number]
        network = next(filter(None, map(subnet, contact.addresses)), "")
        if network and not trusted and way.subnets[network] >= PER_SUBNET:
            return
        candidate = _Candidate(contact, place_of_peer(contact.peer) ^ self._target, number)
        insort(way.candidates, candidate, key=_distance)
        self._known[contact.peer] = candidate
        way.subnets[network] += 1
        if len(way.candidates) > HEARD:
            self._forget_farthest(way)

    def _forget_farthest(self, way: _Way) -> None:
        for at in range(len(way.candidates) - 1, -1, -1):
            if way.candidates[at].state is _State.HEARD:
                del self._known[way.candidates.pop(at).contact.peer]
                return


def _first_unasked(candidates: Sequence[_Candidate], width: int) -> _Candidate | None:
    """The first of the `width` closest that may still answer, if nobody has asked it."""
    alive = (c for c in candidates if c.state not in (_State.FAILED, _State.SLOW))
    return next((c for c in islice(alive, width) if c.state is _State.HEARD), None)
