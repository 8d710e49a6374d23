"""Who is in a room, from the presence messages that arrive (specs/room.md §4).

    PresenceReceived | Left | HeartbeatSent | Tick -> Roster.handle -> MemberChanged | HeartbeatDue

Members say every 60 s that they are there, and count as offline after 120 s of silence. A presence message counts once:
only a newer timestamp of the same member says something new, so a replayed message brings nobody back.
"""

from __future__ import annotations

from collections import OrderedDict

import msgspec
from msgspec.structs import replace

from nexusd_protocols import limits
from nexusd_protocols.identity import PeerId
from nexusd_protocols.room.payloads import Presence, Status

_GREETING_MS = 10_000
"""A newcomer is greeted with a heartbeat before the next is due, but not more often than this: a room that fills up
must not answer every arrival with a message of everybody."""
_GREETING_MEMBERS = 64
"""In a larger room a newcomer hears enough heartbeats without being greeted."""


class Member(msgspec.Struct, frozen=True):
    """One agent in the room. `name`, `agent_type` and `capabilities` are its own words, cleaned. `last_seen` is when
    its last presence message came, by our clock, in unix milliseconds."""

    agent: PeerId
    name: str
    agent_type: str
    capabilities: tuple[str, ...]
    status: Status
    last_seen: int
    timestamp: int
    """The sender's timestamp of that message."""


class PresenceReceived(msgspec.Struct, frozen=True):
    """A presence message that was read and found good; ours too, if the node shall be listed."""

    sender: PeerId
    timestamp: int
    presence: Presence


class Left(msgspec.Struct, frozen=True):
    """The member is gone for sure: it was blocked, or said goodbye in another way than by presence."""

    agent: PeerId


class HeartbeatSent(msgspec.Struct, frozen=True):
    """We told the room that we are there."""


class Tick(msgspec.Struct, frozen=True):
    """Time passed. Give one whenever `next_tick` is reached."""


class MemberChanged(msgspec.Struct, frozen=True):
    """A member came, went (status offline), or changed what it says of itself."""

    member: Member


class HeartbeatDue(msgspec.Struct, frozen=True):
    """Publish our presence now, then say `HeartbeatSent`."""


Input = PresenceReceived | Left | HeartbeatSent | Tick
Output = MemberChanged | HeartbeatDue


class Roster:
    """The members of one room. Holds at most `max_members`, the longest silent forgotten first."""

    def __init__(
        self,
        *,
        interval_ms: int = limits.PRESENCE_INTERVAL_MS,
        stale_ms: int = limits.PRESENCE_STALE_MS,
        max_age_ms: int = limits.PRESENCE_AGE_MS,
        max_members: int = limits.ROOM_MEMBERS,
    ) -> None:
        self._interval_ms = interval_ms
        self._stale_ms = stale_ms
        self._max_age_ms = max_age_ms
        self._max_members = max_members
        # in order of last_seen: whoever is heard moves to the end
        self._members: OrderedDict[PeerId, Member] = OrderedDict()
        self._heartbeat_at: int | None = None  # None: never sent, due at once
        self._sent_at: int | None = None

    def members(self) -> list[Member]:
        """Everybody who is remembered, the longest silent first."""
        return list(self._members.values())

    def get(self, agent: PeerId) -> Member | None:
        """One member, if it is remembered."""
        return self._members.get(agent)

    def online(self) -> int:
        """How many are not offline."""
        return sum(member.status != "offline" for member in self._members.values())

    def next_tick(self, now_ms: int) -> int:
        """When `Tick` has something to do next, in unix milliseconds; now or later."""
        due = now_ms if self._heartbeat_at is None else self._heartbeat_at
        stale = next((m.last_seen + self._stale_ms for m in self._members.values() if m.status != "offline"), due)
        return max(now_ms, min(due, stale))

    def handle(self, event: Input, now_ms: int) -> list[Output]:
        """What follows from an event. Events may come in any order; time may stand still and jump."""
        match event:
            case PresenceReceived():
                return self._received(event, now_ms)
            case Left(agent):
                return self._left(agent)
            case HeartbeatSent():
                self._sent_at = now_ms
                self._heartbeat_at = now_ms + self._interval_ms
                return []
            case Tick():
                return self._tick(now_ms)

    def _received(self, event: PresenceReceived, now_ms: int) -> list[Output]:
        before = self._members.get(event.sender)
        if abs(now_ms - event.timestamp) > self._max_age_ms:
            return []
        if before is not None and event.timestamp <= before.timestamp:
            return []
        said = event.presence
        member = Member(
            agent=event.sender,
            name=said.agent_name or "",
            agent_type=said.agent_type or "",
            capabilities=said.capabilities,
            status=said.status,
            last_seen=now_ms,
            timestamp=event.timestamp,
        )
        came = (before is None or before.status == "offline") and member.status != "offline"
        self._members[event.sender] = member
        self._members.move_to_end(event.sender)
        if came:
            self._greet(now_ms)
        outputs = self._forget()
        if before is None or replace(before, last_seen=0, timestamp=0) != replace(member, last_seen=0, timestamp=0):
            outputs.append(MemberChanged(member))
        return outputs

    def _left(self, agent: PeerId) -> list[Output]:
        member = self._members.get(agent)
        if member is None or member.status == "offline":
            return []
        gone = replace(member, status="offline")
        self._members[agent] = gone
        return [MemberChanged(gone)]

    def _tick(self, now_ms: int) -> list[Output]:
        outputs: list[Output] = []
        for agent, member in self._members.items():
            if now_ms - member.last_seen < self._stale_ms:
                break
            if member.status != "offline":
                gone = replace(member, status="offline")
                self._members[agent] = gone
                outputs.append(MemberChanged(gone))
        if self._heartbeat_at is None or now_ms >= self._heartbeat_at:
            # due again after an interval even if the shell never says that it was sent: no storm of retries
            self._heartbeat_at = now_ms + self._interval_ms
            outputs.append(HeartbeatDue())
        return outputs

    def _greet(self, now_ms: int) -> None:
        """Bring the next heartbeat forward, so that a newcomer need not wait a minute to see us."""
        if self._heartbeat_at is None or self._sent_at is None or len(self._members) > _GREETING_MEMBERS:
            return
        self._heartbeat_at = min(self._heartbeat_at, max(now_ms, self._sent_at + _GREETING_MS))

    def _forget(self) -> list[Output]:
        outputs: list[Output] = []
        while len(self._members) > self._max_members:
            _, member = self._members.popitem(last=False)
            if member.status != "offline":
                outputs.append(MemberChanged(replace(member, status="offline")))
        return outputs
