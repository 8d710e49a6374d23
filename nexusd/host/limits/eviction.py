"""Who makes room when there is none. An attacker has connections without end; the rules are such that it displaces its
own before those of others.

Among connections in transit: the oldest that is silent. Else one from where nobody has shown lately that he can shake
hands; who comes from such a place displaces no other. Of those, in the neighbourhood that holds most, one that has come
less far than others and was heard longest ago (who shakes hands is heard at every round trip, who stalls is not). If
the newcomer is of such a neighbourhood itself, those that were heard just now are left in peace.

Among the open connections of strangers (known peers never go for them): half is safe, the half that has streams and is
oldest. Of the others a penalised one goes first, then one of the neighbourhood that holds most, then one without
streams, then the youngest. (Bitcoin Core's `SelectNodeToEvict` is the model: what is protected is what an attacker who
comes later cannot have.)
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Final

from nexusd.host.limits.origin import Origin
from nexusd_protocols.identity import PeerId

PENALTY_BAND: Final = 10
"""Points of one plain offence: fewer make nobody worse than others."""


class Stage(IntEnum):
    """How far a connection has come."""

    SILENT = 0
    SPEAKING = 1
    AUTHENTICATED = 2
    OPEN = 3


@dataclass(slots=True, eq=False)
class Connection:
    """One connection of the table, which alone changes it. Times are seconds, monotonic."""

    origin: Origin
    inbound: bool
    since: float
    """Accepted, or dialled; once it is open, since then."""
    heard: float = 0.0
    """When it last sent something, as long as it is in transit; before that, as `since`."""
    stage: Stage = Stage.SILENT
    peer: PeerId | None = None
    proven: bool = False
    """Whether a handshake from the same place was completed lately."""


@dataclass(frozen=True, slots=True)
class Worth:
    """What speaks for and against the peer of an open connection: points of penalty, streams that it has open."""

    penalty: float = 0.0
    streams: int = 0


def in_transit(
    transit: Collection[Connection], newcomer: Connection, patience: float, heard: Callable[[Connection], bool]
) -> Connection | None:
    """Who makes room for the newcomer, None where it is refused. `transit` is in order of age; `heard` says whether a
    silent connection has sent something that nobody has read yet."""
    for connection in transit:
        if connection.stage is Stage.SILENT:
            if not heard(connection):
                return connection
            connection.stage = Stage.SPEAKING
    exposed = [connection for connection in transit if not connection.proven]
    if not exposed and newcomer.proven:
        exposed = list(transit)
    held = Counter(connection.origin.neighbourhood for connection in exposed)
    most = max(held.values(), default=0)
    crowded = held[newcomer.origin.neighbourhood] == most
    candidates = [
        connection
        for connection in exposed
        if held[connection.origin.neighbourhood] == most
        and (not crowded or newcomer.since - connection.heard >= patience)
    ]
    return min(candidates, key=lambda connection: (connection.stage, connection.heard), default=None)


@dataclass(slots=True)
class _Ranked:
    connection: Connection
    worth: Worth
    offences: int = field(init=False)

    def __post_init__(self) -> None:
        self.offences = int(self.worth.penalty // PENALTY_BAND)


def least_valued(
    strangers: Collection[Connection], newcomer: Origin, worth: Callable[[Connection], Worth]
) -> Connection | None:
    """Who of the open connections of strangers makes room for one from `newcomer`; None where all are worth more."""
    ranked = [_Ranked(connection, worth(connection)) for connection in strangers]
    ranked.sort(key=lambda each: (each.offences > 0, each.worth.streams == 0, each.connection.since))
    safe = sum(each.offences == 0 for each in ranked[: len(ranked) // 2])
    held = Counter(connection.origin.neighbourhood for connection in strangers)
    held[newcomer.neighbourhood] += 1
    exposed = ranked[safe:]
    if not exposed:
        return None
    worst = max(
        exposed,
        key=lambda each: (
            each.offences,
            held[each.connection.origin.neighbourhood],
            each.worth.streams == 0,
            each.connection.since,
        ),
    )
    if not worst.offences and held[worst.connection.origin.neighbourhood] < held[newcomer.neighbourhood]:
        return None  # the newcomer's own neighbourhood holds most
    return worst.connection
