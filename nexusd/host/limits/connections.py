"""The table of connections: who is let in, and who makes room for whom. Pure: time is an argument.

    accept -> in transit -> open -> gone        inbound
    join   -> open -> gone                      outbound, once it stands

Every answer that lets one in may name another one that makes room for it. That one is out of the table already, so no
bound is ever exceeded; the caller cuts it.
"""

from __future__ import annotations

import math
from collections import Counter, OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, Protocol

from nexusd.host.limits import eviction
from nexusd.host.limits.eviction import Connection, Stage, Worth
from nexusd.host.limits.figures import Figures
from nexusd.host.limits.origin import Origin
from nexusd_protocols.identity import PeerId
from nexusd_protocols.rate import Rate

Reason = Literal[
    "too_many_from_address", "too_many_from_network", "too_often_from_address", "transit_full", "connections_full"
]


class Judge(Protocol):
    """What the table must be told of peers."""

    def known(self, peer: PeerId) -> bool:
        """Whether the peer is no stranger: it is never cut for one."""
        ...

    def worth(self, connection: Connection) -> Worth:
        """What speaks for and against the peer of an open connection."""
        ...


@dataclass(frozen=True, slots=True)
class Admitted:
    """It is in the table. `evicted` made room."""

    connection: Connection
    evicted: Connection | None = None


@dataclass(frozen=True, slots=True)
class Refused:
    """It is not in the table (any more)."""

    reason: Reason


@dataclass(frozen=True, slots=True)
class _Rates:
    """How often an address may connect: always, and when others are kept waiting by it."""

    usual: Rate
    hurried: Rate


class Connections:
    """The connections of one host."""

    def __init__(self, figures: Figures, judge: Judge) -> None:
        self.figures = figures
        self._judge = judge
        # dicts for their order: the oldest first
        self._transit: dict[Connection, None] = {}
        self._open: dict[Connection, None] = {}
        self._customers: Counter[str] = Counter()
        self._networks: Counter[str] = Counter()
        self._rates: OrderedDict[str, _Rates] = OrderedDict()
        self._hurried: Rate | None = None
        self._proven: OrderedDict[str, float] = OrderedDict()

    @property
    def transit(self) -> int:
        """How many are in transit."""
        return len(self._transit)

    @property
    def open(self) -> int:
        """How many are open, both ways."""
        return len(self._open)

    @property
    def inbound(self) -> int:
        """How many of the open ones others have made."""
        return sum(connection.inbound for connection in self._open)

    # --- what happens -----------------------------------------------------------------------------------------------
    def accept(
        self, origin: Origin, now: float, heard: Callable[[Connection], bool] = lambda _: False
    ) -> Admitted | Refused:
        """A connection came in: it is in transit now, or refused. `heard` as in `eviction.in_transit`."""
        proven = now - self._proven.get(origin.customer, -math.inf) < self.figures.proven_seconds
        full = len(self._transit) >= self.figures.transit
        hurried = full and not proven
        if (reason := self._too_much(origin, now, hurried)) is not None:
            return Refused(reason)
        if hurried and not self._spare_time(now):
            return Refused("transit_full")
        connection = Connection(origin, inbound=True, since=now, heard=now, proven=proven)
        evicted = None
        if full:
            evicted = eviction.in_transit(self._transit, connection, self.figures.patience_seconds, heard)
            if evicted is None:
                return Refused("transit_full")
            self.remove(evicted)
        self._transit[connection] = None
        self._customers[origin.customer] += 1
        self._networks[origin.network] += 1
        return Admitted(connection, evicted)

    def progress(self, connection: Connection, now: float, stage: Stage, peer: PeerId | None = None) -> None:
        """Something came on a connection in transit, which is so far now."""
        connection.heard = now
        connection.stage = max(connection.stage, stage)
        connection.peer = peer or connection.peer

    def enter(self, connection: Connection, peer: PeerId, now: float) -> Admitted | Refused:
        """A connection in transit is complete: it is open now, or refused. One that made room before is refused."""
        if connection not in self._transit:
            return Refused("transit_full")
        connection.peer = peer
        self._prove(connection.origin, now)
        made = self._make_room(connection)
        if isinstance(made, Refused):
            self.remove(connection)
            return made
        del self._transit[connection]
        self._add(connection, now)
        return Admitted(connection, made)

    def has_room(self, origin: Origin, peer: PeerId, now: float) -> bool:
        """Whether a connection to a peer could be open, if it stood: asked before it is dialled."""
        candidate = Connection(origin, inbound=False, since=now, peer=peer)
        return not isinstance(self._find_room(candidate), Refused)

    def join(self, origin: Origin, peer: PeerId, now: float) -> Admitted | Refused:
        """A connection that was dialled stands: it is open now, or refused."""
        connection = Connection(origin, inbound=False, since=now, peer=peer)
        made = self._make_room(connection)
        if isinstance(made, Refused):
            return made
        self._add(connection, now)
        return Admitted(connection, made)

    def remove(self, connection: Connection) -> None:
        """It is gone. Removing twice does no harm."""
        if connection in self._transit:
            del self._transit[connection]
        elif connection in self._open:
            del self._open[connection]
        else:
            return
        if connection.inbound:
            _decrement(self._customers, connection.origin.customer)
            _decrement(self._networks, connection.origin.network)

    # --- limits -----------------------------------------------------------------------------------------------------
    def _prove(self, origin: Origin, now: float) -> None:
        if origin.customer:
            self._proven[origin.customer] = now
            _keep_latest(self._proven, origin.customer, self.figures.addresses)

    def _too_much(self, origin: Origin, now: float, hurried: bool) -> Reason | None:
        figures = self.figures
        if not origin.customer or (origin.loopback and not figures.limit_loopback):
            return None
        if self._customers[origin.customer] >= figures.address_connections:
            return "too_many_from_address"
        if origin.network and self._networks[origin.network] >= figures.network_connections:
            return "too_many_from_network"
        rates = self._rates.get(origin.customer)
        if rates is None:
            rates = self._rates[origin.customer] = _Rates(
                Rate(figures.address_burst, figures.address_rate, now),
                Rate(figures.hurried_burst, figures.address_rate, now),
            )
        _keep_latest(self._rates, origin.customer, figures.addresses)
        allowed = (not hurried or rates.hurried.allows(now)) and rates.usual.allows(now)
        return None if allowed else "too_often_from_address"

    def _spare_time(self, now: float) -> bool:
        """Whether there is time for a newcomer of whom nothing is known, while others wait."""
        if self._hurried is None:
            self._hurried = Rate(self.figures.transit, self.figures.hurried_rate, now)
        return self._hurried.allows(now)

    def _add(self, connection: Connection, now: float) -> None:
        connection.stage = Stage.OPEN
        connection.since = now
        self._open[connection] = None

    def _make_room(self, newcomer: Connection) -> Connection | Refused | None:
        made = self._find_room(newcomer)
        if isinstance(made, Connection):
            self.remove(made)
        return made

    def _find_room(self, newcomer: Connection) -> Connection | Refused | None:
        """None: there is room. A connection: there is without that one."""
        assert newcomer.peer is not None
        own = [each for each in self._open if each.peer == newcomer.peer]
        if len(own) >= self.figures.peer_connections:
            # the oldest is the likeliest to be dead, and whoever has the peer's key may close it anyway
            replaceable = (each for each in own if each.inbound or not newcomer.inbound)
            return next(replaceable, Refused("connections_full"))
        known = self._judge.known(newcomer.peer)
        strangers = [each for each in self._open if each.peer is not None and not self._judge.known(each.peer)]
        inbound_full, full = self._full(newcomer, known, strangers)
        if not inbound_full and not full:
            return None
        outbound = sum(not each.inbound for each in strangers)
        # our dials to strangers fill what is not for inbound; beyond that they are guests like others
        surplus = known or outbound > self.figures.connections - self.figures.inbound
        # and a dial to a stranger displaces nobody who came to us
        candidates = [
            each
            for each in strangers
            if (each.inbound and (newcomer.inbound or known)) or (not each.inbound and surplus and not inbound_full)
        ]
        evicted = eviction.least_valued(candidates, newcomer.origin, self._judge.worth)
        return evicted or Refused("connections_full")

    def _full(self, newcomer: Connection, known: bool, strangers: list[Connection]) -> tuple[bool, bool]:
        """Whether the inbound slots are full for the newcomer, and whether all slots are."""
        figures = self.figures
        inbound = self.inbound
        if known:
            return newcomer.inbound and inbound >= figures.inbound, len(self._open) >= figures.connections
        friends = len(self._open) - len(strangers)
        friends_inbound = inbound - sum(each.inbound for each in strangers)
        kept = max(0, figures.reserved - friends)
        kept_inbound = max(0, figures.reserved - friends_inbound)
        return (
            newcomer.inbound and inbound + kept_inbound >= figures.inbound,
            len(self._open) + kept >= figures.connections,
        )


def _keep_latest(remembered: OrderedDict[str, Any], key: str, most: int) -> None:
    remembered.move_to_end(key)
    while len(remembered) > most:
        remembered.popitem(last=False)


def _decrement(counter: Counter[str], key: str) -> None:
    counter[key] -= 1
    if counter[key] <= 0:
        del counter[key]
