"""What a session tells its shell. Events are edges: `Readable` comes when a stream that had nothing to read has
something, so whoever finds nothing waits for the next one and misses nothing."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from nexusd_protocols.yamux.budget import Debtor
    from nexusd_protocols.yamux.stream import Stream


@dataclass(frozen=True, slots=True)
class Incoming:
    """The peer opened a stream: take it with `Session.accept`, which gives None if it was reset meanwhile."""


@dataclass(frozen=True, slots=True)
class Readable:
    """There is something to see for a reader: bytes, the end, or a reset."""

    stream: Stream


@dataclass(frozen=True, slots=True)
class Writable:
    """There is something to see for a writer that was held back: room, or a reset."""

    stream: Stream


@dataclass(frozen=True, slots=True)
class Openable:
    """A stream may be opened again."""


@dataclass(frozen=True, slots=True)
class RoundTrip:
    """A ping was answered after so many seconds."""

    seconds: float


@dataclass(frozen=True, slots=True)
class GoneAway:
    """The peer ends the connection: it takes no more streams. With code 0 those that are open finish; with any other
    the session is over."""

    code: int


@dataclass(frozen=True, slots=True)
class Drained:
    """One side went away, and the last stream has ended: close the connection once the output is sent."""


@dataclass(frozen=True, slots=True)
class Unresponsive:
    """The peer has been silent since a ping, for too long: the session is over."""


@dataclass(frozen=True, slots=True)
class Overdrawn:
    """Memory that is shared with other connections ran out, and `debtor`, the session of another connection, holds
    most: call its `relieve` and deal with what that gives as if its own connection had."""

    debtor: Debtor


Event = Incoming | Readable | Writable | Openable | RoundTrip | GoneAway | Drained | Unresponsive | Overdrawn
