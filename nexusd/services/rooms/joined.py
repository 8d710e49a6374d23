"""A room that an agent is in."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import trio

from nexusd.agents import Agent
from nexusd_protocols.content.cid import Cid
from nexusd_protocols.content.retention import TTL_MS, RetentionClass
from nexusd_protocols.history.bounds import HOUR_MS, horizon_of, hour_of
from nexusd_protocols.ids import RoomId
from nexusd_protocols.room.presence import Roster
from nexusd_protocols.rpc.schema import Room


@dataclass(slots=True, eq=False)
class Joined:
    """What is kept in memory of it. `messages` counts those on disk."""

    agent: Agent
    room: RoomId
    topic: str
    joined_at: int
    messages: int
    log_bytes: int = 0
    """Of the signed messages on disk."""
    counted: int = 0
    """The position up to which the disk was asked."""
    recount: bool = False
    """Whether it may be wrong, because somebody was cut off in the middle: the disk knows."""
    reserved_bytes: int = 0
    """Of those that are on their way there."""
    tombstones: int | None = None
    """On disk. None: not counted yet."""
    mirror: bool = False
    """A copy is kept for others: the agent is no member, and says nothing."""
    retention: RetentionClass = "archival"
    description: str = ""
    roster: Roster = field(default_factory=Roster)
    unheard: bool = False
    """Whether our last presence reached no neighbour."""
    speaking: trio.Lock = field(default_factory=trio.Lock)
    """Held while presence is published."""
    spoke_at: int = 0
    """The timestamp of our last presence."""
    changed: trio.Event = field(default_factory=trio.Event)
    trimmed: int = 0
    """The horizon before which nothing is on disk any more."""
    told_at: float = -math.inf
    """When others were last told of a checkpoint."""
    fetching: set[Cid] = field(default_factory=set)
    """Batches that are on their way: two members may name the same."""
    comparing: set[trio.CancelScope] = field(default_factory=set)
    """Of comparisons with members that are under way."""
    scope: trio.CancelScope = field(default_factory=trio.CancelScope)
    """Ends what runs for as long as the agent is in the room."""

    def end(self) -> None:
        """Stop what runs for it: the room is left."""
        for scope in (self.scope, *self.comparing):
            scope.cancel()

    def stored(self, size: int, position: int) -> None:
        """A message of so many bytes is on disk."""
        if position > self.counted:
            self.log_bytes += size

    def measured(self, size: int, position: int) -> None:
        """What the disk says of all messages up to a position."""
        if position >= self.counted:
            self.log_bytes, self.counted, self.recount = size, position, False

    def horizon(self, now: int) -> int:
        """The first millisecond that is kept: of an hour, so that an hour goes with all of its batches."""
        return hour_of(horizon_of(TTL_MS[self.retention], now)) * HOUR_MS

    def view(self) -> Room:
        """As the doors show it."""
        return Room(
            room=self.room,
            joined_at=self.joined_at,
            messages=self.messages,
            members_online=self.roster.online() + (not self.mirror),
            mirror=self.mirror,
            description=self.description,
            retention=self.retention,
        )
