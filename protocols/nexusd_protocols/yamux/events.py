"""What a session tells its shell. Events are edges: `Readable` comes when a stream that had nothing to read has
something, so whoever finds nothing waits for the next one and misses nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

if TYPE_CHECKING:
    from nexusd_protocols.yamux.budget import Debtor
    from nexusd_protocols.yamux.stream import Stream


class Incoming(msgspec.Struct, frozen=True):
    """The peer opened a stream: take it with `Session.accept`, which gives None if it was reset meanwhile."""


class Readable(msgspec.Struct, frozen=True):
    """There is something to see for a reader: bytes, the end, or a reset."""

    stream: Stream


class Writable(msgspec.Struct, frozen=True):
    """There is something to see for a writer that was held back: room, or a reset."""

    stream: Stream


class Openable(msgspec.Struct, frozen=True):
    """A stream may be opened again."""


class RoundTrip(msgspec.Struct, frozen=True):
    """A ping was answered after so many seconds."""

    seconds: float


class GoneAway(msgspec.Struct, frozen=True):
    """The peer ends the connection: it takes no more streams. With code 0 those that are open finish; with any other
    the session is over."""

    code: int


class Drained(msgspec.Struct, frozen=True):
    """One side went away, and the last stream has ended: close the connection once the output is sent."""


class Unresponsive(msgspec.Struct, frozen=True):
    """The peer has been silent since a ping, for too long: the session is over."""


class Overdrawn(msgspec.Struct, frozen=True):
    """Memory that is shared with other connections ran out, and `debtor`, the session of another connection, holds
    most: call its `relieve` and deal with what that gives as if its own connection had."""

    debtor: Debtor


Event = Incoming | Readable | Writable | Openable | RoundTrip | GoneAway | Drained | Unresponsive | Overdrawn
