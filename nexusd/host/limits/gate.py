"""The one gate for connections, in front of the first byte: cuts what the table says, keeps time, tells the log.

pass_ = gate.accept(address, has_bytes)      None: turned away
with pass_.scope:                            cancelled when the time is over, or when somebody else needs the place
    pass_.spoke(); …; pass_.authenticated(peer); …; pass_.enter(peer)
pass_.close()
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import structlog
import trio

from nexusd.host.limits.connections import Admitted, Connections, Refused
from nexusd.host.limits.eviction import Connection, Stage, Worth
from nexusd.host.limits.figures import Figures
from nexusd.host.limits.origin import Origin, ip_of, origin_of
from nexusd.host.limits.refusals import Refusals
from nexusd.host.ports import HostError
from nexusd_protocols.identity import PeerId

_log = structlog.get_logger(__name__)


class RefusedError(HostError):
    """There is no room for the connection."""


@dataclass(frozen=True, slots=True)
class Usage:
    """Connections of a host: how many there are, how many there may be, and how many were refused or cut for it."""

    open: int
    most: int
    inbound: int
    most_inbound: int
    in_transit: int
    refused: int


class Pass:
    """A place for one connection. It is given back by `close`."""

    def __init__(self, gate: Gate, connection: Connection, cut: Callable[[], None] | None = None) -> None:
        self._gate = gate
        self.connection = connection
        self.scope = trio.CancelScope()
        """What serves the connection runs in it."""
        self.streams: Callable[[], int] = lambda: 0
        """How many streams the peer has open on it."""
        self._cut = cut or self.scope.cancel
        self._evicted = False

    def spoke(self) -> None:
        """Something came. Tell of all that comes until the connection is open."""
        if self.connection.stage is Stage.SILENT:
            # the rest of the handshake has its time, counted from the beginning
            self.scope.deadline = self.connection.since + self._gate.figures.handshake_seconds
        self._gate.table.progress(self.connection, trio.current_time(), Stage.SPEAKING)

    @property
    def open(self) -> bool:
        """Whether the connection is complete."""
        return self.connection.stage is Stage.OPEN

    def authenticated(self, peer: PeerId) -> None:
        """The other end has proved who it is."""
        self._gate.table.progress(self.connection, trio.current_time(), Stage.AUTHENTICATED, peer)

    def enter(self, peer: PeerId) -> None:
        """The connection is complete; it has time without end from now on. Raises RefusedError."""
        self._gate._enter(self, peer)
        self.scope.deadline = float("inf")

    def evict(self) -> None:
        """Cut the connection for another one."""
        self._evicted = True
        self._cut()

    def close(self) -> None:
        """The connection is over: give the place back, and tell if its time was over. Closing twice does no harm."""
        self._gate._close(self, late=self.scope.cancelled_caught and not self._evicted)


class Gate:
    """Admits connections. `penalty` gives what a peer is charged with now. Make it inside of a Trio run."""

    def __init__(self, figures: Figures, penalty: Callable[[PeerId], float]) -> None:
        self.figures = figures
        self.table = Connections(figures, self)
        self.refusals = Refusals(trio.current_time())
        self._penalty = penalty
        self._known: Callable[[PeerId], bool] = lambda _peer: False
        self._passes: dict[Connection, Pass] = {}

    def set_known(self, known: Callable[[PeerId], bool]) -> None:
        """Ask this which peers are no strangers."""
        self._known = known

    def usage(self) -> Usage:
        """How full it is."""
        table, figures = self.table, self.figures
        return Usage(
            table.open, figures.connections, table.inbound, figures.inbound, table.transit, self.refusals.total
        )

    # --- connections ------------------------------------------------------------------------------------------------
    def accept(self, address: str, has_bytes: Callable[[], bool] = lambda: False) -> Pass | None:
        """A connection came in from an IP address: a place in transit, or None. `has_bytes` says whether it has sent
        something that nobody has read."""
        origin, now = origin_of(address), trio.current_time()
        answer = self.table.accept(origin, now, self._heard)
        if isinstance(answer, Refused):
            self.refuse(answer.reason, address)
            return None
        pass_ = _Inbound(self, answer.connection, has_bytes)
        pass_.scope.deadline = now + self.figures.first_byte_seconds
        self._passes[answer.connection] = pass_
        self._make_room(answer)
        return pass_

    def check(self, peer: PeerId, address: str = "") -> None:
        """Before a peer is dialled. Raises RefusedError where the connection could not stay."""
        if not self.table.has_room(self._origin(address), peer, trio.current_time()):
            raise RefusedError(f"All {self.figures.connections} connections are in use")

    def join(self, peer: PeerId, address: str, streams: Callable[[], int], cut: Callable[[], None]) -> Pass:
        """A dialled connection stands: its place. `cut` closes it, without waiting. Raises RefusedError."""
        answer = self.table.join(self._origin(address), peer, trio.current_time())
        if isinstance(answer, Refused):
            raise RefusedError(f"All {self.figures.connections} connections are in use")
        pass_ = Pass(self, answer.connection, cut)
        pass_.streams = streams
        self._passes[answer.connection] = pass_
        self._make_room(answer)
        return pass_

    def refuse(self, reason: str, address: str, peer: PeerId | None = None) -> None:
        """Count a connection that was turned away or cut, and log the line that a log watcher acts on."""
        if self.refusals.count(reason, address, trio.current_time()):
            named = {} if peer is None else {"peer": peer}
            _log.info("connection_refused", address=address or "unknown", reason=reason, **named)

    # --- the table's questions --------------------------------------------------------------------------------------
    def known(self, peer: PeerId) -> bool:
        """As `Judge`."""
        return self._known(peer)

    def worth(self, connection: Connection) -> Worth:
        """As `Judge`."""
        assert connection.peer is not None
        return Worth(self._penalty(connection.peer), self._passes[connection].streams())

    def _heard(self, connection: Connection) -> bool:
        pass_ = self._passes.get(connection)
        return isinstance(pass_, _Inbound) and pass_.has_bytes()

    # --- the passes' business ---------------------------------------------------------------------------------------
    def _enter(self, pass_: Pass, peer: PeerId) -> None:
        answer = self.table.enter(pass_.connection, peer, trio.current_time())
        if isinstance(answer, Refused):
            self.refuse(answer.reason, pass_.connection.origin.address, peer)
            raise RefusedError("no room")
        self._make_room(answer)

    def _make_room(self, answer: Admitted) -> None:
        evicted = answer.evicted
        if evicted is None:
            return
        reason = "evicted" if evicted.stage is Stage.OPEN else "evicted_in_transit"
        self.refuse(reason, evicted.origin.address, evicted.peer)
        self._passes.pop(evicted).evict()

    def _close(self, pass_: Pass, *, late: bool) -> None:
        connection = pass_.connection
        if self._passes.pop(connection, None) is None:
            return
        self.table.remove(connection)
        if late:
            reason = "silent" if connection.stage is Stage.SILENT else "handshake_too_slow"
            self.refuse(reason, connection.origin.address, connection.peer)

    @staticmethod
    def _origin(address: str) -> Origin:
        """Of a multiaddr, where it holds an IP address."""
        return origin_of(ip_of(address))


class _Inbound(Pass):
    """A place of a connection that came in."""

    def __init__(self, gate: Gate, connection: Connection, has_bytes: Callable[[], bool]) -> None:
        super().__init__(gate, connection)
        self.has_bytes = has_bytes
